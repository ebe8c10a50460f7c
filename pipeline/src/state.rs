//! What stands beside the lake: the manifest of each epoch, runs of event ids, and full snapshots of the keyed state.
//!
//! The manifest of an epoch is written before the epoch is committed, under the epoch's name; the commit makes it true.
//! One that never came true is overwritten by the next try or swept.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domain::metric::MeasurementPlan;
use domain::{PartitionId, Position, Positions, Timestamp};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::PipelineError;
use crate::dedup::{Run, RunLookup, RunName};
use crate::engine::Horizons;
use crate::lake::{DataFile, Root};
use crate::schema::Table;

/// The version of the manifest's form; a newer one is refused.
pub const MANIFEST_VERSION: u32 = 1;
/// Bytes of one id in a run.
const KEY_BYTES: u64 = 16;
/// Runs kept open for look-ups, each a few megabytes at most.
const CACHED_RUNS: usize = 8;

/// What has been received since the lake exists. `received = accepted + duplicate + invalid` always holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records taken from sources.
    pub received: u64,
    /// Events in the lake.
    pub accepted: u64,
    /// Copies of events that are in the lake.
    pub duplicate: u64,
    /// Records in the dead-letter table.
    pub invalid: u64,
    /// Accepted events that were older than the watermark by more than the allowed lateness when they came.
    pub late: u64,
}

/// What one derived table is owed by an epoch: files that are written, to be committed after the events are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// The files to add.
    pub files: Vec<DataFile>,
    /// The days whose other files have to go.
    pub replaced_days: BTreeSet<i32>,
}

/// One epoch: where it ends in every partition, what it decided, and what it owes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub version: u32,
    /// The epoch.
    pub epoch: i64,
    /// Where each partition stands.
    pub positions: Positions,
    /// The watermark of each partition.
    pub watermarks: BTreeMap<PartitionId, Timestamp>,
    /// The watermark that the engine was given, in microseconds since the Unix epoch; the smallest number before any event.
    #[serde(with = "domain::timestamp::as_micros")]
    pub watermark: Timestamp,
    /// The counters at the end of the epoch.
    pub counters: Counters,
    /// How far back the engine looked.
    pub horizons: Horizons,
    /// The plan that the engine followed.
    pub plan: MeasurementPlan,
    /// The epoch of the full snapshot from which the state is restored; none means from the beginning.
    pub base: Option<i64>,
    /// Whether the derived tables were written at this epoch, and whether open windows were too.
    pub derived: DerivedWritten,
    /// Users and days made again at this epoch, so that restoring the state does the same.
    pub reconciled: bool,
    /// Days whose windows wait to be made again because of events that came too late.
    pub dirty_days: BTreeSet<i32>,
    /// Users whose attribution waits to be made again.
    pub dirty_users: u64,
    /// What the derived tables are owed.
    pub owed: BTreeMap<Table, Owed>,
}

/// What an epoch wrote to the derived tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DerivedWritten {
    /// Nothing: it is owed by a later epoch.
    Nothing,
    /// Closed windows and everything that changed.
    Closed,
    /// Windows that are still open, too.
    All,
}

fn manifest_path(epoch: i64) -> String {
    format!("state/epochs/{epoch:012}.json")
}

fn run_path(run: RunName) -> String {
    format!("state/ids/{:012}-{:012}.run", run.bucket, run.epoch)
}

/// Where a full snapshot of an epoch lies.
pub fn snapshot_path(epoch: i64) -> String {
    format!("state/snapshots/{epoch:012}.bin")
}

/// Writes the manifest of an epoch.
///
/// # Errors
/// When it cannot be made durable.
pub async fn write_manifest(root: &Root, manifest: &Manifest) -> Result<(), PipelineError> {
    let bytes = serde_json::to_vec(manifest).expect("a manifest has only text keys and finite numbers");
    root.put(&manifest_path(manifest.epoch), bytes.into()).await
}

/// Reads the manifest of an epoch that came true.
///
/// # Errors
/// [`PipelineError::BadState`] when it is missing, damaged, or of a newer form.
pub async fn read_manifest(root: &Root, epoch: i64) -> Result<Manifest, PipelineError> {
    let missing = || PipelineError::BadState {
        path: manifest_path(epoch),
        why: "it is missing".into(),
    };
    find_manifest(root, epoch).await?.ok_or_else(missing)
}

/// Reads the manifest of an epoch; none when it is not there.
///
/// # Errors
/// [`PipelineError::BadState`] when it is damaged, or of a newer form.
pub async fn find_manifest(root: &Root, epoch: i64) -> Result<Option<Manifest>, PipelineError> {
    let path = manifest_path(epoch);
    let bad = |why: String| PipelineError::BadState {
        path: manifest_path(epoch),
        why,
    };
    let Some(bytes) = root.get(&path).await? else {
        return Ok(None);
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(MANIFEST_VERSION)) {
        let version = version.map_or_else(|| "no version".into(), |version| format!("version {version}"));
        return Err(bad(format!(
            "it has {version}, this program reads version {MANIFEST_VERSION}"
        )));
    }
    serde_json::from_value(value)
        .map(Some)
        .map_err(|error| bad(error.to_string()))
}

