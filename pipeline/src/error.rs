//! What can go wrong between a batch of events and a committed table.

use std::path::PathBuf;

/// A failure of the engine's surroundings; the engine itself only computes.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A Delta table could not be read or written.
    #[error("cannot {action} table {table}")]
    Table {
        /// What was being done, as a verb: `open`, `commit to`, `read`.
        action: &'static str,
        /// The table's name.
        table: &'static str,
        /// Why not.
        #[source]
        source: Box<deltalake_core::DeltaTableError>,
    },
    /// Another process committed to the lake under this pipeline's name.
    #[error("another process writes to this lake: table {table} is at epoch {found}, expected {expected}")]
    Fenced {
        /// The table's name.
        table: &'static str,
        /// The epoch found in the table.
        found: i64,
        /// The epoch that this process had committed last.
        expected: i64,
    },
    /// An object of the lake or of the state could not be read or written.
    #[error("cannot {action} object {path}")]
    Object {
        /// What was being done, as a verb.
        action: &'static str,
        /// The object's path under the root.
        path: String,
        /// Why not.
        #[source]
        source: object_store::Error,
    },
    /// Parquet bytes could not be made or read.
    #[error("cannot {action} parquet data of table {table}")]
    Parquet {
        /// What was being done, as a verb.
        action: &'static str,
        /// The table's name.
        table: &'static str,
        /// Why not.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Columns do not fit together.
    #[error("cannot lay out columns of table {table}")]
    Columns {
        /// The table's name.
        table: &'static str,
        /// Why not.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// A query could not be planned or run.
    #[error("the query failed")]
    Query(#[source] Box<datafusion::error::DataFusionError>),
    /// A stored state file is damaged, or was written by a newer version.
    #[error("state file {path} cannot be used: {why}")]
    BadState {
        /// The object's path under the root.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A commit is not finished in every table, because a writer is at it or was killed.
    #[error(
        "table {table} is not at epoch {epoch} as the events are; try again, or where nobody writes, finish it by `replay` or \
         `serve`"
    )]
    Unsettled {
        /// The table.
        table: &'static str,
        /// The last epoch of the events.
        epoch: i64,
    },
    /// The root of the lake is not a folder or URL that can be used.
    #[error("cannot use {root} as the root of the lake")]
    BadRoot {
        /// The root as given.
        root: PathBuf,
        /// Why not.
        #[source]
        source: object_store::Error,
    },
    /// The way in failed.
    #[error("reading the source failed")]
    Ingest(#[from] ingest::IngestError),
    /// A worker thread ended before its time.
    #[error("the {worker} thread ended before its time")]
    WorkerGone {
        /// Which one.
        worker: &'static str,
    },
    /// Rows could not be handed on to whoever asked for them.
    #[error("cannot hand on the rows")]
    HandOn(#[source] std::io::Error),
    /// A metric plan does not hold together.
    #[error("the measurement plan is not valid")]
    BadPlan(#[from] domain::metric::InvalidMetric),
    /// The observer of commits could not take one.
    #[error("what follows a commit failed")]
    Observer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<datafusion::error::DataFusionError> for PipelineError {
    fn from(source: datafusion::error::DataFusionError) -> Self {
        Self::Query(Box::new(source))
    }
}
