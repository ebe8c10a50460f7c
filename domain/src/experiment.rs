//! Experiments: what is compared with what.

use serde::{Deserialize, Serialize};

use crate::ids::{ExperimentKey, MetricKey, VariantKey};
use crate::metric::MetricRole;

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
    /// Where it stands.
    #[serde(default)]
    pub status: ExperimentStatus,
    /// The arms.
    pub variants: Vec<VariantDefinition>,
    /// The arm that the others are compared with; one of `variants`.
    pub control: VariantKey,
    /// What is measured; every metric when empty.
    #[serde(default)]
    pub metrics: Vec<MetricUse>,
    /// Whether the platform made it because it saw exposures to it.
    #[serde(default)]
    pub discovered: bool,
}

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
        Ok(())
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
