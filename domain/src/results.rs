//! What the engine knows of an experiment at a commit, and what an analysis of it shall do.
//!
//! `pipeline` fills [`ExperimentSummary`], `stats` reads it: the two meet here and nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::experiment::{AnalysisMethod, AnalysisSettings, LiftPrior};
use crate::ids::{ExperimentKey, MetricKey, VariantKey};
use crate::metric::{Direction, MetricKind, MetricRole};
use crate::summary::Moments;
use crate::timestamp::Timestamp;

/// One metric in one arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// How a user's events become the user's value.
    pub kind: MetricKind,
    /// Exposed users with at least one counted event.
    pub units: u64,
    /// Mean and centred second moment over all exposed users, those without an event counting as 0.
    pub moments: Moments,
    /// A second value of each exposed user; absent for a plain metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairMoments>,
}

/// A second value of each exposed user beside the metric's own, with how the two vary together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairMoments {
    /// What the second value is.
    pub value: SecondValue,
    /// Its mean and centred second moment, over the same users as the metric's own.
    pub moments: Moments,
    /// The centred cross moment Σ(x − x̄)(y − ȳ) of the metric's own value x and the second value y.
    pub cross: f64,
}

/// What the second value of a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondValue {
    /// What the metric's value is divided by: the metric is Σ value over Σ denominator.
    Denominator,
    /// What was measured of the user before exposure and cannot be touched by a variant, to adjust the metric for.
    Covariate,
}

/// One arm of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// The variant.
    pub variant: VariantKey,
    /// Users exposed to this variant and to no other.
    pub exposed: u64,
    /// Every metric of the experiment, also those that nobody of this arm has an event for.
    pub metrics: BTreeMap<MetricKey, MetricSummary>,
}

/// All arms of an experiment at one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentSummary {
    /// The experiment, or the flag with a measured rollout.
    pub experiment: ExperimentKey,
    /// Event time up to which it is complete, the watermark of the commit.
    pub as_of: Timestamp,
    /// The commit.
    pub epoch: i64,
    /// The arms, ordered by variant.
    pub arms: Vec<ArmSummary>,
    /// Users seen with more than one variant: left out of every arm.
    pub crossover_users: u64,
}

impl ExperimentSummary {
    /// Users exposed to one arm alone, over all arms.
    pub fn exposed(&self) -> u64 {
        self.arms
            .iter()
            .fold(0, |sum, arm| sum.saturating_add(arm.exposed))
    }
}

/// What a reader of the results of a sealed experiment must know: they are complete up to an event time and stay as they are.
pub fn sealed_warning(complete_until: Timestamp) -> String {
    format!("sealed: its events are older than the retention; complete up to {complete_until}")
}

/// What an analysis shall do with one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPlan {
    /// The metric.
    pub metric: MetricKey,
    /// What it is used for.
    pub role: MetricRole,
    /// Which way is good.
    pub direction: Direction,
}

/// How the error rate is held over all comparisons of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Each comparison by itself.
    None,
    /// The chance of any false discovery (Holm 1979).
    #[default]
    Holm,
    /// The expected share of false discoveries (Benjamini and Hochberg 1995).
    BenjaminiHochberg,
}

/// What an analysis shall do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisPlan {
    /// The arm that the others are compared with.
    pub control: VariantKey,
    /// Planned traffic shares for the sample-ratio check, any positive scale; equal shares when empty.
    pub weights: BTreeMap<VariantKey, f64>,
    /// The error rate, between 0 and 1.
    pub alpha: f64,
    /// How it is held over comparisons.
    pub correction: Correction,
    /// The metrics in the order to show them; every metric of the summary as a goal with `up` when empty.
    pub metrics: Vec<MetricPlan>,
    /// The number of users in all at which the anytime-valid interval is to be tightest.
    pub planned_units: u64,
    /// What the decision rests on.
    #[serde(default)]
    pub method: AnalysisMethod,
    /// The numbers of exposed users in all at which a fixed-horizon or group-sequential analysis decides, ascending; the
    /// last one is its end.
    #[serde(default)]
    pub looks: Vec<u64>,
    /// What a Bayesian analysis believes of lifts beforehand; every difference as likely as any other when absent.
    #[serde(default)]
    pub prior: Option<LiftPrior>,
    /// The relative lift up to which a Bayesian analysis takes variants as equal.
    #[serde(default)]
    pub equal_within: Option<f64>,
    /// What a group-sequential analysis may spend on ending early for lack of effect; no such boundary when absent.
    #[serde(default)]
    pub futility_beta: Option<f64>,
    /// Whether secondary metrics count only once every comparison of a goal metric was won.
    #[serde(default)]
    pub goals_first: bool,
}

/// The number of users at which an anytime-valid interval is tightest unless an experiment plans otherwise: a
/// middle-sized experiment; being wrong by a factor of ten either way widens the interval by about a fifth.
pub const DEFAULT_PLANNED_UNITS: u64 = 10_000;

impl AnalysisPlan {
    /// The plan for an experiment that nobody planned: 5 %, Holm, every metric as a goal.
    pub fn unplanned(control: VariantKey) -> Self {
        Self {
            control,
            weights: BTreeMap::new(),
            alpha: 0.05,
            correction: Correction::Holm,
            metrics: Vec::new(),
            planned_units: DEFAULT_PLANNED_UNITS,
            method: AnalysisMethod::Sequential,
            looks: Vec::new(),
            prior: None,
            equal_within: None,
            futility_beta: None,
            goals_first: false,
        }
    }

    /// Takes over everything that an experiment's settings say of its analysis.
    pub fn follow(&mut self, settings: &AnalysisSettings) {
        self.alpha = settings.alpha;
        self.correction = settings.correction;
        self.planned_units = settings.planned_units.unwrap_or(self.planned_units);
        self.method = settings.method;
        self.looks = settings.decision_looks();
        self.prior = settings.prior;
        self.equal_within = settings.equal_within;
        self.futility_beta = settings.futility_beta;
        self.goals_first = settings.goals_first;
    }
}
