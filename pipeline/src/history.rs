//! Accepted events read back from the lake, in the order in which they were accepted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use domain::{EventKind, PartitionId, Position, Timestamp};
use ingest::{EventBatch, EventRecord, Span};

use crate::PipelineError;
use crate::engine::HistoryEvent;
use crate::lake::{Lake, Part, read_batches, read_file};
use crate::schema::Table;

/// Events given to the engine at once while the state is restored.
const RESTORE_BATCH_EVENTS: usize = 65_536;

/// The columns of the `events` table in one record batch.
struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn text(&self, name: &str, row: usize) -> &'a str {
        let column = self
            .batch
            .column_by_name(name)
            .expect("the column stands in the table's schema");
        let column = column.as_string::<i32>();
        if column.is_null(row) {
            ""
        } else {
            column.value(row)
        }
    }

    fn integer(&self, name: &str, row: usize) -> i64 {
        self.batch
            .column_by_name(name)
            .expect("the column stands in the table's schema")
            .as_primitive::<Int64Type>()
            .value(row)
    }

    fn time(&self, name: &str, row: usize) -> Timestamp {
        let column = self
            .batch
            .column_by_name(name)
            .expect("the column stands in the table's schema");
        Timestamp(column.as_primitive::<TimestampMicrosecondType>().value(row))
    }

    fn value(&self, row: usize) -> f64 {
        let column = self
            .batch
            .column_by_name("value")
            .expect("the column stands in the table's schema");
        let column = column.as_primitive::<Float64Type>();
        if column.is_null(row) {
            0.0
        } else {
            column.value(row)
        }
    }

    fn kind(&self, row: usize) -> EventKind {
        if self.text("type", row) == "exposure" {
            EventKind::Exposure
        } else {
            EventKind::Track
        }
    }

    /// The experiment of an exposure, the event name of a track.
    fn name(&self, row: usize) -> &'a str {
        match self.kind(row) {
            EventKind::Exposure => self.text("experiment", row),
            EventKind::Track => self.text("event", row),
        }
    }
}

/// Reads the accepted events of one epoch, in the order in which they were accepted, in batches for the engine.
///
/// # Errors
/// When a file of the table cannot be read.
pub async fn epoch_events(lake: &Lake, epoch: i64) -> Result<Vec<EventBatch>, PipelineError> {
    let mut batches = Vec::new();
    for file in lake.active_files(Table::Events)? {
        if file
            .epochs
            .is_none_or(|(first, last)| (first..=last).contains(&epoch))
        {
            batches.extend(read(lake, &file.path).await?);
        }
    }
    let mut order: Vec<(i64, u32, u32)> = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let columns = Columns { batch };
        let rows = (0..batch.num_rows()).filter(|row| columns.integer("epoch", *row) == epoch);
        order.extend(rows.map(|row| (columns.integer("sequence", row), number as u32, row as u32)));
    }
    order.sort_unstable();
    let chunks = order.chunks(RESTORE_BATCH_EVENTS);
    Ok(chunks.map(|chunk| event_batch(&batches, chunk)).collect())
}

/// Calls `each` with all accepted events of the epochs up to one, in about the order in which they were accepted.
///
/// # Errors
/// When a file of the table cannot be read.
pub async fn for_each_event(
    lake: &Lake,
    up_to_epoch: i64,
    mut each: impl FnMut(EventBatch),
) -> Result<(), PipelineError> {
    let mut files = lake.active_files(Table::Events)?;
    files.sort_by_key(|file| (file.epochs, file.day, file.path.clone()));
    for file in files {
        for batch in read_batches(Table::Events, bytes_of(lake, &file.path).await?, &Part::default())? {
            let batches = [batch?];
            let columns = Columns { batch: &batches[0] };
            let rows = (0..batches[0].num_rows()).filter(|row| columns.integer("epoch", *row) <= up_to_epoch);
            let order: Vec<(i64, u32, u32)> = rows.map(|row| (0, 0, row as u32)).collect();
            each(event_batch(&batches, &order));
        }
    }
    Ok(())
}

async fn read(lake: &Lake, path: &str) -> Result<Vec<RecordBatch>, PipelineError> {
    read_file(Table::Events, bytes_of(lake, path).await?)
}

async fn bytes_of(lake: &Lake, path: &str) -> Result<Bytes, PipelineError> {
    lake.file_bytes(Table::Events, path).await
}

fn event_batch(batches: &[RecordBatch], order: &[(i64, u32, u32)]) -> EventBatch {
    let mut batch = EventBatch {
        partition: PartitionId("lake:events".into()),
        end: Position::End,
        buffer: Vec::new(),
        events: Vec::with_capacity(order.len()),
        rejections: Vec::new(),
    };
    for (_, number, row) in order {
        let columns = Columns {
            batch: &batches[*number as usize],
        };
        let row = *row as usize;
        let (event_id, user_id) = (columns.text("event_id", row), columns.text("user_id", row));
        let record = EventRecord {
            kind: columns.kind(row),
            ts: columns.time("ts", row),
            received_at: columns.time("received_at", row),
            event_id: keep(&mut batch.buffer, event_id),
            user_id: keep(&mut batch.buffer, user_id),
            name: keep(&mut batch.buffer, columns.name(row)),
            variant: keep(&mut batch.buffer, columns.text("variant", row)),
            value: columns.value(row),
            properties: Span::default(),
            id_key: ingest::decode::id_key(event_id.as_bytes()),
            user_hash: ingest::decode::user_hash(user_id.as_bytes()),
        };
        batch.events.push(record);
    }
    batch
}

