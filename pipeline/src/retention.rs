//! Deleting what is older than the retention: events, dead letters and first exposures by days, aggregates by experiments.
//!
//! No event goes that an experiment in motion is computed from. An experiment that has ended is *sealed* before its first events
//! go: it is measured no more and its rows stay as they are. So the state, a state that is made again, an erasure and `verify`
//! see the same events, those that are left, and agree on all that is not sealed.
//!
//! The order is: everything that follows from the events is written, the state is kept, the seals are written, the events go, what
//! follows from them alone goes, the state is made again from what is left, the aggregates of long ago go. A crash between any
//! two steps leaves a lake that opens and verifies, and the next run goes on from there.

mod due;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use domain::metric::MeasurementPlan;
use domain::{ExperimentKey, Timestamp};

pub use due::{Due, Held, due};

use crate::PipelineError;
use crate::dedup::BUCKET_MICROS;
use crate::failpoint::{self, Step};
use crate::lake::{Lake, Root, day_text};
use crate::metrics;
use crate::recovery;
use crate::rewriting;
use crate::schema::Table;
use crate::seals::{Seal, Seals};
use crate::settings::Settings;
use crate::state::{self, Manifest};
use crate::worker::WorkerParts;

/// How long what is kept, in microseconds since it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Events, dead letters and first exposures.
    pub events_micros: i64,
    /// Rows of `windows` and `summaries` after the last exposure to their experiment; for ever when absent. An experiment that
    /// is in motion for longer is sealed.
    pub aggregates_micros: Option<i64>,
}

/// Where a declared experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A guardrail rests on it: it is never sealed, or harm would not be seen.
    Guarded,
    /// Its numbers may still change, or be asked for in another way.
    InMotion,
    /// It was completed or archived.
    Ended,
}

/// What is asked: how long things are kept, and which experiments somebody still needs.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The present.
    pub now: Timestamp,
    /// How long.
    pub policy: Policy,
    /// Experiments that were declared. Any other one has ended when no exposure to it came for as long as events are kept.
    pub declared: BTreeMap<String, Standing>,
}

/// What was deleted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Days of `events`, as dates.
    pub event_days: Vec<String>,
    /// Rows of `events`.
    pub events: u64,
    /// Rows of `first_exposures`.
    pub first_exposures: u64,
    /// Rows of `dead_letters`.
    pub dead_letters: u64,
    /// Experiments that were sealed.
    pub sealed: Vec<ExperimentKey>,
    /// Sealed experiments whose aggregates went.
    pub expired: Vec<ExperimentKey>,
    /// What is kept longer.
    pub held: Option<Held>,
}

/// Deletes what is due. Nothing else may write to the lake meanwhile. `plan` is what is measured.
///
/// # Errors
/// When the lake or the state beside it cannot be read or written; the same again goes on from there.
pub async fn enforce(
    root: Root,
    plan: MeasurementPlan,
    settings: impl Fn() -> Settings,
    asked: &Asked,
) -> Result<Deleted, PipelineError> {
    Box::pin(crate::run::write_all(root.clone(), plan.clone(), settings())).await?;
    let settings = settings();
    let parts = recovery::recover(root, &plan, &settings).await?;
    let due = due(&parts.lake, asked).await?;
    let Some(last) = parts.last.clone().filter(|_| !due.is_empty()) else {
        return Ok(Deleted {
            held: due.held,
            ..Deleted::default()
        });
    };
    let run = Run {
        settings: &settings,
        plan: &plan,
        last: &last,
        due: &due,
        asked,
    };
    let (mut lake, mut seals) = run.seal(parts).await?;
    let mut deleted = run.delete_days(&mut lake).await?;
    if due.needs_new_state() {
        run.renew(&lake, &mut seals).await?;
    }
    run.expire(&mut lake, &mut seals).await?;
    deleted.sealed = due.sealed.into_keys().collect();
    deleted.expired = due.expired.into_iter().collect();
    deleted.held = due.held;
    Ok(deleted)
}

/// One run over a lake that is complete as of its last epoch.
struct Run<'a> {
    settings: &'a Settings,
    plan: &'a MeasurementPlan,
    last: &'a Manifest,
    due: &'a Due,
    asked: &'a Asked,
}

