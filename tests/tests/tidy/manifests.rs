//! Rules on manifests: who may depend on whom, versions in one place, a reason for every dependency.

/// The crates that each crate may use, itself and tests aside. Data flows from left to right.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("domain", &[]),
    ("ingest", &["domain"]),
    ("pipeline", &["domain", "ingest"]),
    ("stats", &["domain"]),
    ("control", &["domain", "stats"]),
    ("query-api", &["domain", "ingest", "pipeline", "stats", "control"]),
    (
        "cli",
        &[
            "domain",
            "ingest",
            "pipeline",
            "stats",
            "control",
            "query-api",
            "fixtures",
        ],
    ),
    ("fixtures", &["domain"]),
    (
        "tests",
        &[
            "domain",
            "ingest",
            "pipeline",
            "stats",
            "control",
            "query-api",
            "fixtures",
        ],
    ),
    (
        "benches",
        &[
            "domain",
            "ingest",
            "pipeline",
            "stats",
            "control",
            "query-api",
            "fixtures",
        ],
    ),
];
/// Dependencies that no line of code names, each with its reason.
const USED_WITHOUT_A_NAME: [(&str, &str); 0] = [];

/// One line of a dependency section.
struct Dependency<'a> {
    section: &'a str,
    name: &'a str,
    rest: &'a str,
}

fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut section = "";
    let mut found = Vec::new();
    // Lists may go on over lines; a continuation begins with white space, a quote or a bracket.
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end().trim_end_matches(']');
        } else if section.ends_with("dependencies")
            && line.starts_with(|first: char| first.is_ascii_alphanumeric())
        {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            found.push(Dependency { section, name, rest });
        }
    }
    found
}

fn is_ours(name: &str) -> bool {
    MAY_USE.iter().any(|(own, _)| *own == name)
}

/// The folders that a workspace manifest lists as members.
pub fn members(workspace: &str) -> Vec<String> {
    let list = workspace
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    let quoted = list.unwrap_or_default().split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// The crate uses only what stands to its left; tests may use `fixtures` besides.
pub fn direction(crate_name: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == crate_name) else {
        return vec![format!(
            "{crate_name}: unknown; say in tests/tests/tidy/manifests.rs what it may use"
        )];
    };
    let wrong = dependencies(manifest).into_iter().filter(|dependency| {
        let is_test_data = dependency.section == "dev-dependencies" && dependency.name == "fixtures";
        is_ours(dependency.name) && !allowed.contains(&dependency.name) && !is_test_data
    });
    let complain = |dependency: Dependency<'_>| {
        format!(
            "{crate_name} uses `{}`: data flows the other way, or past it",
            dependency.name
        )
    };
    wrong.map(complain).collect()
}

/// The crate takes lints, and the version of every dependency, from the workspace.
pub fn inheritance(crate_name: &str, manifest: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !manifest.contains("[lints]\nworkspace = true") {
        problems.push(format!(
            "{crate_name}: its manifest lacks `[lints]` with `workspace = true`"
        ));
    }
    for dependency in dependencies(manifest) {
        if !dependency.rest.contains("workspace = true") {
            problems.push(format!(
                "{crate_name}: the version of `{}` belongs in the root manifest",
                dependency.name
            ));
        }
    }
    problems
}

/// Only `cli` declares a program.
pub fn programs(crate_name: &str, manifest: &str) -> Vec<String> {
    if crate_name != "cli" && manifest.contains("[[bin]]") {
        return vec![format!("{crate_name}: only `cli` is a program")];
    }
    Vec::new()
}

/// Every dependency of the crate is named somewhere in its code.
pub fn unused(crate_name: &str, manifest: &str, code: &str) -> Vec<String> {
    let unnamed = dependencies(manifest).into_iter().filter(|dependency| {
        let is_known = USED_WITHOUT_A_NAME
            .iter()
            .any(|(name, _)| *name == dependency.name);
        !is_known && !code.contains(&name_in_code(dependency.name))
    });
    let complain =
        |dependency: Dependency<'_>| format!("{crate_name}: `{}` is used nowhere", dependency.name);
    unnamed.map(complain).collect()
}

/// The name by which code knows a package; all but one are their own with underscores.
fn name_in_code(package: &str) -> String {
    match package {
        "md-5" => "md5".to_owned(),
        other => other.replace('-', "_"),
    }
}

