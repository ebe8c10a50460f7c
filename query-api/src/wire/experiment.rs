//! The documented shapes of experiments and of what their life leaves behind.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::flag::{BucketRange, Condition, LayerSlot, Prerequisite};
use super::{Key, Stored};

/// An experiment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Experiment, example = json!({
    "key": "checkout", "name": "Shorter checkout", "hypothesis": "One page sells more than three.", "owner": "ada",
    "control": "three-pages", "tags": ["checkout"],
    "variants": [{"key": "three-pages", "weight": 1.0}, {"key": "one-page", "weight": 1.0}],
    "metrics": [{"metric": "revenue", "role": "goal"}],
    "analysis": {"planned_units": 20_000, "minimum_effect": 0.02}
}))]
pub struct ExperimentDocument {
    /// The key, as in exposure events.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// What is expected and why.
    #[schema(required = false)]
    pub hypothesis: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What it belongs to.
    pub project: Option<Key>,
    /// What it is marked with.
    #[schema(required = false)]
    pub tags: Vec<Key>,
    /// The environments that it is meant for; all when empty.
    #[schema(required = false)]
    pub environments: Vec<String>,
    /// What is being compared, and how.
    #[serde(rename = "type")]
    #[schema(required = false, default = "ab")]
    pub experiment_type: ExperimentType,
    /// Where it stands; only its actions change that.
    #[schema(required = false, default = "draft")]
    pub status: ExperimentStatus,
    /// The arms, at least two; made out of `factors` where those are given.
    #[schema(required = false)]
    pub variants: Vec<Variant>,
    /// The factors of a multivariate experiment: every combination of levels is a variant.
    #[schema(required = false)]
    pub factors: Vec<Factor>,
    /// The arm that the others are compared with; one of `variants`.
    pub control: Key,
    /// What is measured; every metric when empty.
    #[schema(required = false)]
    pub metrics: Vec<MetricUse>,
    /// The share of the audience that takes part, in steps of 0.001.
    #[schema(required = false, minimum = 0, maximum = 100, default = 100)]
    pub traffic_percent: f64,
    /// Who may take part; everybody when absent.
    #[schema(required = false)]
    pub audience: Condition,
    /// Users that get a variant whatever else is said; they are not measured.
    #[schema(required = false)]
    pub overrides: BTreeMap<Key, Key>,
    /// What flags must have given.
    #[schema(required = false)]
    pub prerequisites: Vec<Prerequisite>,
    /// Its place in a mutual-exclusion layer.
    pub layer: Option<LayerSlot>,
    /// The holdout that it respects.
    pub holdout: Option<Key>,
    /// Whether a variant that the context says was assigned before is kept.
    #[schema(required = false, default = false)]
    pub sticky: bool,
    /// What its buckets are drawn with; the experiment's key when absent.
    pub salt: Option<String>,
    /// The attribute that is bucketed instead of the user id.
    pub bucket_by: Option<String>,
    /// The analysis that is planned before the start, and kept.
    #[schema(required = false)]
    pub analysis: Analysis,
    /// How a bandit learns; for the type `bandit`.
    pub bandit: Option<Bandit>,
    /// The weights that a bandit has set.
    #[schema(read_only)]
    pub live_weights: Option<BTreeMap<Key, f64>>,
    /// When it starts and ends by itself; set at `/api/v1/experiments/{key}/schedule`.
    #[schema(read_only, required = false)]
    pub schedule: Schedule,
    /// What it was completed with.
    #[schema(read_only)]
    pub decision: Option<Decision>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// What is being compared, and how.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentType {
    /// Variants against a control, with fixed weights.
    Ab,
    /// Every combination of the levels of some factors.
    Multivariate,
    /// Variants that are pages of their own.
    SplitUrl,
    /// Weights follow what is learned.
    Bandit,
}

/// Where an experiment stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentStatus {
    /// Being written.
    Draft,
    /// Assigning users and measuring.
    Running,
    /// Measuring, but taking no new users.
    Paused,
    /// Decided.
    Completed,
    /// Out of sight.
    Archived,
}

/// One arm of an experiment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Variant {
    /// The variant's key, as in exposure events.
    pub key: Key,
    /// Its share relative to the other variants.
    #[schema(minimum = 0)]
    pub weight: f64,
    /// What the product is given with it.
    #[schema(required = false, value_type = Value)]
    pub value: Value,
    /// Where a split-URL experiment sends the visitor.
    pub url: Option<String>,
    /// The buckets that it holds; the platform writes them so that the fewest users move.
    #[schema(required = false)]
    pub buckets: Vec<BucketRange>,
}

/// One factor of a multivariate experiment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Factor {
    /// Its name: the member of the variant's value that holds the level's value.
    pub key: String,
    /// Its levels.
    #[schema(min_items = 1)]
    pub levels: Vec<FactorLevel>,
}

/// One level of a factor.
#[derive(Debug, Serialize, ToSchema)]
pub struct FactorLevel {
    /// Its name; the variant's key is the levels' names joined by `/`.
    pub key: String,
    /// Its value; its name when absent.
    #[schema(required = false, value_type = Value)]
    pub value: Value,
    /// Its share relative to the factor's other levels.
    #[schema(required = false, minimum = 0, default = 1)]
    pub weight: f64,
}

/// One metric and what it is used for.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricUse {
    /// The metric's key.
    pub metric: Key,
    /// What for.
    #[schema(required = false, default = "goal")]
    pub role: MetricRole,
}

