//! `experimently forget`: a user is erased from tables, state and log, and a receipt stays.
//!
//! The receipt holds a salted hash of the user's id, so that the same user can be erased again from a lake that was restored
//! from a backup, and nobody can read the id out of it.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use clap::Args;
use domain::{PartitionId, Position};
use ingest::sources::file::FileSource;
use ingest::sources::log::LOG_PARTITION;
use ingest::{EmbeddedLog, FolderLock, LogSettings};
use pipeline::erase::{Erased, erase};
use pipeline::lake::Root;
use pipeline::schema::Table;
use pipeline::view::{KeepView, LiveView};
use pipeline::{Pipeline, Settings};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::output;

/// The receipts, in the data folder.
const RECEIPTS_FILE: &str = "erasures.ndjson";

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
    /// Erase all users again of whom there is a receipt, after a backup was restored.
    #[arg(long)]
    again: bool,
}

/// What tells that a user was erased, without telling who.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Receipt {
    receipt: Uuid,
    at: domain::Timestamp,
    salt: Uuid,
    /// SHA-256 of the salt's text and the user's id, in hexadecimal digits.
    user_sha256: String,
}

impl Receipt {
    fn of(user: &str, at: domain::Timestamp) -> Self {
        let salt = Uuid::new_v4();
        Self {
            receipt: Uuid::now_v7(),
            at,
            salt,
            user_sha256: hash(salt, user),
        }
    }
}

fn hash(salt: Uuid, user: &str) -> String {
    let digest = Sha256::new()
        .chain_update(salt.to_string())
        .chain_update(user)
        .finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let file = self.data.join(RECEIPTS_FILE);
        let receipt = self.user.as_deref().map(|user| Receipt::of(user, now()));
        let receipts = match &receipt {
            Some(receipt) => vec![receipt.clone()],
            None => read_receipts(&file)?,
        };
        // The receipt first: what a crash interrupts is known to be unfinished and can be done again.
        if let Some(receipt) = &receipt {
            keep_receipt(&file, receipt)?;
        }
        let settings = Settings::replay(Arc::clone(&now), clock::run_id());
        let erased = Box::pin(erase(root.clone(), &settings, &named_by(receipts))).await?;
        if let Some(log) = log {
            log.start_segment()
                .await
                .context("cannot empty the embedded log")?;
            log.release(log.durable_offset())
                .context("cannot empty the embedded log")?;
        }
        write_tables(root, settings, now()).await?;
        let report =
            serde_json::to_string(&Report { receipt, erased }).context("cannot print the receipt")?;
        output::say(&report);
        Ok(ExitCode::SUCCESS)
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

/// Whether a user is one of those that receipts were given for; an id is hashed once.
fn named_by(receipts: Vec<Receipt>) -> impl Fn(&str) -> bool + Sync {
    let known: Mutex<HashMap<String, bool>> = Mutex::default();
    move |user: &str| {
        // The map is whole at every moment, so a panic elsewhere does no harm to it.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = known.get(user) {
            return *named;
        }
        let named = receipts
            .iter()
            .any(|receipt| hash(receipt.salt, user) == receipt.user_sha256);
        known.insert(user.to_owned(), named);
        named
    }
}

fn read_receipts(file: &Path) -> anyhow::Result<Vec<Receipt>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let read = |line: &str| serde_json::from_str(line);
    let receipts: Result<Vec<Receipt>, _> = text.lines().map(read).collect();
    let receipts = receipts.with_context(|| format!("{} holds a line that is no receipt", file.display()))?;
    ensure!(
        !receipts.is_empty(),
        "there are no receipts in {}; nobody was erased from this folder",
        file.display()
    );
    Ok(receipts)
}

fn keep_receipt(file: &Path, receipt: &Receipt) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let line = serde_json::to_string(receipt).with_context(cannot)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .with_context(cannot)?;
    writeln!(file, "{line}")
        .and_then(|()| file.sync_all())
        .with_context(cannot)
}

/// Writes the windows, summaries and first exposures that follow from what is left.
async fn write_tables(root: Root, settings: Settings, now: domain::Timestamp) -> anyhow::Result<()> {
    let lake = pipeline::lake::Lake::open_existing(root.clone()).await?;
    let Some(epoch) = lake.epoch(Table::Events).await? else {
        return Ok(());
    };
    let plan = pipeline::state::read_manifest(lake.root(), epoch).await?.plan;
    drop(lake);
    let (views, _) = tokio::sync::watch::channel(Arc::new(LiveView::default()));
    let pipeline = Box::pin(Pipeline::open(root, plan, settings, Arc::new(KeepView(views)))).await?;
    let mut nothing = FileSource::new(Vec::new(), now);
    pipeline.run(&mut nothing, CancellationToken::new()).await?;
    Ok(())
}
