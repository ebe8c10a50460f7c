//! `experimently dead-letters`: what was rejected and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use pipeline::store::Form;

use super::dead_letters_again::Again;
use crate::output::{self, Format};

/// List what was rejected and why, and try it again after a mend.
///
/// Example: experimently dead-letters list --data ./data
#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List rejected records, the newest first.
    List {
        /// The folder of the lake.
        #[arg(long)]
        data: PathBuf,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// How to print them; a table on a terminal, JSON lines otherwise.
        #[arg(long)]
        format: Option<Format>,
    },
    /// Send rejected records through the engine again; those that are still rejected stay as they are.
    Replay(Again),
}

impl DeadLetters {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let (data, limit, format) = match self.action {
            Action::List { data, limit, format } => (data, limit, format),
            Action::Replay(again) => return again.run().await,
        };
        let lake = super::open_lake(&data).await?;
        let form = match output::chosen(format) {
            Format::Table => Form::Table,
            Format::Json => Form::Json,
        };
        let answer = pipeline::store::letters::list(&lake, limit, form).await?;
        output::print(&answer);
        Ok(ExitCode::SUCCESS)
    }
}
