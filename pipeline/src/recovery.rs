//! Restoring the state of a lake: from the last full snapshot and the epochs accepted after it.

use bytes::Bytes;

use crate::PipelineError;
use crate::engine::{Engine, Predecessor, snapshot_follows};
use crate::history;
use crate::lake::{Lake, Root};
use crate::reconcile;
use crate::schema::Table;
use crate::seals::Seals;
use crate::settings::Settings;
use crate::snapshot;
use crate::state::{self, DerivedWritten, Manifest, StoredRuns};
use crate::worker::{RestoredSize, WorkerParts};
use domain::Positions;
use domain::metric::MeasurementPlan;
use std::collections::BTreeSet;

/// Opens a lake, finishes what its last epoch owes, and restores the engine.
///
/// A plan that differs from the one that the lake was made with is followed from the first event on. Experiments that the lake
/// has sealed are not measured, whatever the plan says.
pub(crate) async fn recover(
    root: Root,
    plan: &MeasurementPlan,
    settings: &Settings,
) -> Result<WorkerParts, PipelineError> {
    let mut lake = Lake::open(root).await?;
    let seals = Seals::read(lake.root()).await?;
    let plan = seals.over(plan);
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
        let mut engine = Engine::new(&plan, settings.horizons);
        engine.watch(&settings.watches.current());
        return Ok(WorkerParts {
            engine,
            lake,
            plan,
            seals,
            last: None,
            restored: RestoredSize::default(),
            looks: Vec::new(),
        });
    };
    let (mut engine, restored) = restore(&lake, &plan, settings, &last).await?;
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
        plan,
        seals,
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
    let last = last_manifest(&root).await?;
    Ok(last.map(|last| last.positions).unwrap_or_default())
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

/// The manifest of the last epoch of the lake under a root; none when it has none.
pub(crate) async fn last_manifest(root: &Root) -> Result<Option<Manifest>, PipelineError> {
    let lake = Lake::open(root.clone()).await?;
    match lake.epoch(Table::Events).await? {
        Some(epoch) => Ok(Some(state::read_manifest(root, epoch).await?)),
        None => Ok(None),
    }
}

/// Makes the state of the last epoch again from the events, for a lake whose snapshot of that epoch is there, and keeps it.
pub(crate) async fn make_again(
    lake: &Lake,
    plan: &MeasurementPlan,
    last: &Manifest,
    settings: &Settings,
) -> Result<(), PipelineError> {
    let mut engine = begin_again(lake, plan, last, last.epoch).await?;
    engine.set_horizons(settings.horizons);
    announce(&mut engine, lake)?;
    drop(keep(engine, lake.root().clone(), plan.clone(), last.epoch).await?);
    Ok(())
}

/// Has everything that the derived tables say written again.
fn announce(engine: &mut Engine, lake: &Lake) -> Result<(), PipelineError> {
    let days = |table| -> Result<Vec<i32>, PipelineError> {
        let files = lake.active_files(table)?.into_iter();
        Ok(files.filter_map(|file| file.day).collect())
    };
    // The days of windows too: one whose last event was erased has none left.
    let (mut events, exposures) = (days(Table::Events)?, days(Table::FirstExposures)?);
    events.extend(days(Table::Windows)?);
    engine.announce_everything(events.into_iter(), exposures.into_iter());
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
    // A snapshot of the last epoch itself holds what is still to be written, also where its plan is newer than the epoch's.
    let other_plan_since = !same_plan && base != Some(last.epoch);
    if other_plan_since || begins_again {
        announce(&mut engine, lake)?;
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
    let before = predecessor(lake, epoch).await?;
    from_events(lake, plan, last, (epoch, before)).await
}

/// What the state of an epoch, whose snapshot is there, hands on.
async fn predecessor(lake: &Lake, epoch: i64) -> Result<Predecessor, PipelineError> {
    let (path, bytes) = snapshot_bytes(lake.root(), epoch).await?;
    Engine::predecessor(&bytes).map_err(|why| PipelineError::BadState { path, why })
}

async fn from_events(
    lake: &Lake,
    plan: &MeasurementPlan,
    last: &Manifest,
    (epoch, before): (i64, Predecessor),
) -> Result<Engine, PipelineError> {
    tracing::info!(epoch, "the state is made again from all events that are there");
    let mut engine = Engine::succeeding(plan, last.horizons, before);
    history::for_each_event(lake, epoch, |batch| engine.take_again(&batch)).await?;
    let watermark = engine.watermark();
    drop(engine.end_epoch(watermark, epoch));
    Ok(engine)
}

/// Makes the state of the last epoch again, for a lake whose snapshot of that epoch is there and whose tables say everything
/// that follows, and keeps it. Ids of buckets of event time that are gone are forgotten.
pub(crate) async fn renew(
    lake: &Lake,
    plan: &MeasurementPlan,
    last: &Manifest,
    settings: &Settings,
    is_gone: &(dyn Fn(i64) -> bool + Sync),
) -> Result<(), PipelineError> {
    let mut before = predecessor(lake, last.epoch).await?;
    before.forget_ids(is_gone);
    let mut engine = from_events(lake, plan, last, (last.epoch, before)).await?;
    // What came too late for a state that is made again is mended before anybody reads it; its rows stand in the tables.
    drop(reconcile::reconcile(&mut engine, lake, last.epoch, settings.mend_events).await?);
    engine.consider_written();
    engine.set_horizons(settings.horizons);
    drop(keep(engine, lake.root().clone(), plan.clone(), last.epoch).await?);
    Ok(())
}

/// Writes the state of an epoch to storage.
pub(crate) async fn keep(
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

/// The epochs of the snapshots that are there and may be true, ascending. One of the last epoch may be there before a
/// manifest names it; the one that is named may be gone after an erasure.
async fn snapshots(root: &Root, last: &Manifest) -> Result<BTreeSet<i64>, PipelineError> {
    let mut found = BTreeSet::new();
    for epoch in last.base.into_iter().chain([last.epoch]) {
        if root.exists(&state::snapshot_path(epoch)).await? {
            found.insert(epoch);
        }
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
