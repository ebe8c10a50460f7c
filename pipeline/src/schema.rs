//! The tables and their columns: the one place that says what stands in the lake.
//!
//! Columns are in the order of the contract; more may follow behind `event_date`, none may go or move. Every table is
//! partitioned by `event_date`, which stands in the Delta log and not in the Parquet files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// The partition column of every table.
pub const PARTITION_COLUMN: &str = "event_date";
/// Rows in a row group: a million rows of events are some 50 MB, and a reader can skip within a day.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Accepted events, each once.
    Events,
    /// Records that did not become events.
    DeadLetters,
    /// The first exposure of each user to each experiment.
    FirstExposures,
    /// Sums per window.
    Windows,
    /// Cumulative sums.
    Summaries,
}

impl Table {
    /// All tables, in the order in which an epoch is committed to them.
    pub const ALL: [Self; 5] = [
        Self::Events,
        Self::DeadLetters,
        Self::FirstExposures,
        Self::Windows,
        Self::Summaries,
    ];

    /// The table's name, also of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::DeadLetters => "dead_letters",
            Self::FirstExposures => "first_exposures",
            Self::Windows => "windows",
            Self::Summaries => "summaries",
        }
    }

    /// All columns, with the partition column in its place.
    pub fn schema(self) -> SchemaRef {
        let fields = match self {
            Self::Events => vec![
                text("event_id"),
                text("type"),
                time("ts"),
                text("user_id"),
                text("experiment").with_nullable(true),
                text("variant").with_nullable(true),
                text("event").with_nullable(true),
                Field::new("value", DataType::Float64, true),
                text("properties").with_nullable(true),
                time("received_at"),
                text("source_partition"),
                integer("epoch"),
                date(),
                integer("sequence"),
            ],
            Self::DeadLetters => vec![
                time("received_at"),
                text("source_partition"),
                text("source_position"),
                text("reason"),
                text("detail"),
                Field::new("payload", DataType::Binary, false),
                date(),
                integer("epoch"),
            ],
            Self::FirstExposures => vec![
                text("experiment"),
                text("user_id"),
                text("variant"),
                time("ts"),
                Field::new("crossover", DataType::Boolean, false),
                date(),
                integer("epoch"),
            ],
            Self::Windows => vec![
                time("window_start"),
                Field::new("window_seconds", DataType::Int32, false),
                text("experiment"),
                text("variant"),
                text("metric"),
                text("dimension").with_nullable(true),
                text("dimension_value").with_nullable(true),
                integer("units"),
                Field::new("mean", DataType::Float64, false),
                Field::new("m2", DataType::Float64, false),
                integer("epoch"),
                date(),
            ],
            Self::Summaries => vec![
                time("as_of"),
                text("experiment"),
                text("variant"),
                text("metric"),
                text("dimension").with_nullable(true),
                text("dimension_value").with_nullable(true),
                integer("exposed"),
                integer("units"),
                Field::new("mean", DataType::Float64, false),
                Field::new("m2", DataType::Float64, false),
                integer("epoch"),
                date(),
            ],
        };
        Arc::new(Schema::new(fields))
    }

    /// The columns that stand in the Parquet files: all but the partition column.
    pub fn file_schema(self) -> SchemaRef {
        let schema = self.schema();
        let fields: Vec<_> = schema
            .fields()
            .iter()
            .filter(|field| field.name() != PARTITION_COLUMN)
            .cloned()
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// How the Parquet files of the table are written.
    ///
    /// Texts that hardly repeat are not put through a dictionary that would overflow anyway; times and counters are
    /// delta-packed; statistics are kept per row group only. Measured, this is a tenth faster and no larger.
    pub fn writer_properties(self) -> WriterProperties {
        let mut builder = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(concat!("experimently ", env!("CARGO_PKG_VERSION")).to_owned());
        let (unique, packed): (&[&str], &[&str]) = match self {
            Self::Events => (
                &["event_id", "user_id", "properties", "value"],
                &["ts", "received_at", "sequence"],
            ),
            Self::DeadLetters => (&["source_position", "payload"], &["received_at"]),
            Self::FirstExposures => (&["user_id"], &["ts"]),
            Self::Windows | Self::Summaries => (&["mean", "m2"], &["units"]),
        };
        for column in unique {
            builder = builder.set_column_dictionary_enabled(ColumnPath::from(*column), false);
        }
        for column in packed {
            let path = ColumnPath::from(*column);
            builder = builder.set_column_dictionary_enabled(path.clone(), false);
            builder = builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
        builder.build()
    }
}

/// The type of times in every table: microseconds, UTC.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn time(name: &str) -> Field {
    Field::new(name, time_type(), false)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

fn date() -> Field {
    Field::new(PARTITION_COLUMN, DataType::Date32, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_the_order_of_the_contract() {
        // What must never change: readers rely on these names, in this order; new ones come last.
        let names = |table: Table| {
            table
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(names(Table::Events).starts_with(
            "event_id type ts user_id experiment variant event value properties received_at source_partition epoch event_date"
        ));
        assert!(
            names(Table::DeadLetters)
                .starts_with("received_at source_partition source_position reason detail payload event_date")
        );
        assert!(
            names(Table::FirstExposures).starts_with("experiment user_id variant ts crossover event_date")
        );
        assert!(names(Table::Windows).starts_with(
            "window_start window_seconds experiment variant metric dimension dimension_value units mean m2 epoch event_date"
        ));
        assert!(names(Table::Summaries).starts_with(
            "as_of experiment variant metric dimension dimension_value exposed units mean m2 epoch event_date"
        ));
        assert!(
            Table::ALL
                .iter()
                .all(|table| table.file_schema().field_with_name(PARTITION_COLUMN).is_err())
        );
    }
}
