//! Places at which a test ends the process, to prove that recovery holds at every step of a commit.
//!
//! Without [`arm`] this is one relaxed load per step and commit.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// A step of a commit, or of deleting what is older than the retention, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The event files are written.
    EventFilesWritten = 1,
    /// The files of the derived tables are written.
    DerivedFilesWritten = 2,
    /// The manifest is written.
    ManifestWritten = 3,
    /// The epoch is true.
    EventsCommitted = 4,
    /// One of the derived tables is committed.
    DerivedCommitted = 5,
    /// The observer has been told; sources have not.
    ObserverTold = 6,
    /// A full snapshot is written.
    SnapshotWritten = 7,
    /// The seals of experiments whose first events are about to go are written.
    SealsWritten = 8,
    /// The state without sealed experiments is written.
    StateRenewed = 9,
    /// The events that are older than the retention have left their table.
    EventsDeleted = 10,
    /// So have the first exposures and dead letters.
    OthersDeleted = 11,
    /// The rows of an experiment whose aggregates are older than the retention have left their tables.
    AggregatesDeleted = 12,
}

impl Step {
    /// All steps with the names by which they are armed.
    pub const ALL: [(&'static str, Self); 12] = [
        ("event_files_written", Self::EventFilesWritten),
        ("derived_files_written", Self::DerivedFilesWritten),
        ("manifest_written", Self::ManifestWritten),
        ("events_committed", Self::EventsCommitted),
        ("derived_committed", Self::DerivedCommitted),
        ("observer_told", Self::ObserverTold),
        ("snapshot_written", Self::SnapshotWritten),
        ("seals_written", Self::SealsWritten),
        ("state_renewed", Self::StateRenewed),
        ("events_deleted", Self::EventsDeleted),
        ("others_deleted", Self::OthersDeleted),
        ("aggregates_deleted", Self::AggregatesDeleted),
    ];
}

static ARMED: AtomicU8 = AtomicU8::new(0);
static PASSES: AtomicI64 = AtomicI64::new(0);

/// Ends the process when a step has been passed `passes` times and is reached once more.
pub fn arm(step: Step, passes: u32) {
    PASSES.store(i64::from(passes), Ordering::Relaxed);
    ARMED.store(step as u8, Ordering::Relaxed);
}

pub(crate) fn at(step: Step) {
    if ARMED.load(Ordering::Relaxed) == step as u8 && PASSES.fetch_sub(1, Ordering::Relaxed) <= 0 {
        // An abort runs no destructor and flushes nothing, like a kill.
        std::process::abort();
    }
}
