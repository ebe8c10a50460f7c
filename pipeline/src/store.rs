//! The lake as others read it: sessions for SQL, and the newest summaries.

pub mod letters;
pub mod person;
pub mod read;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use crate::PipelineError;
use crate::lake::Lake;
use crate::schema::Table;

/// A DataFusion session in which every table of a lake can be read under its name.
///
/// # Errors
/// When a table cannot be registered.
pub async fn session(lake: &Lake) -> Result<SessionContext, PipelineError> {
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    for table in Table::ALL {
        let error = |source| PipelineError::Table {
            action: "read",
            table: table.name(),
            source: Box::new(source),
        };
        let delta = lake.delta(table);
        delta.update_datafusion_session(&context.state()).map_err(error)?;
        let provider = delta.table_provider().await?;
        context.register_table(table.name(), provider)?;
    }
    Ok(context)
}

/// Runs one query that only reads.
///
/// # Errors
/// When the text is not one query, or writes, or fails.
pub async fn query(context: &SessionContext, sql: &str) -> Result<DataFrame, PipelineError> {
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    Ok(context.sql_with_options(sql, options).await?)
}

/// The answer of a query in one of the forms that programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table for a person.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

/// Runs a query that only reads, and gives its answer as bytes of a form.
///
/// # Errors
/// When the query fails or its answer has a type that the form cannot hold.
pub async fn query_as(lake: &Lake, sql: &str, form: Form) -> Result<Vec<u8>, PipelineError> {
    let context = session(lake).await?;
    let frame = query(&context, sql).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await?;
    encode(&schema, &batches, form).map_err(|source| PipelineError::Columns {
        table: "answer",
        source,
    })
}

fn encode(
    schema: &arrow::datatypes::SchemaRef,
    batches: &[RecordBatch],
    form: Form,
) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut bytes = Vec::new();
    match form {
        Form::Table => {
            let text = datafusion::common::arrow::util::pretty::pretty_format_batches_with_options(
                batches,
                &arrow::util::display::FormatOptions::default(),
            )?;
            bytes.extend_from_slice(text.to_string().as_bytes());
            bytes.push(b'\n');
        }
        Form::Json => {
            let mut writer = arrow::json::LineDelimitedWriter::new(&mut bytes);
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
        Form::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new()
                .with_header(true)
                .build(&mut bytes);
            if batches.is_empty() {
                writer.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
            }
            batches.iter().try_for_each(|batch| writer.write(batch))?;
        }
        Form::Parquet => {
            let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, Arc::clone(schema), None)?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.close()?;
        }
        Form::Arrow => {
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, schema)?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
    }
    Ok(bytes)
}
