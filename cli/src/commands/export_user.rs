//! `experimently export-user`: everything that is held of one user.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

/// Print everything that the tables hold of one user, as JSON lines with the table and the row.
///
/// Example: experimently export-user u-4711 --data ./data > u-4711.ndjson
#[derive(Debug, Args)]
pub struct ExportUser {
    /// The user's id, as events carry it.
    user: String,
    /// The folder of the lake; a server may run on it.
    #[arg(long)]
    data: PathBuf,
}

impl ExportUser {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let lake = super::open_lake(&self.data).await?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut pieces = pipeline::store::person::rows_of(&lake, &self.user).await?;
        let mut rows = 0;
        while let Some(lines) = pieces.next().await? {
            out.write_all(lines.as_bytes())
                .context("cannot write to standard output")?;
            rows += lines.lines().count();
        }
        out.flush().context("cannot write to standard output")?;
        if rows == 0 {
            crate::output::complain("nothing is held of this user");
        }
        Ok(ExitCode::SUCCESS)
    }
}
