//! The repository's own text files, found without help of a version control program, so that an archive works as well.

use std::path::{Path, PathBuf};

/// Folders that hold what was built, installed or measured, as `.gitignore` lists them. `.git` is a file in a worktree.
const IGNORED: [&str; 6] = [
    ".git",
    "target",
    "node_modules",
    ".venv",
    "__pycache__",
    "proptest-regressions",
];
/// Folders of that kind at the root only.
const IGNORED_AT_ROOT: [&str; 1] = ["data"];

/// A text file and where it stands.
pub struct TextFile {
    /// The path below the root, with `/` between its parts.
    pub path: String,
    /// What the file holds.
    pub text: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of UTF-8 text, in order of path.
pub fn all() -> Vec<TextFile> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<TextFile>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("an entry of a folder that was just opened can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        // Links are not followed: what they lead to is checked where it stands, or is not ours.
        let kind = entry.file_type().expect("the kind of a listed entry is known");
        if kind.is_dir() && !is_ignored(&name, prefix.is_empty()) {
            collect(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file() && !is_ignored(&name, prefix.is_empty()) {
            // A file that vanishes or is no text, such as an archive, has no wording to check.
            if let Ok(text) = std::fs::read_to_string(entry.path()) {
                found.push(TextFile { path, text });
            }
        }
    }
}

fn is_ignored(name: &str, at_root: bool) -> bool {
    IGNORED.contains(&name) || (at_root && IGNORED_AT_ROOT.contains(&name))
}

/// A file for the tests of a rule.
pub fn sample(path: &str, text: &str) -> TextFile {
    TextFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// The lines of a Rust file without comments, with their numbers from 1. Strings stay, except for what follows `//`.
pub fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether `needle` stands in the line as a path of its own, not as the end of a longer name or path.
pub fn has_path(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
    })
}

#[test]
fn a_path_is_found_as_a_whole_only() {
    assert!(has_path("use arrow::array;", "arrow::"));
    assert!(!has_path("use narrow::array;", "arrow::"));
    assert!(!has_path("pipeline::arrow::array", "arrow::"));
    assert_eq!(
        code_lines("a // b\n/// c").collect::<Vec<_>>(),
        [(1, "a "), (2, "")]
    );
}

#[test]
fn this_very_file_is_found() {
    let files = all();
    assert!(files.iter().any(|file| file.path == "tests/tests/tidy/files.rs"));
    assert!(
        !files
            .iter()
            .any(|file| file.path.contains("/target/") || file.path.starts_with(".git/"))
    );
}
