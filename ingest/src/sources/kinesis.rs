//! Reads an AWS Kinesis data stream: every shard of it, children after their parents, by polling.
//!
//! Each shard is read by a task of its own, which opens what it reads (aggregates, compression, lines) and waits for
//! room in a queue that is bounded in bytes. [`KinesisSource::next`] takes from that queue, and because a shard's
//! successors are started there, when its end is handed over, no record of a key overtakes an earlier one.
//!
//! Nothing is acknowledged to Kinesis, which keeps no positions for its readers: they are the platform's own commit.
//! One worker reads the whole stream; which shards it reads is a setting, for the leases of many workers to come.

mod api;
mod aws;
mod backoff;
#[cfg(test)]
mod fake;
mod lineage;
mod listing;
pub mod metrics;
mod open;
mod poll;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{PartitionId, Position, Positions};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use self::api::{CallErrorKind, ShardApi, ShardInfo};
use self::aws::AwsShards;
use self::backoff::Backoff;
use self::lineage::Lineage;
use self::listing::{Lister, list_consistently};
use self::poll::{ShardReader, Shared, prefetch_bytes};
pub use self::settings::{
    Clock, KinesisCredentials, KinesisSettings, OwnedShards, PollPace, ReadLimits, StartAt,
};
use crate::error::IngestError;
use crate::source::{RawBatch, Source, SourceEvent};

/// The batches and messages that may wait to be taken. Their bytes have a limit of their own.
const DELIVERIES_MAX: usize = 64;

/// How often the first list of shards is asked for before the start fails.
const START_ATTEMPTS: u32 = 5;

/// A Kinesis data stream as a [`Source`]. It is live: it waits for more and never finishes.
///
/// Dropping it ends its tasks; [`KinesisSource::close`] waits for them as well.
pub struct KinesisSource {
    settings: KinesisSettings,
    /// The client; made at the start, because credentials are waited for.
    api: Option<Arc<dyn ShardApi>>,
    running: Option<Running>,
}

/// What exists from [`Source::start`] on.
struct Running {
    shared: Arc<Shared>,
    lineage: Lineage,
    deliveries: mpsc::Receiver<Delivery>,
    wake_lister: Arc<Notify>,
    tasks: JoinSet<()>,
}

/// What the tasks hand over.
pub(crate) enum Delivery {
    Batch {
        batch: RawBatch,
        /// The shard whose last batch this is, with the children that it named.
        ended: Option<(String, Vec<ShardInfo>)>,
        /// Given back when the batch is taken.
        room: OwnedSemaphorePermit,
    },
    Shards(Vec<ShardInfo>),
    Failure(IngestError),
}

impl KinesisSource {
    /// A stream to be read. Nothing is called before [`Source::start`].
    pub fn new(settings: KinesisSettings) -> Self {
        Self {
            settings,
            api: None,
            running: None,
        }
    }

    #[cfg(test)]
    fn with_api(api: Arc<dyn ShardApi>, settings: KinesisSettings) -> Self {
        Self {
            api: Some(api),
            ..Self::new(settings)
        }
    }

    async fn api(&mut self) -> Arc<dyn ShardApi> {
        if self.api.is_none() {
            self.api = Some(Arc::new(AwsShards::connect(&self.settings).await));
        }
        Arc::clone(self.api.as_ref().expect("the client was made above"))
    }

    /// Ends all tasks and waits until they have ended.
    pub async fn close(mut self) {
        if let Some(mut running) = self.running.take() {
            running.tasks.shutdown().await;
        }
    }

    /// The committed positions of this stream by shard id.
    fn own_positions(&self, positions: &Positions) -> Result<BTreeMap<String, Position>, IngestError> {
        let mut own = BTreeMap::new();
        for (partition, position) in positions {
            let Some(shard_id) = shard_id(&self.settings.stream, partition) else {
                continue;
            };
            if matches!(position, Position::Offset(_)) {
                return Err(IngestError::BadPosition {
                    partition: partition.clone(),
                    position: position.clone(),
                });
            }
            own.insert(shard_id.to_owned(), position.clone());
        }
        Ok(own)
    }

    async fn first_list(&self, api: &dyn ShardApi) -> Result<Vec<ShardInfo>, IngestError> {
        let mut backoff = Backoff::new(&self.settings.pace);
        for attempt in 1.. {
            match list_consistently(api, self.settings.pace.backoff_min).await {
                Ok(shards) => return Ok(shards),
                Err(error) => {
                    let hopeless = matches!(error.kind, CallErrorKind::Permanent | CallErrorKind::NotFound);
                    if hopeless || attempt == START_ATTEMPTS {
                        return Err(error.into_ingest_error(&self.settings.stream));
                    }
                    tokio::time::sleep(backoff.next(&error)).await;
                }
            }
        }
        unreachable!("the loop ends at its last attempt")
    }
}

