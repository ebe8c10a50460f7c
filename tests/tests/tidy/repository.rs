//! Rules on files that are not Rust: addresses, records of decisions, the map of crates.

use super::files::TextFile;

/// Beginnings of paths that exist on one machine only, put together so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];
/// Registries: which one serves a package is a matter of the machine that installs it.
const REGISTRY_HOSTS: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("yarnpkg", ".com"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Absolute paths of one machine, and hosts of registries.
pub fn machine_paths_and_hosts(file: &TextFile) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| is_absolute(line, path)) {
            problems.push(format!(
                "{}:{}: `{path}` is a path of one machine",
                file.path,
                index + 1
            ));
        }
        if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(**host)) {
            problems.push(format!(
                "{}:{}: `{host}` is a registry's host",
                file.path,
                index + 1
            ));
        }
    }
    problems
}

/// Whether the path begins in the line, rather than going on from a longer path or an address.
fn is_absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "_-.}/".contains(character))
    })
}

/// Download addresses in a lock file of npm.
pub fn resolved_addresses(file: &TextFile) -> Vec<String> {
    let found = file
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("\"resolved\""));
    let complain = |(index, _)| {
        format!(
            "{}:{}: a download address; write the lock file with `omit-lockfile-registry-resolved`",
            file.path,
            index + 1
        )
    };
    found.map(complain).collect()
}

/// Records are named `NNNN-words.md` and begin with their number and title; no number stands twice. Parts of the platform
/// that are written at the same time number from tens of their own, so numbers may be left out.
pub fn decisions(files: &[&TextFile]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut taken = std::collections::BTreeSet::new();
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let number = name.split('-').next().unwrap_or_default();
        let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || !taken.insert(number) {
            problems.push(format!(
                "{}: its name begins with no number of its own",
                file.path
            ));
        }
        let title = file.text.lines().next().unwrap_or_default();
        if !title.starts_with(&format!("# {number}. ")) {
            problems.push(format!(
                "{}: the first line is not `# {number}. ` and a title",
                file.path
            ));
        }
    }
    problems
}

/// Every member of the workspace stands in the map.
pub fn architecture(members: &[String], text: &str) -> Vec<String> {
    let absent = members
        .iter()
        .filter(|member| !text.contains(&format!("`{member}`")));
    absent
        .map(|member| format!("docs/ARCHITECTURE.md does not say what `{member}` is for"))
        .collect()
}

/// Relative links in Markdown that lead to no file or folder; `exists` takes a path below the root.
pub fn broken_links(file: &TextFile, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let targets = file
        .text
        .match_indices("](")
        .filter_map(|(at, _)| file.text[at + 2..].split(')').next());
    let relative = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let broken = relative.filter(|target| {
        let path = target.split('#').next().unwrap_or_default();
        !exists(&format!("{folder}/{path}"))
    });
    broken
        .map(|target| format!("{}: the link to `{target}` leads nowhere", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::sample;

    #[test]
    fn a_path_of_one_machine_and_a_registry_are_found() {
        for path in MACHINE_PATHS {
            let line = format!("cd {path}x\n");
            assert_eq!(machine_paths_and_hosts(&sample("a.sh", &line)).len(), 1, "{line}");
            let longer = format!("cd ${{HOME}}{path}x ./data{path}\n");
            assert!(
                machine_paths_and_hosts(&sample("a.sh", &longer)).is_empty(),
                "{longer}"
            );
        }
        for host in REGISTRY_HOSTS {
            assert_eq!(
                machine_paths_and_hosts(&sample("a.md", &format!("https://{host}/x"))).len(),
                1
            );
        }
    }

    #[test]
    fn a_download_address_is_found() {
        let lock = "{\n  \"resolved\": \"somewhere\",\n  \"integrity\": \"x\"\n}\n";
        assert_eq!(resolved_addresses(&sample("package-lock.json", lock)).len(), 1);
        assert!(resolved_addresses(&sample("package-lock.json", "{}")).is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "[a](there.md#part) [b](../gone.md) [c](https://example.com/x) [d](#part)";
        let problems = broken_links(&sample("docs/x.md", text), &|path| path == "docs/there.md");
        assert_eq!(problems, ["docs/x.md: the link to `../gone.md` leads nowhere"]);
    }

    #[test]
    fn a_number_taken_twice_and_a_wrong_title_are_found() {
        let first = sample("docs/decisions/0001-a.md", "# 0001. A\n");
        let second = sample("docs/decisions/0002-b.md", "# 0002. B\n");
        let third = sample("docs/decisions/0003-c.md", "# Three\n");
        let again = sample("docs/decisions/0002-c.md", "# 0002. C\n");
        assert!(decisions(&[&first, &second]).is_empty());
        assert_eq!(decisions(&[&first, &second, &again]).len(), 1);
        assert_eq!(decisions(&[&first, &second, &third]).len(), 1);
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        let members = ["domain".to_owned(), "stats".to_owned()];
        assert_eq!(architecture(&members, "`domain` holds words").len(), 1);
        assert!(architecture(&members, "`domain` and `stats`").is_empty());
    }
}
