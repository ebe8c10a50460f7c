//! Everything that the tables hold of one user.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::prelude::{col, lit};
use futures::StreamExt;

use super::letters::with_readable_payload;
use crate::PipelineError;
use crate::erase::user_ids;
use crate::lake::Lake;
use crate::schema::Table;

/// Calls `each` with the table and the row, as a JSON object, of everything that names a user. Rows are never all in memory.
///
/// # Errors
/// When a table cannot be read, or `each` fails.
pub async fn for_each_row_of(
    lake: &Lake,
    user: &str,
    mut each: impl FnMut(Table, &str) -> std::io::Result<()>,
) -> Result<u64, PipelineError> {
    let context = super::session(lake).await?;
    let mut rows = 0;
    for table in [Table::Events, Table::FirstExposures, Table::DeadLetters] {
        let columns_error = |source| PipelineError::Columns {
            table: table.name(),
            source,
        };
        let mut frame = context.table(table.name()).await?;
        if table != Table::DeadLetters {
            frame = frame.filter(col("user_id").eq(lit(user)))?;
        }
        let mut batches = frame.execute_stream().await?;
        while let Some(batch) = batches.next().await {
            let mut batch = batch?;
            if table == Table::DeadLetters {
                batch = letters_of(&batch, user).map_err(columns_error)?;
            }
            for line in json_lines(&batch).map_err(columns_error)?.lines() {
                each(table, line).map_err(PipelineError::HandOn)?;
                rows += 1;
            }
        }
    }
    Ok(rows)
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
