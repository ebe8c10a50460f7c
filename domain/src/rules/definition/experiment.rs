//! Who takes part in an experiment and which variant they get.
//!
//! What the experiment is about (hypothesis, metrics, control) is in [`ExperimentDefinition`]; this is the
//! part that every evaluation needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Algorithm, BucketRange, Condition, LayerSlot, Prerequisite, is_false};
use crate::experiment::{ExperimentDefinition, ExperimentStatus, VariantDefinition};
use crate::ids::{ExperimentKey, HoldoutKey, UnitId, VariantKey};

/// One arm and its share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantAllocation {
    /// The variant's key.
    pub key: VariantKey,
    /// Its share relative to the other variants; finite and at least 0.
    pub weight: f64,
    /// What the product is given with it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Where a split-URL experiment sends the visitor; see [`redirect_url`](crate::rules::redirect_url).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The buckets that it holds, as many as the weights say. Empty: the variants follow each other from
    /// bucket 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketRange>,
}

/// One factor of a multivariate experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// Its name: the key under which the level's value stands in the variant's value.
    pub key: String,
    /// Its levels, at least one.
    pub levels: Vec<FactorLevel>,
}

/// One level of a factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorLevel {
    /// Its name; the variant's key is the levels' names joined by `/`.
    pub key: String,
    /// Its value; its name when absent.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Its share relative to the factor's other levels; finite and at least 0.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: f64,
}

/// How an experiment's traffic is shared out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentAllocation {
    /// The experiment's key, as in exposure events.
    pub key: ExperimentKey,
    /// Only a running experiment takes new units; a paused one keeps the sticky ones.
    #[serde(default)]
    pub status: ExperimentStatus,
    /// The arms; empty when `factors` make them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<VariantAllocation>,
    /// The factors of a multivariate experiment: every combination of levels is a variant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<Factor>,
    /// Weights that replace the variants' own, as a bandit sets them; a variant not named has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_weights: Option<BTreeMap<VariantKey, f64>>,
    /// The share of the audience that takes part, 0 to 100 in steps of 0.001.
    #[serde(default = "hundred", skip_serializing_if = "is_hundred")]
    pub traffic_percent: f64,
    /// Who may take part; everybody when absent.
    #[serde(default, skip_serializing_if = "is_everybody")]
    pub audience: Condition,
    /// Units that get a variant whatever else is said; they are not exposed to the measurement.
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
    #[serde(default, skip_serializing_if = "is_false")]
    pub sticky: bool,
    /// What its buckets are drawn with; the experiment's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// How its buckets are drawn.
    #[serde(default, skip_serializing_if = "Algorithm::is_default")]
    pub algorithm: Algorithm,
    /// The attribute that is bucketed instead of the user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_by: Option<String>,
}

impl From<&ExperimentDefinition> for ExperimentAllocation {
    /// The part of an experiment that evaluations need.
    fn from(experiment: &ExperimentDefinition) -> Self {
        let variants = experiment.variants.iter().map(|variant| VariantAllocation {
            key: variant.key.clone(),
            weight: variant.weight,
            value: variant.value.clone(),
            url: variant.url.clone(),
            buckets: variant.buckets.clone(),
        });
        Self {
            key: experiment.key.clone(),
            status: experiment.status,
            variants: variants.collect(),
            factors: experiment.factors.clone(),
            live_weights: experiment.live_weights.clone(),
            traffic_percent: experiment.traffic_percent,
            audience: experiment.audience.clone(),
            overrides: experiment.overrides.clone(),
            prerequisites: experiment.prerequisites.clone(),
            layer: experiment.layer.clone(),
            holdout: experiment.holdout.clone(),
            sticky: experiment.sticky,
            salt: experiment.salt.clone(),
            algorithm: Algorithm::default(),
            bucket_by: experiment.bucket_by.clone(),
        }
    }
}

impl ExperimentDefinition {
    /// Makes the variants of a multivariate experiment out of its factors, where it has none yet.
    ///
    /// # Errors
    /// A phrase when there are too many combinations or a key that joins them is not valid.
    pub fn expand_factors(&mut self) -> Result<(), String> {
        let mut allocation = ExperimentAllocation::from(&*self);
        allocation.expand_factors()?;
        if self.variants.is_empty() {
            let made = allocation.variants.into_iter();
            self.variants = made
                .map(|variant| VariantDefinition {
                    key: variant.key,
                    weight: variant.weight,
                    value: variant.value,
                    url: variant.url,
                    buckets: variant.buckets,
                })
                .collect();
        }
        Ok(())
    }

    /// Lays the variants out so that, compared with the experiment as it was, the fewest units move.
    pub fn keep_assignments(&mut self, previous: &Self) {
        let mut allocation = ExperimentAllocation::from(&*self);
        allocation.keep_assignments(&ExperimentAllocation::from(previous));
        for (variant, laid_out) in self.variants.iter_mut().zip(allocation.variants) {
            variant.buckets = laid_out.buckets;
        }
    }
}

fn one() -> f64 {
    1.0
}

fn hundred() -> f64 {
    100.0
}

fn is_one(value: &f64) -> bool {
    value.total_cmp(&1.0).is_eq()
}

fn is_hundred(value: &f64) -> bool {
    value.total_cmp(&100.0).is_eq()
}

fn is_everybody(condition: &Condition) -> bool {
    *condition == Condition::default()
}