fn keep(buffer: &mut Vec<u8>, text: &str) -> Span {
    let start = buffer.len() as u32;
    buffer.extend_from_slice(text.as_bytes());
    Span {
        start,
        length: text.len() as u32,
    }
}

/// The columns that say what a user did.
const USER_COLUMNS: [&str; 9] = [
    "event_id",
    "type",
    "ts",
    "user_id",
    "experiment",
    "variant",
    "event",
    "value",
    "epoch",
];
/// The columns that say what is counted in a window.
const TRACK_COLUMNS: [&str; 6] = ["type", "ts", "user_id", "event", "value", "epoch"];

/// Calls `each` for every batch of accepted events in a file.
async fn each_batch(
    lake: &Lake,
    path: &str,
    part: &Part<'_>,
    mut each: impl FnMut(&RecordBatch),
) -> Result<(), PipelineError> {
    for batch in read_batches(Table::Events, bytes_of(lake, path).await?, part)? {
        each(&batch?);
    }
    Ok(())
}

/// The accepted events up to an epoch of as many of the users as fit into `events_max`, the smallest numbers first and at
/// least one; the users are those that `number_of` knows and `users` holds. Gives the events by user, and takes the users
/// that did not fit out of `users`.
///
/// # Errors
/// When a file of the table cannot be read.
pub async fn user_events(
    lake: &Lake,
    up_to_epoch: i64,
    users: &mut BTreeSet<u32>,
    events_max: usize,
    number_of: impl Fn(&str) -> Option<u32>,
) -> Result<BTreeMap<u32, Vec<HistoryEvent>>, PipelineError> {
    let mut found: BTreeMap<u32, Vec<HistoryEvent>> = BTreeMap::new();
    let mut names = SharedTexts::default();
    let mut count = 0;
    let part = Part {
        columns: &USER_COLUMNS,
        times: None,
    };
    for file in lake.active_files(Table::Events)? {
        each_batch(lake, &file.path, &part, |batch| {
            let columns = Columns { batch };
            for row in 0..batch.num_rows() {
                if columns.integer("epoch", row) > up_to_epoch {
                    continue;
                }
                let user = number_of(columns.text("user_id", row)).filter(|user| users.contains(user));
                if let Some(user) = user {
                    let events = found.entry(user).or_default();
                    events.push(history_event(&columns, row, &mut names));
                    count += 1;
                }
            }
            while count > events_max && users.len() > 1 {
                let middle = users.iter().nth(users.len() / 2).copied().unwrap_or_default();
                users.split_off(&middle);
                let gone = found.split_off(&middle);
                count -= gone.values().map(Vec::len).sum::<usize>();
            }
        })
        .await?;
    }
    Ok(found)
}

/// Calls `each` for every accepted track of a day up to an epoch whose time in microseconds lies in a range.
///
/// # Errors
/// When a file of the table cannot be read.
pub async fn day_tracks(
    lake: &Lake,
    day: i32,
    up_to_epoch: i64,
    times: Range<i64>,
    mut each: impl FnMut(&str, Timestamp, &str, f64),
) -> Result<(), PipelineError> {
    let part = Part {
        columns: &TRACK_COLUMNS,
        times: Some(times.clone()),
    };
    let files = lake.active_files(Table::Events)?;
    for file in files.into_iter().filter(|file| file.day == Some(day)) {
        each_batch(lake, &file.path, &part, |batch| {
            let columns = Columns { batch };
            for row in 0..batch.num_rows() {
                let ts = columns.time("ts", row);
                let known = columns.integer("epoch", row) <= up_to_epoch;
                if known && times.contains(&ts.0) && columns.kind(row) == EventKind::Track {
                    each(
                        columns.text("user_id", row),
                        ts,
                        columns.text("event", row),
                        columns.value(row),
                    );
                }
            }
        })
        .await?;
    }
    Ok(())
}

/// Texts that repeat, kept once.
#[derive(Default)]
struct SharedTexts(HashSet<Arc<str>>);

impl SharedTexts {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }
}

fn history_event(columns: &Columns<'_>, row: usize, names: &mut SharedTexts) -> HistoryEvent {
    let ts = columns.time("ts", row);
    match columns.kind(row) {
        EventKind::Exposure => {
            let event_id = columns.text("event_id", row).to_owned();
            let id_key = ingest::decode::id_key(event_id.as_bytes());
            let (experiment, variant) = (
                names.share(columns.text("experiment", row)),
                names.share(columns.text("variant", row)),
            );
            HistoryEvent::Exposure {
                ts,
                experiment,
                variant,
                event_id,
                id_key,
            }
        }
        EventKind::Track => HistoryEvent::Track {
            ts,
            event: names.share(columns.text("event", row)),
            value: columns.value(row),
        },
    }
}
