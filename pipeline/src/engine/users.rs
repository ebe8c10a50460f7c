//! What is kept per user: exposures, running values, and recent tracks. Flat arrays linked by numbers: compact, without
//! an allocation per user, and written to a snapshot as they are.

use std::collections::VecDeque;

use domain::Timestamp;

/// The end of a list.
pub(crate) const NONE: u32 = u32::MAX;
/// No track yet.
pub(crate) const NO_TRACK: u64 = u64::MAX;

/// A user's first exposure to an experiment.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Exposure {
    /// The user's number.
    pub user: u32,
    /// The user's next exposure.
    pub next: u32,
    /// The arm's number.
    pub arm: u32,
    /// The first running value of the user in this experiment.
    pub first_value: u32,
    /// When.
    #[serde(with = "domain::timestamp::as_micros")]
    pub ts: Timestamp,
    /// The event's id: the UUID itself, or a hash of the text in `id_text`.
    pub id_key: u128,
    /// The number of the id's text where the id is no canonical UUID.
    pub id_text: u32,
    /// Whether the user was also seen with another variant.
    pub crossover: bool,
    /// Whether the table has an older form of it.
    pub written: bool,
    /// Whether it waits to be written.
    pub changed: bool,
}

/// A user's running value of a measure in an experiment.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Value {
    /// The measure's number.
    pub measure: u32,
    /// The user's next value in the same experiment.
    pub next: u32,
    /// The sum of the counted events.
    pub running: f64,
    /// The newest cell per window size.
    pub cells: [u32; 3],
}

/// A track that a late exposure may still come to own.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Track {
    /// The user's track before this one in order of arrival.
    pub previous: u64,
    /// When.
    #[serde(with = "domain::timestamp::as_micros")]
    pub ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// The number of the event name.
    pub event: u32,
}

/// The tracks of the recent past, in order of arrival.
#[derive(Debug)]
pub(crate) struct Tracks {
    entries: VecDeque<Track>,
    /// The number of the first entry held.
    first: u64,
    /// The latest event time among those let go; whatever is later is still here.
    pub dropped_until: Timestamp,
}

impl Default for Tracks {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            dropped_until: Timestamp(i64::MIN),
        }
    }
}

impl Tracks {
    /// The tracks of a snapshot.
    pub fn from_parts(entries: Vec<Track>, first: u64, dropped_until: Timestamp) -> Self {
        Self {
            entries: entries.into(),
            first,
            dropped_until,
        }
    }

    /// The entries and the number of the first, for a snapshot.
    pub fn parts(&self) -> (&VecDeque<Track>, u64) {
        (&self.entries, self.first)
    }

    /// Adds a track and gives its number.
    pub fn push(&mut self, track: Track) -> u64 {
        self.entries.push_back(track);
        self.first + self.entries.len() as u64 - 1
    }

    /// A track by number, none when it has been let go.
    pub fn get(&self, number: u64) -> Option<&Track> {
        let index = number.checked_sub(self.first)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// Lets go of tracks before the horizon, from the oldest arrival on until one is younger.
    pub fn let_go(&mut self, horizon: Timestamp) {
        while let Some(track) = self.entries.front()
            && track.ts < horizon
        {
            self.dropped_until = self.dropped_until.max(track.ts);
            self.entries.pop_front();
            self.first += 1;
        }
        self.shrink();
    }

    /// Lets go of the oldest arrivals beyond `max` tracks, until one is not before the instant. Gives the event time up
    /// to which tracks were let go because of it.
    pub fn let_go_beyond(&mut self, max: usize, until: Timestamp) -> Option<Timestamp> {
        if self.entries.len() <= max {
            return None;
        }
        let mut let_go = None;
        while self.entries.len() > max
            && let Some(track) = self.entries.front()
            && track.ts < until
        {
            let_go = let_go.max(Some(track.ts));
            self.entries.pop_front();
            self.first += 1;
        }
        self.dropped_until = self.dropped_until.max(let_go.unwrap_or(self.dropped_until));
        self.shrink();
        let_go
    }

    fn shrink(&mut self) {
        // The deque would keep the memory of its busiest hour for ever.
        if self.entries.capacity() > 4 * self.entries.len() + 1_024 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}
