//! Erasing users from a data folder, whether a command or the server asks for it, and the receipts that stay.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::Bytes;
use control::{ErasedRows, Receipt};
use domain::UnitId;
use pipeline::Settings;
use pipeline::erase::{Erased, erase};
use pipeline::lake::{Lake, Root};
use pipeline::schema::Table;
use tokio::sync::mpsc;

/// The receipts, in the data folder.
const RECEIPTS_FILE: &str = "erasures.ndjson";
/// Pieces of an export that wait for a slow reader.
const EXPORT_QUEUE: usize = 8;

/// The file of the receipts in a data folder.
pub fn receipts_file(data: &Path) -> PathBuf {
    data.join(RECEIPTS_FILE)
}

/// Reads the receipts; none when there is no file.
pub fn read_receipts(file: &Path) -> anyhow::Result<Vec<Receipt>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let read = |line: &str| serde_json::from_str(line);
    let receipts: Result<Vec<Receipt>, _> = text.lines().map(read).collect();
    receipts.with_context(|| format!("{} holds a line that is no receipt", file.display()))
}

/// Appends receipts, each once. A receipt in the file says that its user is erased from the folder, so it is written when that
/// is done; what a crash interrupts is erased again.
pub fn keep_receipts<'r>(file: &Path, receipts: impl IntoIterator<Item = &'r Receipt>) -> anyhow::Result<()> {
    let kept = read_receipts(file)?;
    let mut lines = String::new();
    for receipt in receipts {
        if !kept.contains(receipt) {
            lines.push_str(&serde_json::to_string(receipt).context("cannot write a receipt")?);
            lines.push('\n');
        }
    }
    let appended = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()));
    appended.with_context(|| format!("cannot write {}", file.display()))
}

/// Erases all users of receipts from tables and state, and writes the windows, summaries and first exposures that follow from
/// what is left. Nothing else may write to the lake meanwhile.
pub async fn erase_users(root: Root, settings: Settings, receipts: Vec<Receipt>) -> anyhow::Result<Erased> {
    ensure!(!receipts.is_empty(), "there is no receipt of whom to erase");
    let erased = Box::pin(erase(root.clone(), &settings, &named_by(receipts))).await?;
    write_tables(root, settings).await?;
    Ok(erased)
}

/// The rows of an erasure.
pub fn rows(erased: &Erased) -> ErasedRows {
    ErasedRows {
        events: erased.events,
        first_exposures: erased.first_exposures,
        dead_letters: erased.dead_letters,
    }
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
        let named = receipts.iter().any(|receipt| receipt.is_of(user));
        known.insert(user.to_owned(), named);
        named
    }
}

async fn write_tables(root: Root, settings: Settings) -> anyhow::Result<()> {
    let lake = Lake::open_existing(root.clone()).await?;
    let Some(epoch) = lake.epoch(Table::Events).await? else {
        return Ok(());
    };
    let plan = pipeline::state::read_manifest(lake.root(), epoch).await?.plan;
    drop(lake);
    pipeline::write_all(root, plan, settings).await?;
    Ok(())
}

/// Gives everything that the lake under a root holds of a user, as it is read.
pub fn export(root: Root, user: UnitId) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (pieces, given) = mpsc::channel(EXPORT_QUEUE);
    tokio::spawn(async move {
        let read = Box::pin(send_rows(root, &user, &pieces)).await;
        if let Err(error) = read {
            tracing::error!(error = %format!("{error:#}"), "what is held of a user cannot be read");
            // A receiver that is gone has heard enough.
            let _gone = pieces
                .send(Err(std::io::Error::other("the tables cannot be read")))
                .await;
        }
    });
    given
}

async fn send_rows(
    root: Root,
    user: &UnitId,
    pieces: &mpsc::Sender<std::io::Result<Bytes>>,
) -> anyhow::Result<()> {
    let lake = Lake::open_existing(root).await.context("cannot open the lake")?;
    let mut rows = pipeline::store::person::rows_of(&lake, user.as_str()).await?;
    while let Some(lines) = rows.next().await? {
        if pieces.send(Ok(lines.into())).await.is_err() {
            break;
        }
    }
    Ok(())
}
