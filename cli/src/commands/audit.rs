//! `experimently audit`: whether the audit trail is whole, and all of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::audit::{PublicKey, read_checkpoints, verify};

use crate::output;
use crate::store::StorePlace;

/// Records that are exported at once.
const PAGE: u32 = 1_000;

/// Verify the audit trail, or export it.
///
/// Example: experimently audit verify --data ./data
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every record against the one before it and against the signed checkpoints; exit 1 names the first fault.
    Verify {
        #[command(flatten)]
        place: StorePlace,
        /// A copy of the checkpoints that was kept elsewhere.
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
        /// A copy of the public key that was kept elsewhere.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Write every record with its hash to standard output, one JSON object on each line, the oldest first.
    Export {
        #[command(flatten)]
        place: StorePlace,
    },
}

impl Audit {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Verify {
                place,
                checkpoints,
                public_key,
            } => {
                let store = place.open().await?;
                let folder = place.data.join("audit");
                let key = PublicKey::read(&public_key.unwrap_or_else(|| folder.join("public-key")))
                    .context("there is no key to check signatures by; a server makes it when it starts")?;
                let checkpoints =
                    read_checkpoints(&checkpoints.unwrap_or_else(|| folder.join("checkpoints.jsonl")))?;
                match verify(&store, &checkpoints, &key).await? {
                    Ok(verified) => output::say(&format!(
                        "whole: {} records agree with {} checkpoints; record {} has hash {}",
                        verified.records,
                        verified.checkpoints,
                        verified.head.seq,
                        verified.head.hex()
                    )),
                    Err(finding) => {
                        output::complain(&format!("error: the audit trail was changed: {finding}"));
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
            Action::Export { place } => export(&place.open().await?).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn export(store: &control::Store) -> anyhow::Result<()> {
    let mut last = 0;
    loop {
        let page = store.audit_after(last, PAGE).await?;
        let Some(newest) = page.last() else { return Ok(()) };
        last = newest.record.seq;
        let mut lines = String::new();
        for chained in &page {
            let mut line = serde_json::to_value(&chained.record).context("a record cannot be written")?;
            line["hash"] = chained.hash.as_str().into();
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        output::print(lines.as_bytes());
    }
}
