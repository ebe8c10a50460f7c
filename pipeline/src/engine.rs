//! The keyed state: from batches of valid events to de-duplicated, attributed, windowed sums.
//!
//! The engine computes and does nothing else: no clock, no disk, no threads. What it holds after some events depends on
//! these events, on the watermarks of the commits between them and on the plan alone, so that reading the accepted events
//! of the lake back in, commit by commit, restores it.
//!
//! It leaves to others: writing what [`Engine::end_epoch`] gives out, and mending what it marks as *dirty*, which is what
//! events touched that came after the state they needed had been let go.

mod arms;
mod attribution;
mod cohorts;
mod days;
mod output;
mod rebuild;
mod snapshot;
mod touch;
mod users;
mod windows;

use std::collections::{BTreeSet, HashSet};

use domain::metric::MeasurementPlan;
use domain::{EventKind, Timestamp};
use ingest::{EventBatch, Span};

pub use attribution::HistoryEvent;
pub use cohorts::Watch;
pub use days::DayCells;
pub use output::{Derived, ExposureRow, SummaryRow, WindowRow};
pub use rebuild::Predecessor;
pub use snapshot::snapshot_follows;
pub use windows::WINDOW_SECONDS;

use crate::PipelineError;
use crate::dedup::{BUCKET_MICROS, Run, RunLookup, SeenIds};
use crate::measure::Measures;
use crate::names::{Names, Users};
use arms::Arms;
use cohorts::Cohorts;
use users::{Exposure, NO_TRACK, NONE, Track, Tracks, Value};
use windows::Windows;

/// How far back in event time the engine looks, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Horizons {
    /// Events older than the watermark by more than this are late: windows are closed and exposures can no longer
    /// claim tracks that far back, except by reconciliation.
    pub lateness_micros: i64,
    /// Ids of events older than the watermark by more than this are looked up on storage, not in memory.
    pub dedup_micros: i64,
}

impl Horizons {
    /// For live sources: ten minutes of lateness, an hour of ids in memory.
    pub const LIVE: Self = Self {
        lateness_micros: 600 * 1_000_000,
        dedup_micros: 3_600 * 1_000_000,
    };
    /// For history read from files: an hour of both, because files are concatenated and sorted loosely.
    pub const REPLAY: Self = Self {
        lateness_micros: 3_600 * 1_000_000,
        dedup_micros: 3_600 * 1_000_000,
    };
}

/// Events that came too late to be counted at once, and what they touched.
#[derive(Debug, Default, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Dirty {
    /// Users whose attribution has to be made again from the lake.
    pub users: HashSet<u32>,
    /// Days since 1970-01-01 whose windows have to be made again.
    pub days: BTreeSet<i32>,
}

impl Dirty {
    /// Whether there is nothing to mend.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.days.is_empty()
    }
}

/// The state of all users.
#[derive(Debug)]
pub struct Engine {
    horizons: Horizons,
    watermark: Timestamp,
    experiments: Names,
    variants: Names,
    events: Names,
    users: Users,
    first_exposures: Vec<u32>,
    last_tracks: Vec<u64>,
    exposures: Vec<Exposure>,
    exposure_texts: Vec<Box<str>>,
    free_exposures: Vec<u32>,
    values: Vec<Value>,
    free_values: Vec<u32>,
    tracks: Tracks,
    arms: Arms,
    windows: Windows,
    measures: Measures,
    cohorts: Cohorts,
    seen: SeenIds,
    dirty: Dirty,
    closed_rows: Vec<windows::Row>,
    changed_exposures: Vec<u32>,
    stale_exposure_days: BTreeSet<i32>,
    /// Whether a user's history is being read back, so that what is closed is not marked as dirty again.
    reconciling: bool,
    ids: Vec<(u128, i64)>,
    resolved: Vec<Resolved>,
    limits: Limits,
}

