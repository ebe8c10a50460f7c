//! Which buckets belong to which share, and how shares change while the fewest units move.
//!
//! Shares that follow each other from bucket 0 are the plain layout. When shares change, that layout would
//! also move units between shares that keep their size; [`reallocate`] instead keeps every bucket that can
//! stay, and its result is stored with the definition.

use serde::{Deserialize, Serialize};

use super::bucketing::BUCKETS;
use super::definition::{ExperimentAllocation, FlagDefinition, Serve, Share};

/// Buckets from `from` to before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketRange {
    /// The first bucket.
    pub from: u32,
    /// The bucket after the last.
    pub to: u32,
}

impl BucketRange {
    /// How many buckets it holds.
    pub fn len(self) -> u32 {
        self.to.saturating_sub(self.from)
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// How many buckets a percentage is; nothing when it is not 0 to 100 in steps of 0.001.
pub fn buckets_of_percent(percent: f64) -> Option<u32> {
    let exact = percent * f64::from(BUCKETS) / 100.0;
    let whole = exact.round();
    // A decimal step is off by a few units in the last place; a millionth of a bucket is far above that.
    let in_steps = (exact - whole).abs() < 1e-6;
    let in_range = (0.0..=f64::from(BUCKETS)).contains(&whole);
    (in_steps && in_range).then_some(whole as u32)
}

/// Shares all buckets out by weights: the largest remainder, ties to the earlier. Nothing when the weights
/// are not finite, negative or all 0.
pub fn buckets_of_weights(weights: &[f64]) -> Option<Vec<u32>> {
    let total: f64 = weights.iter().sum();
    if !total.is_finite() || total <= 0.0 || weights.iter().any(|weight| *weight < 0.0) {
        return None;
    }
    let exact: Vec<f64> = weights
        .iter()
        .map(|weight| weight / total * f64::from(BUCKETS))
        .collect();
    let mut counts: Vec<u32> = exact.iter().map(|share| share.floor() as u32).collect();
    let mut by_remainder: Vec<usize> = (0..exact.len()).collect();
    let remainder = |index: &usize| exact.get(*index).map_or(0.0, |share| share - share.floor());
    // The sort is stable, which settles ties.
    by_remainder.sort_by(|left, right| remainder(right).total_cmp(&remainder(left)));
    let given: u32 = counts.iter().fold(0, |sum, count| sum.saturating_add(*count));
    let left = BUCKETS.saturating_sub(given) as usize;
    for index in by_remainder.into_iter().take(left) {
        if let Some(count) = counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }
    Some(counts)
}

/// The plain layout: shares follow each other from bucket 0.
pub fn lay_out(counts: &[u32]) -> Vec<Vec<BucketRange>> {
    let mut from = 0_u32;
    let mut layout = Vec::with_capacity(counts.len());
    for count in counts {
        let to = from.saturating_add(*count);
        layout.push(if *count == 0 {
            Vec::new()
        } else {
            vec![BucketRange { from, to }]
        });
        from = to;
    }
    layout
}

/// Gives each share as many buckets as `counts` says and moves the fewest units possible.
///
/// `previous` holds what each share had, in the order of `counts`; a share that is new had nothing. A share
/// that shrinks gives up its last buckets; those go to shares that grow before buckets that belonged to
/// nobody do. The buckets of `previous` must not overlap and `counts` must sum to at most [`BUCKETS`].
pub fn reallocate(previous: &[Vec<BucketRange>], counts: &[u32]) -> Vec<Vec<BucketRange>> {
    let mut layout = Vec::with_capacity(counts.len());
    let mut freed = Vec::new();
    for (index, count) in counts.iter().enumerate() {
        let mut had = previous.get(index).cloned().unwrap_or_default();
        had.sort_by_key(|range| range.from);
        layout.push(take(&mut had, *count));
        freed.append(&mut had);
    }
    // What belonged to shares that are gone is free as well.
    for gone in previous.iter().skip(counts.len()) {
        freed.extend_from_slice(gone);
    }
    let mut unused = complement(previous);
    freed.sort_by_key(|range| range.from);
    for (has, count) in layout.iter_mut().zip(counts) {
        for pool in [&mut freed, &mut unused] {
            let missing = count.saturating_sub(size(has));
            has.extend(take(pool, missing));
        }
        *has = merge(std::mem::take(has));
    }
    layout
}

/// Takes up to `count` buckets off the front of sorted ranges.
fn take(ranges: &mut Vec<BucketRange>, count: u32) -> Vec<BucketRange> {
    let mut taken = Vec::new();
    let mut missing = count;
    let mut left = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        let to = range.from.saturating_add(missing.min(range.len()));
        let (head, tail) = (
            BucketRange { from: range.from, to },
            BucketRange {
                from: to,
                to: range.to,
            },
        );
        missing = missing.saturating_sub(head.len());
        if !head.is_empty() {
            taken.push(head);
        }
        if !tail.is_empty() {
            left.push(tail);
        }
    }
    *ranges = left;
    taken
}

/// The buckets that no share holds.
fn complement(shares: &[Vec<BucketRange>]) -> Vec<BucketRange> {
    let held = merge(shares.iter().flatten().copied().collect());
    let mut free = Vec::new();
    let mut from = 0;
    for range in held {
        free.push(BucketRange { from, to: range.from });
        from = range.to;
    }
    free.push(BucketRange { from, to: BUCKETS });
    free.retain(|range| !range.is_empty());
    free
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<BucketRange>) -> Vec<BucketRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.from);
    let mut merged: Vec<BucketRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.to == range.from => last.to = range.to,
            _ => merged.push(range),
        }
    }
    merged
}

