//! Experiments: what is compared with what, how, and where each stands in its life.

mod design;
mod life_cycle;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{ExperimentKey, HoldoutKey, MetricKey, ProjectKey, UnitId, VariantKey};
use crate::metric::MetricRole;
use crate::rules::allocation::{BucketRange, buckets_of_percent};
use crate::rules::definition::{Condition, Factor, LayerSlot, Prerequisite};

pub use design::{
    AnalysisMethod, AnalysisSettings, BANDIT_INTERVAL_MIN_SECONDS, BanditSettings, ExperimentType, LOOKS_MAX,
    LiftPrior,
};
pub use life_cycle::{Decision, Outcome, Schedule, Transition};

/// Where an experiment stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentStatus {
    /// Being written.
    #[default]
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

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantDefinition {
    /// The variant's key.
    pub key: VariantKey,
    /// Its share of the experiment's traffic relative to the other variants; finite and at least 0.
    pub weight: f64,
    /// What the product is given with it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Where a split-URL experiment sends the visitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The buckets that it holds; the platform writes them when weights change, so that the fewest users move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketRange>,
}

impl VariantDefinition {
    /// A variant with a weight and nothing else.
    pub fn weighted(key: VariantKey, weight: f64) -> Self {
        Self {
            key,
            weight,
            value: Value::Null,
            url: None,
            buckets: Vec::new(),
        }
    }
}

/// One metric and what it is used for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricUse {
    /// The metric.
    pub metric: MetricKey,
    /// What for.
    #[serde(default)]
    pub role: MetricRole,
}

/// A comparison of variants on metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentDefinition {
    /// The experiment's key, as in exposure events.
    pub key: ExperimentKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// What is expected and why.
    #[serde(default)]
    pub hypothesis: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectKey>,
    /// What it is marked with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The environments that it is meant for; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// What is being compared, and how.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub experiment_type: ExperimentType,
    /// Where it stands; only its life cycle's actions change that.
    #[serde(default)]
    pub status: ExperimentStatus,
    /// The arms; made out of `factors` where those are given.
    #[serde(default)]
    pub variants: Vec<VariantDefinition>,
    /// The factors of a multivariate experiment: every combination of levels is a variant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<Factor>,
    /// The arm that the others are compared with; one of `variants`.
    pub control: VariantKey,
    /// What is measured; every metric when empty.
    #[serde(default)]
    pub metrics: Vec<MetricUse>,
    /// The share of the audience that takes part, 0 to 100 in steps of 0.001.
    #[serde(default = "hundred", skip_serializing_if = "is_hundred")]
    pub traffic_percent: f64,
    /// Who may take part; everybody when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub audience: Condition,
    /// Units that get a variant whatever else is said; they are not measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<UnitId, VariantKey>,
    /// What flags must have given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<Prerequisite>,
    /// Its place in a mutual-exclusion layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerSlot>,
    /// The holdout that it respects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<HoldoutKey>,
    /// Whether a variant that the context says was assigned before is kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sticky: bool,
    /// What its buckets are drawn with; the experiment's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The attribute that is bucketed instead of the user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_by: Option<String>,
    /// The analysis that is planned.
    #[serde(default, skip_serializing_if = "is_default")]
    pub analysis: AnalysisSettings,
    /// How a bandit learns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandit: Option<BanditSettings>,
    /// The weights that a bandit has set; the platform writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_weights: Option<BTreeMap<VariantKey, f64>>,
    /// When it starts and ends by itself.
    #[serde(default, skip_serializing_if = "Schedule::is_empty")]
    pub schedule: Schedule,
    /// What it was completed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Whether the platform made it because it saw exposures to it.
    #[serde(default)]
    pub discovered: bool,
}

/// Everybody takes part unless said otherwise.
fn hundred() -> f64 {
    100.0
}

fn is_hundred(value: &f64) -> bool {
    value.total_cmp(&hundred()).is_eq()
}

/// Whether a field may be left out of the JSON.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The most tags and environments of a definition, and the longest of them in bytes.
const LABELS_MAX: usize = 50;
const LABEL_MAX_BYTES: usize = 100;

/// Why an experiment definition is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidExperiment {
    /// Nothing to compare.
    #[error("experiment {experiment} has {count} variants; it needs at least 2")]
    TooFewVariants {
        /// The experiment.
        experiment: ExperimentKey,
        /// How many it has.
        count: usize,
    },
    /// Two variants share a key.
    #[error("variant {variant} stands twice in experiment {experiment}")]
    DuplicateVariant {
        /// The experiment.
        experiment: ExperimentKey,
        /// The variant.
        variant: VariantKey,
    },
    /// A weight that is not a share, or weights that are all 0.
    #[error("the weights of experiment {experiment} must be finite, at least 0, and not all 0")]
    BadWeights {
        /// The experiment.
        experiment: ExperimentKey,
    },
    /// The control is none of the variants.
    #[error("control {control} is not a variant of experiment {experiment}")]
    UnknownControl {
        /// The experiment.
        experiment: ExperimentKey,
        /// The control named.
        control: VariantKey,
    },
    /// A field has a value that it cannot have.
    #[error("experiment {experiment} is refused: {problem}")]
    BadField {
        /// The experiment.
        experiment: ExperimentKey,
        /// What is wrong, in one phrase.
        problem: String,
    },
}

