//! Rows to Arrow columns, table by table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use domain::{EventKind, Timestamp};
use ingest::{EventBatch, Rejection};

use crate::PipelineError;
use crate::engine::{ExposureRow, SummaryRow, WindowRow};
use crate::schema::Table;

/// Texts of the next batch may be longer than those of the last by this part before memory has to grow.
const SPARE_PART: usize = 8;

/// A column of texts under construction: all bytes behind each other, checked for UTF-8 once when it is finished.
#[derive(Debug)]
struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    present: Vec<bool>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            offsets: vec![0],
            present: Vec::new(),
        }
    }
}

impl Texts {
    /// An empty column with room for as much as another holds: the next batch is much like the last.
    fn like(other: &Self) -> Self {
        let mut offsets = Vec::with_capacity(other.offsets.len());
        offsets.push(0);
        Self {
            bytes: Vec::with_capacity(other.bytes.len() + other.bytes.len() / SPARE_PART),
            offsets,
            present: Vec::with_capacity(other.present.len()),
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.offsets.push(self.bytes.len() as i32);
        self.present.push(true);
    }

    fn push_absent(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
        self.present.push(false);
    }

    fn finish(&mut self) -> Result<ArrayRef, arrow::error::ArrowError> {
        let done = std::mem::replace(self, Self::like(self));
        let absent = done.present.iter().any(|present| !present);
        let nulls = absent.then(|| NullBuffer::from(done.present));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(done.offsets));
        Ok(Arc::new(StringArray::try_new(
            offsets,
            Buffer::from_vec(done.bytes),
            nulls,
        )?))
    }
}

