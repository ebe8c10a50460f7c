//! Making the closed windows of a day again from the day's tracks.

use domain::{Sums, Timestamp};
use hashbrown::HashMap;

use super::users::NONE;
use super::windows::{Row, RowKey, WINDOW_SECONDS, window_index};
use super::{Derived, Engine, WindowRow};
use crate::measure::Adds;

/// The place of the day among the window sizes.
const DAY: usize = WINDOW_SECONDS.len() - 1;

/// The windows of one day under construction. Times are added slice by slice, each slice a number of whole hours, so that
/// memory holds the parts of users in the short windows of one slice only.
#[derive(Debug, Default)]
pub struct DayCells {
    /// The parts of users in the closed minutes and hours of the slice: by window size, window, exposure and measure.
    short: HashMap<(u8, i64, u32, u32), f64>,
    /// The parts of users in the closed day, by exposure and measure.
    day: HashMap<(u32, u32), f64>,
    sums: HashMap<RowKey, Sums>,
}

impl Engine {
    /// What came too late until now; from now on the engine considers it mended.
    pub fn take_dirty(&mut self) -> super::Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// Adds a track to the closed windows that hold it, for each experiment of its user that it counts for.
    pub fn add_to_day(&self, cells: &mut DayCells, user: (u64, &str), ts: Timestamp, track: (&str, f64)) {
        let Some(user) = self.users.find(user.0, user.1.as_bytes()) else {
            return;
        };
        let Some(event) = self.events.find(track.0) else {
            return;
        };
        let mut at = self.first_exposures[user as usize];
        while at != NONE {
            let exposure = &self.exposures[at as usize];
            for number in self.measures.of_event(event) {
                let measure = self.measures.get(*number);
                let after = ts.0.saturating_sub(exposure.ts.0);
                if after < 0 || after >= measure.window_micros {
                    continue;
                }
                let amount = if measure.adds == Adds::One { 1.0 } else { track.1 };
                for size in 0..WINDOW_SECONDS.len() {
                    let index = window_index(size, ts.0);
                    if index >= self.windows.closed_below[size] {
                        continue;
                    }
                    if size == DAY {
                        *cells.day.entry((at, *number)).or_default() += amount;
                    } else {
                        *cells.short.entry((size as u8, index, at, *number)).or_default() += amount;
                    }
                }
            }
            at = exposure.next;
        }
    }

    /// Adds the slice up: nothing of its hours comes any more.
    pub fn end_slice(&self, cells: &mut DayCells) {
        for ((size, index, exposure, measure), sum) in cells.short.drain() {
            let arm = self.exposures[exposure as usize].arm;
            let key = RowKey {
                size,
                index,
                arm,
                measure,
            };
            cells.sums.entry(key).or_default().add(sum);
        }
    }

    /// All rows of a day: closed windows as added up, open ones as they stand. Rows of the day that waited to be given out
    /// are forgotten, for these replace them.
    pub fn day_rows(&mut self, day: i32, mut cells: DayCells) -> Vec<WindowRow> {
        self.end_slice(&mut cells);
        let index = i64::from(day);
        for ((exposure, measure), sum) in cells.day.drain() {
            let arm = self.exposures[exposure as usize].arm;
            let key = RowKey {
                size: DAY as u8,
                index,
                arm,
                measure,
            };
            cells.sums.entry(key).or_default().add(sum);
        }
        let closed = cells.sums.into_iter().map(|(key, sums)| Row {
            key,
            sums,
            written: false,
            changed: false,
        });
        let mut rows: Vec<Row> = closed.collect();
        rows.sort_by_key(|row| (row.key.size, row.key.index, row.key.arm, row.key.measure));
        let in_day = |row: &Row| {
            let start = row.key.index * i64::from(WINDOW_SECONDS[row.key.size as usize]) * 1_000_000;
            Timestamp(start).day() == day
        };
        self.closed_rows.retain(|row| !in_day(row));
        self.windows.take_day(day, &mut rows);
        let mut derived = Derived::default();
        for row in &rows {
            self.window_rows(row, &mut derived);
        }
        derived.windows
    }
}
