//! Reads ahead what a group of events will change, so that the loads of many events wait for memory together.
//!
//! A user's state is a chain: user, exposures, running values, window cells. One event at a time, each link is a cache
//! miss that the next one waits for. Here a group of events takes each link in one loop whose loads do not depend on each
//! other. Nothing is changed, and nothing depends on how far ahead was read.

use std::hint::black_box;

use super::users::{NO_TRACK, NONE};
use super::{Engine, Resolved};

/// How many events are read ahead together: enough loads in flight, few enough that the first is still in the cache.
pub(super) const GROUP: usize = 32;
/// How many links of a user's list of exposures, and of an exposure's list of values, are read ahead.
const DEPTH: usize = 4;

impl Engine {
    /// Loads the state of a group of at most [`GROUP`] events.
    pub(super) fn touch(&self, group: &[Resolved]) {
        let mut exposures = [NONE; GROUP];
        let mut newest_tracks = [NO_TRACK; GROUP];
        for ((exposure, track), resolved) in exposures.iter_mut().zip(&mut newest_tracks).zip(group) {
            *exposure = self.first_exposures[resolved.user as usize];
            *track = self.last_tracks[resolved.user as usize];
        }
        let tracks = newest_tracks.iter().filter_map(|track| self.tracks.get(*track));
        black_box(tracks.fold(0, |all, track| all ^ track.previous));
        let mut values = [(NONE, NONE); GROUP * DEPTH];
        let mut count = 0;
        for _ in 0..DEPTH {
            for (at, resolved) in exposures.iter_mut().zip(group) {
                if let Some(exposure) = self.exposures.get(*at as usize) {
                    values[count] = (exposure.first_value, resolved.event);
                    count += 1;
                    *at = exposure.next;
                }
            }
        }
        self.touch_values(&mut values[..count]);
    }

    /// Follows lists of values to those of an event name, and loads their newest cells.
    fn touch_values(&self, values: &mut [(u32, u32)]) {
        let mut newest_cells = 0;
        for _ in 0..DEPTH {
            for (at, event) in values.iter_mut() {
                let Some(value) = self.values.get(*at as usize) else {
                    continue;
                };
                if self.measures.get(value.measure).event == *event {
                    newest_cells ^= self.windows.touch(value);
                    *at = NONE;
                } else {
                    *at = value.next;
                }
            }
        }
        black_box(newest_cells);
    }
}
