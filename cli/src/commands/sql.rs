//! `experimently sql`: read-only SQL over the lake.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use pipeline::store::Form;

use crate::output;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answer {
    Table,
    Json,
    Csv,
    Parquet,
    Arrow,
}

/// Run a read-only SQL query over the tables events, dead_letters, first_exposures, windows and summaries.
///
/// Example: experimently sql 'SELECT event, count(*) FROM events GROUP BY event' --data ./data
#[derive(Debug, Args)]
pub struct Sql {
    /// The query.
    query: String,
    /// The folder of the lake.
    #[arg(long)]
    data: PathBuf,
    /// The form of the answer; a table on a terminal, JSON lines otherwise.
    #[arg(long)]
    format: Option<Answer>,
}

impl Sql {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let lake = super::open_lake(&self.data).await?;
        let fallback = if std::io::stdout().is_terminal() {
            Answer::Table
        } else {
            Answer::Json
        };
        let form = match self.format.unwrap_or(fallback) {
            Answer::Table => Form::Table,
            Answer::Json => Form::Json,
            Answer::Csv => Form::Csv,
            Answer::Parquet => Form::Parquet,
            Answer::Arrow => Form::Arrow,
        };
        output::print(&pipeline::store::query_as(&lake, &self.query, form).await?);
        Ok(ExitCode::SUCCESS)
    }
}
