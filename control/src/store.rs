//! The store of definitions: one SQLite file, all SQL of the platform.
//!
//! Promises: a write is one transaction with its audit record and its queued webhooks, durable when the call returns;
//! an update applies only to the version that the writer names; a reader never waits for a writer. Documents are kept
//! as JSON, so that a definition may gain fields without a migration.

mod accounts;
mod audit;
mod backup;
mod chain;
mod connection;
mod definitions;
mod discovery;
mod guardrails;
mod keys;
mod logins;
mod outbox;
mod owners;
mod plan;
mod rollbacks;
mod webhooks;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqlitePool, Transaction};
use tokio::sync::{Notify, watch};

pub use accounts::{Account, AccountName, InvalidName};
pub use audit::{AuditFilter, AuditRecord};
pub use backup::{BackupManifest, restore};
pub use chain::{ChainLink, ChainedRecord};
pub use definitions::Definition;
pub use discovery::Discovered;
pub(crate) use guardrails::Look;
pub use guardrails::{Guardrail, GuardrailId};
pub use keys::{ApiKey, FreshKey, NewKey};
pub use outbox::{Delivery, DeliveryState};
pub use owners::{EDITORS_MAX, Ownership};
#[cfg(test)]
pub(crate) use rollbacks::made_safe;
pub(crate) use rollbacks::{Cause, Crossed};
pub use rollbacks::{RollbackId, RollbackRecord};
pub use webhooks::{Endpoint, EndpointId, NewEndpoint};

pub(crate) use audit::Entry;
pub(crate) use logins::SessionFacts;
pub(crate) use outbox::{AttemptResult, DueDelivery};

use crate::error::ControlError;
use discovery::Known;

/// The most entries of a page: what a person or a program can handle at once.
pub const PAGE_LIMIT_MAX: u32 = 200;

/// What kinds of objects the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// An experiment.
    Experiment,
    /// A metric.
    Metric,
    /// A feature flag.
    Flag,
    /// A guardrail on a flag.
    Guardrail,
    /// The record of a rollback.
    Rollback,
    /// A receiver of webhooks.
    WebhookEndpoint,
    /// A queued message.
    Message,
    /// An audit record.
    AuditRecord,
    /// A local account.
    Account,
    /// An API key.
    ApiKey,
}

impl ObjectKind {
    /// The kind as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Metric => "metric",
            Self::Flag => "flag",
            Self::Guardrail => "guardrail",
            Self::Rollback => "rollback",
            Self::WebhookEndpoint => "webhook_endpoint",
            Self::Message => "message",
            Self::AuditRecord => "audit_record",
            Self::Account => "account",
            Self::ApiKey => "api_key",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A definition as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document<D> {
    /// What was written.
    pub definition: D,
    /// 1 at creation, one more with each change; what `ETag` carries.
    pub version: i64,
    /// Whether the platform made it because it saw events of it; a person's change makes it declared.
    pub discovered: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The entries after this key; from the start when absent.
    pub after: Option<String>,
    /// How many at most: 1 to [`PAGE_LIMIT_MAX`].
    pub limit: u32,
}

impl Default for PageRequest {
    /// The first 50 entries.
    fn default() -> Self {
        Self {
            after: None,
            limit: 50,
        }
    }
}

/// A part of a list, in order of key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The key to ask after for the next page; absent on the last.
    pub next: Option<String>,
}

/// The store. Cheap to clone; clones share connections, notifications and what discovery knows.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What all clones of a store share.
#[derive(Debug)]
struct Shared {
    /// One connection: writers queue here in order instead of meeting each other as a busy database.
    writer: SqlitePool,
    readers: SqlitePool,
    changes: watch::Sender<u64>,
    queued: Notify,
    known: std::sync::Mutex<Known>,
}

/// A write transaction.
pub(crate) type Write = Transaction<'static, Sqlite>;

