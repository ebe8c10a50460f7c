//! Accepted events read back from the lake, in the order in which they were accepted.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use domain::{EventKind, PartitionId, Position, Timestamp};
use ingest::{EventBatch, EventRecord, Span};

use crate::PipelineError;
use crate::engine::HistoryEvent;
use crate::lake::{Lake, read_file};
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

async fn read(lake: &Lake, path: &str) -> Result<Vec<RecordBatch>, PipelineError> {
    let path = format!("lake/{}/{path}", Table::Events.name());
    let bytes = lake.root().get(&path).await?;
    let bytes = bytes.ok_or_else(|| PipelineError::BadState {
        path,
        why: "the table names it and it is missing".into(),
    })?;
    read_file(Table::Events, bytes)
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

/// The accepted events up to an epoch of the users that `wanted` knows, by the number that it gives them.
///
/// # Errors
/// When a file of the table cannot be read.
pub async fn user_events(
    lake: &Lake,
    up_to_epoch: i64,
    wanted: impl Fn(&str) -> Option<u32>,
) -> Result<HashMap<u32, Vec<HistoryEvent>>, PipelineError> {
    let mut found: HashMap<u32, Vec<HistoryEvent>> = HashMap::new();
    for file in lake.active_files(Table::Events)? {
        for batch in read(lake, &file.path).await? {
            let columns = Columns { batch: &batch };
            for row in 0..batch.num_rows() {
                if columns.integer("epoch", row) > up_to_epoch {
                    continue;
                }
                if let Some(user) = wanted(columns.text("user_id", row)) {
                    found.entry(user).or_default().push(history_event(&columns, row));
                }
            }
        }
    }
    Ok(found)
}

/// Calls `each` for every accepted track of a day up to an epoch.
///
/// # Errors
/// When a file of the table cannot be read.
pub async fn day_tracks(
    lake: &Lake,
    day: i32,
    up_to_epoch: i64,
    mut each: impl FnMut(&str, Timestamp, &str, f64),
) -> Result<(), PipelineError> {
    for file in lake
        .active_files(Table::Events)?
        .into_iter()
        .filter(|file| file.day == Some(day))
    {
        for batch in read(lake, &file.path).await? {
            let columns = Columns { batch: &batch };
            for row in 0..batch.num_rows() {
                if columns.kind(row) == EventKind::Track && columns.integer("epoch", row) <= up_to_epoch {
                    each(
                        columns.text("user_id", row),
                        columns.time("ts", row),
                        columns.text("event", row),
                        columns.value(row),
                    );
                }
            }
        }
    }
    Ok(())
}

fn history_event(columns: &Columns<'_>, row: usize) -> HistoryEvent {
    let ts = columns.time("ts", row);
    match columns.kind(row) {
        EventKind::Exposure => {
            let event_id = columns.text("event_id", row).to_owned();
            let id_key = ingest::decode::id_key(event_id.as_bytes());
            let (experiment, variant) = (
                columns.text("experiment", row).into(),
                columns.text("variant", row).into(),
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
            event: columns.text("event", row).into(),
            value: columns.value(row),
        },
    }
}