fn size(ranges: &[BucketRange]) -> u32 {
    ranges
        .iter()
        .fold(0, |sum, range| sum.saturating_add(range.len()))
}

impl FlagDefinition {
    /// Lays the rollouts out so that, compared with the flag as it was, the fewest units move. Called when a
    /// changed flag is saved. Rules are matched by their id; a flag whose salt changed starts afresh.
    pub fn keep_assignments(&mut self, previous: &Self) {
        let fresh =
            self.salt != previous.salt || self.key != previous.key || self.bucket_by != previous.bucket_by;
        keep_serve(&mut self.default, Some(&previous.default).filter(|_| !fresh));
        for rule in &mut self.rules {
            let before = previous
                .rules
                .iter()
                .find(|before| before.id == rule.id && !fresh);
            keep_serve(&mut rule.serve, before.map(|before| &before.serve));
        }
        for (name, environment) in &mut self.environments {
            let before = previous.environments.get(name).filter(|_| !fresh);
            if let Some(default) = &mut environment.default {
                keep_serve(default, before.and_then(|before| before.default.as_ref()));
            }
            for rule in environment.rules.iter_mut().flatten() {
                let rules = before.and_then(|before| before.rules.as_deref()).unwrap_or(&[]);
                let before = rules.iter().find(|before| before.id == rule.id);
                keep_serve(&mut rule.serve, before.map(|before| &before.serve));
            }
        }
    }
}

/// Lays one rollout out after the one before it.
fn keep_serve(serve: &mut Serve, previous: Option<&Serve>) {
    let Serve::Rollout(shares) = serve else {
        return;
    };
    // The layout follows from what was and the percentages; what the caller sent along is not believed.
    shares.iter_mut().for_each(|share| share.buckets.clear());
    let Some(before) = previous.and_then(shares_of) else {
        return;
    };
    let Some(counts) = counts_of(shares) else {
        return;
    };
    let Some(before_layout) = layout_of_shares(&before) else {
        return;
    };
    let mut aligned: Vec<Vec<BucketRange>> = shares
        .iter()
        .map(|share| {
            let position = before.iter().position(|had| had.variation == share.variation);
            position
                .and_then(|position| before_layout.get(position).cloned())
                .unwrap_or_default()
        })
        .collect();
    for (had, ranges) in before.iter().zip(&before_layout) {
        if !shares.iter().any(|share| share.variation == had.variation) {
            aligned.push(ranges.clone());
        }
    }
    let layout = reallocate(&aligned, &counts);
    // The plain layout needs no writing down.
    if layout == lay_out(&counts) {
        return;
    }
    for (share, ranges) in shares.iter_mut().zip(layout) {
        share.buckets = ranges;
    }
}