/// Deletes manifests of epochs before `before`, which nothing is restored from any more.
///
/// # Errors
/// When the folder cannot be listed.
pub async fn forget_manifests(root: &Root, before: i64) -> Result<(), PipelineError> {
    forget(root, "state/epochs", |epoch| epoch < before).await
}

/// Deletes full snapshots of all epochs but those `kept`.
///
/// # Errors
/// When the folder cannot be listed.
pub async fn forget_snapshots(root: &Root, kept: &[i64]) -> Result<(), PipelineError> {
    forget(root, "state/snapshots", |epoch| !kept.contains(&epoch)).await
}

/// Deletes the runs of event ids of some buckets of event time, which the state does not name any more.
///
/// # Errors
/// When the folder cannot be listed.
pub async fn forget_runs(root: &Root, is_gone: &(dyn Fn(i64) -> bool + Sync)) -> Result<(), PipelineError> {
    forget(root, "state/ids", is_gone).await
}

async fn forget(root: &Root, folder: &str, gone: impl Fn(i64) -> bool) -> Result<(), PipelineError> {
    let mut objects = root.list(folder);
    while let Some(object) = objects.next().await {
        let error = |source| PipelineError::Object {
            action: "list",
            path: folder.to_owned(),
            source,
        };
        let location = object.map_err(error)?.location;
        let epoch = location
            .filename()
            .and_then(|name| name.split(['.', '-']).next()?.parse::<i64>().ok());
        if epoch.is_some_and(&gone) {
            root.delete(location.as_ref()).await?;
        }
    }
    Ok(())
}

/// Writes a run of event ids.
///
/// # Errors
/// When it cannot be made durable.
pub async fn write_run(root: &Root, run: &Run) -> Result<(), PipelineError> {
    let mut bytes = Vec::with_capacity(run.keys.len() * KEY_BYTES as usize);
    for key in &run.keys {
        bytes.extend_from_slice(&key.to_be_bytes());
    }
    root.put(&run_path(run.name), bytes.into()).await
}

/// Looks ids up in the runs of a root, from a thread outside the runtime.
#[derive(Debug)]
pub struct StoredRuns {
    root: Root,
    runtime: tokio::runtime::Handle,
    cached: Vec<(RunName, Bytes)>,
}

impl StoredRuns {
    /// Look-ups under a root; `runtime` waits for the storage.
    pub fn new(root: Root, runtime: tokio::runtime::Handle) -> Self {
        Self {
            root,
            runtime,
            cached: Vec::new(),
        }
    }

    /// Reads an object from whatever thread this is called on: one that belongs to a runtime may not wait itself.
    fn wait_for(&self, path: &str) -> Result<Option<Bytes>, PipelineError> {
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| self.runtime.block_on(self.root.get(path)));
            reading
                .join()
                .map_err(|_| PipelineError::WorkerGone { worker: "id look-up" })?
        })
    }

    fn load(&mut self, run: RunName) -> Result<&Bytes, PipelineError> {
        if let Some(place) = self.cached.iter().position(|(name, _)| *name == run) {
            // The most recently used run comes last, so that the first is the one to leave.
            let entry = self.cached.remove(place);
            self.cached.push(entry);
        } else {
            let path = run_path(run);
            let found = self.wait_for(&path)?;
            let bytes = found.ok_or_else(|| PipelineError::BadState {
                path,
                why: "it is missing".into(),
            })?;
            if self.cached.len() >= CACHED_RUNS {
                self.cached.remove(0);
            }
            self.cached.push((run, bytes));
        }
        Ok(&self.cached.last().expect("a run was just put there").1)
    }
}

impl RunLookup for StoredRuns {
    fn contains(&mut self, run: RunName, key: u128) -> Result<bool, PipelineError> {
        let bytes = self.load(run)?;
        let (mut low, mut high) = (0, bytes.len() / KEY_BYTES as usize);
        let wanted = key.to_be_bytes();
        while low < high {
            let middle = usize::midpoint(low, high);
            let at = middle * KEY_BYTES as usize;
            match bytes[at..at + KEY_BYTES as usize].cmp(&wanted) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(false)
    }
}

/// The later of two positions of one partition.
pub fn later(left: Option<&Position>, right: &Position) -> Position {
    match left {
        Some(left) if left.partial_cmp(right) == Some(std::cmp::Ordering::Greater) => left.clone(),
        _ => right.clone(),
    }
}
