//! Data files: Parquet bytes, what the Delta log says of them, and their names.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::RecordBatch;
use bytes::Bytes;
use deltalake_core::kernel::{Add, LogicalFileView};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use serde::{Deserialize, Serialize};

use crate::PipelineError;
use crate::schema::{PARTITION_COLUMN, Table};

/// Rows read from a file at once.
const READ_BATCH_ROWS: usize = 8_192;

/// A data file that is written and may be committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path under the table's folder.
    pub path: String,
    /// The day of all its rows, days since 1970-01-01.
    pub day: i32,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The smallest and largest epoch of its rows.
    pub epochs: (i64, i64),
    /// When it was written, milliseconds since the Unix epoch.
    pub written_at_ms: i64,
}

impl DataFile {
    /// A file of rows of one epoch and day. `run` and `place` tell files of one epoch apart.
    pub fn of_epoch(day: i32, epoch: i64, run: &str, place: usize, rows: u64) -> Self {
        let path = format!(
            "{PARTITION_COLUMN}={}/{epoch:012}-{run}-{place}.parquet",
            day_text(day)
        );
        Self {
            path,
            day,
            size_bytes: 0,
            rows,
            epochs: (epoch, epoch),
            written_at_ms: 0,
        }
    }

    /// The action that makes the file part of its table.
    pub(crate) fn add_action(&self) -> Add {
        let stats = serde_json::json!({
            "numRecords": self.rows,
            "minValues": {"epoch": self.epochs.0},
            "maxValues": {"epoch": self.epochs.1},
            "nullCount": {"epoch": 0},
        });
        Add {
            path: self.path.clone(),
            partition_values: HashMap::from([(PARTITION_COLUMN.to_owned(), Some(day_text(self.day)))]),
            size: i64::try_from(self.size_bytes).unwrap_or(i64::MAX),
            modification_time: self.written_at_ms,
            data_change: true,
            stats: Some(stats.to_string()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }
}

/// A data file that is part of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveFile {
    /// Its path under the table's folder.
    pub path: String,
    /// The day of all its rows.
    pub day: Option<i32>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its rows, where the log says.
    pub rows: Option<u64>,
    /// The smallest and largest epoch of its rows, where the log says.
    pub epochs: Option<(i64, i64)>,
}

impl ActiveFile {
    pub(super) fn from_view(view: &LogicalFileView) -> Self {
        let stats: Option<serde_json::Value> =
            view.stats().and_then(|stats| serde_json::from_str(&stats).ok());
        let epoch = |which: &str| stats.as_ref()?.get(which)?.get("epoch")?.as_i64();
        let values = view.partition_values_map();
        let day = values
            .get(PARTITION_COLUMN)
            .and_then(|value| value.as_deref().and_then(parse_day));
        Self {
            path: view.path().into_owned(),
            day,
            size_bytes: u64::try_from(view.size()).unwrap_or_default(),
            rows: stats.as_ref().and_then(|stats| stats.get("numRecords")?.as_u64()),
            epochs: epoch("minValues").zip(epoch("maxValues")),
        }
    }
}

/// A day as a date, as in partition values and folder names.
pub fn day_text(day: i32) -> String {
    let instant = domain::Timestamp(i64::from(day) * domain::timestamp::MICROS_PER_DAY);
    instant.to_string()[..10].to_owned()
}

fn parse_day(text: &str) -> Option<i32> {
    domain::Timestamp::parse(&format!("{text}T00:00:00Z"))
        .ok()
        .map(domain::Timestamp::day)
}

/// The epoch that a data file's name says it was written for.
pub(super) fn epoch_of(name: &str) -> Option<i64> {
    let file = name.rsplit('/').next()?.strip_suffix(".parquet")?;
    file.split('-').next()?.parse().ok()
}

/// A Parquet file of a table under construction.
pub struct FileEncoder {
    table: Table,
    writer: ArrowWriter<Vec<u8>>,
}

impl FileEncoder {
    /// A file without rows.
    ///
    /// # Errors
    /// When the table's schema cannot be written.
    pub fn new(table: Table) -> Result<Self, PipelineError> {
        let properties = Some(table.writer_properties());
        let writer = ArrowWriter::try_new(Vec::new(), table.file_schema(), properties);
        Ok(Self {
            table,
            writer: writer.map_err(|source| parquet_error("write", table, source))?,
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When the columns are not those of the table.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), PipelineError> {
        let written = self.writer.write(batch);
        written.map_err(|source| parquet_error("write", self.table, source))
    }

    /// The file.
    ///
    /// # Errors
    /// When the last rows cannot be encoded.
    pub fn finish(self) -> Result<Bytes, PipelineError> {
        let bytes = self.writer.into_inner();
        Ok(bytes
            .map_err(|source| parquet_error("write", self.table, source))?
            .into())
    }
}

fn parquet_error(action: &'static str, table: Table, source: parquet::errors::ParquetError) -> PipelineError {
    PipelineError::Parquet {
        action,
        table: table.name(),
        source,
    }
}

/// Encodes rows as one Parquet file of a table.
///
/// # Errors
/// When the columns are not those of the table.
pub fn encode_batches(table: Table, batches: &[RecordBatch]) -> Result<Bytes, PipelineError> {
    let mut encoder = FileEncoder::new(table)?;
    batches.iter().try_for_each(|batch| encoder.write(batch))?;
    encoder.finish()
}

/// Which part of a file is read.
#[derive(Debug, Clone, Default)]
pub struct Part<'a> {
    /// The columns; all when empty.
    pub columns: &'a [&'a str],
    /// Groups of rows without a time `ts` in this range of microseconds are passed over; other rows outside it are not.
    pub times: Option<Range<i64>>,
}

/// Decodes a Parquet file of a table, batch by batch.
///
/// # Errors
/// When the bytes are no Parquet file.
pub fn read_batches(
    table: Table,
    bytes: Bytes,
    part: &Part<'_>,
) -> Result<impl Iterator<Item = Result<RecordBatch, PipelineError>>, PipelineError> {
    let error = |source| parquet_error("read", table, source);
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(error)?;
    if let Some(times) = &part.times {
        let groups = builder.metadata().row_groups();
        let wanted = (0..groups.len()).filter(|group| may_hold(&groups[*group], times));
        let wanted = wanted.collect();
        builder = builder.with_row_groups(wanted);
    }
    if !part.columns.is_empty() {
        let mask = ProjectionMask::columns(builder.parquet_schema(), part.columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let reader = builder.with_batch_size(READ_BATCH_ROWS).build().map_err(error)?;
    Ok(reader.map(move |batch| {
        batch.map_err(|source| PipelineError::Columns {
            table: table.name(),
            source,
        })
    }))
}

/// Whether a group of rows may hold a time of a range; one whose statistics do not say may.
fn may_hold(group: &RowGroupMetaData, times: &Range<i64>) -> bool {
    let column = group
        .columns()
        .iter()
        .find(|column| column.column_path().string() == "ts");
    match column.and_then(ColumnChunkMetaData::statistics) {
        Some(Statistics::Int64(statistics)) => {
            let first = statistics.min_opt().is_none_or(|first| *first < times.end);
            let last = statistics.max_opt().is_none_or(|last| *last >= times.start);
            first && last
        }
        _ => true,
    }
}

/// Decodes a whole Parquet file of a table.
///
/// # Errors
/// When the bytes are no Parquet file.
pub fn read_file(table: Table, bytes: Bytes) -> Result<Vec<RecordBatch>, PipelineError> {
    read_batches(table, bytes, &Part::default())?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_tells_its_day_and_epoch() {
        let file = DataFile::of_epoch(20_089, 17, "a1", 2, 5);
        assert_eq!(file.path, "event_date=2025-01-01/000000000017-a1-2.parquet");
        assert_eq!(
            (epoch_of(&file.path), epoch_of("_delta_log/0.json")),
            (Some(17), None)
        );
        assert_eq!(parse_day("2025-01-01"), Some(20_089));
    }
}
