//! Tumbling windows of event time: per (window, arm, measure) the sums over users of their values in that window.
//!
//! A *row* is one such key; a *cell* is one user's part of it. Cells hang in lists from the user's running value, newest
//! first, one list per window size. When a window closes its rows are given out; its cells are left behind and swept when
//! they are many, for a cell is only ever found by its window and a closed window is never asked for. A row's number is
//! used again only after that: until then it tells its cells' window.

use std::collections::BTreeMap;

use domain::Sums;
use hashbrown::HashMap;

use super::users::{NONE, Value};

/// The window sizes in seconds.
pub const WINDOW_SECONDS: [i32; 3] = [60, 3_600, 86_400];
/// Names a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct RowKey {
    /// The place of the window's size in [`WINDOW_SECONDS`].
    pub size: u8,
    /// The number of windows of that size since the Unix epoch.
    pub index: i64,
    /// The arm's number.
    pub arm: u32,
    /// The measure's number.
    pub measure: u32,
}

/// A row.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Row {
    /// Its name.
    pub key: RowKey,
    /// Sums over users with at least one event in the window.
    pub sums: Sums,
    /// Whether the table has an older form of it.
    pub written: bool,
    /// Whether it changed since it was last written.
    pub changed: bool,
}

/// One user's part of a row. There are more of these than of anything else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    /// The sum of the user's events in the window.
    pub sum: f64,
    /// The next older cell of the list.
    pub next: u32,
    /// The row.
    pub row: u32,
}

/// A cell as a snapshot keeps it.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredCell {
    /// The window, as in [`RowKey::index`].
    index: i64,
    sum: f64,
    next: u32,
    row: u32,
}

/// All open windows.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(super) rows: Vec<Row>,
    free_rows: Vec<u32>,
    /// Rows of closed windows that cells which were left behind still name.
    closed_rows: Vec<u32>,
    numbers: HashMap<RowKey, u32>,
    by_window: [BTreeMap<i64, Vec<u32>>; 3],
    pub(super) cells: Vec<Cell>,
    free_cells: Vec<u32>,
    left_behind: u64,
    /// Windows with an index below this are closed, by size.
    pub closed_below: [i64; 3],
}

/// The index of the window of a size that holds an instant.
pub(crate) fn window_index(size: usize, ts_micros: i64) -> i64 {
    ts_micros.div_euclid(i64::from(WINDOW_SECONDS[size]) * 1_000_000)
}

impl Windows {
    /// Windows of which none is closed.
    pub fn new() -> Self {
        Self {
            closed_below: [i64::MIN; 3],
            ..Self::default()
        }
    }

    /// The windows of a snapshot: rows and cells keep their numbers. Cells of closed windows are taken out of the values'
    /// lists; they and all that no value leads to are free.
    pub fn from_parts(
        rows: Vec<Row>,
        stored: &[StoredCell],
        values: &mut [Value],
        free_rows: Vec<u32>,
        closed_below: [i64; 3],
    ) -> Self {
        let mut windows = Self {
            rows,
            cells: stored.iter().map(StoredCell::cell).collect(),
            free_rows,
            closed_below,
            ..Self::default()
        };
        let mut used = vec![false; stored.len()];
        for (size, value) in values
            .iter_mut()
            .flat_map(|value| value.cells.iter_mut().enumerate())
        {
            let mut at = std::mem::replace(value, NONE);
            let mut kept = NONE;
            while at != NONE {
                let cell = stored[at as usize];
                if cell.index >= closed_below[size] {
                    used[at as usize] = true;
                    windows.append(value, &mut kept, at);
                }
                at = cell.next;
            }
        }
        windows.free_cells = (0..stored.len() as u32)
            .filter(|number| !used[*number as usize])
            .collect();
        let free: std::collections::HashSet<u32> = windows.free_rows.iter().copied().collect();
        for number in (0..windows.rows.len() as u32).filter(|number| !free.contains(number)) {
            let key = windows.rows[number as usize].key;
            windows.numbers.insert(key, number);
            windows.by_window[key.size as usize]
                .entry(key.index)
                .or_default()
                .push(number);
        }
        windows
    }

