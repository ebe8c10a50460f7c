//! What the committer does beside committing: full snapshots, and joining small files.

use std::collections::{BTreeMap, BTreeSet};

use crate::PipelineError;
use crate::failpoint::{self, Step};
use crate::lake::{ActiveFile, DataFile, FileEncoder, Part, read_batches};
use crate::schema::Table;
use crate::state;
use crate::worker::{RestoredSize, Worker};

/// Files larger than this are left as they are: joining them would write again what readers take in one go anyway.
const LARGE_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Runs after each commit; most of the time it only looks.
pub(crate) fn after_commit(worker: &mut Worker, epoch: i64) -> Result<(), PipelineError> {
    if worker.restored.events_since > worker.settings.snapshot_events {
        write_snapshot(worker, epoch)?;
    }
    for table in Table::ALL {
        compact(worker, table, epoch)?;
    }
    Ok(())
}

/// Writes the full state; from the next manifest on it is the base of recovery.
///
/// The snapshot before it stays until then, because the manifest that is true now still names it.
fn write_snapshot(worker: &mut Worker, epoch: i64) -> Result<(), PipelineError> {
    let root = worker.lake.root().clone();
    let bytes = worker.engine.to_snapshot();
    let size_bytes = bytes.len();
    worker
        .runtime
        .block_on(root.put(&state::snapshot_path(epoch), bytes.into()))?;
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

fn join(worker: &mut Worker, table: Table, day: i32, files: &[ActiveFile]) -> Result<(), PipelineError> {
    let mut encoder = FileEncoder::new(table)?;
    let mut rows = 0;
    for file in files {
        let path = format!("lake/{}/{}", table.name(), file.path);
        let bytes = worker.runtime.block_on(worker.lake.root().get(&path))?;
        let missing = || PipelineError::BadState {
            path: path.clone(),
            why: "the table names it and it is missing".into(),
        };
        for batch in read_batches(table, bytes.ok_or_else(missing)?, &Part::default())? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            encoder.write(&batch)?;
        }
    }
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
    worker
        .runtime
        .block_on(worker.lake.swap_files(table, &gone, &[joined]))?;
    ::metrics::counter!(crate::metrics::FILES_JOINED, "table" => table.name()).increment(gone.len() as u64);
    tracing::info!(
        table = table.name(),
        day,
        files = gone.len(),
        rows,
        "joined small files"
    );
    Ok(())
}