/// What a metric is used for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricRole {
    /// The experiment is decided by it.
    Goal,
    /// It explains, and does not decide.
    Secondary,
    /// It must not get worse.
    Guardrail,
}

/// The analysis that is planned before the start.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnalysisSettings)]
pub struct Analysis {
    /// How the decision is to be made: `sequential`, `fixed_horizon`, `group_sequential` or `bayesian`.
    #[schema(
        required = false,
        default = "sequential",
        pattern = "^(sequential|fixed_horizon|group_sequential|bayesian)$",
        example = "sequential"
    )]
    pub method: String,
    /// The error rate over all comparisons; between 0 and 1.
    #[schema(required = false, default = 0.05)]
    pub alpha: f64,
    /// How it is held over comparisons: `none`, `holm` or `benjamini_hochberg`.
    #[schema(
        required = false,
        default = "holm",
        pattern = "^(none|holm|benjamini_hochberg)$",
        example = "holm"
    )]
    pub correction: String,
    /// How many users the experiment is planned for, over all variants.
    #[schema(minimum = 1)]
    pub planned_units: Option<u64>,
    /// The smallest relative lift of a goal metric that those users shall show.
    pub minimum_effect: Option<f64>,
    /// The chance to see a lift of that size; between 0 and 1.
    #[schema(required = false, default = 0.8)]
    pub power: f64,
    /// The numbers of exposed users at which looks are planned, ascending; any time when empty.
    #[schema(required = false)]
    pub looks: Vec<u64>,
    /// What a Bayesian analysis believes of lifts beforehand; every difference as likely as any other when absent.
    pub prior: Option<LiftPrior>,
    /// The relative lift up to which a Bayesian analysis takes variants as equal, such as 0.01; above 0.
    pub equal_within: Option<f64>,
    /// The chance to miss the effect planned for that a group-sequential analysis may spend on ending early for lack of
    /// effect; between 0 and 1.
    pub futility_beta: Option<f64>,
    /// Whether secondary metrics count only once every comparison of a goal metric was won; needs the correction `holm`.
    #[schema(required = false, default = false)]
    pub goals_first: bool,
}

/// What is believed of the relative lift of every metric before the data: normal.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiftPrior {
    /// The lift that is expected.
    #[schema(required = false, default = 0.0)]
    pub mean: f64,
    /// Its standard deviation, such as 0.05 for five percent; above 0.
    #[schema(example = 0.05)]
    pub standard_deviation: f64,
}

/// How a bandit learns.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BanditSettings)]
pub struct Bandit {
    /// What is to be large, or small where the metric's direction is `down`; the first goal metric when absent.
    pub metric: Option<Key>,
    /// How often weights are set anew, in seconds.
    #[schema(required = false, minimum = 10, default = 3600)]
    pub interval_seconds: u32,
    /// The share that every variant keeps; times the variants at most 1.
    #[schema(required = false, minimum = 0, maximum = 1, default = 0.01)]
    pub floor: f64,
    /// The users that each variant needs before weights change.
    #[schema(required = false, default = 200)]
    pub burn_in_units: u64,
}

/// When an experiment starts and ends by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"start_at": "2026-02-01T08:00:00Z", "end_at": "2026-02-15T08:00:00Z"}))]
pub struct Schedule {
    /// When it starts, or is resumed; taken out once it has happened.
    #[schema(format = DateTime)]
    pub start_at: Option<String>,
    /// When it is completed as inconclusive, for a person to decide.
    #[schema(format = DateTime)]
    pub end_at: Option<String>,
    /// Why the last start did not happen.
    #[schema(read_only)]
    pub problem: Option<String>,
}

/// What an experiment was completed with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExperimentDecision)]
pub struct Decision {
    /// What came of it: `ship`, `keep_control` or `inconclusive`.
    #[schema(example = "ship")]
    pub outcome: String,
    /// The variant that is kept, with the outcome `ship`.
    pub variant: Option<Key>,
    /// Why.
    pub reason: String,
    /// When it was decided.
    #[schema(format = DateTime)]
    pub at: String,
}

/// A span of an experiment in which weights and traffic stood still.
#[derive(Debug, Serialize, ToSchema)]
pub struct Phase {
    /// 1 for the first.
    pub number: i64,
    /// What it began with: `start`, `resume`, `weights`, `traffic` or `bandit`.
    #[schema(example = "start")]
    pub cause: String,
    /// When it began.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When it ended; null for the present one.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// The weights.
    pub weights: BTreeMap<String, f64>,
    /// The share of the audience that took part.
    pub traffic_percent: f64,
    /// Users exposed to each variant before it; null when no summary was at hand.
    pub exposed_before: Option<BTreeMap<String, u64>>,
}

/// The phases of an experiment.
#[derive(Debug, Serialize, ToSchema)]
pub struct PhaseList {
    /// In order.
    pub items: Vec<Phase>,
}

/// Whether an experiment may start.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartChecks {
    /// Whether nothing stands in the way.
    pub can_start: bool,
    /// Every check that fails.
    pub failures: Vec<FailedCheck>,
}

/// Something that must hold before an experiment starts, and does not.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedCheck {
    /// Which check: `metrics_exist`, `weights_positive`, `layer_has_room`, `power_stated` or `can_be_served`.
    #[schema(example = "power_stated")]
    pub check: String,
    /// Where in the experiment, as a JSON pointer.
    #[schema(example = "/analysis")]
    pub pointer: String,
    /// What is missing.
    pub message: String,
}