impl Store {
    /// Opens the store in the file `path`, makes it when it is missing, and brings it to the present schema.
    ///
    /// The file holds the secrets of webhooks: it is readable by its owner only.
    ///
    /// # Errors
    /// [`ControlError::NewerSchema`] when a newer program wrote it, [`ControlError::Open`] when it cannot be used.
    pub async fn open(path: &Path) -> Result<Self, ControlError> {
        let writer = connection::open_writer(path).await?;
        let mut write = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed("begin a write"))?;
        chain::chain_older(&mut write).await?;
        write.commit().await.map_err(failed("commit a write"))?;
        let readers = connection::open_readers(path).await?;
        let (changes, _) = watch::channel(0);
        let shared = Shared {
            writer,
            readers,
            changes,
            queued: Notify::new(),
            known: std::sync::Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Closes all connections; what was written is then in the main file. Clones fail from now on.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.close().await;
    }

    /// Whether the database answers: for readiness.
    ///
    /// # Errors
    /// [`ControlError::Database`] when it does not.
    pub async fn ping(&self) -> Result<(), ControlError> {
        sqlx::query("SELECT 1")
            .execute(self.readers())
            .await
            .map(drop)
            .map_err(failed("answer"))
    }

    /// A counter that grows with every change of a definition or guardrail made through this store or a clone of it.
    ///
    /// Whoever compiles definitions waits for it to change and reads them again. Several changes may show as one.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.shared.readers
    }

    /// Waits until a message is queued.
    pub(crate) async fn queued(&self) {
        self.shared.queued.notified().await;
    }

    /// Starts a write. It holds the only write lock from the start, so that what it reads stays true until it commits.
    pub(crate) async fn begin(&self) -> Result<Write, ControlError> {
        self.shared
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed("begin a write"))
    }

    /// Makes a write of definitions true and tells those who wait.
    pub(crate) async fn commit(&self, write: Write) -> Result<(), ControlError> {
        self.commit_quietly(write).await?;
        self.shared
            .changes
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// Makes a write true that no definition depends on.
    pub(crate) async fn commit_quietly(&self, write: Write) -> Result<(), ControlError> {
        write.commit().await.map_err(failed("commit a write"))
    }

    /// Tells the worker that a message was queued.
    pub(crate) fn wake_worker(&self) {
        self.shared.queued.notify_one();
    }
}

/// Puts what was being done beside a database error.
pub(crate) fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> ControlError {
    move |source| ControlError::Database { action, source }
}

/// An error for a stored text that does not read.
pub(crate) fn corrupt<E>(kind: ObjectKind, key: &str) -> impl FnOnce(E) -> ControlError
where
    E: std::error::Error + Send + Sync + 'static,
{
    let key = key.to_owned();
    move |source| ControlError::Corrupt {
        kind,
        key,
        source: Box::new(source),
    }
}

/// A fresh id: a prefix and a number that ascends in time and cannot be guessed.
pub(crate) fn fresh_id(prefix: &str, at: Timestamp) -> String {
    let millis = u64::try_from(at.0.div_euclid(1_000)).unwrap_or(0);
    let random = uuid::Uuid::new_v4();
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random.as_bytes()[..10]);
    // The sixth and eighth byte of a random UUID hold fixed bits; the tail of it makes them random again.
    bytes[6] = random.as_bytes()[15];
    bytes[8] = random.as_bytes()[14];
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid();
    format!("{prefix}_{}", id.simple())
}

/// The size of a page, one more than asked for to see whether another follows.
fn page_size(limit: u32) -> Result<i64, ControlError> {
    if limit == 0 || limit > PAGE_LIMIT_MAX {
        let max = PAGE_LIMIT_MAX;
        return Err(ControlError::InvalidLimit { limit, max });
    }
    Ok(i64::from(limit) + 1)
}

/// A page out of one entry more than asked for.
fn page<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    if items.len() <= limit {
        return Page { items, next: None };
    }
    items.truncate(limit);
    let next = items.last().map(key);
    Page { items, next }
}
