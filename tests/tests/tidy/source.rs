//! Rules on a Rust file as a whole: its first line, its length, its promises to itself.

use super::files::{TextFile, code_lines};

/// The most lines that a file may have; what grows longer has two responsibilities.
const LINES_MAX: usize = 500;
/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 0] = [];

/// The first line is a `//!` comment.
pub fn module_documentation(file: &TextFile) -> Vec<String> {
    let first = file.text.lines().next().unwrap_or_default();
    let has_sentence = first
        .strip_prefix("//! ")
        .is_some_and(|text| !text.trim().is_empty());
    if has_sentence {
        return Vec::new();
    }
    vec![format!(
        "{}: the first line is not a `//!` comment that says what the file does",
        file.path
    )]
}

/// The file has at most [`LINES_MAX`] lines.
pub fn file_budget(file: &TextFile) -> Vec<String> {
    let count = file.text.lines().count();
    let is_exception = LONGER.iter().any(|(path, _)| *path == file.path);
    if count <= LINES_MAX || is_exception {
        return Vec::new();
    }
    vec![format!(
        "{}: {count} lines; split it by responsibility, {LINES_MAX} is the limit",
        file.path
    )]
}

/// `fn main` stands in `cli`, in benchmarks, examples and build scripts only.
pub fn no_main_outside_the_program(file: &TextFile) -> Vec<String> {
    let allowed = ["cli/src/main.rs", "benches/benches/"];
    let is_tool = file.path.ends_with("/build.rs") || file.path.contains("/examples/");
    let is_allowed = is_tool || allowed.iter().any(|path| file.path.starts_with(path));
    if is_allowed {
        return Vec::new();
    }
    let mains = code_lines(&file.text).filter(|(_, line)| {
        ["fn main(", "pub fn main(", "async fn main("]
            .iter()
            .any(|start| line.starts_with(start))
    });
    mains
        .map(|(number, _)| format!("{}:{number}: only `cli` is a program", file.path))
        .collect()
}

/// No marker of unfinished work, except one for later that names its issue.
pub fn unfinished_work(file: &TextFile) -> Vec<String> {
    // The words are put together here, or this file would break its own rule.
    let banned = [
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("un", "implemented!("),
    ];
    let later = concat!("TO", "DO");
    let mut problems = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in banned {
            if line.contains(word) {
                problems.push(format!("{}:{}: `{word}` must not land", file.path, index + 1));
            }
        }
        let mut rests = line.match_indices(later).map(|(at, _)| &line[at + later.len()..]);
        if rests.any(|rest| !names_an_issue(rest)) {
            problems.push(format!(
                "{}:{}: a `{later}` carries an issue number, as in `(#12)`",
                file.path,
                index + 1
            ));
        }
    }
    problems
}

fn names_an_issue(rest: &str) -> bool {
    let number = rest.strip_prefix("(#").and_then(|rest| rest.split(')').next());
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::sample;

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        assert!(module_documentation(&sample("a.rs", "//! What it does.\n")).is_empty());
        for text in [
            "",
            "// A comment.\n",
            "use std::fmt;\n//! Late.\n",
            "//!\n",
            "//! \n",
        ] {
            assert_eq!(module_documentation(&sample("a.rs", text)).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_file_one_line_too_long_is_found() {
        assert!(file_budget(&sample("a.rs", &"x\n".repeat(LINES_MAX))).is_empty());
        assert_eq!(
            file_budget(&sample("a.rs", &"x\n".repeat(LINES_MAX + 1))).len(),
            1
        );
    }

    #[test]
    fn a_second_program_is_found() {
        let main = "//! x\nfn main() {}\n";
        assert_eq!(
            no_main_outside_the_program(&sample("stats/src/bin/x.rs", main)).len(),
            1
        );
        assert_eq!(
            no_main_outside_the_program(&sample("tests/src/lib.rs", "async fn main() {}")).len(),
            1
        );
        for path in [
            "cli/src/main.rs",
            "benches/benches/decode.rs",
            "control/build.rs",
            "ingest/examples/x.rs",
        ] {
            assert!(
                no_main_outside_the_program(&sample(path, main)).is_empty(),
                "{path}"
            );
        }
    }

    #[test]
    fn unfinished_work_is_found() {
        let problems = |text: &str| unfinished_work(&sample("a.rs", text)).len();
        assert_eq!(problems(concat!("// FIX", "ME later")), 1);
        assert_eq!(problems(concat!("    to", "do!()")), 1);
        assert_eq!(problems(concat!("un", "implemented!(\"x\")")), 1);
        assert_eq!(problems(concat!("// TO", "DO: some day")), 1);
        assert_eq!(problems(concat!("// TO", "DO(#): some day")), 1);
        assert_eq!(problems(concat!("// TO", "DO(#12): some day")), 0);
    }
}
