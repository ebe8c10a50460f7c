//! De-duplication by event id: 128-bit keys in memory for a window of event time, older ones in sorted runs.
//!
//! The table in memory is open addressing with linear probing; keys are looked up in groups, so that the cache misses
//! of a group overlap. A key leaves memory when the window of event time has passed it and goes into a run, a sorted
//! array of keys on object storage, one per bucket of event time and epoch. An event older than the window is looked
//! up in the runs of its bucket, so that a copy with the same time is found however late it comes. A copy that carries
//! *another* time is found only while the first is in memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeStruct;

use crate::streamed::Streamed;

/// The length of a bucket of event time in microseconds: ten minutes. A run is at most this much event time.
pub const BUCKET_MICROS: i64 = 600 * 1_000_000;
/// How many keys are looked up together: enough loads in flight to hide memory latency, few enough to stay in registers.
const GROUP: usize = 16;
/// The table grows when it is fuller than this many eighths.
const MAX_EIGHTHS: usize = 6;
/// The size of a fresh table, a power of two.
const INITIAL_SLOTS: usize = 1 << 12;
/// Marks a free slot. Any value would do but one that somebody writes by hand, such as the nil UUID; a key of this value is
/// stored with its lowest bit turned.
const FREE: u128 = 0x7c0f_5d1e_93b4_4a6d_b821_e6f7_0a9c_35d8;

/// The bucket of event time that a timestamp falls into.
pub fn bucket_of(ts_micros: i64) -> i64 {
    ts_micros.div_euclid(BUCKET_MICROS)
}

/// Names one sorted run on object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct RunName {
    /// The bucket of event time.
    pub bucket: i64,
    /// The epoch that wrote it.
    pub epoch: i64,
}

/// A sorted run to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub name: RunName,
    /// Its keys, ascending.
    pub keys: Vec<u128>,
}

/// Looks keys up in runs that are no longer in memory.
pub trait RunLookup: Send {
    /// Whether the run holds the key.
    ///
    /// # Errors
    /// When the run cannot be read.
    fn contains(&mut self, run: RunName, key: u128) -> Result<bool, crate::PipelineError>;
}

/// The set of event ids seen.
#[derive(Debug)]
pub struct SeenIds {
    keys: Vec<u128>,
    buckets: Vec<i32>,
    held: usize,
    /// No key in memory is of a bucket below this one.
    oldest: i64,
    /// Everything in a bucket below this one is in runs, except what came late and waits for the next eviction.
    evicted_below: i64,
    runs: BTreeMap<i64, BTreeSet<i64>>,
}

impl Default for SeenIds {
    fn default() -> Self {
        Self {
            keys: vec![FREE; INITIAL_SLOTS],
            buckets: vec![0; INITIAL_SLOTS],
            held: 0,
            oldest: i64::MAX,
            evicted_below: i64::MIN,
            runs: BTreeMap::new(),
        }
    }
}

/// A bucket in the half of the memory: any year that can be written has a bucket far inside of 32 bits.
fn narrow(bucket: i64) -> i32 {
    i32::try_from(bucket).unwrap_or(if bucket < 0 { i32::MIN } else { i32::MAX })
}

fn stored(key: u128) -> u128 {
    if key == FREE { key ^ 1 } else { key }
}

/// The first slot of a key: UUIDs are random in their low half, hashes everywhere.
fn home(key: u128, mask: usize) -> usize {
    let mixed = (key as u64) ^ ((key >> 64) as u64).rotate_left(32);
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize & mask
}

