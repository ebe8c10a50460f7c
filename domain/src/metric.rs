//! What is measured: metric definitions and the plan that the engine and the batch job both follow.

use serde::{Deserialize, Serialize};

use crate::ids::{EventName, ExperimentKey, MetricKey, VariantKey};

/// The suffix of the proportion metric that discovery makes beside the sum of an event's values.
pub const CONVERSION_SUFFIX: &str = "_conversion";

/// How a user's counted events become the user's value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// The sum of `value`; the metric's mean is the mean of that sum over exposed users.
    Sum,
    /// The number of events.
    Count,
    /// 1 when there is at least one event, else 0.
    Proportion,
}

impl MetricKind {
    /// The kind as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Proportion => "proportion",
        }
    }
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    #[default]
    Up,
    /// Less is better.
    Down,
}

/// What a metric is used for in an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricRole {
    /// The experiment is decided by it.
    #[default]
    Goal,
    /// It explains, and does not decide.
    Secondary,
    /// It must not get worse.
    Guardrail,
}

/// A metric over the events of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricDefinition {
    /// The metric's key.
    pub key: MetricKey,
    /// What a person reads; empty when nobody named it.
    #[serde(default)]
    pub name: String,
    /// How a user's events become the user's value.
    pub kind: MetricKind,
    /// The name of the events that count.
    pub event: EventName,
    /// Which way is good.
    #[serde(default)]
    pub direction: Direction,
    /// Events count within this many seconds of the first exposure; without limit when absent. At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_window_seconds: Option<u32>,
    /// A user's sum counts as at most this; without limit when absent. Finite; for the kind `sum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
}

/// Why a metric definition is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidMetric {
    /// A window of no seconds counts nothing.
    #[error("the conversion window of metric {metric} is 0 seconds; leave it out for no limit")]
    EmptyWindow {
        /// The metric.
        metric: MetricKey,
    },
    /// A cap that is not a finite number, or on a kind that has no sum.
    #[error("the cap of metric {metric} must be a finite number on a metric of kind sum")]
    BadCap {
        /// The metric.
        metric: MetricKey,
    },
    /// Two definitions share a key.
    #[error("metric {metric} is defined twice")]
    Duplicate {
        /// The metric.
        metric: MetricKey,
    },
    /// An experiment names a metric that nobody defined.
    #[error("experiment {experiment} uses metric {metric}, which is not defined")]
    Unknown {
        /// The experiment.
        experiment: ExperimentKey,
        /// The metric.
        metric: MetricKey,
    },
}

impl MetricDefinition {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`InvalidMetric`] names what is wrong.
    pub fn check(&self) -> Result<(), InvalidMetric> {
        if self.conversion_window_seconds == Some(0) {
            return Err(InvalidMetric::EmptyWindow {
                metric: self.key.clone(),
            });
        }
        let cap_fits = self
            .cap
            .is_none_or(|cap| cap.is_finite() && self.kind == MetricKind::Sum);
        if !cap_fits {
            return Err(InvalidMetric::BadCap {
                metric: self.key.clone(),
            });
        }
        Ok(())
    }

    /// The two metrics that discovery makes for an event name: the sum of `value`, and "at least one".
    ///
    /// A name too long to take the suffix gets the sum alone.
    pub fn discovered(event: &EventName) -> Vec<Self> {
        let of = |key: MetricKey, kind| Self {
            key,
            name: String::new(),
            kind,
            event: event.clone(),
            direction: Direction::Up,
            conversion_window_seconds: None,
            cap: None,
        };
        let sum = MetricKey::new(event.as_str()).map(|key| of(key, MetricKind::Sum));
        let conversion =
            MetricKey::new(&format!("{event}{CONVERSION_SUFFIX}")).map(|key| of(key, MetricKind::Proportion));
        [sum, conversion].into_iter().flatten().collect()
    }
}

/// One experiment of a plan and what is measured in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedExperiment {
    /// The experiment, or the flag with a measured rollout.
    pub key: ExperimentKey,
    /// Its metrics; every metric of the plan when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<MetricKey>>,
    /// The variant that others are compared with; the first by name, or `control` where one is so called, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<VariantKey>,
    /// The planned share of each variant, for the sample-ratio check; equal shares when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<(VariantKey, f64)>,
}

/// What the engine measures: declared experiments and metrics, and whether the rest is discovered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurementPlan {
    /// Whether experiments and events that nobody declared are measured too.
    #[serde(default)]
    pub discovery: bool,
    /// Declared metrics.
    #[serde(default)]
    pub metrics: Vec<MetricDefinition>,
    /// Declared experiments.
    #[serde(default)]
    pub experiments: Vec<PlannedExperiment>,
    /// Experiments, ascending, that are measured no more because events that they were computed from are gone. The lake
    /// itself says which; whoever declares a plan leaves this empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<ExperimentKey>,
}

impl MeasurementPlan {
    /// The plan of a fresh installation: everything seen is measured.
    pub fn discover() -> Self {
        Self {
            discovery: true,
            metrics: Vec::new(),
            experiments: Vec::new(),
            sealed: Vec::new(),
        }
    }

    /// Whether an experiment is measured no more because its first events are gone.
    pub fn is_sealed(&self, experiment: &str) -> bool {
        let found = self
            .sealed
            .binary_search_by(|sealed| sealed.as_str().cmp(experiment));
        found.is_ok()
    }

    /// Whether a metric is measured in an experiment. With discovery, any that is not declared may be.
    pub fn measures(&self, experiment: &str, metric: &str) -> bool {
        let planned = self
            .experiments
            .iter()
            .find(|planned| planned.key.as_str() == experiment);
        let declared = || {
            self.metrics
                .iter()
                .any(|declared| declared.key.as_str() == metric)
        };
        match planned.map(|planned| &planned.metrics) {
            Some(Some(chosen)) => chosen.iter().any(|chosen| chosen.as_str() == metric),
            Some(None) => self.discovery || declared(),
            None => self.discovery,
        }
    }

    /// Checks all definitions against each other.
    ///
    /// # Errors
    /// The first [`InvalidMetric`] found.
    pub fn check(&self) -> Result<(), InvalidMetric> {
        let mut keys = std::collections::BTreeSet::new();
        for metric in &self.metrics {
            metric.check()?;
            if !keys.insert(&metric.key) {
                return Err(InvalidMetric::Duplicate {
                    metric: metric.key.clone(),
                });
            }
        }
        for experiment in &self.experiments {
            for metric in experiment.metrics.iter().flatten() {
                if !keys.contains(metric) {
                    let (experiment, metric) = (experiment.key.clone(), metric.clone());
                    return Err(InvalidMetric::Unknown { experiment, metric });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_only_what_it_defines() {
        let plan = serde_json::json!({
            "metrics": [{"key": "revenue", "kind": "sum", "event": "purchase", "cap": 500.0}],
            "experiments": [{"key": "checkout", "metrics": ["revenue"]}]
        });
        let mut plan: MeasurementPlan = serde_json::from_value(plan).unwrap();
        assert_eq!(plan.check(), Ok(()));
        assert!(plan.measures("checkout", "revenue") && !plan.measures("checkout", "orders"));
        assert!(!plan.measures("search", "revenue"));
        assert!(MeasurementPlan::discover().measures("search", "revenue"));
        plan.experiments[0].metrics = Some(vec![MetricKey::new("orders").unwrap()]);
        assert!(matches!(plan.check(), Err(InvalidMetric::Unknown { .. })));
        plan.experiments.clear();
        plan.metrics[0].kind = MetricKind::Count;
        assert!(matches!(plan.check(), Err(InvalidMetric::BadCap { .. })));
    }
}
