//! Restoring the state of a lake: from the last full snapshot and the epochs accepted after it.

use bytes::Bytes;

use crate::PipelineError;
use crate::engine::{Engine, snapshot_follows};
use crate::history;
use crate::lake::{Lake, Root};
use crate::reconcile;
use crate::schema::Table;
use crate::settings::Settings;
use crate::snapshot;
use crate::state::{self, DerivedWritten, Manifest, StoredRuns};
use crate::worker::{RestoredSize, WorkerParts};
use domain::Positions;
use domain::metric::MeasurementPlan;
use std::collections::BTreeSet;

/// Opens a lake, finishes what its last epoch owes, and restores the engine.
///
/// A plan that differs from the one that the lake was made with is followed from the first event on.
pub(crate) async fn recover(
    root: Root,
    plan: &MeasurementPlan,
    settings: &Settings,
) -> Result<WorkerParts, PipelineError> {
    let mut lake = Lake::open(root).await?;
    let last = match lake.epoch(Table::Events).await? {
        Some(epoch) => Some(state::read_manifest(lake.root(), epoch).await?),
        None => None,
    };
    let true_epoch = last.as_ref().map_or(0, |last| last.epoch);
    if let Some(last) = &last {
        finish_owed(&mut lake, last).await?;
    }
    let swept = lake.sweep_orphans(true_epoch).await?;
    if swept > 0 {
        tracing::info!(files = swept, "swept files of an epoch that never came true");
    }
    crate::housekeeping::vacuum(&lake, settings).await?;
    let Some(last) = last else {
        let mut engine = Engine::new(plan, settings.horizons);
        engine.watch(&settings.watches.current());
        return Ok(WorkerParts {
            engine,
            lake,
            last: None,
            restored: RestoredSize::default(),
            looks: Vec::new(),
        });
    };
    let (mut engine, restored) = restore(&lake, plan, settings, &last).await?;
    tracing::info!(
        epoch = last.epoch,
        events_read = restored.events_since,
        users = engine.user_count(),
        "restored the state"
    );
    let looks = engine.take_looks(last.epoch);
    Ok(WorkerParts {
        engine,
        lake,
        last: Some(last),
        restored,
        looks,
    })
}

/// Up to where each partition of a source is committed to the lake under a root, whose tables are created if need be.
///
/// # Errors
/// When the lake cannot be read.
pub async fn committed_positions(root: Root) -> Result<Positions, PipelineError> {
    let lake = Lake::open(root).await?;
    match lake.epoch(Table::Events).await? {
        Some(epoch) => Ok(state::read_manifest(lake.root(), epoch).await?.positions),
        None => Ok(Positions::default()),
    }
}

async fn finish_owed(lake: &mut Lake, last: &Manifest) -> Result<(), PipelineError> {
    for (table, owed) in &last.owed {
        if lake.epoch(*table).await? != Some(last.epoch) {
            tracing::info!(
                table = table.name(),
                epoch = last.epoch,
                "finishing an epoch that a crash left unfinished"
            );
            lake.commit(*table, last.epoch, &owed.files, &owed.replaced_days, &[])
                .await?;
        }
    }
    Ok(())
}

async fn restore(
    lake: &Lake,
    plan: &MeasurementPlan,
    settings: &Settings,
    last: &Manifest,
) -> Result<(Engine, RestoredSize), PipelineError> {
    let same_plan = last.plan == *plan;
    let snapshots = snapshots(lake.root(), last).await?;
    let mut from = None;
    for epoch in snapshots.iter().rev() {
        from = load_snapshot(lake.root(), plan, *epoch, same_plan)
            .await?
            .map(|engine| (Some(*epoch), engine));
        if from.is_some() {
            break;
        }
    }
    let begins_again = from.is_none() && !snapshots.is_empty();
    let (base, mut engine) = match (from, snapshots.last()) {
        (Some(from), _) => from,
        (None, Some(newest)) => (Some(*newest), begin_again(lake, plan, last, *newest).await?),
        (None, None) => (None, Engine::new(plan, last.horizons)),
    };
    engine.watch(&settings.watches.current());
    let runtime = tokio::runtime::Handle::current();
    let mut lookup = StoredRuns::new(lake.root().clone(), runtime);
    let mut size = RestoredSize {
        base,
        events_since: 0,
    };
    for epoch in base.unwrap_or(0) + 1..=last.epoch {
        let manifest = match epoch == last.epoch {
            true => last.clone(),
            false => state::read_manifest(lake.root(), epoch).await?,
        };
        repeat(
            &mut engine,
            lake,
            &manifest,
            &mut lookup,
            &mut size,
            settings.mend_events,
        )
        .await?;
        if epoch < last.epoch {
            drop(engine.take_looks(epoch));
        }
    }
    engine.set_horizons(settings.horizons);
    if !same_plan || begins_again {
        let days = |table| -> Result<Vec<i32>, PipelineError> {
            let files = lake.active_files(table)?.into_iter();
            Ok(files.filter_map(|file| file.day).collect())
        };
        let (events, exposures) = (days(Table::Events)?, days(Table::FirstExposures)?);
        engine.announce_everything(events.into_iter(), exposures.into_iter());
    }
    if begins_again {
        // From here on the epochs before are not read again.
        engine = keep(engine, lake.root().clone(), plan.clone(), last.epoch).await?;
        size = RestoredSize {
            base: Some(last.epoch),
            events_since: 0,
        };
    }
    Ok((engine, size))
}