    /// Hangs a cell behind the last one of a list, or makes it the first.
    fn append(&mut self, first: &mut u32, last: &mut u32, cell: u32) {
        match *last {
            NONE => *first = cell,
            last => self.cells[last as usize].next = cell,
        }
        self.cells[cell as usize].next = NONE;
        *last = cell;
    }

    /// The rows that are free once the cells left behind are gone, for a snapshot, which leaves those out.
    pub fn free_rows(&self) -> Vec<u32> {
        self.free_rows.iter().chain(&self.closed_rows).copied().collect()
    }

    /// The cells, for a snapshot.
    pub fn stored_cells(&self) -> impl ExactSizeIterator<Item = StoredCell> {
        self.cells.iter().map(|cell| StoredCell {
            index: self.index_of(cell),
            sum: cell.sum,
            next: cell.next,
            row: cell.row,
        })
    }

    fn index_of(&self, cell: &Cell) -> i64 {
        self.rows[cell.row as usize].key.index
    }

    /// Whether any window that holds the instant is closed.
    pub fn is_closed(&self, ts_micros: i64) -> bool {
        (0..WINDOW_SECONDS.len()).any(|size| window_index(size, ts_micros) < self.closed_below[size])
    }

    /// Loads a value's newest cells and answers something that depends on each.
    pub fn touch(&self, value: &Value) -> u32 {
        let cells = value
            .cells
            .iter()
            .filter_map(|cell| self.cells.get(*cell as usize));
        cells.fold(0, |rows, cell| rows ^ cell.row)
    }

