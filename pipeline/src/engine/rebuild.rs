//! Making the state again from the events of the lake alone, under another plan or without a user who was erased.
//!
//! What is made again knows nothing of the commits in which the events came, so some of them come too late for it: users and
//! days that are marked as dirty, and mended as ever.

use domain::Timestamp;
use domain::metric::MeasurementPlan;
use ingest::EventBatch;

use super::{Engine, Horizons};
use crate::dedup::SeenIds;

/// What the state before hands on to the one that is made again.
#[derive(Debug)]
pub struct Predecessor {
    /// The watermark of its last commit.
    pub(super) watermark: Timestamp,
    /// The ids it has seen.
    pub(super) seen: SeenIds,
    /// The arms it has given rows of, as experiment and variant.
    pub(super) arms: Vec<(String, String)>,
    /// The names of the events it has seen.
    pub(super) events: Vec<String>,
}

impl Predecessor {
    /// Forgets the ids that have left memory and whose buckets of event time hold nothing any more.
    pub fn forget_ids(&mut self, is_gone: impl Fn(i64) -> bool) {
        self.seen.forget_runs(is_gone);
    }
}

impl Engine {
    /// An engine that has the ids and the watermark of another, and has taken in none of its events.
    pub fn succeeding(plan: &MeasurementPlan, horizons: Horizons, before: Predecessor) -> Self {
        let mut engine = Self::new(plan, horizons);
        engine.seen = before.seen;
        engine.watermark = before.watermark;
        // Where no event of a name is left, rows of zeros go on saying so.
        for event in before.events {
            engine.event_number(&event);
        }
        for (experiment, variant) in before.arms {
            let experiment = engine.experiments.number_of(&experiment);
            let variant = engine.variants.number_of(&variant);
            if engine.measures.measures_experiment(experiment) {
                // Where nobody is left, a row of zeros says so.
                let arm = engine.arms.number_of(experiment, variant);
                engine.arms.get_mut(arm).written = true;
            }
        }
        engine
    }

    /// Takes in events that were accepted before, in about the order in which they came. What lies far behind the events
    /// is let go as after a commit; windows that close are left to whoever writes their days again.
    pub fn take_again(&mut self, batch: &EventBatch) {
        let places: Vec<u32> = (0..batch.events.len() as u32).collect();
        self.take_all(batch, &places);
        let mut times: Vec<i64> = batch.events.iter().map(|event| event.ts.0).collect();
        if times.is_empty() {
            return;
        }
        let middle = times.len() / 2;
        let median = Timestamp(*times.select_nth_unstable(middle).1).min(self.watermark);
        let horizon = median.plus_micros(-self.horizons.lateness_micros);
        self.tracks.let_go(horizon);
        self.close_windows(horizon);
        self.closed_rows.clear();
        self.windows.sweep(&mut self.values, self.limits.left_behind);
    }

    /// Has every summary, all windows of the given days of events, and all first exposures written again, those of the
    /// given days of the table included.
    pub fn announce_everything(
        &mut self,
        event_days: impl Iterator<Item = i32>,
        exposure_days: impl Iterator<Item = i32>,
    ) {
        self.dirty.days.extend(event_days);
        self.arms.mark_all_changed();
        self.stale_exposure_days.extend(exposure_days);
        let days = self.exposures.iter().map(|exposure| exposure.ts.day());
        self.stale_exposure_days.extend(days);
    }

    /// Takes everything that the engine holds for written: the derived tables say it already.
    pub fn consider_written(&mut self) {
        self.closed_rows.clear();
        self.windows.consider_written();
        self.arms.consider_written();
        self.changed_exposures.clear();
        self.stale_exposure_days.clear();
        for exposure in &mut self.exposures {
            exposure.changed = false;
            exposure.written = true;
        }
    }
}
