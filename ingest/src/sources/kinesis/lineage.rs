//! Which shards to read, from where, and when: the order that resharding asks for. It computes and does not wait.
//!
//! A shard starts only when every parent that is known has ended **and** the parent's end was handed over, so that the
//! records of a key are given in the order in which they were put, over any number of splits and merges.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use domain::Position;

use super::api::ShardInfo;
use super::settings::{OwnedShards, StartAt};

/// Where a shard is taken up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TakeUp {
    Beginning,
    Latest,
    /// After this position, which is a sequence number.
    After(Position),
}

/// What is known of the stream's shards.
pub(crate) struct Lineage {
    shards: BTreeMap<String, Shard>,
    positions: BTreeMap<String, Position>,
    start_at: StartAt,
    owned: OwnedShards,
    listed: bool,
}

struct Shard {
    info: ShardInfo,
    state: State,
}

enum State {
    Waiting(TakeUp),
    Reading,
    Ended,
}

impl Lineage {
    /// Starts with the committed positions by shard id; they are sequence numbers or ends.
    pub(crate) fn new(positions: BTreeMap<String, Position>, start_at: StartAt, owned: OwnedShards) -> Self {
        let mut lineage = Self {
            shards: BTreeMap::new(),
            positions,
            start_at,
            owned,
            listed: false,
        };
        // A shard that was read is read to its end, though it may have left the stream's list in the meantime.
        for (id, position) in &lineage.positions {
            let state = match position {
                Position::End => State::Ended,
                other => State::Waiting(TakeUp::After(other.clone())),
            };
            let info = ShardInfo {
                id: id.clone(),
                parents: Vec::new(),
                hash_keys: None,
                open: false,
            };
            lineage.shards.insert(id.clone(), Shard { info, state });
        }
        lineage
    }

    /// Learns of shards: a list of all, or the children that a shard named at its end.
    pub(crate) fn learn(&mut self, shards: Vec<ShardInfo>) {
        let take_up = self.take_up_of_new(&shards);
        for info in shards {
            let state = take_up.get(&info.id);
            match self.shards.entry(info.id.clone()) {
                Entry::Occupied(mut known) => known.get_mut().info = info,
                Entry::Vacant(place) => {
                    let state = match state {
                        Some(Some(take_up)) => State::Waiting(take_up.clone()),
                        Some(None) => State::Ended,
                        // What appears later continues what is read, and is read from its beginning.
                        None => State::Waiting(TakeUp::Beginning),
                    };
                    place.insert(Shard { info, state });
                }
            }
        }
        self.listed = true;
    }

    /// Learns that a shard's end was handed over, or committed by whoever reads it.
    pub(crate) fn end(&mut self, shard_id: &str) {
        if let Some(shard) = self.shards.get_mut(shard_id) {
            shard.state = State::Ended;
        }
    }

    /// The shards that can start now; from then on they count as started.
    pub(crate) fn take_startable(&mut self) -> Vec<(ShardInfo, TakeUp)> {
        let startable = self.shards.values().filter_map(|shard| {
            let State::Waiting(take_up) = &shard.state else {
                return None;
            };
            let ready = self.owned.contains(&shard.info.id) && !self.waits_for_parent(&shard.info);
            ready.then(|| (shard.info.clone(), take_up.clone()))
        });
        let startable: Vec<(ShardInfo, TakeUp)> = startable.collect();
        for (info, _) in &startable {
            if let Some(shard) = self.shards.get_mut(&info.id) {
                shard.state = State::Reading;
            }
        }
        startable
    }

    /// A parent that nobody knows has left the stream with everything in it, and holds nothing back.
    fn waits_for_parent(&self, info: &ShardInfo) -> bool {
        let unfinished = |id: &String| {
            let parent = self.shards.get(id);
            parent.is_some_and(|parent| !matches!(parent.state, State::Ended))
        };
        // What was read up to a position had its parents behind it.
        !self.positions.contains_key(&info.id) && info.parents.iter().any(unfinished)
    }

    /// Where the shards of the first list start when reading starts at the latest; `None` for those that it leaves out.
    fn take_up_of_new(&self, shards: &[ShardInfo]) -> BTreeMap<String, Option<TakeUp>> {
        if self.listed || self.start_at == StartAt::TrimHorizon {
            return BTreeMap::new();
        }
        let parents: BTreeSet<&String> = shards.iter().flat_map(|shard| &shard.parents).collect();
        let by_id: BTreeMap<&String, &ShardInfo> = shards.iter().map(|shard| (&shard.id, shard)).collect();
        let take_up = |shard: &ShardInfo| {
            if self.continues_read(shard, &by_id) {
                return Some(TakeUp::Beginning);
            }
            (!parents.contains(&shard.id)).then_some(TakeUp::Latest)
        };
        shards
            .iter()
            .map(|shard| (shard.id.clone(), take_up(shard)))
            .collect()
    }

    /// Whether an ancestor of the shard has a committed position.
    fn continues_read(&self, shard: &ShardInfo, by_id: &BTreeMap<&String, &ShardInfo>) -> bool {
        let mut unseen: Vec<&String> = shard.parents.iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = unseen.pop() {
            if self.positions.contains_key(id) {
                return true;
            }
            if seen.insert(id) {
                unseen.extend(by_id.get(id).into_iter().flat_map(|parent| &parent.parents));
            }
        }
        false
    }
}

/// The first hash key that no open shard has, or that two have; `None` when open shards share them out exactly.
///
/// A list that was made while shards were split or merged can be of two times at once; it is asked for again.
pub(crate) fn misplaced_hash_key(shards: &[ShardInfo]) -> Option<u128> {
    let open = shards.iter().filter(|shard| shard.open);
    let mut ranges: Vec<RangeInclusive<u128>> = open.filter_map(|shard| shard.hash_keys.clone()).collect();
    if ranges.is_empty() {
        return (!shards.is_empty()).then_some(0);
    }
    ranges.sort_by_key(|range| *range.start());
    let mut expected = Some(0_u128);
    for range in ranges {
        if expected != Some(*range.start()) {
            return Some(expected.unwrap_or(u128::MAX).min(*range.start()));
        }
        expected = range.end().checked_add(1);
    }
    expected
}

#[cfg(test)]
mod tests;
