//! What can be set about reading a Kinesis stream.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;

use crate::source::RAW_BATCH_MAX_BYTES;

/// Tells the time. It is handed in, so that tests and replays choose it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which stream to read, from where, and how.
#[derive(Clone)]
pub struct KinesisSettings {
    /// The stream's name.
    pub stream: String,
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// Another endpoint than the region's: an emulator, a private link. `http://` is spoken without TLS.
    pub endpoint_url: Option<String>,
    /// Who reads.
    pub credentials: KinesisCredentials,
    /// Where a shard that has no committed position starts.
    pub start_at: StartAt,
    /// Which shards this worker reads.
    pub owned_shards: OwnedShards,
    /// How often to call.
    pub pace: PollPace,
    /// How much to hold and to expand.
    pub limits: ReadLimits,
    /// The clock, for records that do not say when they arrived.
    pub clock: Clock,
}

impl KinesisSettings {
    /// The settings for a stream, everything else at its default.
    pub fn new(stream: &str, region: &str, clock: Clock) -> Self {
        Self {
            stream: stream.into(),
            region: region.into(),
            endpoint_url: None,
            credentials: KinesisCredentials::Chain,
            start_at: StartAt::TrimHorizon,
            owned_shards: OwnedShards::All,
            pace: PollPace::default(),
            limits: ReadLimits::default(),
            clock,
        }
    }
}

/// Where a shard without a committed position starts, unless it is the child of a shard that was read.
///
/// Children always start at their beginning: they continue what their parents were read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With the oldest record that the stream keeps.
    #[default]
    TrimHorizon,
    /// With the records that come from now on. Until a shard's first record is committed, a restart starts at the
    /// latest again, so that what arrived in between is not read.
    Latest,
}

/// Where the credentials come from.
#[derive(Clone, Default)]
pub enum KinesisCredentials {
    /// The usual chain: environment, profile, web identity, container, instance.
    #[default]
    Chain,
    /// These, for emulators and tests.
    Fixed {
        /// The key's id.
        access_key_id: String,
        /// The key.
        secret_access_key: String,
    },
}

impl fmt::Debug for KinesisCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret never reaches a log.
        formatter.write_str(match self {
            Self::Chain => "Chain",
            Self::Fixed { .. } => "Fixed",
        })
    }
}

/// Which shards a worker reads.
///
/// A child whose parent is another worker's starts when [`crate::Source::committed`] has told that the parent's end is
/// committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OwnedShards {
    /// Every shard: there is one worker.
    #[default]
    All,
    /// Those with these ids.
    Only(BTreeSet<String>),
}

impl OwnedShards {
    /// Whether the worker reads this shard.
    pub fn contains(&self, shard_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(shard_id),
        }
    }
}

/// How often the service is called. The defaults keep within its limits and leave room for other readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollPace {
    /// The least time between two calls for a shard; the service allows five a second.
    pub call_interval: Duration,
    /// The wait at the tip of a shard, and before [`crate::SourceEvent::Idle`].
    pub idle_interval: Duration,
    /// How fast a shard is read; the service allows 2 MiB a second and refuses calls for seconds after a burst.
    pub read_bytes_per_second: u64,
    /// The wait after a refused or failed call; it doubles with each.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How often shards are listed when no shard ends.
    pub list_interval: Duration,
}

impl Default for PollPace {
    fn default() -> Self {
        Self {
            call_interval: Duration::from_millis(200),
            idle_interval: Duration::from_secs(1),
            read_bytes_per_second: 2 * 1024 * 1024,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            list_interval: Duration::from_secs(30),
        }
    }
}

/// How much is held and expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// The answers held in memory by all shards together, in bytes, and as much again for batches that wait to be taken.
    /// At least one answer, which is 10 MiB.
    pub prefetch_bytes: usize,
    /// What one stream record may expand to, in bytes: three times the largest record that the service takes.
    pub expanded_bytes: usize,
    /// How many events one stream record may hold. Each takes some hundred bytes besides its own.
    pub expanded_records: usize,
    /// The size at which a batch is closed.
    pub batch_bytes: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            prefetch_bytes: 64 * 1024 * 1024,
            expanded_bytes: 32 * 1024 * 1024,
            expanded_records: 100_000,
            batch_bytes: RAW_BATCH_MAX_BYTES,
        }
    }
}
