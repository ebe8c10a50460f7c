//! `experimently verify`: the stream against the batch.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pipeline::PipelineError;
use pipeline::verify::Verification;

use crate::output::{self, Format};

/// How often the tables are read while a commit is under way: derived tables follow the events within a second.
const ATTEMPTS: u32 = 5;
/// The wait in between.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Recompute all windows and summaries from the `events` table in batch and compare; exit code 1 when any row differs.
///
/// Example: experimently verify --data ./data
#[derive(Debug, Args)]
pub struct Verify {
    /// The folder of the lake.
    #[arg(long)]
    data: PathBuf,
    /// How to print what was found; a table on a terminal, JSON otherwise.
    #[arg(long)]
    format: Option<Format>,
}

impl Verify {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let found = verify(&self.data).await?;
        match output::chosen(self.format) {
            Format::Json => output::say(&serde_json::to_string(&found)?),
            Format::Table => {
                let row = |name: &str, value: u64| vec![name.to_owned(), value.to_string()];
                let mut rows = vec![
                    row("events", found.events),
                    row("windows compared", found.windows),
                    row("summaries compared", found.summaries),
                    row("different", found.different),
                    row("days waiting", found.waiting_days),
                    row("users waiting", found.waiting_users),
                ];
                if found.sealed > 0 {
                    rows.push(row("sealed experiments, not computed again", found.sealed));
                }
                output::print(output::columns(&rows).as_bytes());
            }
        }
        if found.different == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        for difference in &found.differences {
            output::complain(difference);
        }
        anyhow::bail!("{} rows differ from what the events say", found.different)
    }
}

/// Verifies; where a writer is just committing, once more a moment later.
async fn verify(data: &Path) -> anyhow::Result<Verification> {
    for _ in 1..ATTEMPTS {
        match pipeline::verify::verify(&super::open_lake(data).await?).await {
            Err(PipelineError::Unsettled { .. }) => tokio::time::sleep(RETRY_AFTER).await,
            outcome => return Ok(outcome?),
        }
    }
    Ok(pipeline::verify::verify(&super::open_lake(data).await?).await?)
}