/// Every outside dependency of the workspace has its row in the record, and the record has no other rows.
pub fn reasons(workspace: &str, record: &str) -> Vec<String> {
    let named = |line: &str| {
        let name = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        name.map(str::to_owned)
    };
    let rows: Vec<String> = record.lines().filter_map(named).collect();
    let outside: Vec<&str> = dependencies(workspace)
        .into_iter()
        .filter(|dependency| dependency.section == "workspace.dependencies" && !is_ours(dependency.name))
        .map(|dependency| dependency.name)
        .collect();
    let missing = outside.iter().filter(|name| !rows.iter().any(|row| row == *name));
    let stale = rows.iter().filter(|row| !outside.contains(&row.as_str()));
    let missing = missing.map(|name| format!("`{name}` has no row in the record of dependencies"));
    let stale = stale.map(|row| format!("`{row}` is in the record of dependencies, but no dependency"));
    missing.chain(stale).collect()
}

/// Clippy counts the lines and parameters of functions, and the workspace listens to it.
pub fn function_budget(clippy: &str, workspace: &str) -> Vec<String> {
    let expected = [
        (clippy, "too-many-lines-threshold = 70"),
        (clippy, "too-many-arguments-threshold = 6"),
        (workspace, "too_many_lines = \"warn\""),
    ];
    let missing = expected
        .into_iter()
        .filter(|(text, line)| !text.lines().any(|found| found == *line));
    missing
        .map(|(_, line)| format!("`{line}` is missing: functions may grow without limit"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "[package]\nname = \"stats\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n\
        domain.workspace = true\nserde = { workspace = true, optional = true }\n";

    #[test]
    fn members_are_read_out_of_the_workspace() {
        assert_eq!(
            members("[workspace]\nmembers = [\"domain\", \"stats\"]\n"),
            ["domain", "stats"]
        );
    }

    #[test]
    fn a_dependency_against_the_flow_is_found() {
        assert!(direction("stats", SOUND).is_empty());
        for (crate_name, wrong) in [
            ("stats", "pipeline"),
            ("pipeline", "stats"),
            ("domain", "fixtures"),
        ] {
            let manifest = format!("[dependencies]\n{wrong}.workspace = true\n");
            assert_eq!(
                direction(crate_name, &manifest).len(),
                1,
                "{crate_name} on {wrong}"
            );
        }
        let test_data = "[dev-dependencies]\nfixtures.workspace = true\n";
        assert!(direction("stats", test_data).is_empty());
        assert_eq!(direction("surprise", "").len(), 1);
    }

    #[test]
    fn a_version_of_its_own_and_missing_lints_are_found() {
        assert!(inheritance("stats", SOUND).is_empty());
        assert_eq!(inheritance("stats", "[dependencies]\nserde = \"1\"\n").len(), 2);
    }

    #[test]
    fn a_second_program_is_found() {
        assert_eq!(programs("stats", "[[bin]]\nname = \"x\"").len(), 1);
        assert!(programs("cli", "[[bin]]\nname = \"x\"").is_empty());
    }

    #[test]
    fn an_unused_dependency_is_found() {
        assert!(unused("stats", SOUND, "use domain::Event; use serde::Serialize;").is_empty());
        assert_eq!(unused("stats", SOUND, "use domain::Event;").len(), 1);
        assert!(unused("ingest", "[dependencies]\nmd-5.workspace = true\n", "md5::Md5").is_empty());
    }

    #[test]
    fn a_dependency_without_a_reason_and_a_reason_without_a_dependency_are_found() {
        let workspace =
            "[workspace.dependencies]\nstats = { path = \"stats\" }\nbytes = \"1\"\nurl = \"2\"\n";
        assert!(reasons(workspace, "| `bytes` | x |\n| `url` | y |\n").is_empty());
        assert_eq!(reasons(workspace, "| `bytes` | x |\n").len(), 1);
        assert_eq!(
            reasons(workspace, "| `bytes` | x |\n| `url` | y |\n| `left-pad` | z |\n").len(),
            1
        );
    }

    #[test]
    fn a_budget_that_nobody_counts_is_found() {
        let clippy = "too-many-lines-threshold = 70\ntoo-many-arguments-threshold = 6\n";
        let workspace = "too_many_lines = \"warn\"\n";
        assert!(function_budget(clippy, workspace).is_empty());
        assert_eq!(
            function_budget("too-many-lines-threshold = 700\n", workspace).len(),
            2
        );
        assert_eq!(function_budget(clippy, "").len(), 1);
    }
}
