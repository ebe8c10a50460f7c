//! What the life cycle of experiments needs of the store: documents within a write, and the phases that they leave.
//!
//! A phase is a span in which weights and traffic stood still and new users were taken. Results know of phases: the
//! shares of traffic that were planned over the whole are those of the phases, each with the users of its span.

use std::collections::BTreeMap;

use domain::experiment::{ExperimentDefinition, ExperimentStatus};
use domain::metric::{Direction, MetricDefinition};
use domain::results::ExperimentSummary;
use domain::{ExperimentKey, MetricKey, Timestamp, VariantKey};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::definitions::{at_version, missing, stored};
use super::{Document, ObjectKind, Store, Write, corrupt, failed};
use crate::change::Change;
use crate::error::ControlError;

/// A span of an experiment in which weights and traffic stood still.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// 1 for the first.
    pub number: i64,
    /// What it began with: `start`, `resume`, `weights`, `traffic` or `bandit`.
    pub cause: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent for the present one.
    pub ended_at: Option<Timestamp>,
    /// What was set.
    #[serde(flatten)]
    pub setting: PhaseSetting,
}

/// What stood still in a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSetting {
    /// The weights.
    pub weights: BTreeMap<VariantKey, f64>,
    /// The share of the audience that took part.
    pub traffic_percent: f64,
    /// Users exposed to each variant before it; absent when no summary was at hand.
    #[serde(default)]
    pub exposed_before: Option<BTreeMap<VariantKey, u64>>,
}

impl Store {
    /// The phases of an experiment in order.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn phases(&self, key: &ExperimentKey) -> Result<Vec<Phase>, ControlError> {
        let rows = sqlx::query(
            "SELECT number, cause, started_at, ended_at, document FROM experiment_phases
             WHERE experiment = $1 ORDER BY number",
        )
        .bind(key.as_str())
        .fetch_all(self.readers())
        .await
        .map_err(failed("read the phases of an experiment"))?;
        let mut phases = Vec::with_capacity(rows.len());
        for row in rows {
            let read = || -> Result<(Phase, String), sqlx::Error> {
                let phase = Phase {
                    number: row.try_get("number")?,
                    cause: row.try_get("cause")?,
                    started_at: Timestamp(row.try_get("started_at")?),
                    ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp),
                    setting: PhaseSetting {
                        weights: BTreeMap::new(),
                        traffic_percent: 0.0,
                        exposed_before: None,
                    },
                };
                Ok((phase, row.try_get("document")?))
            };
            let (mut phase, document) = read().map_err(failed("read the phases of an experiment"))?;
            phase.setting =
                serde_json::from_str(&document).map_err(corrupt(ObjectKind::Experiment, key.as_str()))?;
            phases.push(phase);
        }
        Ok(phases)
    }

    /// An experiment as a write sees it, at the version that the caller has seen.
    pub(crate) async fn experiment_in(
        &self,
        write: &mut Write,
        key: &ExperimentKey,
        expected_version: Option<i64>,
    ) -> Result<Document<ExperimentDefinition>, ControlError> {
        let found = match expected_version {
            Some(expected) => at_version::<ExperimentDefinition>(write, key.as_str(), expected).await?,
            None => stored::<ExperimentDefinition>(write, key.as_str())
                .await?
                .ok_or_else(|| missing(ObjectKind::Experiment, key.as_str()))?,
        };
        found.into_document()
    }

    /// Replaces an experiment by what the platform made of it.
    pub(crate) async fn put_experiment(
        &self,
        write: &mut Write,
        before: &Document<ExperimentDefinition>,
        action: &'static str,
        after: &ExperimentDefinition,
        change: &Change,
    ) -> Result<Document<ExperimentDefinition>, ControlError> {
        let key = after.key.as_str();
        let found = at_version::<ExperimentDefinition>(write, key, before.version).await?;
        let made = self.put_in(write, (&found, action), after, change).await?;
        made.stored.into_document()
    }

    /// Whether a metric is defined.
    pub(crate) async fn metric_exists(write: &mut Write, key: &MetricKey) -> Result<bool, ControlError> {
        Ok(stored::<MetricDefinition>(write, key.as_str()).await?.is_some())
    }

    /// Which way a metric is good, as a write sees it.
    pub(crate) async fn direction_in(write: &mut Write, key: &MetricKey) -> Result<Direction, ControlError> {
        let found = stored::<MetricDefinition>(write, key.as_str()).await?;
        let found = found.ok_or_else(|| missing(ObjectKind::Metric, key.as_str()))?;
        Ok(found.definition::<MetricDefinition>()?.direction)
    }

    /// Ends and begins phases as a change of an experiment asks for.
    pub(super) async fn follow_phases(
        &self,
        write: &mut Write,
        previous: Option<&ExperimentDefinition>,
        experiment: &ExperimentDefinition,
        change: &Change,
    ) -> Result<(), ControlError> {
        let Some(cause) = phase_cause(previous, experiment) else {
            return Ok(());
        };
        let key = experiment.key.as_str();
        sqlx::query("UPDATE experiment_phases SET ended_at = $2 WHERE experiment = $1 AND ended_at IS NULL")
            .bind(key)
            .bind(change.at.0)
            .execute(&mut **write)
            .await
            .map_err(failed("end a phase"))?;
        if experiment.status != ExperimentStatus::Running {
            return Ok(());
        }
        let setting = PhaseSetting {
            weights: experiment.present_weights(),
            traffic_percent: experiment.traffic_percent,
            exposed_before: self
                .latest_summary(&experiment.key)
                .map(|summary| exposed(&summary)),
        };
        let document = serde_json::to_string(&setting).map_err(corrupt(ObjectKind::Experiment, key))?;
        sqlx::query(
            "INSERT INTO experiment_phases (experiment, number, cause, started_at, document)
             SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4 FROM experiment_phases WHERE experiment = $1",
        )
        .bind(key)
        .bind(cause)
        .bind(change.at.0)
        .bind(document)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("begin a phase"))
    }
}

