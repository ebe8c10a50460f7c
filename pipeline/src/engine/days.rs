//! Making the closed windows of a day again from the day's tracks.

use std::collections::HashMap;

use domain::{Sums, Timestamp};

use super::users::NONE;
use super::windows::{Row, RowKey, WINDOW_SECONDS, window_index};
use super::{Derived, Engine, WindowRow};
use crate::measure::Adds;

/// The parts of users in the closed windows of one day: by window size, window, exposure and measure.
#[derive(Debug, Default)]
pub struct DayCells(HashMap<(u8, i64, u32, u32), f64>);

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
                    if index < self.windows.closed_below[size] {
                        *cells.0.entry((size as u8, index, at, *number)).or_default() += amount;
                    }
                }
            }
            at = exposure.next;
        }
    }

    /// All rows of a day: closed windows as added up, open ones as they stand. Rows of the day that waited to be given out
    /// are forgotten, for these replace them.
    pub fn day_rows(&mut self, day: i32, cells: DayCells) -> Vec<WindowRow> {
        let mut sums: HashMap<RowKey, Sums> = HashMap::new();
        for ((size, index, exposure, measure), sum) in cells.0 {
            let arm = self.exposures[exposure as usize].arm;
            sums.entry(RowKey {
                size,
                index,
                arm,
                measure,
            })
            .or_default()
            .add(sum);
        }
        let closed = sums.into_iter().map(|(key, sums)| Row {
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
