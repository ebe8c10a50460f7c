//! Thinning of old summaries: of each key one row an hour is enough to draw how it came about.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use xxhash_rust::xxh3::Xxh3;

/// Rows of the same key and hour are thinned to the newest.
const HOUR_MICROS: i64 = 3_600 * MICROS_PER_SECOND;

/// The columns that make a key.
const KEY: [&str; 5] = ["experiment", "variant", "metric", "dimension", "dimension_value"];

/// Which rows of some files of `summaries` stay.
///
/// Every row is noted first. A row is left out only for a newer one of the same key and hour among those noted, so the
/// newest row of a key always stays.
#[derive(Debug)]
pub(crate) struct Thinning {
    before: i64,
    newest: HashMap<u128, i64>,
}

impl Thinning {
    /// Thins hours that ended an hour before the watermark or earlier.
    pub fn new(watermark: Timestamp) -> Self {
        let hour = watermark.0.div_euclid(HOUR_MICROS) - 1;
        Self {
            before: hour.saturating_mul(HOUR_MICROS),
            newest: HashMap::new(),
        }
    }

    /// Notes the old rows of a batch.
    pub fn note(&mut self, batch: &RecordBatch) {
        let rows = Rows::of(batch);
        for row in 0..batch.num_rows() {
            if let Some(name) = rows.name(row, self.before) {
                let newest = self.newest.entry(name).or_insert(i64::MIN);
                *newest = (*newest).max(rows.epoch(row));
            }
        }
    }

    /// The rows of a batch that stay.
    ///
    /// # Errors
    /// None that a batch of the table can give; it is the filter's own.
    pub fn keep(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = Rows::of(batch);
        let stays = |row| {
            let newest = rows
                .name(row, self.before)
                .and_then(|name| self.newest.get(&name));
            newest.is_none_or(|newest| *newest == rows.epoch(row))
        };
        let stays: BooleanArray = (0..batch.num_rows()).map(|row| Some(stays(row))).collect();
        filter_record_batch(batch, &stays)
    }
}

/// A batch of `summaries`.
struct Rows<'a>(&'a RecordBatch);

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        Self(batch)
    }

    fn column(&self, name: &str) -> &'a dyn Array {
        let column = self.0.column_by_name(name);
        column.expect("the column stands in the table's schema").as_ref()
    }

    fn epoch(&self, row: usize) -> i64 {
        self.column("epoch").as_primitive::<Int64Type>().value(row)
    }

    /// Stands for the key and hour of a row before an instant; none for a later row.
    fn name(&self, row: usize, before: i64) -> Option<u128> {
        let as_of = self
            .column("as_of")
            .as_primitive::<TimestampMicrosecondType>()
            .value(row);
        if as_of >= before {
            return None;
        }
        let mut hash = Xxh3::new();
        hash.update(&as_of.div_euclid(HOUR_MICROS).to_le_bytes());
        for name in KEY {
            let column = self.column(name).as_string::<i32>();
            let text = column.is_valid(row).then(|| column.value(row));
            hash.update(&[u8::from(text.is_some())]);
            hash.update(&text.map_or(0, str::len).to_le_bytes());
            hash.update(text.unwrap_or_default().as_bytes());
        }
        Some(hash.digest128())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array,
    };
    use arrow::datatypes::DataType;

    use super::*;
    use crate::schema::Table;

    /// Rows of (metric, minutes since the Unix epoch, epoch).
    fn batch(rows: &[(&str, i64, i64)]) -> RecordBatch {
        let schema = Table::Summaries.file_schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "metric" => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
                "as_of" => {
                    let times = rows.iter().map(|row| row.1 * 60 * MICROS_PER_SECOND);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
                }
                "epoch" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
                "dimension" | "dimension_value" => new_null_array(&DataType::Utf8, rows.len()),
                "experiment" | "variant" => Arc::new(StringArray::from(vec!["a"; rows.len()])),
                "mean" | "m2" => Arc::new(Float64Array::from(vec![0.0; rows.len()])),
                _ => Arc::new(Int64Array::from(vec![0; rows.len()])),
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
    }

    fn epochs(batch: &RecordBatch) -> Vec<i64> {
        batch["epoch"].as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn of_an_old_hour_the_newest_row_of_each_key_stays() {
        // What must never change: the newest row of a key stays, and so do all of the last hour.
        let first = batch(&[("m", 1, 1), ("n", 2, 1), ("m", 30, 2), ("m", 61, 3)]);
        let second = batch(&[
            ("m", 59, 4),
            ("m", 62, 5),
            ("m", 125, 6),
            ("m", 126, 7),
            ("m", 190, 8),
        ]);
        let mut thinning = Thinning::new(Timestamp(190 * 60 * MICROS_PER_SECOND));
        thinning.note(&first);
        thinning.note(&second);
        assert_eq!(epochs(&thinning.keep(&first).unwrap()), [1]);
        assert_eq!(epochs(&thinning.keep(&second).unwrap()), [4, 5, 6, 7, 8]);
        let untouched = Thinning::new(Timestamp(i64::MIN));
        assert_eq!(epochs(&untouched.keep(&first).unwrap()), [1, 1, 2, 3]);
    }
}