/// Makes the state of an epoch again from the events up to it: the manifests that would tell how they came are gone.
async fn begin_again(
    lake: &Lake,
    plan: &MeasurementPlan,
    last: &Manifest,
    epoch: i64,
) -> Result<Engine, PipelineError> {
    tracing::info!(
        epoch,
        "the state is made again from all events, because the plan is another one"
    );
    let (path, bytes) = snapshot_bytes(lake.root(), epoch).await?;
    let before = Engine::predecessor(&bytes).map_err(|why| PipelineError::BadState { path, why })?;
    drop(bytes);
    let mut engine = Engine::succeeding(plan, last.horizons, before);
    history::for_each_event(lake, epoch, |batch| engine.take_again(&batch)).await?;
    let watermark = engine.watermark();
    drop(engine.end_epoch(watermark, epoch));
    Ok(engine)
}

async fn keep(
    engine: Engine,
    root: Root,
    plan: MeasurementPlan,
    epoch: i64,
) -> Result<Engine, PipelineError> {
    let runtime = tokio::runtime::Handle::current();
    let written = tokio::task::spawn_blocking(move || {
        snapshot::write(&root, &runtime, &engine, &plan, epoch).map(|_| engine)
    });
    written
        .await
        .map_err(|_| PipelineError::WorkerGone { worker: "snapshot" })?
}

/// Repeats one epoch: the same events, the same watermark, the same decisions, so the same state.
async fn repeat(
    engine: &mut Engine,
    lake: &Lake,
    manifest: &Manifest,
    lookup: &mut StoredRuns,
    size: &mut RestoredSize,
    mend_events: usize,
) -> Result<(), PipelineError> {
    let mut accepted = Vec::new();
    engine.set_horizons(manifest.horizons);
    let reconciled = match manifest.reconciled {
        true => Some(reconcile::reconcile(engine, lake, manifest.epoch - 1, mend_events).await?),
        false => None,
    };
    for batch in history::epoch_events(lake, manifest.epoch).await? {
        size.events_since += batch.events.len() as u64;
        engine.apply(&batch, lookup, &mut accepted)?;
    }
    drop(engine.end_epoch(manifest.watermark, manifest.epoch));
    drop(reconciled);
    if manifest.derived != DerivedWritten::Nothing {
        drop(engine.take_derived(manifest.derived == DerivedWritten::All));
    }
    Ok(())
}

/// The epochs of the snapshots that may be there, ascending.
async fn snapshots(root: &Root, last: &Manifest) -> Result<BTreeSet<i64>, PipelineError> {
    let mut found: BTreeSet<i64> = last.base.into_iter().collect();
    // A snapshot of the last epoch itself may be there before a manifest names it.
    if root.exists(&state::snapshot_path(last.epoch)).await? {
        found.insert(last.epoch);
    }
    Ok(found)
}

async fn snapshot_bytes(root: &Root, epoch: i64) -> Result<(String, Bytes), PipelineError> {
    let path = state::snapshot_path(epoch);
    match root.get(&path).await? {
        Some(bytes) => Ok((path, bytes)),
        None => Err(PipelineError::BadState {
            path,
            why: "it is missing".into(),
        }),
    }
}

/// The state in a snapshot; none when it follows another plan.
async fn load_snapshot(
    root: &Root,
    plan: &MeasurementPlan,
    epoch: i64,
    same_plan: bool,
) -> Result<Option<Engine>, PipelineError> {
    let (path, bytes) = snapshot_bytes(root, epoch).await?;
    // One that does not say follows the plan of the last epoch.
    if !snapshot_follows(plan, &bytes).unwrap_or(same_plan) {
        return Ok(None);
    }
    let engine = Engine::from_snapshot(plan, &bytes).map_err(|why| PipelineError::BadState { path, why })?;
    Ok(Some(engine))
}
