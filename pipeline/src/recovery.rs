//! Restoring the state of a lake: from the last full snapshot and the epochs accepted after it.

use crate::PipelineError;
use crate::engine::Engine;
use crate::history;
use crate::lake::{Lake, Root};
use crate::reconcile;
use crate::schema::Table;
use crate::settings::Settings;
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
    let newest = newest_snapshot(lake.root(), last).await?;
    let from = match newest {
        Some(epoch) if same_plan => load_snapshot(lake.root(), plan, epoch)
            .await?
            .map(|engine| (epoch, engine)),
        _ => None,
    };
    let (base, mut engine) = match from {
        Some((epoch, engine)) => (Some(epoch), engine),
        None => (None, Engine::new(plan, last.horizons)),
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
    if !same_plan {
        let days = lake
            .active_files(Table::Events)?
            .into_iter()
            .filter_map(|file| file.day);
        engine.announce_everything(days);
    }
    Ok((engine, size))
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

async fn newest_snapshot(root: &Root, last: &Manifest) -> Result<Option<i64>, PipelineError> {
    let mut found: BTreeSet<i64> = last.base.into_iter().collect();
    // A snapshot of the last epoch itself may be there before a manifest names it.
    if root.get(&state::snapshot_path(last.epoch)).await?.is_some() {
        found.insert(last.epoch);
    }
    Ok(found.last().copied())
}

async fn load_snapshot(
    root: &Root,
    plan: &MeasurementPlan,
    epoch: i64,
) -> Result<Option<Engine>, PipelineError> {
    let path = state::snapshot_path(epoch);
    let Some(bytes) = root.get(&path).await? else {
        return Err(PipelineError::BadState {
            path,
            why: "it is missing".into(),
        });
    };
    match Engine::from_snapshot(plan, &bytes) {
        Ok(engine) => Ok(Some(engine)),
        Err(why) => Err(PipelineError::BadState { path, why }),
    }
}
