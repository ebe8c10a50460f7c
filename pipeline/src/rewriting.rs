//! Writing files of a table again without some of their rows.

use std::collections::BTreeSet;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::PipelineError;
use crate::lake::{ActiveFile, DataFile, FileEncoder, Lake, Part, read_batches};
use crate::schema::Table;
use crate::settings::Settings;

/// Which rows of a batch of a table stay.
pub(crate) type Stays<'a> = &'a (dyn Fn(&RecordBatch) -> BooleanArray + Sync);

/// What left a table.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Rows that are gone.
    pub rows: u64,
    /// Files that left the table; what is left of them stands in new ones.
    pub files: u64,
}

/// Takes the rows that do not stay out of a table, in one commit. `why` is part of the names of the new files.
pub(crate) async fn leave_out(
    lake: &mut Lake,
    table: Table,
    settings: &Settings,
    why: &str,
    stays: Stays<'_>,
) -> Result<LeftOut, PipelineError> {
    let (mut gone, mut new) = (BTreeSet::new(), Vec::new());
    let mut left_out = LeftOut::default();
    for file in lake.active_files(table)? {
        let Some((rows, left)) = without(lake, table, &file, stays).await? else {
            continue;
        };
        left_out.rows += rows;
        if let Some((bytes, rows)) = left {
            let epochs = file.epochs.unwrap_or_default();
            let run = format!("{}-{why}", settings.run_id);
            let mut data = DataFile::of_epoch(file.day.unwrap_or_default(), epochs.1, &run, new.len(), rows);
            data.epochs = epochs;
            data.size_bytes = bytes.len() as u64;
            data.written_at_ms = (settings.now)().0.div_euclid(1_000);
            lake.write_file(table, &data.path, bytes).await?;
            new.push(data);
        }
        gone.insert(file.path);
    }
    if !gone.is_empty() {
        lake.swap_files(table, &gone, &new, true).await?;
    }
    left_out.files = gone.len() as u64;
    Ok(left_out)
}

/// The rows of a file that go, and the file without them, where any are left; none when none go.
async fn without(
    lake: &Lake,
    table: Table,
    file: &ActiveFile,
    stays: Stays<'_>,
) -> Result<Option<(u64, Option<(bytes::Bytes, u64)>)>, PipelineError> {
    let mut encoder = FileEncoder::new(table)?;
    let (mut gone, mut kept) = (0, 0);
    for batch in read_batches(table, lake.file_bytes(table, &file.path).await?, &Part::default())? {
        let batch = batch?;
        let left = filter_record_batch(&batch, &stays(&batch)).map_err(|source| PipelineError::Columns {
            table: table.name(),
            source,
        })?;
        gone += (batch.num_rows() - left.num_rows()) as u64;
        kept += left.num_rows() as u64;
        encoder.write(&left)?;
    }
    Ok(match (gone, kept) {
        (0, _) => None,
        (gone, 0) => Some((gone, None)),
        (gone, kept) => Some((gone, Some((encoder.finish()?, kept)))),
    })
}