impl SeenIds {
    /// The number of keys in memory.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Adds keys with their event times; the positions of those that are new go to `fresh`, in order.
    ///
    /// # Errors
    /// When a run has to be read and cannot be.
    pub fn insert_all(
        &mut self,
        ids: &[(u128, i64)],
        lookup: &mut dyn RunLookup,
        fresh: &mut Vec<u32>,
    ) -> Result<(), crate::PipelineError> {
        for (group_index, group) in ids.chunks(GROUP).enumerate() {
            self.reserve(group.len());
            let mask = self.keys.len() - 1;
            // These loads do not depend on each other: their cache misses overlap.
            let mut heads = [FREE; GROUP];
            for (head, (key, _)) in heads.iter_mut().zip(group) {
                *head = self.keys[home(*key, mask)];
            }
            for (offset, (key, ts)) in group.iter().enumerate() {
                if heads[offset] == stored(*key) {
                    continue;
                }
                if self.insert(*key, bucket_of(*ts), lookup)? {
                    fresh.push((group_index * GROUP + offset) as u32);
                }
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        key: u128,
        bucket: i64,
        lookup: &mut dyn RunLookup,
    ) -> Result<bool, crate::PipelineError> {
        let key = stored(key);
        let mask = self.keys.len() - 1;
        let mut slot = home(key, mask);
        while self.keys[slot] != FREE {
            if self.keys[slot] == key {
                return Ok(false);
            }
            slot = (slot + 1) & mask;
        }
        if bucket < self.evicted_below && self.in_runs(key, bucket, lookup)? {
            return Ok(false);
        }
        self.keys[slot] = key;
        self.buckets[slot] = narrow(bucket);
        self.oldest = self.oldest.min(bucket);
        self.held += 1;
        Ok(true)
    }

    fn in_runs(
        &self,
        key: u128,
        bucket: i64,
        lookup: &mut dyn RunLookup,
    ) -> Result<bool, crate::PipelineError> {
        for epoch in self.runs.get(&bucket).into_iter().flatten() {
            if lookup.contains(
                RunName {
                    bucket,
                    epoch: *epoch,
                },
                key,
            )? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn reserve(&mut self, more: usize) {
        let mut slots = self.keys.len();
        while (self.held + more) * 8 > slots * MAX_EIGHTHS {
            slots *= 2;
        }
        if slots != self.keys.len() {
            self.grow(slots);
        }
    }

    /// Moves all keys into a table of `slots`.
    fn grow(&mut self, slots: usize) {
        let keys = std::mem::replace(&mut self.keys, vec![FREE; slots]);
        let buckets = std::mem::replace(&mut self.buckets, vec![0; slots]);
        for (key, bucket) in keys.into_iter().zip(buckets).filter(|(key, _)| *key != FREE) {
            self.place(key, bucket);
        }
    }

    /// Puts a key that is not there into the first free slot from its home on.
    fn place(&mut self, key: u128, bucket: i32) {
        let mask = self.keys.len() - 1;
        let mut slot = home(key, mask);
        while self.keys[slot] != FREE {
            slot = (slot + 1) & mask;
        }
        self.keys[slot] = key;
        self.buckets[slot] = bucket;
    }

    /// Takes out all keys of buckets below `keep_from`, where they are: a second table would double the memory.
    fn take_before(&mut self, keep_from: i64) -> Vec<(i64, u128)> {
        let keep_from = narrow(keep_from);
        let mask = self.keys.len() - 1;
        let mut leaving = Vec::new();
        // From behind a free slot on, no key that is moved forward comes from a slot that was looked at already.
        let start = self.keys.iter().position(|key| *key == FREE).unwrap_or(0);
        for slot in (start + 1..=start + self.keys.len()).map(|slot| slot & mask) {
            while self.keys[slot] != FREE && self.buckets[slot] < keep_from {
                leaving.push((i64::from(self.buckets[slot]), self.keys[slot]));
                self.vacate(slot);
            }
        }
        self.held -= leaving.len();
        leaving
    }

    /// Frees a slot and closes the gap: a key behind it that is not at home moves up, as far as its home.
    fn vacate(&mut self, slot: usize) {
        let mask = self.keys.len() - 1;
        let (mut gap, mut next) = (slot, slot);
        loop {
            next = (next + 1) & mask;
            let key = self.keys[next];
            if key == FREE {
                break;
            }
            let from_home = next.wrapping_sub(home(key, mask)) & mask;
            if from_home >= next.wrapping_sub(gap) & mask {
                self.keys[gap] = key;
                self.buckets[gap] = self.buckets[next];
                gap = next;
            }
        }
        self.keys[gap] = FREE;
    }

    /// Takes the keys of buckets that lie wholly before `horizon_micros` out of memory, as runs to be written under
    /// `epoch`. Does nothing until a whole new bucket has passed, so that its cost is spread over the bucket's events.
    pub fn evict(&mut self, horizon_micros: i64, epoch: i64) -> Vec<Run> {
        let keep_from = bucket_of(horizon_micros);
        if keep_from <= self.evicted_below {
            return Vec::new();
        }
        self.evicted_below = keep_from;
        if self.oldest >= keep_from {
            return Vec::new();
        }
        let mut leaving = self.take_before(keep_from);
        self.oldest = keep_from;
        leaving.sort_unstable();
        let mut runs: Vec<Run> = Vec::new();
        for (bucket, key) in leaving {
            match runs.last_mut() {
                Some(run) if run.name.bucket == bucket => run.keys.push(key),
                _ => runs.push(Run {
                    name: RunName { bucket, epoch },
                    keys: vec![key],
                }),
            }
        }
        for run in &runs {
            self.runs.entry(run.name.bucket).or_default().insert(epoch);
        }
        runs
    }

    /// Forgets the runs of some buckets of event time.
    pub fn forget_runs(&mut self, is_gone: impl Fn(i64) -> bool) {
        self.runs.retain(|bucket, _| !is_gone(*bucket));
    }

    /// What a snapshot keeps: keys in memory with their buckets, the eviction boundary, and the runs.
    pub fn parts(&self) -> KeptIds<'_> {
        KeptIds(self)
    }

    /// The set that had these parts.
    pub fn from_parts(parts: SeenParts) -> Self {
        let slots = (parts.held.len() * 8 / MAX_EIGHTHS + 1)
            .next_power_of_two()
            .max(INITIAL_SLOTS);
        let oldest = parts.held.iter().map(|(_, bucket)| *bucket).min();
        let mut seen = Self {
            keys: vec![FREE; slots],
            buckets: vec![0; slots],
            held: parts.held.len(),
            oldest: oldest.unwrap_or(i64::MAX),
            evicted_below: parts.evicted_below,
            runs: parts.runs,
        };
        for (key, bucket) in parts.held {
            seen.place(key, narrow(bucket));
        }
        seen
    }
}

/// What a snapshot keeps of [`SeenIds`], where it is; it reads back as [`SeenParts`].
#[derive(Debug)]
pub struct KeptIds<'a>(&'a SeenIds);

impl serde::Serialize for KeptIds<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seen = self.0;
        let held = seen.keys.iter().zip(&seen.buckets);
        let held = held
            .filter(|(key, _)| **key != FREE)
            .map(|(key, bucket)| (*key, i64::from(*bucket)));
        let mut parts = serializer.serialize_struct("SeenParts", 3)?;
        parts.serialize_field("held", &Streamed::new(seen.held, held))?;
        parts.serialize_field("evicted_below", &seen.evicted_below)?;
        parts.serialize_field("runs", &seen.runs)?;
        parts.end()
    }
}

