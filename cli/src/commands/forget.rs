//! `experimently forget`: a user is erased from tables, state and log, and a receipt stays.
//!
//! The receipt holds a salted hash of the user's id, so that the same user can be erased again from a lake that was restored
//! from a backup, and nobody can read the id out of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use control::{Receipt, Store};
use domain::{PartitionId, Position};
use ingest::sources::log::LOG_PARTITION;
use ingest::{EmbeddedLog, FolderLock, LogSettings};
use pipeline::Settings;
use pipeline::erase::Erased;
use pipeline::lake::Root;
use serde::Serialize;

use crate::store::StoreOption;
use crate::{clock, erasures, output};

/// Erase a user from the tables, the state and the log, and print the receipt; results are then those of a lake that never
/// had the user.
///
/// Nothing else may run on the folder meanwhile. The receipts stand in the folder's erasures.ndjson; after a backup was
/// restored, --again erases all of them once more.
///
/// Example: experimently forget u-4711 --data ./data
#[derive(Debug, Args)]
pub struct Forget {
    /// The user's id, as events carry it.
    #[arg(required_unless_present = "again", conflicts_with = "again")]
    user: Option<String>,
    /// The data folder.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    /// Erase all users again of whom there is a receipt, after a backup was restored.
    #[arg(long)]
    again: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    #[serde(flatten)]
    erased: Erased,
}

impl Forget {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        drop(super::open_lake(&self.data).await?);
        let _lock = FolderLock::acquire(&self.data).context("cannot use the data folder")?;
        let root = Root::folder(&self.data)?;
        let log = committed_log(&self.data, &root).await?;
        let now = clock::machine();
        let file = erasures::receipts_file(&self.data);
        let receipt = self.user.as_deref().map(|user| Receipt::of(user, now()));
        let store = self.definitions().await?;
        if let (Some(store), Some(receipt)) = (&store, &receipt) {
            store
                .ask_for_erasure(receipt.clone(), &super::local_change("forget"))
                .await?;
        }
        let receipts = match &receipt {
            Some(receipt) => vec![receipt.clone()],
            None => erasures::read_receipts(&file)?,
        };
        ensure!(
            !receipts.is_empty(),
            "there are no receipts in {}; nobody was erased from this folder",
            file.display()
        );
        let settings = Settings::replay(now, clock::run_id());
        let erased = erasures::erase_users(root, settings, receipts).await?;
        if let Some(log) = log {
            log.start_segment()
                .await
                .context("cannot empty the embedded log")?;
            log.release(log.durable_offset())
                .context("cannot empty the embedded log")?;
        }
        erasures::keep_receipts(&file, &receipt)?;
        if let (Some(store), Some(receipt)) = (&store, &receipt) {
            let (rows, change) = (erasures::rows(&erased), super::local_change("forget"));
            store.finish_erasure(&receipt.receipt, rows, &change).await?;
            store.close().await;
        }
        let report =
            serde_json::to_string(&Report { receipt, erased }).context("cannot print the receipt")?;
        output::say(&report);
        Ok(ExitCode::SUCCESS)
    }

    /// The store whose audit trail shall tell of it; none where the folder was only replayed into.
    async fn definitions(&self) -> anyhow::Result<Option<Store>> {
        let address = self.store.address(&self.data)?;
        if address.file().is_some_and(|file| !file.is_file()) {
            return Ok(None);
        }
        self.store.open(&self.data).await.map(Some)
    }
}

/// The embedded log, all of whose events stand in the tables; none where there is none.
async fn committed_log(data: &Path, root: &Root) -> anyhow::Result<Option<EmbeddedLog>> {
    let folder = data.join("log");
    if !folder.is_dir() {
        return Ok(None);
    }
    let (log, _) =
        EmbeddedLog::open(&folder, LogSettings::default()).context("cannot open the embedded log")?;
    let positions = Box::pin(pipeline::committed_positions(root.clone())).await?;
    let committed = match positions.get(&PartitionId(LOG_PARTITION.into())) {
        Some(Position::Offset(committed)) => *committed,
        _ => 0,
    };
    ensure!(
        committed >= log.durable_offset(),
        "events wait in the log of {} that are in no table yet; run `experimently serve` on it until /healthz says that the \
         engine has caught up, stop it, then forget the user",
        data.display()
    );
    Ok(Some(log))
}