/// How much of the recent past is held at most. Horizons bound event time; where a stream is so dense that they let in
/// more than this, less time is held, though never less than ten minutes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Tracks that a late exposure may claim.
    tracks: usize,
    /// Ids in memory.
    ids: usize,
    /// Cells of closed windows below which sweeping them is not worth a look at all values.
    left_behind: u64,
    /// The recent past that is held in any case, in microseconds.
    lateness_min_micros: i64,
}

/// Some 250 MB of tracks and twice that in window cells; some 330 MB of ids.
const LIMITS: Limits = Limits {
    tracks: 8_000_000,
    ids: 8_000_000,
    left_behind: 100_000,
    lateness_min_micros: 600 * 1_000_000,
};

/// The numbers of the names in an event.
#[derive(Debug, Clone, Copy)]
struct Resolved {
    /// The user.
    user: u32,
    /// The event name of a track, [`NONE`] for an exposure.
    event: u32,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(plan: &MeasurementPlan, horizons: Horizons) -> Self {
        let (mut experiments, mut events) = (Names::default(), Names::default());
        let measures = Measures::compile(plan, &mut experiments, &mut events);
        Self {
            horizons,
            watermark: Timestamp(i64::MIN),
            experiments,
            variants: Names::default(),
            events,
            users: Users::default(),
            first_exposures: Vec::new(),
            last_tracks: Vec::new(),
            exposures: Vec::new(),
            exposure_texts: Vec::new(),
            free_exposures: Vec::new(),
            values: Vec::new(),
            free_values: Vec::new(),
            tracks: Tracks::default(),
            arms: Arms::default(),
            windows: Windows::new(),
            measures,
            cohorts: Cohorts::default(),
            seen: SeenIds::default(),
            dirty: Dirty::default(),
            closed_rows: Vec::new(),
            changed_exposures: Vec::new(),
            stale_exposure_days: BTreeSet::new(),
            reconciling: false,
            ids: Vec::new(),
            resolved: Vec::new(),
            limits: LIMITS,
        }
    }

    /// The watermark of the last commit.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The number of users seen.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// What waits for reconciliation.
    pub fn dirty(&self) -> &Dirty {
        &self.dirty
    }

    /// The bytes of a user's id, by the number used in [`Dirty::users`].
    pub fn user_id(&self, user: u32) -> &[u8] {
        self.users.id(user)
    }

    /// The number of a user that has been seen.
    pub fn find_user(&self, hash: u64, id: &[u8]) -> Option<u32> {
        self.users.find(hash, id)
    }

    /// Takes a batch in. The places of the events that are new go to `accepted`, in order; the others are copies.
    ///
    /// # Errors
    /// When an id has to be looked up on storage and cannot be; nothing of the batch has been taken in then.
    pub fn apply(
        &mut self,
        batch: &EventBatch,
        lookup: &mut dyn RunLookup,
        accepted: &mut Vec<u32>,
    ) -> Result<(), PipelineError> {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        ids.extend(batch.events.iter().map(|event| (event.id_key, event.ts.0)));
        accepted.clear();
        let result = self.seen.insert_all(&ids, lookup, accepted);
        self.ids = ids;
        result?;
        self.take_all(batch, accepted);
        Ok(())
    }

    /// Takes the events of a batch in that stand at some places.
    fn take_all(&mut self, batch: &EventBatch, accepted: &[u32]) {
        // Each step is a short loop of its own, so that the cache misses of many events overlap.
        let mut resolved = std::mem::take(&mut self.resolved);
        resolved.clear();
        for places in accepted.chunks(touch::GROUP) {
            let candidates = self.candidates(batch, places);
            for (place, candidate) in places.iter().zip(candidates) {
                resolved.push(self.resolve(batch, *place as usize, candidate));
            }
        }
        let groups = accepted.chunks(touch::GROUP).zip(resolved.chunks(touch::GROUP));
        for (places, resolved) in groups {
            self.touch(resolved);
            for (place, resolved) in places.iter().zip(resolved) {
                self.take(batch, *place as usize, *resolved);
            }
        }
        self.resolved = resolved;
    }

