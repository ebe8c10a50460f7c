//! A stream in memory that splits, merges, forgets and fails when told: for what no emulator does.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Mutex;

use async_trait::async_trait;
use domain::Timestamp;
use tokio::time::Instant;

use super::api::{CallError, CallErrorKind, Page, ShardApi, ShardInfo, ShardRecord, StartPoint};
use crate::kpl;

#[derive(Default)]
pub(super) struct FakeStream(Mutex<State>);

#[derive(Default)]
struct State {
    shards: BTreeMap<String, FakeShard>,
    sequence: u64,
    arrival: i64,
    page_records: usize,
    /// The kinds of error with which the next calls of an operation fail.
    faults: BTreeMap<&'static str, VecDeque<CallErrorKind>>,
    /// Iterators made before this number are stale.
    first_valid_iterator: u64,
    iterator_count: u64,
    iterators: BTreeMap<String, (String, usize)>,
    calls: Vec<Call>,
    hides_children: bool,
    gone: bool,
}

struct FakeShard {
    info: ShardInfo,
    records: Vec<ShardRecord>,
}

/// A call for records that was made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) shard_id: String,
    pub(super) at: Instant,
}

impl FakeStream {
    /// A stream of shards that share out the hash keys, with this many records to an answer.
    pub(super) fn new(shard_count: u128, page_records: usize) -> Self {
        let stream = Self::default();
        {
            let mut state = stream.0.lock().unwrap();
            state.page_records = page_records;
            let width = u128::MAX / shard_count;
            for index in 0..shard_count {
                let end = if index + 1 == shard_count {
                    u128::MAX
                } else {
                    (index + 1) * width - 1
                };
                state.add_shard(Vec::new(), index * width..=end);
            }
        }
        stream
    }

    /// Puts a record where its key belongs, a second after the one before.
    pub(super) fn put(&self, key: &str, data: impl Into<Vec<u8>>) -> String {
        let mut state = self.0.lock().unwrap();
        state.sequence += 1;
        state.arrival += 1_000_000;
        let sequence = format!("49590338271490256608559692538361571{:021}", state.sequence);
        let record = ShardRecord {
            sequence: sequence.clone(),
            arrival: Some(Timestamp(state.arrival)),
            data: data.into(),
        };
        let hash = kpl::hash_of(key.as_bytes());
        let owner = state.shards.values_mut().find(|shard| {
            shard.info.open
                && shard
                    .info
                    .hash_keys
                    .as_ref()
                    .is_some_and(|keys| keys.contains(&hash))
        });
        owner.unwrap().records.push(record);
        sequence
    }

    pub(super) fn split(&self, shard_id: &str) -> [String; 2] {
        let mut state = self.0.lock().unwrap();
        let keys = state.close(shard_id);
        let middle = keys.start() + (keys.end() - keys.start()) / 2;
        let lower = state.add_shard(vec![shard_id.into()], *keys.start()..=middle);
        let upper = state.add_shard(vec![shard_id.into()], middle + 1..=*keys.end());
        [lower, upper]
    }

    pub(super) fn merge(&self, lower: &str, upper: &str) -> String {
        let mut state = self.0.lock().unwrap();
        let keys = *state.close(lower).start()..=*state.close(upper).end();
        state.add_shard(vec![lower.into(), upper.into()], keys)
    }

    pub(super) fn open_shards(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let open = state.shards.values().filter(|shard| shard.info.open);
        open.map(|shard| shard.info.id.clone()).collect()
    }

    /// Forgets a shard with its records, as the service does when they are older than the retention.
    pub(super) fn forget(&self, shard_id: &str) {
        self.0.lock().unwrap().shards.remove(shard_id);
    }

    pub(super) fn delete(&self) {
        let mut state = self.0.lock().unwrap();
        state.gone = true;
        state.shards.clear();
    }

    /// Lets the next calls of an operation fail.
    pub(super) fn fail(&self, operation: &'static str, kinds: &[CallErrorKind]) {
        self.0
            .lock()
            .unwrap()
            .faults
            .entry(operation)
            .or_default()
            .extend(kinds);
    }

    pub(super) fn expire_iterators(&self) {
        let mut state = self.0.lock().unwrap();
        state.first_valid_iterator = state.iterator_count;
    }

