//! Bandits: weights that follow what is learned.
//!
//! At each interval the weights become the variants' chances to be best on one metric (Thompson sampling by quadrature,
//! [`stats::bandit::allocation::shares`]), none below the floor. Nothing changes before every variant has its burn-in of
//! users. Each change is one transaction: the experiment with the fewest users moved, a phase that results know of, and
//! the audit record.

use std::collections::BTreeMap;

use domain::experiment::{BanditSettings, ExperimentDefinition, ExperimentStatus};
use domain::metric::{Direction, MetricKind, MetricRole};
use domain::results::{ArmSummary, ExperimentSummary, MetricSummary};
use domain::timestamp::MICROS_PER_SECOND;
use domain::{ExperimentKey, MetricKey, VariantKey};
use stats::bandit::allocation::{Rule, shares};
use stats::bayes::posterior::Posterior;

use crate::change::Change;
use crate::error::ControlError;
use crate::store::{DueTimer, Store, TimerKind};

/// A change of all weights smaller than this, together, is not worth a phase: half a user in a hundred.
const CHANGE_MIN: f64 = 0.005;

/// Weights are kept to six digits, so that the same evidence on two machines gives the same document.
const WEIGHT_DIGITS: f64 = 1e6;

impl Store {
    /// Sets the weights of a bandit whose timer is due anew, and its timer for the next time.
    ///
    /// Gives whether something was written. Nothing is when another process was faster.
    pub(crate) async fn bandit_due(&self, timer: &DueTimer, change: &Change) -> Result<bool, ControlError> {
        let Ok(key) = ExperimentKey::new(&timer.key) else {
            return Ok(false);
        };
        let summary = self.latest_summary(&key);
        let mut write = self.begin().await?;
        if !Self::timer_stands(&mut write, timer).await? {
            return Ok(false);
        }
        let before = self.experiment_in(&mut write, &key, None).await?;
        let experiment = &before.definition;
        if experiment.status != ExperimentStatus::Running {
            Self::set_timer(&mut write, TimerKind::Bandit, key.as_str(), None).await?;
            self.commit_quietly(write).await?;
            return Ok(true);
        }
        let settings = experiment.bandit.clone().unwrap_or_default();
        let direction = match metric_of(experiment, &settings) {
            Some(metric) => Self::direction_in(&mut write, metric).await?,
            None => Direction::Up,
        };
        let weights = summary.and_then(|summary| learned(experiment, &settings, direction, &summary));
        let changes = weights
            .as_ref()
            .is_some_and(|weights| distance(&experiment.present_weights(), weights) >= CHANGE_MIN);
        if changes {
            let mut after = experiment.clone();
            after.live_weights = weights;
            after.keep_assignments(experiment);
            self.put_experiment(&mut write, &before, "learn", &after, change)
                .await?;
        }
        let interval = i64::from(settings.interval_seconds) * MICROS_PER_SECOND;
        let next = change.at.plus_micros(interval);
        Self::set_timer(&mut write, TimerKind::Bandit, key.as_str(), Some(next)).await?;
        if changes {
            self.finish(write).await?;
        } else {
            self.commit_quietly(write).await?;
        }
        Ok(true)
    }
}

/// The metric that is to be large: the one named, else the first goal.
fn metric_of<'e>(
    experiment: &'e ExperimentDefinition,
    settings: &'e BanditSettings,
) -> Option<&'e MetricKey> {
    let goals = experiment
        .metrics
        .iter()
        .filter(|used| used.role == MetricRole::Goal);
    settings.metric.as_ref().or(goals.map(|used| &used.metric).next())
}

/// The weights that a summary speaks for; nothing before the burn-in, or when a variant has no spread to judge by.
fn learned(
    experiment: &ExperimentDefinition,
    settings: &BanditSettings,
    direction: Direction,
    summary: &ExperimentSummary,
) -> Option<BTreeMap<VariantKey, f64>> {
    let metric = metric_of(experiment, settings)?;
    let mut posteriors = Vec::with_capacity(experiment.variants.len());
    for variant in &experiment.variants {
        let arm = summary.arms.iter().find(|arm| arm.variant == variant.key)?;
        if arm.exposed < settings.burn_in_units {
            return None;
        }
        posteriors.push(posterior(arm, arm.metrics.get(metric)?, direction)?);
    }
    let shares = match shares(&posteriors, Rule::Thompson, settings.floor) {
        Ok(shares) => shares,
        Err(error) => {
            tracing::warn!(experiment.key = %experiment.key, %error, "a bandit keeps its weights");
            return None;
        }
    };
    let keys = experiment.variants.iter().map(|variant| variant.key.clone());
    let rounded = shares
        .iter()
        .map(|share| (share * WEIGHT_DIGITS).round() / WEIGHT_DIGITS);
    Some(keys.zip(rounded).collect())
}

/// What is believed of an arm, such that more is better.
fn posterior(arm: &ArmSummary, metric: &MetricSummary, direction: Direction) -> Option<Posterior> {
    if metric.kind == MetricKind::Proportion {
        let (successes, trials) = (metric.units as f64, arm.exposed as f64);
        // The uniform prior: one success and one failure.
        let (good, bad) = (successes + 1.0, trials - successes + 1.0);
        return Some(match direction {
            Direction::Up => Posterior::Beta { a: good, b: bad },
            Direction::Down => Posterior::Beta { a: bad, b: good },
        });
    }
    let variance = metric.moments.variance()?;
    let sd = (variance / metric.moments.n as f64).sqrt();
    let mean = match direction {
        Direction::Up => metric.moments.mean,
        Direction::Down => -metric.moments.mean,
    };
    (sd > 0.0).then_some(Posterior::Normal { mean, sd })
}

/// How many users in all would get another variant, as a share.
fn distance(before: &BTreeMap<VariantKey, f64>, after: &BTreeMap<VariantKey, f64>) -> f64 {
    let total = |weights: &BTreeMap<VariantKey, f64>| weights.values().sum::<f64>();
    let (before_total, after_total) = (total(before), total(after));
    let moved: f64 = after
        .iter()
        .map(|(key, weight)| {
            let had = before.get(key).copied().unwrap_or(0.0) / before_total;
            (weight / after_total - had).abs()
        })
        .sum();
    moved / 2.0
}

#[cfg(test)]
mod tests;