/// Users exposed to each variant.
fn exposed(summary: &ExperimentSummary) -> BTreeMap<VariantKey, u64> {
    summary
        .arms
        .iter()
        .map(|arm| (arm.variant.clone(), arm.exposed))
        .collect()
}

/// Why a phase ends or begins with a change; nothing when the present one goes on.
fn phase_cause(
    previous: Option<&ExperimentDefinition>,
    experiment: &ExperimentDefinition,
) -> Option<&'static str> {
    let was_running = previous.is_some_and(|previous| previous.status == ExperimentStatus::Running);
    let is_running = experiment.status == ExperimentStatus::Running;
    match (was_running, is_running, previous) {
        (false, false, _) => None,
        (true, false, _) => Some("pause"),
        (false, true, Some(previous)) if previous.status == ExperimentStatus::Paused => Some("resume"),
        (false, true, _) | (true, true, None) => Some("start"),
        (true, true, Some(previous)) => {
            if previous.live_weights != experiment.live_weights && experiment.live_weights.is_some() {
                Some("bandit")
            } else if previous.present_weights() != experiment.present_weights() {
                Some("weights")
            } else if previous
                .traffic_percent
                .total_cmp(&experiment.traffic_percent)
                .is_ne()
            {
                Some("traffic")
            } else {
                None
            }
        }
    }
}

/// The traffic shares that were planned over all phases: each phase's weights, times the users of its span.
///
/// Nothing when the weights never changed, so that the plain ones hold. Where the exposures at the start of a phase are
/// not known, its span counts with the one before it.
pub fn planned_shares(phases: &[Phase], summary: &ExperimentSummary) -> Option<BTreeMap<VariantKey, f64>> {
    let first = phases.first()?;
    if phases
        .iter()
        .all(|phase| phase.setting.weights == first.setting.weights)
    {
        return None;
    }
    let total = |exposed: &BTreeMap<VariantKey, u64>| exposed.values().sum::<u64>();
    let end = total(&exposed(summary));
    let mut shares: BTreeMap<VariantKey, f64> = BTreeMap::new();
    for (index, phase) in phases.iter().enumerate() {
        let started = |phase: &Phase| phase.setting.exposed_before.as_ref().map(total);
        let from = if index == 0 { Some(0) } else { started(phase) };
        let Some(from) = from else { continue };
        let to = phases[index + 1..].iter().find_map(started).unwrap_or(end);
        let users = to.saturating_sub(from) as f64;
        let weight: f64 = phase.setting.weights.values().sum();
        for (variant, own) in &phase.setting.weights {
            *shares.entry(variant.clone()).or_insert(0.0) += users * own / weight;
        }
    }
    // Shares of 0 cannot be planned for; whoever is seen there all the same is a mismatch that the arms show.
    shares.retain(|_, share| *share > 0.0);
    (!shares.is_empty()).then_some(shares)
}
