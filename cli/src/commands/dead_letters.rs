//! `experimently dead-letters`: what was rejected and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use pipeline::store::Form;

use crate::output::{self, Format};

/// List what was rejected and why.
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
}

impl DeadLetters {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Action::List { data, limit, format } = self.action;
        let lake = super::open_lake(&data).await?;
        let sql = format!(
            "select received_at, source_partition, source_position, reason, detail, arrow_cast(payload, 'Utf8') as payload from \
             (select received_at, source_partition, source_position, reason, detail, payload from dead_letters \
             order by received_at desc, source_partition, source_position limit {limit})"
        );
        let form = match output::chosen(format) {
            Format::Table => Form::Table,
            Format::Json => Form::Json,
        };
        let readable = pipeline::store::query_as(&lake, &sql, form).await;
        // A payload that is not UTF-8 cannot be shown as text; its bytes can, in hexadecimal.
        let answer = match readable {
            Ok(answer) => answer,
            Err(_) => {
                pipeline::store::query_as(
                    &lake,
                    &sql.replace("arrow_cast(payload, 'Utf8')", "encode(payload, 'hex')"),
                    form,
                )
                .await?
            }
        };
        output::print(&answer);
        Ok(ExitCode::SUCCESS)
    }
}
