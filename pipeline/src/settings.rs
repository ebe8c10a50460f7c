//! How a pipeline runs.

use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;

use crate::engine::{Horizons, Watch};

/// What the engine watches for guardrails; it may change while the pipeline runs.
#[derive(Debug)]
pub struct Watches(tokio::sync::watch::Receiver<Vec<Watch>>);

impl Watches {
    /// Watches that follow a channel.
    pub fn following(channel: tokio::sync::watch::Receiver<Vec<Watch>>) -> Self {
        Self(channel)
    }

    /// Nothing is watched.
    pub fn none() -> Self {
        Self(tokio::sync::watch::channel(Vec::new()).1)
    }

    pub(crate) fn refresh(&mut self) -> bool {
        // A sender that is gone leaves its last word standing.
        let changed = self.0.has_changed().unwrap_or(false);
        self.0.borrow_and_update();
        changed
    }

    pub(crate) fn current(&self) -> Vec<Watch> {
        self.0.borrow().clone()
    }
}

/// How a pipeline runs. [`Settings::live`] and [`Settings::replay`] are the two that fit.
pub struct Settings {
    /// Whether sources are live: time then goes on without events, and partitions may be idle.
    pub live: bool,
    /// How far back the engine looks.
    pub horizons: Horizons,
    /// An epoch is committed at least this often while something comes in.
    pub commit_interval: Duration,
    /// An epoch is committed when it holds this many records.
    pub commit_records: u64,
    /// The derived tables are written at most this often.
    pub derived_interval: Duration,
    /// What came too late is made good at most this often.
    pub reconcile_interval: Duration,
    /// A partition without records for this long does not hold back the watermark.
    pub idle_after: Duration,
    /// A full snapshot of the keyed state is written when more events than this would have to be read back.
    pub snapshot_events: u64,
    /// What came too late is made good with about this many events in memory.
    pub mend_events: usize,
    /// Small files of a table and day are joined when there are more of them than this.
    pub compact_files: usize,
    /// Tells the time.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What guardrails watch.
    pub watches: Watches,
    /// Tells this process's files apart from those of another that should not be there; letters and digits.
    pub run_id: String,
}

/// Events whose reading back takes some two seconds on one core.
const SNAPSHOT_EVENTS: u64 = 4_000_000;

/// A few hundred megabytes of events.
const MEND_EVENTS: usize = 2_000_000;

impl Settings {
    /// For live sources: a commit a second, derived tables every ten seconds.
    pub fn live(now: Arc<dyn Fn() -> Timestamp + Send + Sync>, run_id: String) -> Self {
        Self {
            live: true,
            horizons: Horizons::LIVE,
            commit_interval: Duration::from_secs(1),
            commit_records: 500_000,
            derived_interval: Duration::from_secs(10),
            reconcile_interval: Duration::from_secs(300),
            idle_after: Duration::from_secs(60),
            snapshot_events: SNAPSHOT_EVENTS,
            mend_events: MEND_EVENTS,
            compact_files: 64,
            now,
            watches: Watches::none(),
            run_id,
        }
    }

    /// For history: few large commits, derived tables at the end.
    pub fn replay(now: Arc<dyn Fn() -> Timestamp + Send + Sync>, run_id: String) -> Self {
        Self {
            live: false,
            horizons: Horizons::REPLAY,
            commit_interval: Duration::from_secs(30),
            commit_records: 250_000,
            derived_interval: Duration::from_secs(300),
            reconcile_interval: Duration::from_secs(3_600),
            idle_after: Duration::from_secs(60),
            ..Self::live(now, run_id)
        }
    }
}
