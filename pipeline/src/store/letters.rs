//! Rejected records, for people to read and for another try.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::prelude::{SessionContext, col, lit};
use futures::StreamExt;

use super::{Form, encode};
use crate::PipelineError;
use crate::lake::Lake;
use crate::schema::Table;

/// The newest rejected records in one of the forms that programs read. A payload that is no UTF-8 is shown as `0x` and
/// hexadecimal digits.
///
/// # Errors
/// When the table cannot be read.
pub async fn list(lake: &Lake, limit: u32, form: Form) -> Result<Vec<u8>, PipelineError> {
    let context = super::session(lake).await?;
    let sql = format!(
        "select received_at, source_partition, source_position, reason, detail, payload from dead_letters \
         order by received_at desc, source_partition, source_position limit {limit}"
    );
    let batches = super::query(&context, &sql).await?.collect().await?;
    let readable: Result<Vec<_>, _> = batches.iter().map(with_readable_payload).collect();
    let readable = readable.map_err(columns_error)?;
    let schema = match readable.first() {
        Some(batch) => batch.schema(),
        None => Arc::new(arrow::datatypes::Schema::empty()),
    };
    encode(&schema, &readable, form).map_err(columns_error)
}

fn columns_error(source: arrow::error::ArrowError) -> PipelineError {
    PipelineError::Columns {
        table: Table::DeadLetters.name(),
        source,
    }
}

pub(crate) fn with_readable_payload(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let place = batch.schema().index_of("payload")?;
    let payloads = cast(batch.column(place), &DataType::Binary)?;
    let texts: StringArray = payloads
        .as_binary::<i32>()
        .iter()
        .map(|payload| payload.map(readable))
        .collect();
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if field.name() == "payload" {
                ("payload", Arc::new(texts.clone()) as _)
            } else {
                (field.name().as_str(), Arc::clone(column))
            }
        });
    RecordBatch::try_from_iter(columns.collect::<Vec<_>>())
}

fn readable(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("0x{digits}")
        }
    }
}

/// Calls `each` with the payload of every dead letter in the order in which they came, those of one reason if one is
/// given. Payloads are never all in memory.
///
/// # Errors
/// When the table cannot be read, or `each` fails.
pub async fn for_each_dead_letter(
    context: &SessionContext,
    reason: Option<&str>,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<u64, PipelineError> {
    let mut frame = context.table(Table::DeadLetters.name()).await?;
    if let Some(reason) = reason {
        frame = frame.filter(col("reason").eq(lit(reason)))?;
    }
    let order = ["epoch", "source_partition", "source_position"].map(|name| col(name).sort(true, false));
    let frame = frame.sort(order.to_vec())?.select_columns(&["payload"])?;
    let mut letters = 0;
    let mut batches = frame.execute_stream().await?;
    while let Some(batch) = batches.next().await {
        let payloads = cast(batch?.column(0), &DataType::Binary).map_err(columns_error)?;
        let payloads = payloads.as_binary::<i32>();
        for place in 0..payloads.len() {
            each(payloads.value(place)).map_err(PipelineError::HandOn)?;
            letters += 1;
        }
    }
    Ok(letters)
}
