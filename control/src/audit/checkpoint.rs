//! Checkpoints: what the chain was at an instant, signed with ed25519, one JSON object on each line of a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use domain::Timestamp;
use domain::timestamp::{MICROS_PER_DAY, MICROS_PER_SECOND};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::ControlError;
use crate::store::{ChainLink, Store};

/// How often the notary looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A checkpoint is due after so many records.
const RECORDS_MAX: i64 = 100;
/// And after so long, when there is any new record.
const AGE_MAX_MICROS: i64 = 60 * MICROS_PER_SECOND;
/// Old records are looked for this often.
const PRUNE_INTERVAL_MICROS: i64 = MICROS_PER_DAY / 24;

/// What the chain was at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The newest record.
    pub seq: i64,
    /// Its hash in hexadecimal.
    pub hash: String,
    /// When the checkpoint was made.
    pub at: Timestamp,
    /// Whether the records up to `seq` were taken out because they had been kept long enough.
    pub pruned: bool,
    /// The signature in hexadecimal.
    pub signature: String,
}

impl Checkpoint {
    /// What is signed: the members in order, after the name of the format.
    fn signed(&self) -> Vec<u8> {
        let text = (
            "experimently audit checkpoint 1",
            self.seq,
            &self.hash,
            self.at.0,
            self.pruned,
        );
        serde_json::to_vec(&text).unwrap_or_default()
    }

    /// Whether the holder of the key's other half signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let signature = from_hex(&self.signature);
        let public = UnparsedPublicKey::new(&ED25519, &key.0);
        signature.is_some_and(|signature| public.verify(&self.signed(), &signature).is_ok())
    }
}

/// The half of the notary's key by which checkpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads the file that [`Notary::open`] wrote, or a copy of it.
    ///
    /// # Errors
    /// [`ControlError::CheckpointFile`].
    pub fn read(path: &Path) -> Result<Self, ControlError> {
        let text = std::fs::read_to_string(path).map_err(unusable(path))?;
        let bytes = from_hex(text.trim()).filter(|bytes| bytes.len() == 32);
        bytes.map(Self).ok_or_else(|| {
            let what = std::io::Error::new(std::io::ErrorKind::InvalidData, "not 64 hexadecimal digits");
            unusable(path)(what)
        })
    }
}

/// Signs where the chain stands.
pub struct Notary {
    store: Store,
    clock: Arc<dyn Clock>,
    key: Ed25519KeyPair,
    file: PathBuf,
    kept_days: i64,
    last: (i64, Timestamp),
    last_prune: Timestamp,
}

