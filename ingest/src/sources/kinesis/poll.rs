//! Reads one shard: one call after another within the service's limits, from a position to the shard's end.
//!
//! Whatever happens to a call, reading goes on where it was: after an expired iterator, a timeout or a fault of the
//! service a new iterator starts after the last record handed over. Only the shard's own end ends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::{PartitionId, Position, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::Delivery;
use super::api::{CallError, CallErrorKind, Page, ShardApi, ShardInfo, ShardRecord, StartPoint};
use super::backoff::Backoff;
use super::lineage::TakeUp;
use super::metrics;
use super::open::{OpenPage, Opener};
use super::settings::KinesisSettings;
use crate::source::{RawBatch, RecordLayout};

/// The largest answer of the service: it is set aside before each call, so that memory is bounded before it is used.
const ANSWER_MAX_BYTES: usize = 10 * 1024 * 1024;

/// The records at which an answer is full, so that there is more though the service may say that it is at the tip.
const ANSWER_MAX_RECORDS: usize = 10_000;

/// The failures in a row after which a failing shard is told to whoever reads. It is tried on all the same.
const FAILURES_UNTIL_TOLD: u32 = 5;

/// How far back to look when a shard that was to start at its latest record lost its first iterator unused, in
/// microseconds: clocks differ, and to give a record too much is better than one too few.
const LATEST_OVERLAP_MICROS: i64 = 5 * 1_000_000;

/// What the readers of all shards share.
pub(crate) struct Shared {
    pub(crate) api: Arc<dyn ShardApi>,
    pub(crate) settings: KinesisSettings,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    /// Bytes that answers may take until they are opened.
    pub(crate) answers: Arc<Semaphore>,
    /// Bytes that batches may take until they are handed over. Who waits here holds answers, but nobody who holds
    /// batches waits for answers: there is no circle.
    pub(crate) batches: Arc<Semaphore>,
    pub(crate) lag: Lag,
}

/// How far each shard is behind its tip.
#[derive(Default)]
pub(crate) struct Lag(Mutex<BTreeMap<String, i64>>);

impl Lag {
    fn set(&self, shard_id: &str, behind_ms: Option<i64>) {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match behind_ms {
            Some(behind_ms) => drop(shards.insert(shard_id.to_owned(), behind_ms)),
            None => drop(shards.remove(shard_id)),
        }
        metrics::lag_is(shards.values().copied().max().unwrap_or(0));
    }
}

/// Reads one shard.
pub(crate) struct ShardReader {
    shared: Arc<Shared>,
    shard: ShardInfo,
    partition: PartitionId,
    from: StartPoint,
    /// Drops what was given before a restart.
    taken_through: Option<Position>,
    iterator: Option<String>,
    next_call: Instant,
    backoff: Backoff,
}

enum Turn {
    Again,
    Ended,
    /// Nobody reads any more.
    Abandoned,
}

