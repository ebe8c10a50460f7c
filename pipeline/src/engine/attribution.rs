//! Which tracks count for which exposure, whatever order they come in.
//!
//! A track counts for each experiment of its user when it is not before the first exposure and within the measure's window
//! after it. The first exposure is the smallest (ts, event id). An exposure that arrives after tracks that it owns claims
//! them from the recent tracks; when they have been let go already, the user is marked as dirty.

use std::sync::Arc;

use domain::Timestamp;

use super::users::{Exposure, NONE, Track, Value};
use super::{Engine, users};

/// How long a canonical UUID is as text.
const UUID_TEXT_BYTES: usize = 36;

/// One event of a user's history, as read back from the lake.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryEvent {
    /// An exposure.
    Exposure {
        /// When.
        ts: Timestamp,
        /// The experiment.
        experiment: Arc<str>,
        /// The variant.
        variant: Arc<str>,
        /// The event's id, for ties.
        event_id: String,
        /// The 128 bits that stand for the id.
        id_key: u128,
    },
    /// A track.
    Track {
        /// When.
        ts: Timestamp,
        /// The event's name.
        event: Arc<str>,
        /// Its value.
        value: f64,
    },
}

impl HistoryEvent {
    fn ts(&self) -> Timestamp {
        match self {
            Self::Exposure { ts, .. } | Self::Track { ts, .. } => *ts,
        }
    }
}

fn is_canonical_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == UUID_TEXT_BYTES
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}