#[async_trait]
impl Source for KinesisSource {
    async fn start(&mut self, positions: &Positions) -> Result<(), IngestError> {
        let own = self.own_positions(positions)?;
        let mut lineage = Lineage::new(own, self.settings.start_at, self.settings.owned_shards.clone());
        let api = self.api().await;
        lineage.learn(self.first_list(&*api).await?);

        let (sender, deliveries) = mpsc::channel(DELIVERIES_MAX);
        let room = || Arc::new(Semaphore::new(prefetch_bytes(&self.settings)));
        let shared = Arc::new(Shared {
            api: Arc::clone(&api),
            settings: self.settings.clone(),
            deliveries: sender,
            answers: room(),
            batches: room(),
            lag: poll::Lag::default(),
        });
        let wake_lister = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let lister = Lister {
            api,
            stream: self.settings.stream.clone(),
            pace: self.settings.pace,
            wake: Arc::clone(&wake_lister),
            deliveries: shared.deliveries.clone(),
        };
        tasks.spawn(lister.run());
        let mut running = Running {
            shared,
            lineage,
            deliveries,
            wake_lister,
            tasks,
        };
        running.start_shards();
        self.running = Some(running);
        Ok(())
    }

    async fn next(&mut self) -> Result<SourceEvent, IngestError> {
        let idle_interval = self.settings.pace.idle_interval;
        let running = self
            .running
            .as_mut()
            .expect("a source is started before it is asked for records");
        loop {
            running.check_tasks()?;
            // Only this line waits, and what it takes is given out before anything else waits: dropping the future
            // of `next` loses nothing.
            let Ok(delivery) = tokio::time::timeout(idle_interval, running.deliveries.recv()).await else {
                return Ok(SourceEvent::Idle);
            };
            match delivery.expect("the sending end is kept by this source") {
                Delivery::Batch { batch, ended, room } => {
                    drop(room);
                    if let Some((shard_id, children)) = ended {
                        running.end_shard(&shard_id, children);
                    }
                    return Ok(SourceEvent::Batch(batch));
                }
                Delivery::Shards(shards) => {
                    running.lineage.learn(shards);
                    running.start_shards();
                }
                Delivery::Failure(error) => return Err(error),
            }
        }
    }

    async fn committed(&mut self, positions: &Positions) -> Result<(), IngestError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        // What this worker reads itself has ended for it already; this is about the shards of others.
        for (partition, position) in positions {
            if let (Position::End, Some(id)) = (position, shard_id(&self.settings.stream, partition)) {
                running.lineage.end(id);
            }
        }
        running.start_shards();
        Ok(())
    }
}

impl Running {
    fn start_shards(&mut self) {
        for (shard, take_up) in self.lineage.take_startable() {
            let partition = partition_id(&self.shared.settings.stream, &shard.id);
            tracing::info!(%partition, ?take_up, "reading of shard starts");
            let reader = ShardReader::new(Arc::clone(&self.shared), shard, partition, take_up);
            self.tasks.spawn(reader.run());
        }
    }

    fn end_shard(&mut self, shard_id: &str, children: Vec<ShardInfo>) {
        tracing::info!(shard = shard_id, "shard has ended");
        self.lineage.end(shard_id);
        self.lineage.learn(children);
        self.start_shards();
        // Not every service names the children, and there may be more than these.
        self.wake_lister.notify_one();
    }

    /// A task that panicked would leave its shard unread without a word.
    fn check_tasks(&mut self) -> Result<(), IngestError> {
        while let Some(result) = self.tasks.try_join_next() {
            result.map_err(|error| IngestError::Remote {
                stream: self.shared.settings.stream.clone(),
                operation: "reading of a shard",
                transient: false,
                source: Box::new(error),
            })?;
        }
        Ok(())
    }
}

fn partition_id(stream: &str, shard_id: &str) -> PartitionId {
    PartitionId(format!("kinesis:{stream}/{shard_id}"))
}

fn shard_id<'a>(stream: &str, partition: &'a PartitionId) -> Option<&'a str> {
    partition
        .0
        .strip_prefix("kinesis:")?
        .strip_prefix(stream)?
        .strip_prefix('/')
}
