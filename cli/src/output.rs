//! What people and programs see: tables on a terminal, JSON otherwise, and progress bars.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for a person.
    Table,
    /// JSON for a program.
    Json,
}

/// The form asked for; a table on a terminal and JSON otherwise when none is.
pub fn chosen(format: Option<Format>) -> Format {
    format.unwrap_or(if std::io::stdout().is_terminal() {
        Format::Table
    } else {
        Format::Json
    })
}

/// Prints to standard output. A reader that has gone away wants no more, so a closed pipe is not an error.
pub fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    drop(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

/// Prints a line to standard output.
pub fn say(text: &str) {
    print(format!("{text}\n").as_bytes());
}

/// Prints a line to standard error.
pub fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A progress bar over bytes on a terminal, and nothing elsewhere.
pub fn byte_progress(message: &'static str) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    let bar = indicatif::ProgressBar::new(0).with_message(message);
    match indicatif::ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Lays rows out in columns; the first row is the header.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width - cell.chars().count();
            line.push_str(cell);
            line.push_str(&" ".repeat(padding + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