impl ShardReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        shard: ShardInfo,
        partition: PartitionId,
        take_up: TakeUp,
    ) -> Self {
        let (from, taken_through) = match take_up {
            TakeUp::Beginning => (StartPoint::Beginning, None),
            TakeUp::Latest => (StartPoint::Latest, None),
            // The record itself is read again: the position may lie inside an aggregate.
            TakeUp::After(Position::Sequence {
                sequence,
                sub_sequence,
            }) => {
                let position = Position::Sequence {
                    sequence: sequence.clone(),
                    sub_sequence,
                };
                (StartPoint::At(sequence), Some(position))
            }
            TakeUp::After(other) => unreachable!("positions are checked at the start, and {other} is none"),
        };
        let backoff = Backoff::new(&shared.settings.pace);
        Self {
            shared,
            shard,
            partition,
            from,
            taken_through,
            iterator: None,
            next_call: Instant::now(),
            backoff,
        }
    }

    /// Goes on until the shard has ended or nobody reads any more.
    pub(crate) async fn run(mut self) {
        loop {
            match self.turn().await {
                Turn::Again => {}
                Turn::Ended | Turn::Abandoned => return self.shared.lag.set(&self.shard.id, None),
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        tokio::time::sleep_until(self.next_call).await;
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => match self.new_iterator().await {
                Ok(iterator) => iterator,
                Err(error) => return self.recover(error).await,
            },
        };
        let answer_bytes = permits(ANSWER_MAX_BYTES, &self.shared.settings);
        let Ok(room) = Arc::clone(&self.shared.answers)
            .acquire_many_owned(answer_bytes)
            .await
        else {
            return Turn::Abandoned;
        };
        let called_at = Instant::now();
        match self.shared.api.records(&iterator).await {
            Ok(page) => {
                self.backoff.reset();
                self.pace(called_at, &page);
                self.hand_over(page, room).await
            }
            Err(error) => {
                if error.kind == CallErrorKind::Throttled {
                    self.iterator = Some(iterator);
                }
                drop(room);
                self.recover(error).await
            }
        }
    }

    async fn new_iterator(&mut self) -> Result<String, CallError> {
        let iterator = self.shared.api.iterator(&self.shard.id, &self.from).await?;
        if self.from == StartPoint::Latest {
            // A second iterator would start at another latest record, and skip what came in between.
            let now = (self.shared.settings.clock)();
            self.from = StartPoint::Since(now.plus_micros(-LATEST_OVERLAP_MICROS));
        }
        Ok(iterator)
    }

    /// Sets the time of the next call.
    fn pace(&mut self, called_at: Instant, page: &Page) {
        let pace = &self.shared.settings.pace;
        let bytes: usize = page.records.iter().map(|record| record.data.len()).sum();
        metrics::read(page.records.len(), bytes);
        let read_micros = bytes as u64 * 1_000_000 / pace.read_bytes_per_second.max(1);
        let mut wait = pace.call_interval.max(Duration::from_micros(read_micros));
        if page.behind_ms.unwrap_or(0) == 0 && page.records.len() < ANSWER_MAX_RECORDS {
            wait = wait.max(pace.idle_interval);
        }
        self.next_call = called_at + wait;
        self.shared.lag.set(&self.shard.id, page.behind_ms);
    }

    /// Opens a page and hands its batches over, the last one with the shard's end if this is it.
    async fn hand_over(&mut self, page: Page, mut room: OwnedSemaphorePermit) -> Turn {
        let Page {
            records,
            next_iterator,
            children,
            ..
        } = page;
        let bytes: usize = records.iter().map(|record| record.data.len()).sum();
        let held = permits(bytes.max(1), &self.shared.settings) as usize;
        drop(
            room.num_permits()
                .checked_sub(held)
                .and_then(|unused| room.split(unused)),
        );

        let last_sequence = records.last().map(|record| record.sequence.clone());
        let Some(last) = self.hand_over_but_last(records).await else {
            return Turn::Abandoned;
        };
        let end = next_iterator.is_none().then_some(children);
        let ended = end.is_some();
        if let Some(batch) = last.or_else(|| ended.then(|| self.empty_batch()))
            && !self.deliver(batch, end).await
        {
            return Turn::Abandoned;
        }
        drop(room);
        if let Some(sequence) = last_sequence {
            self.from = StartPoint::After(sequence);
            self.taken_through = None;
        }
        self.iterator = next_iterator;
        if ended { Turn::Ended } else { Turn::Again }
    }

    /// Hands over all batches of some records but the last, and gives that; `None` when nobody reads any more.
    async fn hand_over_but_last(&self, records: Vec<ShardRecord>) -> Option<Option<RawBatch>> {
        let mut last: Option<RawBatch> = None;
        if records.is_empty() {
            return Some(last);
        }
        let mut opener = Opener::new(self.open_page(records));
        loop {
            // Checksums and decompression of up to ten megabytes are not for a thread that others wait on.
            let opening = tokio::task::spawn_blocking(move || {
                let batch = opener.next_batch();
                (opener, batch)
            });
            let batch;
            (opener, batch) = opening.await.expect("opening a page does not panic");
            let Some(batch) = batch else {
                break;
            };
            if let Some(batch) = last.replace(batch)
                && !self.deliver(batch, None).await
            {
                return None;
            }
        }
        metrics::misplaced(opener.misplaced_count());
        Some(last)
    }

    fn open_page(&self, records: Vec<ShardRecord>) -> OpenPage {
        OpenPage {
            partition: self.partition.clone(),
            records,
            taken_through: self.taken_through.clone(),
            hash_keys: self.shard.hash_keys.clone(),
            limits: self.shared.settings.limits,
            now: self.now(),
        }
    }

    fn now(&self) -> Timestamp {
        (self.shared.settings.clock)()
    }

    fn empty_batch(&self) -> RawBatch {
        RawBatch {
            partition: self.partition.clone(),
            bytes: Vec::new(),
            records: RecordLayout::Listed(Vec::new()),
            end: Position::End,
            received_at: self.now(),
            live: true,
        }
    }

    /// Hands a batch over, waiting for room; false when nobody reads any more. With `end`, it is the shard's last.
    async fn deliver(&self, mut batch: RawBatch, end: Option<Vec<ShardInfo>>) -> bool {
        if end.is_some() {
            batch.end = Position::End;
        }
        let bytes = permits(batch.bytes.len().max(1), &self.shared.settings);
        let Ok(room) = Arc::clone(&self.shared.batches).acquire_many_owned(bytes).await else {
            return false;
        };
        let delivery = Delivery::Batch {
            batch,
            ended: end.map(|children| (self.shard.id.clone(), children)),
            room,
        };
        self.shared.deliveries.send(delivery).await.is_ok()
    }

    async fn recover(&mut self, mut error: CallError) -> Turn {
        let first_failure = self.backoff.failure_count() == 0;
        let wait = self.backoff.next(&error);
        match error.kind {
            CallErrorKind::StaleIterator if first_failure => {
                self.next_call = Instant::now() + self.shared.settings.pace.call_interval;
                return Turn::Again;
            }
            CallErrorKind::NotFound => match self.shared.api.list_shards().await {
                Ok(shards) if shards.iter().all(|shard| shard.id != self.shard.id) => {
                    return self.end_gone().await;
                }
                // The shard exists: that it was not found passes, and is told only when it stays so.
                Ok(_) => error.kind = CallErrorKind::Transient,
                Err(listing) if listing.kind == CallErrorKind::NotFound => {
                    // The whole stream is gone, which is not the end of a shard: its data may be needed yet.
                    if !self.tell(listing).await {
                        return Turn::Abandoned;
                    }
                }
                Err(_) => error.kind = CallErrorKind::Transient,
            },
            _ => {}
        }
        let told = match error.kind {
            CallErrorKind::Throttled => false,
            CallErrorKind::Permanent => true,
            _ => self.backoff.failure_count().is_multiple_of(FAILURES_UNTIL_TOLD),
        };
        if told && !self.tell(error).await {
            return Turn::Abandoned;
        }
        self.next_call = Instant::now() + wait;
        Turn::Again
    }

    /// The shard is older than the stream's retention: what it held is gone, and so it ends here.
    async fn end_gone(&mut self) -> Turn {
        tracing::warn!(partition = %self.partition, "shard has left the stream before it was read to its end");
        if self.deliver(self.empty_batch(), Some(Vec::new())).await {
            Turn::Ended
        } else {
            Turn::Abandoned
        }
    }

    async fn tell(&self, error: CallError) -> bool {
        let error = error.into_ingest_error(&self.shared.settings.stream);
        self.shared
            .deliveries
            .send(Delivery::Failure(error))
            .await
            .is_ok()
    }
}

/// The permits for this many bytes: never more than there are, so that a large batch passes alone.
pub(crate) fn permits(bytes: usize, settings: &KinesisSettings) -> u32 {
    u32::try_from(bytes.min(prefetch_bytes(settings))).unwrap_or(u32::MAX)
}

/// The bytes that may be held: room for one answer at least.
pub(crate) fn prefetch_bytes(settings: &KinesisSettings) -> usize {
    let most = u32::MAX as usize;
    settings.limits.prefetch_bytes.clamp(ANSWER_MAX_BYTES, most)
}