    /// Does not name children at a shard's end, as some services do not.
    pub(super) fn hide_children(&self) {
        self.0.lock().unwrap().hides_children = true;
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().calls.clone()
    }
}

impl State {
    fn add_shard(&mut self, parents: Vec<String>, hash_keys: RangeInclusive<u128>) -> String {
        let id = format!("shardId-{:012}", self.shards.len());
        let info = ShardInfo {
            id: id.clone(),
            parents,
            hash_keys: Some(hash_keys),
            open: true,
        };
        self.shards.insert(
            id.clone(),
            FakeShard {
                info,
                records: Vec::new(),
            },
        );
        id
    }

    fn close(&mut self, shard_id: &str) -> RangeInclusive<u128> {
        let info = &mut self.shards.get_mut(shard_id).unwrap().info;
        info.open = false;
        info.hash_keys.clone().unwrap()
    }

    fn check(&mut self, operation: &'static str) -> Result<(), CallError> {
        if self.gone {
            return Err(error(operation, CallErrorKind::NotFound));
        }
        match self.faults.get_mut(operation).and_then(VecDeque::pop_front) {
            Some(kind) => Err(error(operation, kind)),
            None => Ok(()),
        }
    }

    fn make_iterator(&mut self, shard_id: &str, at: usize) -> String {
        let iterator = format!("iterator-{:09}", self.iterator_count);
        self.iterator_count += 1;
        self.iterators.insert(iterator.clone(), (shard_id.to_owned(), at));
        iterator
    }
}

fn error(operation: &'static str, kind: CallErrorKind) -> CallError {
    CallError {
        kind,
        operation,
        source: format!("scripted {kind:?}").into(),
    }
}

#[async_trait]
impl ShardApi for FakeStream {
    async fn list_shards(&self) -> Result<Vec<ShardInfo>, CallError> {
        let mut state = self.0.lock().unwrap();
        state.check("list_shards")?;
        Ok(state.shards.values().map(|shard| shard.info.clone()).collect())
    }

    async fn iterator(&self, shard_id: &str, from: &StartPoint) -> Result<String, CallError> {
        let mut state = self.0.lock().unwrap();
        state.check("get_shard_iterator")?;
        let Some(shard) = state.shards.get(shard_id) else {
            return Err(error("get_shard_iterator", CallErrorKind::NotFound));
        };
        // Sequence numbers have one length here, so that they compare as texts.
        let at = shard.records.partition_point(|record| match from {
            StartPoint::Beginning => false,
            StartPoint::Latest => true,
            StartPoint::At(sequence) => record.sequence < *sequence,
            StartPoint::After(sequence) => record.sequence <= *sequence,
            StartPoint::Since(arrival) => record.arrival.unwrap() < *arrival,
        });
        Ok(state.make_iterator(shard_id, at))
    }

    async fn records(&self, iterator: &str) -> Result<Page, CallError> {
        let mut state = self.0.lock().unwrap();
        let (shard_id, at) = state.iterators.get(iterator).cloned().unwrap();
        state.calls.push(Call {
            shard_id: shard_id.clone(),
            at: Instant::now(),
        });
        state.check("get_records")?;
        let number: u64 = iterator["iterator-".len()..].parse().unwrap();
        if number < state.first_valid_iterator {
            return Err(error("get_records", CallErrorKind::StaleIterator));
        }
        let Some(shard) = state.shards.get(&shard_id) else {
            return Err(error("get_records", CallErrorKind::NotFound));
        };
        let end = shard.records.len().min(at + state.page_records);
        let records = shard.records[at..end].to_vec();
        let (ended, left) = (
            !shard.info.open && end == shard.records.len(),
            shard.records.len() - end,
        );
        let mut page = Page {
            records,
            behind_ms: Some(left as i64 * 1_000),
            ..Page::default()
        };
        if !ended {
            page.next_iterator = Some(state.make_iterator(&shard_id, end));
        } else if !state.hides_children {
            let shards = state.shards.values().map(|shard| &shard.info);
            let children = shards.filter(|info| info.parents.contains(&shard_id));
            page.children = children.cloned().collect();
        }
        Ok(page)
    }
}