/// What is in a list, which is left with room for as much.
fn emptied<T>(list: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(list.len());
    std::mem::replace(list, room)
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

fn integers(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn batch_of(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, PipelineError> {
    RecordBatch::try_new(table.file_schema(), columns).map_err(|source| PipelineError::Columns {
        table: table.name(),
        source,
    })
}

/// Accepted events of one day under construction.
#[derive(Debug, Default)]
pub struct EventColumns {
    event_id: Texts,
    kind: Texts,
    ts: Vec<i64>,
    user_id: Texts,
    experiment: Texts,
    variant: Texts,
    event: Texts,
    value: Vec<Option<f64>>,
    properties: Texts,
    received_at: Vec<i64>,
    source_partition: Texts,
    sequence: Vec<i64>,
}

impl EventColumns {
    /// The number of rows so far.
    pub fn len(&self) -> usize {
        self.ts.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    /// Adds the event at a place of a batch; `sequence` is its place among the accepted events of its epoch.
    pub fn push(&mut self, batch: &EventBatch, place: usize, sequence: i64) {
        let event = &batch.events[place];
        self.event_id.push(batch.bytes(event.event_id));
        self.kind.push(event.kind.as_str().as_bytes());
        self.ts.push(event.ts.0);
        self.user_id.push(batch.bytes(event.user_id));
        match event.kind {
            EventKind::Exposure => {
                self.experiment.push(batch.bytes(event.name));
                self.variant.push(batch.bytes(event.variant));
                self.event.push_absent();
                self.value.push(None);
            }
            EventKind::Track => {
                self.experiment.push_absent();
                self.variant.push_absent();
                self.event.push(batch.bytes(event.name));
                self.value.push(Some(event.value));
            }
        }
        match event.properties.length {
            0 => self.properties.push_absent(),
            _ => self.properties.push(batch.bytes(event.properties)),
        }
        self.received_at.push(event.received_at.0);
        self.source_partition.push(batch.partition.0.as_bytes());
        self.sequence.push(sequence);
    }

    /// The rows as columns of the `events` table, all of one epoch; nothing is left behind.
    ///
    /// # Errors
    /// When a text is not UTF-8, which the decoder rules out.
    pub fn finish(&mut self, epoch: i64) -> Result<RecordBatch, PipelineError> {
        let error = |source| PipelineError::Columns {
            table: Table::Events.name(),
            source,
        };
        let rows = self.len();
        let columns = vec![
            self.event_id.finish().map_err(error)?,
            self.kind.finish().map_err(error)?,
            times(emptied(&mut self.ts)),
            self.user_id.finish().map_err(error)?,
            self.experiment.finish().map_err(error)?,
            self.variant.finish().map_err(error)?,
            self.event.finish().map_err(error)?,
            Arc::new(Float64Array::from(emptied(&mut self.value))) as ArrayRef,
            self.properties.finish().map_err(error)?,
            times(emptied(&mut self.received_at)),
            self.source_partition.finish().map_err(error)?,
            integers(vec![epoch; rows]),
            integers(emptied(&mut self.sequence)),
        ];
        batch_of(Table::Events, columns)
    }
}

/// Rejections of one source partition as rows of the `dead_letters` table.
///
/// # Errors
/// When the columns do not fit, which does not happen.
pub fn dead_letters(rejections: &[(String, Rejection)], epoch: i64) -> Result<RecordBatch, PipelineError> {
    let columns = vec![
        times(
            rejections
                .iter()
                .map(|(_, rejection)| rejection.received_at.0)
                .collect(),
        ),
        texts(rejections.iter().map(|(partition, _)| partition.as_str())),
        texts(
            rejections
                .iter()
                .map(|(_, rejection)| rejection.position.as_str()),
        ),
        texts(rejections.iter().map(|(_, rejection)| rejection.reason.as_str())),
        texts(rejections.iter().map(|(_, rejection)| rejection.detail.as_str())),
        Arc::new(BinaryArray::from_iter_values(
            rejections.iter().map(|(_, rejection)| &rejection.payload),
        )),
        integers(vec![epoch; rejections.len()]),
    ];
    batch_of(Table::DeadLetters, columns)
}

/// First exposures as columns, by day.
///
/// # Errors
/// When the columns do not fit, which does not happen.
pub fn first_exposures(
    rows: &[ExposureRow],
    epoch: i64,
) -> Result<BTreeMap<i32, RecordBatch>, PipelineError> {
    by_day(
        rows,
        |row| row.ts.day(),
        |rows| {
            let columns = vec![
                texts(rows.iter().map(|row| row.experiment.as_str())),
                texts(rows.iter().map(|row| row.user_id.as_str())),
                texts(rows.iter().map(|row| row.variant.as_str())),
                times(rows.iter().map(|row| row.ts.0).collect()),
                Arc::new(BooleanArray::from_iter(
                    rows.iter().map(|row| Some(row.crossover)),
                )),
                integers(vec![epoch; rows.len()]),
            ];
            batch_of(Table::FirstExposures, columns)
        },
    )
}

/// Window rows as columns, by day.
///
/// # Errors
/// When the columns do not fit, which does not happen.
pub fn windows(rows: &[WindowRow], epoch: i64) -> Result<BTreeMap<i32, RecordBatch>, PipelineError> {
    by_day(
        rows,
        |row| row.start.day(),
        |rows| {
            let columns = vec![
                times(rows.iter().map(|row| row.start.0).collect()),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.seconds))),
                texts(rows.iter().map(|row| row.experiment.as_str())),
                texts(rows.iter().map(|row| row.variant.as_str())),
                texts(rows.iter().map(|row| row.metric.as_str())),
                new_null_array(&DataType::Utf8, rows.len()),
                new_null_array(&DataType::Utf8, rows.len()),
                integers(rows.iter().map(|row| row.moments.n as i64).collect()),
                Arc::new(Float64Array::from_iter_values(
                    rows.iter().map(|row| row.moments.mean),
                )),
                Arc::new(Float64Array::from_iter_values(
                    rows.iter().map(|row| row.moments.m2),
                )),
                integers(vec![epoch; rows.len()]),
            ];
            batch_of(Table::Windows, columns)
        },
    )
}

/// Summary rows as columns; they all belong to the day of `as_of`.
///
/// # Errors
/// When the columns do not fit, which does not happen.
pub fn summaries(rows: &[SummaryRow], as_of: Timestamp, epoch: i64) -> Result<RecordBatch, PipelineError> {
    let columns = vec![
        times(vec![as_of.0; rows.len()]),
        texts(rows.iter().map(|row| row.experiment.as_str())),
        texts(rows.iter().map(|row| row.variant.as_str())),
        texts(rows.iter().map(|row| row.metric.as_str())),
        new_null_array(&DataType::Utf8, rows.len()),
        new_null_array(&DataType::Utf8, rows.len()),
        integers(rows.iter().map(|row| row.exposed as i64).collect()),
        integers(rows.iter().map(|row| row.units as i64).collect()),
        Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| row.moments.mean),
        )),
        Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| row.moments.m2),
        )),
        integers(vec![epoch; rows.len()]),
    ];
    batch_of(Table::Summaries, columns)
}

fn by_day<R>(
    rows: &[R],
    day_of: impl Fn(&R) -> i32,
    columns: impl Fn(&[&R]) -> Result<RecordBatch, PipelineError>,
) -> Result<BTreeMap<i32, RecordBatch>, PipelineError> {
    let mut days: BTreeMap<i32, Vec<&R>> = BTreeMap::new();
    for row in rows {
        days.entry(day_of(row)).or_default().push(row);
    }
    days.into_iter()
        .map(|(day, rows)| Ok((day, columns(&rows)?)))
        .collect()
}