/// The text of a UUID, whose order equals the order of the 128 bits.
fn uuid_text(key: u128) -> String {
    let hex = format!("{key:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

impl Engine {
    /// Takes an exposure in.
    pub(super) fn expose(&mut self, user: u32, to: (u32, u32), ts: Timestamp, id: (u128, &str)) {
        let known_arms = self.arms.list().len();
        let arm = self.arms.number_of(to.0, to.1);
        if self.arms.list().len() > known_arms {
            self.know_watched_arms();
        }
        let mut at = self.first_exposures[user as usize];
        while at != NONE && self.arms.get(self.exposures[at as usize].arm).experiment != to.0 {
            at = self.exposures[at as usize].next;
        }
        if at == NONE {
            self.first_exposure(user, arm, ts, id);
            return;
        }
        if self.exposures[at as usize].arm != arm && !self.exposures[at as usize].crossover {
            self.cross_over(at);
        }
        if self.is_earlier(at, ts, id) {
            self.move_earlier(at, arm, ts, id);
        }
    }

    fn first_exposure(&mut self, user: u32, arm: u32, ts: Timestamp, id: (u128, &str)) {
        let id_text = self.keep_text(id.1);
        let exposure = Exposure {
            user,
            next: self.first_exposures[user as usize],
            arm,
            first_value: NONE,
            ts,
            id_key: id.0,
            id_text,
            crossover: false,
            written: false,
            changed: false,
        };
        let number = match self.free_exposures.pop() {
            Some(number) => {
                self.exposures[number as usize] = exposure;
                number
            }
            None => {
                self.exposures.push(exposure);
                self.exposures.len() as u32 - 1
            }
        };
        self.first_exposures[user as usize] = number;
        let state = self.arms.get_mut(arm);
        state.exposed += 1;
        state.changed = true;
        self.cohorts.exposed(arm, ts, 1);
        self.note_change(number);
        self.claim(number, ts, Timestamp(i64::MAX));
    }

    fn keep_text(&mut self, id: &str) -> u32 {
        if is_canonical_uuid(id) {
            return NONE;
        }
        self.exposure_texts.push(id.into());
        self.exposure_texts.len() as u32 - 1
    }

    pub(super) fn note_change(&mut self, number: u32) {
        let exposure = &mut self.exposures[number as usize];
        if !exposure.changed {
            exposure.changed = true;
            self.changed_exposures.push(number);
        }
        if exposure.written {
            self.stale_exposure_days.insert(exposure.ts.day());
        }
    }

    fn is_earlier(&self, at: u32, ts: Timestamp, id: (u128, &str)) -> bool {
        let exposure = &self.exposures[at as usize];
        if ts != exposure.ts {
            return ts < exposure.ts;
        }
        if exposure.id_text == NONE && is_canonical_uuid(id.1) {
            return id.0 < exposure.id_key;
        }
        match self.exposure_texts.get(exposure.id_text as usize) {
            Some(text) => *id.1 < **text,
            None => *id.1 < *uuid_text(exposure.id_key),
        }
    }

    /// Takes a user seen with two variants out of the summary; the running values make that a subtraction.
    fn cross_over(&mut self, at: u32) {
        self.remove_from_arm(at);
        let exposure = &mut self.exposures[at as usize];
        exposure.crossover = true;
        let arm = exposure.arm;
        self.arms.get_mut(arm).crossovers += 1;
        self.note_change(at);
    }

    /// Takes an exposure's share out of its arm's totals and its cohort.
    fn remove_from_arm(&mut self, at: u32) {
        let exposure = self.exposures[at as usize];
        let state = self.arms.get_mut(exposure.arm);
        state.exposed -= 1;
        state.changed = true;
        let mut next = exposure.first_value;
        while next != NONE {
            let value = self.values[next as usize];
            let counted = self.measures.get(value.measure).capped(value.running);
            state.sums_mut(value.measure).remove(counted);
            self.cohorts.unaffected(exposure.arm, value.measure, exposure.ts);
            next = value.next;
        }
        self.cohorts.exposed(exposure.arm, exposure.ts, -1);
    }

    /// An exposure earlier than the first one known becomes the first.
    fn move_earlier(&mut self, at: u32, arm: u32, ts: Timestamp, id: (u128, &str)) {
        let before = self.exposures[at as usize];
        if before.written {
            self.stale_exposure_days.insert(before.ts.day());
        }
        if !before.crossover {
            self.cohorts.exposed(before.arm, before.ts, -1);
            self.cohorts.exposed(arm, ts, 1);
            self.move_affected(at, ts);
        }
        if before.arm != arm {
            // The user is a crossover, so only windows know it; its closed ones have to be made again.
            self.arms.get_mut(before.arm).crossovers -= 1;
            self.arms.get_mut(arm).crossovers += 1;
            self.move_windows(at, arm);
        }
        let id_text = self.keep_text(id.1);
        let exposure = &mut self.exposures[at as usize];
        (exposure.arm, exposure.ts, exposure.id_key, exposure.id_text) = (arm, ts, id.0, id_text);
        self.note_change(at);
        self.claim(at, ts, before.ts);
        if self.measures.has_windows() && before.ts != ts && !self.reconciling {
            // Tracks at the end of the conversion window fall out of it; they may be anywhere in the past.
            self.mark_dirty(before.user, ts);
        }
    }

    fn move_affected(&mut self, at: u32, ts: Timestamp) {
        let exposure = self.exposures[at as usize];
        let mut next = exposure.first_value;
        while next != NONE {
            let value = self.values[next as usize];
            self.cohorts
                .move_affected(exposure.arm, value.measure, exposure.ts, ts);
            next = value.next;
        }
    }

    fn move_windows(&mut self, at: u32, arm: u32) {
        let exposure = self.exposures[at as usize];
        let mut next = exposure.first_value;
        while next != NONE {
            let value = self.values[next as usize];
            self.windows.move_cells(&value, arm);
            next = value.next;
        }
        if exposure.first_value != NONE && self.windows.is_closed(exposure.ts.0) && !self.reconciling {
            let last = self.watermark.max(exposure.ts).day();
            self.dirty.users.insert(exposure.user);
            self.dirty.days.extend(exposure.ts.day()..=last);
        }
    }

    /// Counts the recent tracks of an exposure's user from `from` to before `to`, which were there before the exposure.
    fn claim(&mut self, at: u32, from: Timestamp, to: Timestamp) {
        if self.reconciling {
            return;
        }
        let user = self.exposures[at as usize].user;
        if from <= self.tracks.dropped_until && self.last_tracks[user as usize] != users::NO_TRACK {
            self.mark_dirty(user, from);
            return;
        }
        let mut number = self.last_tracks[user as usize];
        while let Some(track) = self.tracks.get(number).copied() {
            if track.ts >= from && track.ts < to {
                self.count(at, &track);
            }
            number = track.previous;
        }
    }

    /// Marks a user whose events from `from` on have to be attributed again.
    fn mark_dirty(&mut self, user: u32, from: Timestamp) {
        self.dirty.users.insert(user);
        let last = self.watermark.max(from).day();
        self.dirty.days.extend(from.day()..=last);
    }

    /// Takes a track in.
    pub(super) fn track(&mut self, user: u32, mut track: Track) {
        let mut at = self.first_exposures[user as usize];
        while at != NONE {
            if track.ts >= self.exposures[at as usize].ts {
                self.count(at, &track);
            }
            at = self.exposures[at as usize].next;
        }
        if self.reconciling {
            return;
        }
        track.previous = self.last_tracks[user as usize];
        self.last_tracks[user as usize] = self.tracks.push(track);
    }

    /// Counts a track that is not before an exposure for it.
    fn count(&mut self, at: u32, track: &Track) {
        let exposure = self.exposures[at as usize];
        for place in 0..self.measures.of_event(track.event).len() {
            let number = self.measures.of_event(track.event)[place];
            let measure = self.measures.get(number);
            if track.ts.0.saturating_sub(exposure.ts.0) >= measure.window_micros {
                continue;
            }
            let amount = match measure.adds {
                crate::measure::Adds::Value => track.value,
                crate::measure::Adds::One => 1.0,
            };
            let (value, new) = self.value_of(at, number);
            let before = self.values[value as usize].running;
            let after = before + amount;
            self.values[value as usize].running = after;
            if !exposure.crossover {
                let measure = self.measures.get(number);
                let (before, after) = (measure.capped(before), measure.capped(after));
                let sums = self.arms.get_mut(exposure.arm).sums_mut(number);
                if new {
                    sums.add(after);
                    self.cohorts.affected(exposure.arm, number, exposure.ts);
                } else {
                    sums.replace(before, after);
                }
            }
            self.windows
                .add(&mut self.values[value as usize], exposure.arm, track.ts.0, amount);
        }
        if !self.reconciling && self.windows.is_closed(track.ts.0) {
            self.dirty.days.insert(track.ts.day());
        }
    }

    fn value_of(&mut self, at: u32, measure: u32) -> (u32, bool) {
        let first = self.exposures[at as usize].first_value;
        let mut next = first;
        while next != NONE {
            let value = &self.values[next as usize];
            if value.measure == measure {
                return (next, false);
            }
            next = value.next;
        }
        let value = Value {
            measure,
            next: first,
            running: 0.0,
            cells: [NONE; 3],
        };
        let number = match self.free_values.pop() {
            Some(number) => {
                self.values[number as usize] = value;
                number
            }
            None => {
                self.values.push(value);
                self.values.len() as u32 - 1
            }
        };
        self.exposures[at as usize].first_value = number;
        (number, true)
    }

    /// Makes a user's attribution again from the whole history of its accepted events, in any order.
    ///
    /// Open windows are mended with it; closed ones are left to whoever rewrites their day.
    pub fn rebuild_user(&mut self, user: u32, mut history: Vec<HistoryEvent>) {
        // At the same instant the exposure comes first: a track counts when it is not before it.
        history.sort_by_key(|event| (event.ts(), matches!(event, HistoryEvent::Track { .. })));
        self.forget_attribution(user);
        self.reconciling = true;
        for event in history {
            match event {
                HistoryEvent::Exposure {
                    ts,
                    experiment,
                    variant,
                    event_id,
                    id_key,
                } => {
                    let experiment = self.experiments.number_of(&experiment);
                    let variant = self.variants.number_of(&variant);
                    if self.measures.measures_experiment(experiment) {
                        self.expose(user, (experiment, variant), ts, (id_key, &event_id));
                    }
                }
                HistoryEvent::Track { ts, event, value } => {
                    let event = self.event_number(&event);
                    self.track(
                        user,
                        Track {
                            previous: users::NO_TRACK,
                            ts,
                            value,
                            event,
                        },
                    );
                }
            }
        }
        self.reconciling = false;
        self.dirty.users.remove(&user);
    }

    fn forget_attribution(&mut self, user: u32) {
        let mut at = std::mem::replace(&mut self.first_exposures[user as usize], NONE);
        while at != NONE {
            let exposure = self.exposures[at as usize];
            if exposure.crossover {
                self.arms.get_mut(exposure.arm).crossovers -= 1;
            } else {
                self.remove_from_arm(at);
            }
            let mut next = exposure.first_value;
            while next != NONE {
                self.windows.drop_cells(&mut self.values[next as usize]);
                self.free_values.push(next);
                next = self.values[next as usize].next;
            }
            if exposure.written {
                self.stale_exposure_days.insert(exposure.ts.day());
            }
            // A change that waits to be written names a place, which may have another owner by then.
            self.exposures[at as usize].changed = false;
            self.exposures[at as usize].user = NONE;
            self.free_exposures.push(at);
            at = exposure.next;
        }
    }
}
