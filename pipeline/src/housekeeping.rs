//! What the committer does beside committing: full snapshots, joining small files, deleting those that nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::PipelineError;
use crate::failpoint::{self, Step};
use crate::lake::{ActiveFile, DataFile, FileEncoder, Lake, Part, read_batches};
use crate::schema::Table;
use crate::settings::Settings;
use crate::snapshot;
use crate::state;
use crate::thinning::Thinning;
use crate::worker::{RestoredSize, Worker};

/// Files larger than this are left as they are: joining them would write again what readers take in one go anyway.
const LARGE_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How often files that no table names any more are looked for, beside once at the start.
const VACUUM_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long a file that left a table stays: longer than any query that may still read it.
const UNUSED_FILES_KEPT: Duration = Duration::from_secs(86_400);

/// Runs after each commit; most of the time it only looks.
pub(crate) fn after_commit(worker: &mut Worker, epoch: i64) -> Result<(), PipelineError> {
    if worker.restored.events_since > worker.settings.snapshot_events {
        write_snapshot(worker, epoch)?;
    }
    for table in Table::ALL {
        compact(worker, table, epoch)?;
    }
    if worker.last_vacuum.elapsed() >= VACUUM_INTERVAL {
        worker.last_vacuum = Instant::now();
        worker.runtime.block_on(vacuum(&worker.lake, &worker.settings))?;
    }
    Ok(())
}

/// Deletes the files that no table names any more.
pub(crate) async fn vacuum(lake: &Lake, settings: &Settings) -> Result<(), PipelineError> {
    for table in Table::ALL {
        let files = lake.vacuum(table, (settings.now)(), UNUSED_FILES_KEPT).await?;
        if files > 0 {
            ::metrics::counter!(crate::metrics::FILES_DELETED, "table" => table.name())
                .increment(files as u64);
            tracing::info!(table = table.name(), files, "deleted files that left the table");
        }
    }
    Ok(())
}

/// Writes the full state; from the next manifest on it is the base of recovery.
///
/// The snapshot before it stays until then, because the manifest that is true now still names it.
fn write_snapshot(worker: &mut Worker, epoch: i64) -> Result<(), PipelineError> {
    let root = worker.lake.root().clone();
    let size_bytes = snapshot::write(&root, &worker.runtime, &worker.engine, &worker.plan, epoch)?;
    failpoint::at(Step::SnapshotWritten);
    ::metrics::counter!(crate::metrics::SNAPSHOTS).increment(1);
    if let Some(before) = worker.restored.base {
        worker.runtime.block_on(state::forget_manifests(&root, before))?;
        worker
            .runtime
            .block_on(state::forget_snapshots(&root, &[before, epoch]))?;
    }
    tracing::info!(
        epoch,
        size_bytes,
        events = worker.restored.events_since,
        "wrote a full snapshot"
    );
    worker.restored = RestoredSize {
        base: Some(epoch),
        events_since: 0,
    };
    Ok(())
}

/// Joins the small files of a table and day once there are many.
///
/// Event files that recovery may have to read by epoch are left alone until a full snapshot has passed them.
fn compact(worker: &mut Worker, table: Table, epoch: i64) -> Result<(), PipelineError> {
    let settled = match table {
        Table::Events => worker.restored.base.unwrap_or(0),
        _ => epoch,
    };
    let mut days: BTreeMap<i32, Vec<ActiveFile>> = BTreeMap::new();
    for file in worker.lake.active_files(table)? {
        let small = file.size_bytes < LARGE_FILE_BYTES;
        if let (Some(day), Some((_, last))) = (file.day, file.epochs)
            && small
            && last <= settled
        {
            days.entry(day).or_default().push(file);
        }
    }
    for (day, mut files) in days {
        if files.len() > worker.settings.compact_files {
            files.sort_by_key(|file| (file.epochs, file.path.clone()));
            for group in groups(files) {
                join(worker, table, day, &group)?;
            }
        }
    }
    Ok(())
}

/// Neighbours that together are no larger than a large file; what has no neighbour to join is left out.
fn groups(files: Vec<ActiveFile>) -> Vec<Vec<ActiveFile>> {
    let mut groups: Vec<Vec<ActiveFile>> = Vec::new();
    let mut size_bytes = 0;
    for file in files {
        let fits = size_bytes + file.size_bytes <= LARGE_FILE_BYTES;
        match groups.last_mut() {
            Some(group) if fits => {
                size_bytes += file.size_bytes;
                group.push(file);
            }
            _ => {
                size_bytes = file.size_bytes;
                groups.push(vec![file]);
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Calls `each` with the rows of some files of a table, a batch at a time.
fn for_each_batch(
    worker: &Worker,
    table: Table,
    files: &[ActiveFile],
    mut each: impl FnMut(RecordBatch) -> Result<(), PipelineError>,
) -> Result<(), PipelineError> {
    for file in files {
        let bytes = worker
            .runtime
            .block_on(worker.lake.file_bytes(table, &file.path))?;
        for batch in read_batches(table, bytes, &Part::default())? {
            each(batch?)?;
        }
    }
    Ok(())
}

/// Joins files into one; old summaries are thinned on the way.
fn join(worker: &mut Worker, table: Table, day: i32, files: &[ActiveFile]) -> Result<(), PipelineError> {
    let mut thinning = None;
    if table == Table::Summaries {
        let noted = thinning.insert(Thinning::new(worker.engine.watermark()));
        for_each_batch(worker, table, files, |batch| {
            noted.note(&batch);
            Ok(())
        })?;
    }
    let mut encoder = FileEncoder::new(table)?;
    let (mut rows_before, mut rows) = (0, 0);
    for_each_batch(worker, table, files, |batch| {
        rows_before += batch.num_rows() as u64;
        let kept = thinning
            .as_ref()
            .map(|thinning| thinning.keep(&batch))
            .transpose();
        let kept = kept.map_err(|source| PipelineError::Columns {
            table: table.name(),
            source,
        })?;
        let batch = kept.unwrap_or(batch);
        rows += batch.num_rows() as u64;
        encoder.write(&batch)
    })?;
    let first = files
        .iter()
        .filter_map(|file| file.epochs)
        .map(|epochs| epochs.0)
        .min()
        .unwrap_or(0);
    let last = files
        .iter()
        .filter_map(|file| file.epochs)
        .map(|epochs| epochs.1)
        .max()
        .unwrap_or(0);
    let run = format!("{}-joined", worker.settings.run_id);
    let mut joined = DataFile::of_epoch(day, last, &run, 0, rows);
    let bytes = encoder.finish()?;
    joined.epochs = (first, last);
    joined.size_bytes = bytes.len() as u64;
    joined.written_at_ms = (worker.settings.now)().0 / 1_000;
    worker
        .runtime
        .block_on(worker.lake.write_file(table, &joined.path, bytes))?;
    let gone: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let data_change = rows != rows_before;
    worker
        .runtime
        .block_on(worker.lake.swap_files(table, &gone, &[joined], data_change))?;
    ::metrics::counter!(crate::metrics::FILES_JOINED, "table" => table.name()).increment(gone.len() as u64);
    tracing::info!(
        table = table.name(),
        day,
        files = gone.len(),
        rows,
        thinned = rows_before - rows,
        "joined small files"
    );
    Ok(())
}