/// One variation for everybody is a rollout of 100 percent.
fn shares_of(serve: &Serve) -> Option<Vec<Share>> {
    match serve {
        Serve::Rollout(shares) => Some(shares.clone()),
        Serve::Variation(variation) => Some(vec![Share {
            variation: variation.clone(),
            percent: 100.0,
            buckets: Vec::new(),
        }]),
        Serve::Experiment(_) => None,
    }
}

fn counts_of(shares: &[Share]) -> Option<Vec<u32>> {
    let counts: Option<Vec<u32>> = shares
        .iter()
        .map(|share| buckets_of_percent(share.percent))
        .collect();
    counts.filter(|counts| counts.iter().map(|count| u64::from(*count)).sum::<u64>() <= u64::from(BUCKETS))
}

fn layout_of_shares(shares: &[Share]) -> Option<Vec<Vec<BucketRange>>> {
    if shares.iter().any(|share| !share.buckets.is_empty()) {
        return Some(shares.iter().map(|share| share.buckets.clone()).collect());
    }
    counts_of(shares).map(|counts| lay_out(&counts))
}

impl ExperimentAllocation {
    /// Lays the variants out so that, compared with the experiment as it was, the fewest units move. Called
    /// when a changed experiment is saved and when a bandit sets weights.
    pub fn keep_assignments(&mut self, previous: &Self) {
        self.variants
            .iter_mut()
            .for_each(|variant| variant.buckets.clear());
        let fresh =
            self.salt != previous.salt || self.key != previous.key || self.bucket_by != previous.bucket_by;
        if fresh {
            return;
        }
        let Some(counts) = self.variant_counts() else {
            return;
        };
        let Some(before_layout) = previous.variant_layout() else {
            return;
        };
        let mut aligned: Vec<Vec<BucketRange>> = Vec::with_capacity(self.variants.len());
        for variant in &self.variants {
            let position = previous.variants.iter().position(|had| had.key == variant.key);
            aligned.push(
                position
                    .and_then(|position| before_layout.get(position).cloned())
                    .unwrap_or_default(),
            );
        }
        for (had, ranges) in previous.variants.iter().zip(&before_layout) {
            if !self.variants.iter().any(|variant| variant.key == had.key) {
                aligned.push(ranges.clone());
            }
        }
        let layout = reallocate(&aligned, &counts);
        if layout == lay_out(&counts) {
            return;
        }
        for (variant, ranges) in self.variants.iter_mut().zip(layout) {
            variant.buckets = ranges;
        }
    }

    /// How many buckets each variant has by the weights that count: the live ones where there are some.
    pub(crate) fn variant_counts(&self) -> Option<Vec<u32>> {
        let weights: Vec<f64> = match &self.live_weights {
            None => self.variants.iter().map(|variant| variant.weight).collect(),
            Some(live) => {
                let weight = |key| live.get(key).copied().unwrap_or(0.0);
                self.variants.iter().map(|variant| weight(&variant.key)).collect()
            }
        };
        buckets_of_weights(&weights)
    }

    /// The stored layout, or the plain one where none is stored.
    fn variant_layout(&self) -> Option<Vec<Vec<BucketRange>>> {
        if self.variants.iter().any(|variant| !variant.buckets.is_empty()) {
            return Some(
                self.variants
                    .iter()
                    .map(|variant| variant.buckets.clone())
                    .collect(),
            );
        }
        self.variant_counts().map(|counts| lay_out(&counts))
    }
}

#[cfg(test)]
mod tests;