    fn row_of(&mut self, key: RowKey) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let row = Row {
            key,
            sums: Sums::default(),
            written: false,
            changed: true,
        };
        let number = match self.free_rows.pop() {
            Some(number) => {
                self.rows[number as usize] = row;
                number
            }
            None => {
                self.rows.push(row);
                self.rows.len() as u32 - 1
            }
        };
        self.numbers.insert(key, number);
        self.by_window[key.size as usize]
            .entry(key.index)
            .or_default()
            .push(number);
        number
    }

    /// Adds one event's part to the user's cells in the open windows that hold it.
    pub fn add(&mut self, value: &mut Value, arm: u32, ts_micros: i64, amount: f64) {
        for size in 0..WINDOW_SECONDS.len() {
            let index = window_index(size, ts_micros);
            if index < self.closed_below[size] {
                continue;
            }
            let mut at = value.cells[size];
            while at != NONE && self.index_of(&self.cells[at as usize]) != index {
                at = self.cells[at as usize].next;
            }
            if at != NONE {
                let cell = &mut self.cells[at as usize];
                let before = cell.sum;
                cell.sum += amount;
                let row = &mut self.rows[cell.row as usize];
                row.sums.replace(before, cell.sum);
                row.changed = true;
                continue;
            }
            let row = self.row_of(RowKey {
                size: size as u8,
                index,
                arm,
                measure: value.measure,
            });
            self.rows[row as usize].sums.add(amount);
            self.rows[row as usize].changed = true;
            value.cells[size] = self.new_cell(Cell {
                sum: amount,
                next: value.cells[size],
                row,
            });
        }
    }

    fn new_cell(&mut self, cell: Cell) -> u32 {
        if let Some(number) = self.free_cells.pop() {
            self.cells[number as usize] = cell;
            return number;
        }
        self.cells.push(cell);
        self.cells.len() as u32 - 1
    }

    /// Moves a user's open cells from the rows of one arm to those of another.
    pub fn move_cells(&mut self, value: &Value, arm: u32) {
        for size in 0..WINDOW_SECONDS.len() {
            let mut at = value.cells[size];
            while at != NONE {
                let (number, cell) = (at, self.cells[at as usize]);
                at = cell.next;
                if self.index_of(&cell) < self.closed_below[size] {
                    continue;
                }
                self.take_from_row(&cell);
                let key = RowKey {
                    arm,
                    ..self.rows[cell.row as usize].key
                };
                let row = self.row_of(key);
                self.rows[row as usize].sums.add(cell.sum);
                self.rows[row as usize].changed = true;
                self.cells[number as usize].row = row;
            }
        }
    }

    fn take_from_row(&mut self, cell: &Cell) {
        let row = &mut self.rows[cell.row as usize];
        row.sums.remove(cell.sum);
        row.changed = true;
    }

    /// Takes a user's open cells out of their rows and frees all its cells.
    pub fn drop_cells(&mut self, value: &mut Value) {
        for size in 0..WINDOW_SECONDS.len() {
            let mut at = std::mem::replace(&mut value.cells[size], NONE);
            while at != NONE {
                let cell = self.cells[at as usize];
                if self.index_of(&cell) < self.closed_below[size] {
                    self.left_behind = self.left_behind.saturating_sub(1);
                } else {
                    self.take_from_row(&cell);
                }
                self.free_cells.push(at);
                at = cell.next;
            }
        }
    }

    /// Closes the windows that end at or before the instant, and gives out their changed rows.
    pub fn close(&mut self, until_micros: i64, out: &mut Vec<Row>) {
        for size in 0..WINDOW_SECONDS.len() {
            let boundary = window_index(size, until_micros);
            if boundary <= self.closed_below[size] {
                continue;
            }
            self.closed_below[size] = boundary;
            let open = self.by_window[size].split_off(&boundary);
            for number in std::mem::replace(&mut self.by_window[size], open)
                .into_values()
                .flatten()
            {
                let row = &self.rows[number as usize];
                self.left_behind += row.sums.units;
                self.numbers.remove(&row.key);
                if row.changed {
                    out.push(row.clone());
                }
                match row.sums.units {
                    0 => self.free_rows.push(number),
                    _ => self.closed_rows.push(number),
                }
            }
        }
    }

    /// Gives out the changed rows of all open windows; they stay open.
    pub fn flush(&mut self, out: &mut Vec<Row>) {
        for number in self.by_window.iter().flat_map(BTreeMap::values).flatten() {
            let row = &mut self.rows[*number as usize];
            if row.changed {
                out.push(row.clone());
                row.written = true;
                row.changed = false;
            }
        }
    }

    /// Takes all open rows for written as they are.
    pub fn consider_written(&mut self) {
        for number in self.by_window.iter().flat_map(BTreeMap::values).flatten() {
            let row = &mut self.rows[*number as usize];
            row.written = true;
            row.changed = false;
        }
    }

    /// Marks the open rows of a day as written and unchanged, because the whole day has been rewritten; gives them out.
    pub fn take_day(&mut self, day: i32, out: &mut Vec<Row>) {
        for (size, seconds) in WINDOW_SECONDS.iter().enumerate() {
            let per_day = 86_400 / i64::from(*seconds);
            let days = i64::from(day) * per_day..(i64::from(day) + 1) * per_day;
            for number in self.by_window[size].range(days).flat_map(|(_, rows)| rows) {
                let row = &mut self.rows[*number as usize];
                out.push(row.clone());
                row.written = true;
                row.changed = false;
            }
        }
    }

    /// Frees the cells of closed windows once there are `min` of them, and they are a third of all: so each is looked at
    /// three times at most.
    pub fn sweep(&mut self, values: &mut [Value], min: u64) {
        let live = (self.cells.len() - self.free_cells.len()) as u64;
        if self.left_behind < min || self.left_behind * 3 < live {
            return;
        }
        for (size, value) in values
            .iter_mut()
            .flat_map(|value| value.cells.iter_mut().enumerate())
        {
            let boundary = self.closed_below[size];
            let mut kept = NONE;
            let mut at = std::mem::replace(value, NONE);
            while at != NONE {
                let next = self.cells[at as usize].next;
                if self.index_of(&self.cells[at as usize]) < boundary {
                    self.free_cells.push(at);
                } else {
                    self.append(value, &mut kept, at);
                }
                at = next;
            }
        }
        self.free_rows.append(&mut self.closed_rows);
        self.left_behind = 0;
    }
}

impl StoredCell {
    fn cell(&self) -> Cell {
        Cell {
            sum: self.sum,
            next: self.next,
            row: self.row,
        }
    }
}
