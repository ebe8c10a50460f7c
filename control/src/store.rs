//! The store of definitions, in SQLite or PostgreSQL: all SQL of the platform.
//!
//! Promises: a write is one transaction with its audit record and its queued webhooks, durable when the call returns;
//! an update applies only to the version that the writer names; a reader never waits for a writer. Documents are kept
//! as JSON, so that a definition may gain fields without a migration.

mod accounts;
mod address;
mod audit;
mod backup;
mod bundle;
mod chain;
mod connection;
mod database;
mod definitions;
mod dialect;
mod discovery;
mod erasures;
mod experiments;
mod guardrails;
mod keys;
mod logins;
mod notice;
mod outbox;
mod owners;
mod plan;
mod planned_looks;
mod rollbacks;
mod rollout_schedules;
mod rules;
mod safety_settings;
mod segment_ids;
mod sign_ons;
mod summaries;
mod timers;
mod webhooks;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::AnyPool;
use tokio::sync::{Notify, watch};

pub use accounts::{Account, AccountName, InvalidName};
pub use address::{InvalidStoreAddress, PostgresAddress, StoreAddress};
pub use audit::{AuditFilter, AuditRecord};
pub use backup::{BackupManifest, restore};
pub use bundle::{Bundle, ImportPlan, ImportSettings, PlannedAction, PlannedStep};
pub use chain::{ChainLink, ChainedRecord};
pub use definitions::{Definition, ListFilter};
pub use discovery::Discovered;
pub use experiments::{Phase, PhaseSetting, planned_shares};
pub(crate) use guardrails::Look;
pub use guardrails::{Guardrail, GuardrailId};
pub use keys::{ApiKey, FreshKey, NewKey};
pub use notice::NOTICE_POLL;
pub use outbox::{Delivery, DeliveryState};
pub use owners::{EDITORS_MAX, Ownership};
pub(crate) use planned_looks::LooksSoFar;
#[cfg(test)]
pub(crate) use rollbacks::made_safe;
pub(crate) use rollbacks::{Cause, Crossed};
pub use rollbacks::{RollbackId, RollbackRecord};
pub use safety_settings::{SafetySettings, VersionedSafetySettings};
pub use segment_ids::{IdListChange, IdListSummary, SEGMENT_IDS_MAX};
pub use summaries::Summaries;
pub(crate) use timers::{DueTimer, TimerKind};
pub use webhooks::{Endpoint, EndpointId, NewEndpoint};

pub(crate) use audit::Entry;
pub(crate) use database::{Readers, Write};
pub(crate) use logins::SessionFacts;
pub(crate) use outbox::{AttemptResult, DueDelivery};

use crate::error::ControlError;
use dialect::Dialect;
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
    /// A segment.
    Segment,
    /// A layer.
    Layer,
    /// A holdout.
    Holdout,
    /// An environment.
    Environment,
    /// A dimension.
    Dimension,
    /// A project.
    Project,
    /// A tag.
    Tag,
    /// A rollout schedule.
    RolloutSchedule,
    /// Settings of the platform.
    Settings,
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
    /// The erasure of a user.
    Erasure,
    /// A session, by whoever asked for it.
    Session,
}

impl ObjectKind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Experiment,
        Self::Metric,
        Self::Flag,
        Self::Segment,
        Self::Layer,
        Self::Holdout,
        Self::Environment,
        Self::Dimension,
        Self::Project,
        Self::Tag,
        Self::RolloutSchedule,
        Self::Settings,
        Self::Guardrail,
        Self::Rollback,
        Self::WebhookEndpoint,
        Self::Message,
        Self::AuditRecord,
        Self::Account,
        Self::ApiKey,
        Self::Erasure,
        Self::Session,
    ];

    /// The kind as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Metric => "metric",
            Self::Flag => "flag",
            Self::Segment => "segment",
            Self::Layer => "layer",
            Self::Holdout => "holdout",
            Self::Environment => "environment",
            Self::Dimension => "dimension",
            Self::Project => "project",
            Self::Tag => "tag",
            Self::RolloutSchedule => "rollout_schedule",
            Self::Settings => "settings",
            Self::Guardrail => "guardrail",
            Self::Rollback => "rollback",
            Self::WebhookEndpoint => "webhook_endpoint",
            Self::Message => "message",
            Self::AuditRecord => "audit_record",
            Self::Account => "account",
            Self::ApiKey => "api_key",
            Self::Erasure => "erasure",
            Self::Session => "session",
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
    /// When it was deleted; it can be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
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
struct Shared {
    /// One connection: writers queue here in order instead of meeting each other as a busy database.
    writer: AnyPool,
    readers: Readers,
    address: StoreAddress,
    changes: watch::Sender<u64>,
    queued: Notify,
    known: std::sync::Mutex<Known>,
    lists: std::sync::Mutex<segment_ids::ReadLists>,
    summaries: std::sync::OnceLock<Arc<dyn Summaries>>,
    /// The newest audit record that the followers of `changes` have been told of.
    told: std::sync::atomic::AtomicI64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in the file `path`: [`Store::connect`] to a file.
    ///
    /// # Errors
    /// Those of [`Store::connect`].
    pub async fn open(path: &Path) -> Result<Self, ControlError> {
        Self::connect(&StoreAddress::File(path.to_owned())).await
    }

