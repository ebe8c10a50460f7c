//! Rules on the texts of errors and log lines: a lowercase phrase without a final stop.

use super::files::TextFile;

/// Names that keep their capital at the beginning of a phrase.
const PROPER_NAMES: [&str; 6] = [
    "Kinesis",
    "Parquet",
    "Delta",
    "PostgreSQL",
    "SQLite",
    "DataFusion",
];
/// The macros that write a log line.
const LOG_MACROS: [&str; 5] = ["trace!", "debug!", "info!", "warn!", "error!"];

/// What is wrong with a phrase, if anything.
fn fault(phrase: &str) -> Option<&'static str> {
    let word: String = phrase
        .chars()
        .take_while(|character| character.is_alphanumeric())
        .collect();
    let starts_upper = word.chars().next().is_some_and(char::is_uppercase);
    // An acronym such as HTTP stays as it is written everywhere.
    let is_acronym = word.chars().nth(1).is_some_and(char::is_uppercase);
    if starts_upper && !is_acronym && !PROPER_NAMES.contains(&word.as_str()) {
        return Some("begins with a capital");
    }
    if phrase.trim_end().ends_with(['.', '!']) {
        return Some("ends with a stop");
    }
    if phrase.trim().is_empty() {
        return Some("says nothing");
    }
    None
}

fn problem(file: &TextFile, at: usize, phrase: &str) -> Option<String> {
    let number = file.text[..at].matches('\n').count() + 1;
    fault(phrase).map(|fault| format!("{}:{number}: {phrase:?} {fault}", file.path))
}

/// The texts of errors made with `thiserror`.
pub fn errors(file: &TextFile) -> Vec<String> {
    let marker = "#[error(";
    let texts = file.text.match_indices(marker).filter_map(|(at, _)| {
        let rest = file.text[at + marker.len()..].trim_start();
        literal(rest).and_then(|(phrase, _)| problem(file, at, &phrase))
    });
    texts.collect()
}

/// The messages of log lines.
pub fn logs(file: &TextFile) -> Vec<String> {
    let mut problems = Vec::new();
    for name in LOG_MACROS {
        for (at, _) in file.text.match_indices(name) {
            let before = file.text[..at].chars().next_back();
            let is_longer_name =
                before.is_some_and(|character| character.is_alphanumeric() || character == '_');
            let line_start = file.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let is_comment = file.text[line_start..at].contains("//");
            let arguments = file.text[at + name.len()..].strip_prefix('(');
            if let (false, false, Some(arguments)) = (is_longer_name, is_comment, arguments) {
                let phrase = message(arguments);
                problems.extend(phrase.and_then(|phrase| problem(file, at, &phrase)));
            }
        }
    }
    problems
}

/// The first argument of a call that is a text by itself, not the value of a field.
fn message(arguments: &str) -> Option<String> {
    let mut depth = 0_usize;
    let mut before = ',';
    let mut rest = arguments;
    while let Some(character) = rest.chars().next() {
        if let Some((phrase, length)) = literal(rest) {
            if depth == 0 && before == ',' {
                return Some(phrase);
            }
            (before, rest) = ('"', &rest[length..]);
            continue;
        }
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return None,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if !character.is_whitespace() {
            before = character;
        }
        rest = &rest[character.len_utf8()..];
    }
    None
}

/// The string literal that the text begins with, and its length in the text with quotes.
fn literal(text: &str) -> Option<(String, usize)> {
    if let Some(raw) = text.strip_prefix('r') {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = body.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some((body[..end].to_owned(), 1 + hashes + 1 + end + 1 + hashes));
    }
    let body = text.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, character) in body.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some((body[..at].to_owned(), at + 2)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::sample;

    #[test]
    fn an_error_that_is_a_sentence_is_found() {
        let problems = |text: &str| errors(&sample("a.rs", &format!("#[error({text})]"))).len();
        for sound in [
            "\"cannot open {path}\"",
            "\"{count} variants\"",
            "\"HTTP status {code}\"",
            "transparent",
        ] {
            assert_eq!(problems(sound), 0, "{sound}");
        }
        for wrong in [
            "\"Cannot open\"",
            "\"cannot open.\"",
            "\"\"",
            "\n    \"Cannot\"\n",
            "r\"Cannot\"",
            "\"no!\"",
        ] {
            assert_eq!(problems(wrong), 1, "{wrong}");
        }
    }

    #[test]
    fn a_log_line_that_is_a_sentence_is_found() {
        let problems = |text: &str| logs(&sample("a.rs", text)).len();
        for sound in [
            "info!(epoch, \"committed\");",
            "tracing::warn!(error = &error as &dyn Error, path = \"A.\", \"retrying {count}\");",
            "warn!(target: \"Audit\", rows = f(\"Big.\", 1), \"written\");",
            "error!(?error);",
            "compile_error!(\"Not a log line.\");",
            "// info!(\"Committed.\")",
        ] {
            assert_eq!(problems(sound), 0, "{sound}");
        }
        for wrong in [
            "info!(epoch, \"Committed\");",
            "tracing::error!(\n    %error,\n    \"committed.\"\n);",
            "debug!(\"Committed {}\", \"x\");",
        ] {
            assert_eq!(problems(wrong), 1, "{wrong}");
        }
    }

    #[test]
    fn a_problem_names_its_line() {
        let problems = errors(&sample("a.rs", "//! x\n\n#[error(\"Bad\")]\n"));
        assert_eq!(problems, ["a.rs:3: \"Bad\" begins with a capital"]);
    }
}
