//! Everything that the tables hold of one user.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionContext, col, lit};
use futures::StreamExt;

use super::letters::with_readable_payload;
use crate::PipelineError;
use crate::erase::user_ids;
use crate::lake::Lake;
use crate::schema::Table;

/// The tables that name users.
const TABLES: [Table; 3] = [Table::Events, Table::FirstExposures, Table::DeadLetters];

/// The rows that name a user, table by table, as they are read: they are never all in memory.
pub struct RowsOf {
    context: SessionContext,
    user: String,
    tables: std::array::IntoIter<Table, 3>,
    reading: Option<(Table, SendableRecordBatchStream)>,
}

impl std::fmt::Debug for RowsOf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RowsOf").finish_non_exhaustive()
    }
}

/// Everything in the tables that names a user.
///
/// # Errors
/// When a table cannot be opened.
pub async fn rows_of(lake: &Lake, user: &str) -> Result<RowsOf, PipelineError> {
    Ok(RowsOf {
        context: super::session(lake).await?,
        user: user.to_owned(),
        tables: TABLES.into_iter(),
        reading: None,
    })
}

impl RowsOf {
    /// Some more rows, each on a line of its own as `{"table": …, "row": {…}}`; nothing after the last. A piece may be empty.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub async fn next(&mut self) -> Result<Option<String>, PipelineError> {
        loop {
            if let Some((table, batches)) = &mut self.reading {
                let table = *table;
                if let Some(batch) = batches.next().await {
                    let lines = lines_of(table, &batch?, &self.user);
                    let columns_error = |source| PipelineError::Columns {
                        table: table.name(),
                        source,
                    };
                    return lines.map(Some).map_err(columns_error);
                }
                self.reading = None;
            }
            let Some(table) = self.tables.next() else {
                return Ok(None);
            };
            let mut frame = self.context.table(table.name()).await?;
            if table != Table::DeadLetters {
                frame = frame.filter(col("user_id").eq(lit(self.user.as_str())))?;
            }
            self.reading = Some((table, frame.execute_stream().await?));
        }
    }
}

/// The rows of a batch that name a user; only those of dead letters are not chosen yet.
fn lines_of(table: Table, batch: &RecordBatch, user: &str) -> Result<String, ArrowError> {
    let rows = match table {
        Table::DeadLetters => json_lines(&letters_of(batch, user)?)?,
        _ => json_lines(batch)?,
    };
    let line = |row| format!("{{\"table\":\"{}\",\"row\":{row}}}\n", table.name());
    Ok(rows.lines().map(line).collect())
}

fn letters_of(batch: &RecordBatch, user: &str) -> Result<RecordBatch, ArrowError> {
    let place = batch.schema().index_of("payload")?;
    let payloads = cast(batch.column(place), &DataType::Binary)?;
    let names = |payload: Option<&[u8]>| user_ids(payload.unwrap_or_default()).any(|named| named == user);
    let of_user: BooleanArray = payloads
        .as_binary::<i32>()
        .iter()
        .map(|payload| Some(names(payload)))
        .collect();
    with_readable_payload(&filter_record_batch(batch, &of_user)?)
}

fn json_lines(batch: &RecordBatch) -> Result<String, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut bytes);
    writer.write(batch)?;
    writer.finish()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