impl ExperimentDefinition {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`InvalidExperiment`] names what is wrong.
    pub fn check(&self) -> Result<(), InvalidExperiment> {
        let experiment = || self.key.clone();
        // Discovery makes an experiment as soon as its first variant is seen.
        if self.variants.len() < 2 && !self.discovered {
            return Err(InvalidExperiment::TooFewVariants {
                experiment: experiment(),
                count: self.variants.len(),
            });
        }
        let mut seen = std::collections::BTreeSet::new();
        for variant in &self.variants {
            if !seen.insert(&variant.key) {
                return Err(InvalidExperiment::DuplicateVariant {
                    experiment: experiment(),
                    variant: variant.key.clone(),
                });
            }
        }
        let total: f64 = self.variants.iter().map(|variant| variant.weight).sum();
        let valid = self
            .variants
            .iter()
            .all(|variant| variant.weight.is_finite() && variant.weight >= 0.0);
        if !valid || total <= 0.0 {
            return Err(InvalidExperiment::BadWeights {
                experiment: experiment(),
            });
        }
        if !seen.contains(&self.control) {
            return Err(InvalidExperiment::UnknownControl {
                experiment: experiment(),
                control: self.control.clone(),
            });
        }
        match self.field_problem() {
            None => Ok(()),
            Some(problem) => Err(InvalidExperiment::BadField {
                experiment: experiment(),
                problem,
            }),
        }
    }

    /// What is wrong with a field that no other rule looks at.
    fn field_problem(&self) -> Option<String> {
        if let Some(problem) = self.analysis.problem() {
            return Some(problem.to_owned());
        }
        if buckets_of_percent(self.traffic_percent).is_none() {
            return Some("traffic_percent is 0 to 100 in steps of 0.001".to_owned());
        }
        for labels in [&self.tags, &self.environments] {
            let fits = |label: &String| !label.is_empty() && label.len() <= LABEL_MAX_BYTES;
            if labels.len() > LABELS_MAX || !labels.iter().all(fits) {
                return Some(format!(
                    "tags and environments are at most {LABELS_MAX} texts of 1 to {LABEL_MAX_BYTES} bytes"
                ));
            }
        }
        match (self.experiment_type, &self.bandit) {
            (ExperimentType::Bandit, settings) => {
                let settings = settings.clone().unwrap_or_default();
                settings.problem(self.variants.len())
            }
            (_, Some(_)) => Some("only an experiment of type bandit has bandit settings".to_owned()),
            (ExperimentType::SplitUrl, None) if self.variants.iter().any(|variant| variant.url.is_none()) => {
                Some("every variant of a split_url experiment has a url".to_owned())
            }
            _ => None,
        }
    }

    /// The weights that count now: what a bandit has set, else those of the variants.
    pub fn present_weights(&self) -> BTreeMap<VariantKey, f64> {
        match &self.live_weights {
            Some(live) => live.clone(),
            None => {
                let weights = self.variants.iter();
                weights
                    .map(|variant| (variant.key.clone(), variant.weight))
                    .collect()
            }
        }
    }

    /// An experiment that was only seen: these variants in equal shares, running.
    pub fn discovered(key: ExperimentKey, variants: Vec<VariantKey>, control: VariantKey) -> Self {
        let weighted = |key| VariantDefinition::weighted(key, 1.0);
        Self {
            key,
            name: String::new(),
            hypothesis: String::new(),
            owner: None,
            project: None,
            tags: Vec::new(),
            environments: Vec::new(),
            experiment_type: ExperimentType::default(),
            status: ExperimentStatus::Running,
            variants: variants.into_iter().map(weighted).collect(),
            factors: Vec::new(),
            control,
            metrics: Vec::new(),
            traffic_percent: hundred(),
            audience: Condition::default(),
            overrides: BTreeMap::new(),
            prerequisites: Vec::new(),
            layer: None,
            holdout: None,
            sticky: false,
            salt: None,
            bucket_by: None,
            analysis: AnalysisSettings::default(),
            bandit: None,
            live_weights: None,
            schedule: Schedule::default(),
            decision: None,
            discovered: true,
        }
    }
}

/// The control among variants that nobody declared: `control` (in any case) where one is so called, else the first by name.
pub fn discovered_control(variants: &[VariantKey]) -> Option<&VariantKey> {
    variants
        .iter()
        .find(|variant| variant.as_str().eq_ignore_ascii_case("control"))
        .or_else(|| variants.iter().min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment() -> ExperimentDefinition {
        serde_json::from_value(serde_json::json!({
            "key": "checkout", "control": "old",
            "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}]
        }))
        .unwrap()
    }

    #[test]
    fn an_experiment_compares_at_least_two_weighted_variants_with_one_of_them() {
        assert_eq!(experiment().check(), Ok(()));
        let mut one = experiment();
        one.variants.pop();
        assert!(matches!(
            one.check(),
            Err(InvalidExperiment::TooFewVariants { count: 1, .. })
        ));
        let mut zero = experiment();
        zero.variants.iter_mut().for_each(|variant| variant.weight = 0.0);
        assert!(matches!(zero.check(), Err(InvalidExperiment::BadWeights { .. })));
        let mut other = experiment();
        other.control = VariantKey::new("blue").unwrap();
        assert!(matches!(
            other.check(),
            Err(InvalidExperiment::UnknownControl { .. })
        ));
    }

    #[test]
    fn the_variant_called_control_is_the_control() {
        let keys: Vec<_> = ["a", "Control", "b"]
            .iter()
            .map(|key| VariantKey::new(key).unwrap())
            .collect();
        assert_eq!(discovered_control(&keys).unwrap().as_str(), "Control");
        assert_eq!(discovered_control(&keys[..1]).unwrap().as_str(), "a");
        assert_eq!(discovered_control(&[]), None);
    }
}