    fn candidates(&self, batch: &EventBatch, places: &[u32]) -> [u32; touch::GROUP] {
        let mut candidates = [NONE; touch::GROUP];
        for (candidate, place) in candidates.iter_mut().zip(places) {
            let hash = batch.events[*place as usize].user_hash;
            *candidate = self.users.candidate(hash).unwrap_or(NONE);
        }
        self.users.touch(&candidates);
        candidates
    }

    fn resolve(&mut self, batch: &EventBatch, place: usize, candidate: u32) -> Resolved {
        let event = &batch.events[place];
        let id = batch.bytes(event.user_id);
        let user = if candidate != NONE && self.users.is(candidate, id) {
            candidate
        } else {
            self.user_number(event.user_hash, id)
        };
        let event = match event.kind {
            EventKind::Exposure => NONE,
            EventKind::Track => match self.events.find_bytes(batch.bytes(event.name)) {
                Some(number) => number,
                None => self.event_number(batch.text(event.name)),
            },
        };
        Resolved { user, event }
    }

    fn take(&mut self, batch: &EventBatch, place: usize, resolved: Resolved) {
        let event = &batch.events[place];
        let user = resolved.user;
        match event.kind {
            EventKind::Exposure => {
                let experiment = number_of(&mut self.experiments, batch, event.name);
                let variant = number_of(&mut self.variants, batch, event.variant);
                if self.measures.measures_experiment(experiment) {
                    let id = (event.id_key, batch.text(event.event_id));
                    self.expose(user, (experiment, variant), event.ts, id);
                }
            }
            EventKind::Track => {
                self.track(
                    user,
                    Track {
                        previous: NO_TRACK,
                        ts: event.ts,
                        value: event.value,
                        event: resolved.event,
                    },
                );
            }
        }
    }

    fn user_number(&mut self, hash: u64, id: &[u8]) -> u32 {
        let (user, new) = self.users.number_of(hash, id);
        if new {
            self.first_exposures.push(NONE);
            self.last_tracks.push(NO_TRACK);
        }
        user
    }

    fn event_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.events.find(name) {
            return number;
        }
        let number = self.events.number_of(name);
        let measured = self.measures.len();
        self.measures.know_events(&self.events);
        if self.measures.len() > measured {
            // Every arm has a row for every metric, also for those that none of its users has an event for.
            self.arms.mark_all_changed();
        }
        number
    }

    /// Ends an epoch: advances the watermark, closes windows, lets go of what no event may need any more.
    ///
    /// The runs of ids given back must be on storage before the epoch is committed.
    pub fn end_epoch(&mut self, watermark: Timestamp, epoch: i64) -> Vec<Run> {
        self.watermark = self.watermark.max(watermark);
        if self.watermark.0 == i64::MIN {
            return Vec::new();
        }
        let recent = self.watermark.plus_micros(-self.limits.lateness_min_micros);
        let mut horizon = self.watermark.plus_micros(-self.horizons.lateness_micros);
        self.tracks.let_go(horizon);
        if let Some(let_go) = self.tracks.let_go_beyond(self.limits.tracks, recent) {
            horizon = horizon.max(let_go);
        }
        self.close_windows(horizon);
        self.windows.sweep(&mut self.values, self.limits.left_behind);
        self.evict_ids(recent, epoch)
    }

    fn evict_ids(&mut self, recent: Timestamp, epoch: i64) -> Vec<Run> {
        let mut horizon = self.watermark.plus_micros(-self.horizons.dedup_micros);
        let mut runs = self.seen.evict(horizon.0, epoch);
        while self.seen.held() > self.limits.ids && horizon < recent {
            horizon = horizon.plus_micros(BUCKET_MICROS).min(recent);
            runs.extend(self.seen.evict(horizon.0, epoch));
        }
        runs
    }
}

/// The number of a text of a batch; one that is known is not checked for UTF-8 again.
fn number_of(names: &mut Names, batch: &EventBatch, text: Span) -> u32 {
    match names.find_bytes(batch.bytes(text)) {
        Some(number) => number,
        None => names.number_of(batch.text(text)),
    }
}

#[cfg(test)]
mod tests;