/// What a snapshot keeps of [`SeenIds`].
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
pub struct SeenParts {
    /// Keys in memory with their buckets.
    pub held: Vec<(u128, i64)>,
    /// Buckets below this one are in runs.
    pub evicted_below: i64,
    /// The epochs of the runs of each bucket.
    pub runs: BTreeMap<i64, BTreeSet<i64>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Runs(HashMap<RunName, Vec<u128>>);

    impl RunLookup for Runs {
        fn contains(&mut self, run: RunName, key: u128) -> Result<bool, crate::PipelineError> {
            Ok(self.0[&run].binary_search(&key).is_ok())
        }
    }

    #[test]
    fn a_copy_is_found_in_memory_and_after_it_left_memory() {
        // What must never change: an id counts once, however late its copy comes.
        let mut seen = SeenIds::default();
        let mut runs = Runs::default();
        let ids: Vec<(u128, i64)> = (0..50_000_u128).map(|id| (id, (id as i64) * 100_000)).collect();
        let mut fresh = Vec::new();
        seen.insert_all(&ids, &mut runs, &mut fresh).unwrap();
        assert_eq!(fresh.len(), ids.len());
        let written = seen.evict(3_000 * 1_000_000, 1);
        assert!(written.len() >= 4 && seen.held() < ids.len());
        runs.0.extend(written.into_iter().map(|run| (run.name, run.keys)));
        let mut again = Vec::new();
        seen.insert_all(&ids, &mut runs, &mut again).unwrap();
        assert!(again.is_empty(), "{again:?}");
        let kept = postcard::to_stdvec(&seen.parts()).unwrap();
        let mut restored = SeenIds::from_parts(postcard::from_bytes(&kept).unwrap());
        restored.insert_all(&ids, &mut runs, &mut again).unwrap();
        assert!(again.is_empty());
    }

    #[test]
    fn copies_within_one_group_are_found() {
        let mut seen = SeenIds::default();
        let mut fresh = Vec::new();
        seen.insert_all(
            &[(7, 0), (7, 0), (0, 0), (0, 5), (FREE, 0), (FREE, 1), (1 << 90, 0)],
            &mut Runs::default(),
            &mut fresh,
        )
        .unwrap();
        assert_eq!(fresh, [0, 2, 4, 6]);
    }
}