    /// Opens the store, makes it when it is missing, and brings it to the present schema.
    ///
    /// It holds the secrets of webhooks: a file is readable by its owner only; who may read a database is for those who
    /// run it to say.
    ///
    /// # Errors
    /// [`ControlError::NewerSchema`] when a newer program wrote it, [`ControlError::Open`] when it cannot be used.
    pub async fn connect(address: &StoreAddress) -> Result<Self, ControlError> {
        connection::prepare(address).await?;
        let store = Self::connect_when_used(address)?;
        let mut write = store.begin().await?;
        chain::chain_older(&mut write).await?;
        store.commit_quietly(write).await?;
        let newest = notice::newest_record(store.readers()).await?;
        store
            .shared
            .told
            .store(newest, std::sync::atomic::Ordering::SeqCst);
        store.complete_labels().await?;
        Ok(store)
    }

    /// Writes the labels of definitions that are older than labels are.
    async fn complete_labels(&self) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        definitions::complete_labels::<domain::experiment::ExperimentDefinition>(&mut write).await?;
        definitions::complete_labels::<domain::metric::MetricDefinition>(&mut write).await?;
        definitions::complete_labels::<domain::rules::definition::FlagDefinition>(&mut write).await?;
        self.commit_quietly(write).await
    }

    /// [`Store::connect_when_used`] on a file.
    ///
    /// # Errors
    /// [`ControlError::Open`] when there can be no such file.
    pub fn open_when_used(path: &Path) -> Result<Self, ControlError> {
        Self::connect_when_used(&StoreAddress::File(path.to_owned()))
    }

    /// A store that may not be reachable now: every call fails until it is. The schema is as it was: whoever mends the
    /// store, or waits for it, calls [`Self::connect`] once more.
    ///
    /// # Errors
    /// [`ControlError::Open`] when there can be no such store.
    pub fn connect_when_used(address: &StoreAddress) -> Result<Self, ControlError> {
        let (changes, _) = watch::channel(0);
        let shared = Shared {
            writer: connection::writer(address)?,
            readers: connection::readers(address)?,
            address: address.clone(),
            changes,
            queued: Notify::new(),
            known: std::sync::Mutex::default(),
            lists: std::sync::Mutex::default(),
            summaries: std::sync::OnceLock::new(),
            told: std::sync::atomic::AtomicI64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whether a connection was ever made.
    pub fn is_open(&self) -> bool {
        self.shared.writer.size() > 0
    }

    /// Closes all connections; what was written is then in the main file. Clones fail from now on.
    pub async fn close(&self) {
        self.shared.readers.0.close().await;
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

    /// A counter that grows with every change of a definition or guardrail made through this store or a clone of it, and
    /// within [`NOTICE_POLL`] with those of other processes while [`Store::follow_others`] runs.
    ///
    /// Whoever compiles definitions waits for it to change and reads them again. Several changes may show as one.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn dialect(&self) -> Dialect {
        Dialect::of(&self.shared.address)
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.shared.readers
    }

    /// Waits until a message is queued.
    pub(crate) async fn queued(&self) {
        self.shared.queued.notified().await;
    }

    /// Starts a write. It holds the only write lock from the start, so that what it reads stays true until it commits.
    pub(crate) async fn begin(&self) -> Result<Write, ControlError> {
        Write::begin(&self.shared.writer, self.dialect().begin())
            .await
            .map_err(failed("begin a write"))
    }

    /// Makes a write of definitions true and tells those who wait.
    pub(crate) async fn commit(&self, mut write: Write) -> Result<(), ControlError> {
        let newest = notice::newest_record(&mut *write).await?;
        if self.dialect() == Dialect::Postgres {
            sqlx::query(dialect::NOTIFY)
                .execute(&mut *write)
                .await
                .map_err(failed("tell of a write"))?;
        }
        self.commit_quietly(write).await?;
        self.tell(newest);
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
    move |source| match source.as_database_error().and_then(|error| error.code()) {
        Some(code) if dialect::UNSTORABLE.contains(&code.as_ref()) => ControlError::UnstorableText,
        _ => ControlError::Database { action, source },
    }
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