impl Notary {
    /// Opens the folder of checkpoints, and makes it and its key when they are missing: `key` (private), `public-key` and
    /// `checkpoints.jsonl`. Records are taken out when they are older than `kept_days`.
    ///
    /// # Errors
    /// [`ControlError::CheckpointFile`].
    pub fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        folder: &Path,
        kept_days: u32,
    ) -> Result<Self, ControlError> {
        std::fs::create_dir_all(folder).map_err(unusable(folder))?;
        let key = open_key(folder)?;
        let file = folder.join("checkpoints.jsonl");
        let before = read_checkpoints(&file)?;
        let last = before
            .last()
            .map_or((0, Timestamp(0)), |last| (last.seq, last.at));
        Ok(Self {
            store,
            clock,
            key,
            file,
            kept_days: i64::from(kept_days),
            last,
            last_prune: Timestamp(i64::MIN / 2),
        })
    }

    /// Makes checkpoints until `shutdown`, and a last one then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let is_last = tokio::time::timeout(LOOK_INTERVAL, shutdown.cancelled())
                .await
                .is_ok();
            if let Err(error) = self.look(is_last).await {
                tracing::error!(error = %error, "the audit trail has no new checkpoint; see that its folder can be written");
            }
            if is_last {
                return;
            }
        }
    }

    /// Makes a checkpoint when one is due, or with anything new when it is `the last`; takes out what is old.
    ///
    /// # Errors
    /// [`ControlError::CheckpointFile`] or [`ControlError::Database`].
    pub async fn look(&mut self, is_last: bool) -> Result<(), ControlError> {
        let head = self.store.audit_head().await?;
        let now = self.clock.now();
        let news = head.seq - self.last.0;
        let is_old = now.0 - self.last.1.0 >= AGE_MAX_MICROS;
        if news > 0 && (is_last || is_old || news >= RECORDS_MAX) {
            self.sign(head, now, false)?;
        }
        if now.0 - self.last_prune.0 >= PRUNE_INTERVAL_MICROS {
            self.last_prune = now;
            self.prune(now).await?;
        }
        Ok(())
    }

    async fn prune(&mut self, now: Timestamp) -> Result<(), ControlError> {
        let oldest_kept = now.plus_micros(-self.kept_days.saturating_mul(MICROS_PER_DAY));
        let Some(last) = self.store.oldest_kept_after(oldest_kept).await? else {
            return Ok(());
        };
        // The signed word first: records that are gone without it are missing.
        self.sign(last, now, true)?;
        let gone = self.store.prune_audit(last).await?;
        tracing::info!(
            audit.records = gone,
            audit.seq = last.seq,
            "old audit records were taken out"
        );
        Ok(())
    }

    fn sign(&mut self, link: ChainLink, at: Timestamp, pruned: bool) -> Result<(), ControlError> {
        let mut checkpoint = Checkpoint {
            seq: link.seq,
            hash: link.hex(),
            at,
            pruned,
            signature: String::new(),
        };
        checkpoint.signature = to_hex(self.key.sign(&checkpoint.signed()).as_ref());
        append(&self.file, &checkpoint).map_err(unusable(&self.file))?;
        if !pruned {
            self.last = (link.seq, at);
        }
        tracing::info!(
            audit.seq = checkpoint.seq,
            audit.hash = checkpoint.hash,
            audit.signature = checkpoint.signature,
            "audit checkpoint"
        );
        Ok(())
    }
}

/// Reads a file of checkpoints; none when there is no file.
///
/// # Errors
/// [`ControlError::CheckpointFile`] when a line is no checkpoint. A last line that was cut off by a crash is passed over.
pub fn read_checkpoints(path: &Path) -> Result<Vec<Checkpoint>, ControlError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(path)(error)),
    };
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).map_err(|error| unusable(path)(error.into())))
        .collect()
}

fn append(path: &Path, checkpoint: &Checkpoint) -> std::io::Result<()> {
    let existing = std::fs::read(path).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    let mut line = serde_json::to_vec(checkpoint)?;
    if !existing.is_empty() && !existing.ends_with(b"\n") {
        // A crash cut the line before; what follows must not become part of it.
        let whole = existing
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
    }
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_all()
}

fn open_key(folder: &Path) -> Result<Ed25519KeyPair, ControlError> {
    let path = folder.join("key");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fresh = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())
                .expect("the generator of the system ends the process rather than fail");
            write_private(&path, fresh.as_ref()).map_err(unusable(&path))?;
            fresh.as_ref().to_vec()
        }
        Err(error) => return Err(unusable(&path)(error)),
    };
    let key = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| {
        let what = std::io::Error::new(std::io::ErrorKind::InvalidData, "not an ed25519 key");
        unusable(&path)(what)
    })?;
    let public = folder.join("public-key");
    let text = format!("{}\n", to_hex(key.public_key().as_ref()));
    std::fs::write(&public, text).map_err(unusable(&public))?;
    Ok(key)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> ControlError + use<> {
    let path = path.to_owned();
    move |source| ControlError::CheckpointFile { path, source }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs = (0..text.len()).step_by(2);
    is_hex.then(|| {
        pairs
            .filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect()
    })
}
