//! `experimently backup` and `restore`: the store of definitions, accounts, keys and the audit trail.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::output;
use crate::store::StorePlace;

/// Write a backup of the store into a folder, also while a server runs.
///
/// Example: experimently backup --data ./data --to ./backup-monday
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    place: StorePlace,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Put a backup of the store where there is none yet.
///
/// Example: experimently restore --from ./backup-monday --data ./data
#[derive(Debug, Args)]
pub struct Restore {
    /// The folder that `backup` made.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The folder of the platform, without a store.
    #[arg(long)]
    data: PathBuf,
}

impl Backup {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.place.open().await?;
        let now = (crate::clock::machine())();
        let manifest = store
            .backup(&self.to, now)
            .await
            .with_context(|| format!("cannot write a backup to {}", self.to.display()))?;
        output::say(&format!(
            "{} has {} bytes, up to audit record {}",
            self.to.display(),
            manifest.size_bytes,
            manifest.audit_seq
        ));
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let manifest = control::store::restore(&self.from, &self.data.join("control.db"))
            .with_context(|| format!("cannot restore {}", self.from.display()))?;
        output::say(&format!(
            "{} is as of {}, up to audit record {}",
            self.data.display(),
            manifest.made_at,
            manifest.audit_seq
        ));
        Ok(ExitCode::SUCCESS)
    }
}
