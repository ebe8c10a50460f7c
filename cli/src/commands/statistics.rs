//! `experimently stats`: any statistical method by name.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use clap::Args;

/// Answer statistical requests: one JSON object a line in, one a line out.
///
/// A request is {"id": 1, "method": "two_proportion", "inputs": {"x_control": 0, "n_control": 9, "x_treatment": 5,
/// "n_treatment": 9}}.
///
/// Example: experimently stats < requests.ndjson
#[derive(Debug, Args)]
pub struct Stats {}

impl Stats {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let answer = match serde_json::from_str(&line) {
                Ok(request) => stats::call(&request),
                Err(error) => serde_json::json!({
                    "id": null,
                    "error": {"code": "invalid_json", "message": format!("the line is not one JSON object: {error}")},
                }),
            };
            writeln!(stdout, "{answer}")?;
        }
        stdout.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
