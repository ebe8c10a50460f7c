//! The calls to the service that reading needs, as a seam: the real client on one side, a scripted stream on the other.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use domain::Timestamp;

use crate::error::IngestError;

/// What a reader asks of the service. Every call ends within a time that the implementation sets, and none is repeated
/// by it: pace and patience are the caller's.
#[async_trait]
pub(crate) trait ShardApi: Send + Sync {
    /// All shards of the stream that still hold records, open and closed.
    async fn list_shards(&self) -> Result<Vec<ShardInfo>, CallError>;

    /// A token to read a shard from a point on. It is valid for five minutes.
    async fn iterator(&self, shard_id: &str, from: &StartPoint) -> Result<String, CallError>;

    /// The next records of a shard: perhaps none, though there are more.
    async fn records(&self, iterator: &str) -> Result<Page, CallError>;
}

/// A shard as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardInfo {
    pub(crate) id: String,
    /// The shards that it continues: one after a split, two after a merge.
    pub(crate) parents: Vec<String>,
    pub(crate) hash_keys: Option<RangeInclusive<u128>>,
    /// Whether records are still added.
    pub(crate) open: bool,
}

/// Where to read a shard from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartPoint {
    Beginning,
    Latest,
    /// With this record.
    At(String),
    /// With the record after this one.
    After(String),
    /// With the first record that arrived then or later.
    Since(Timestamp),
}

/// The answer to a call for records.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<ShardRecord>,
    /// `None` when the shard is closed and everything has been read.
    pub(crate) next_iterator: Option<String>,
    pub(crate) behind_ms: Option<i64>,
    /// The shards that continue this one, told at its end by some services.
    pub(crate) children: Vec<ShardInfo>,
}

/// A record of a shard as it was put.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShardRecord {
    pub(crate) sequence: String,
    /// Close to the truth, and not always rising.
    pub(crate) arrival: Option<Timestamp>,
    pub(crate) data: Vec<u8>,
}

/// A call that did not succeed.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) kind: CallErrorKind,
    pub(crate) operation: &'static str,
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallErrorKind {
    /// Too many calls or bytes: part of normal life.
    Throttled,
    /// The iterator is too old, or of another time.
    StaleIterator,
    /// There is no such shard or stream.
    NotFound,
    /// The network or the service failed.
    Transient,
    /// Somebody must do something: rights, settings.
    Permanent,
}

impl CallError {
    /// The error in the words of this crate.
    pub(crate) fn into_ingest_error(self, stream: &str) -> IngestError {
        IngestError::Remote {
            stream: stream.into(),
            operation: self.operation,
            transient: !matches!(self.kind, CallErrorKind::Permanent | CallErrorKind::NotFound),
            source: self.source,
        }
    }
}