impl Run<'_> {
    /// Keeps the state of the last epoch, so that no event is read again by its epoch, and seals what is about to lose events.
    async fn seal(&self, parts: WorkerParts) -> Result<(Lake, Seals), PipelineError> {
        let (lake, mut seals) = (parts.lake, parts.seals);
        let mut summaries = parts.engine.summaries(self.last.epoch);
        let (root, epoch) = (lake.root(), self.last.epoch);
        drop(recovery::keep(parts.engine, root.clone(), parts.plan, epoch).await?);
        state::forget_snapshots(root, &[epoch]).await?;
        for (key, last_exposure_at) in &self.due.sealed {
            let seal = Seal {
                sealed_at: self.asked.now,
                last_exposure_at: *last_exposure_at,
                summary: summaries.remove(key),
            };
            seals.experiments.insert(key.clone(), seal);
        }
        seals.experiments.retain(|key, _| !self.due.lifted.contains(key));
        if !(self.due.sealed.is_empty() && self.due.lifted.is_empty()) {
            seals.write(root).await?;
        }
        failpoint::at(Step::SealsWritten);
        Ok((lake, seals))
    }

    async fn delete_days(&self, lake: &mut Lake) -> Result<Deleted, PipelineError> {
        let due = self.due;
        let mut deleted = Deleted {
            event_days: due.event_days.iter().map(|day| day_text(*day)).collect(),
            events: remove_days(lake, Table::Events, &due.event_days).await?,
            ..Deleted::default()
        };
        failpoint::at(Step::EventsDeleted);
        deleted.first_exposures = remove_days(lake, Table::FirstExposures, &due.exposure_days).await?;
        deleted.dead_letters = remove_days(lake, Table::DeadLetters, &due.dead_letter_days).await?;
        failpoint::at(Step::OthersDeleted);
        Ok(deleted)
    }

    /// Makes the state of the last epoch again from the events that are left: it knows nothing of users and ids that only the
    /// others had, nor of sealed experiments. The tables say all of it already.
    async fn renew(&self, lake: &Lake, seals: &mut Seals) -> Result<(), PipelineError> {
        let left = due::days_of(lake, Table::Events)?;
        let is_gone = |bucket: i64| {
            let day = Timestamp(bucket.saturating_mul(BUCKET_MICROS)).day();
            !left.contains(&day) && self.asked.is_old(due::end_of(day))
        };
        let plan = seals.over(self.plan);
        recovery::renew(lake, &plan, self.last, self.settings, &is_gone).await?;
        failpoint::at(Step::StateRenewed);
        state::forget_runs(lake.root(), &is_gone).await?;
        seals.renewed_at = Some(self.asked.now);
        seals.write(lake.root()).await
    }

    /// Takes the rows of experiments whose aggregates are too old out of their tables.
    async fn expire(&self, lake: &mut Lake, seals: &mut Seals) -> Result<(), PipelineError> {
        let expired = &self.due.expired;
        if expired.is_empty() {
            return Ok(());
        }
        for table in [Table::Windows, Table::Summaries, Table::FirstExposures] {
            let stays = |batch: &RecordBatch| of_others(batch, expired);
            rewriting::leave_out(lake, table, self.settings, "expired", &stays).await?;
        }
        failpoint::at(Step::AggregatesDeleted);
        for key in expired {
            if let Some(seal) = seals.experiments.get_mut(key) {
                seal.summary = None;
            }
        }
        seals.write(lake.root()).await
    }
}

/// Takes days out of a table and gives their rows.
async fn remove_days(lake: &mut Lake, table: Table, days: &BTreeSet<i32>) -> Result<u64, PipelineError> {
    let files = lake.remove_days(table, days).await?;
    let gone: BTreeSet<i32> = files.iter().filter_map(|file| file.day).collect();
    ::metrics::counter!(metrics::DAYS_DELETED, "table" => table.name()).increment(gone.len() as u64);
    Ok(files.iter().filter_map(|file| file.rows).sum())
}

fn of_others(batch: &RecordBatch, expired: &BTreeSet<ExperimentKey>) -> BooleanArray {
    let column = batch.column_by_name("experiment");
    let column = column.expect("the column stands in the table's schema");
    let experiments = column.as_string::<i32>();
    (0..experiments.len())
        .map(|row| Some(!expired.contains(experiments.value(row))))
        .collect()
}

#[cfg(test)]
mod tests;
