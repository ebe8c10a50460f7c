//! Compiles experiments, and the layers and holdouts that they share with flags.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::flags::{overrides, split, unit_path};
use super::{Builder, Report, salt};
use crate::experiment::ExperimentStatus;
use crate::ids::{HoldoutKey, VariantKey};
use crate::rules::allocation::buckets_of_percent;
use crate::rules::bucketing::Bucketer;
use crate::rules::definition::{
    Definitions, ExperimentAllocation, HoldoutDefinition, LayerDefinition, LayerSlot, VariantAllocation,
};
use crate::rules::ruleset::{Experiment, Gates, Holdout, Slot};

/// The most variants of an experiment, those made by factors included.
const VARIANTS_MAX: usize = 256;
/// The longest URL of a variant in bytes, as browsers take it.
const URL_MAX_BYTES: usize = 2_048;

impl Builder<'_> {
    /// Compiles one experiment.
    pub(super) fn experiment(&self, at: usize, report: &mut Report) -> Option<Experiment> {
        let definition = self.definitions.experiments.get(at)?;
        report.at_key("experiments", definition.key.as_str(), |report| {
            let mut expanded = definition.clone();
            if let Err(message) = expanded.expand_factors() {
                report.at("factors", |report| report.error(message));
                return None;
            }
            self.experiment_parts(&expanded, report)
        })
    }

    fn experiment_parts(&self, definition: &ExperimentAllocation, report: &mut Report) -> Option<Experiment> {
        check_variants(definition, report);
        let counts = definition.variant_counts();
        if counts.is_none() {
            report.at("variants", |report| {
                report.error("the weights must be finite, at least 0, and not all 0");
            });
        }
        let stored: Vec<_> = definition
            .variants
            .iter()
            .map(|variant| variant.buckets.as_slice())
            .collect();
        let targets: Vec<usize> = (0..definition.variants.len()).collect();
        let split = report.at("variants", |report| split(&counts?, &stored, &targets, report));
        let overrides = report.at("overrides", |report| {
            overrides(
                &definition.overrides,
                |key, report| place(&definition.variants, key, report),
                report,
            )
        });
        let mut gates = self.populations.gates(
            ("experiments", definition.key.as_str()),
            definition.layer.as_ref(),
            definition.holdout.as_ref(),
            report,
        );
        gates.prerequisites = self.prerequisites(&definition.prerequisites, report);
        let audience = report.at("audience", |report| self.condition(&definition.audience, report));
        let traffic_buckets = percent("traffic_percent", definition.traffic_percent, report);
        let salt = salt(definition.salt.as_ref(), definition.key.as_str(), report);
        Some(Experiment {
            key: definition.key.clone(),
            status: definition.status,
            variants: definition.variants.clone().into(),
            split: split?,
            traffic_buckets: traffic_buckets?,
            audience: audience?,
            overrides,
            gates,
            sticky: definition.sticky,
            traffic: Bucketer::new(&format!("{salt}/traffic")),
            variant: Bucketer::new(&format!("{salt}/variant")),
            unit: unit_path(definition.bucket_by.as_ref(), report)?,
        })
    }
}

fn check_variants(definition: &ExperimentAllocation, report: &mut Report) {
    report.at("variants", |report| {
        if definition.variants.is_empty() || definition.variants.len() > VARIANTS_MAX {
            report.error(format!("an experiment has 1 to {VARIANTS_MAX} variants"));
        }
        let mut seen = HashSet::new();
        for (at, variant) in definition.variants.iter().enumerate() {
            report.at(at, |report| {
                if !seen.insert(&variant.key) {
                    report.at("key", |report| {
                        report.error(format!("{} stands twice", variant.key))
                    });
                }
                if variant
                    .url
                    .as_ref()
                    .is_some_and(|url| url.is_empty() || url.len() > URL_MAX_BYTES)
                {
                    let message = format!("a URL has 1 to {URL_MAX_BYTES} bytes");
                    report.at("url", |report| report.error(message));
                }
            });
        }
    });
    for key in definition.live_weights.iter().flat_map(BTreeMap::keys) {
        if !definition.variants.iter().any(|variant| variant.key == *key) {
            report.at("live_weights", |report| {
                report.error(format!("there is no variant {key}"))
            });
        }
    }
}

fn place(variants: &[VariantAllocation], key: &VariantKey, report: &mut Report) -> Option<usize> {
    let place = variants.iter().position(|variant| variant.key == *key);
    if place.is_none() {
        report.error(format!("there is no variant {key}"));
    }
    place
}

fn percent(name: &'static str, percent: f64, report: &mut Report) -> Option<u32> {
    let buckets = buckets_of_percent(percent);
    if buckets.is_none() {
        report.at(name, |report| {
            report.error("a share is 0 to 100 percent in steps of 0.001")
        });
    }
    buckets
}

impl ExperimentAllocation {
    /// Makes the variants of a multivariate experiment, one for each combination of levels, where it has none
    /// yet. A variant's key is its levels' joined by `/`, its weight their product, its value an object of
    /// them.
    ///
    /// # Errors
    /// A phrase when there are too many combinations or a key that joins them is not valid.
    pub fn expand_factors(&mut self) -> Result<(), String> {
        if self.factors.is_empty() || !self.variants.is_empty() {
            return Ok(());
        }
        let mut combinations: Vec<(String, f64, Map<String, Value>)> = vec![(String::new(), 1.0, Map::new())];
        for factor in &self.factors {
            let mut longer = Vec::new();
            for (key, weight, value) in &combinations {
                for level in &factor.levels {
                    let joint = if key.is_empty() { "" } else { "/" };
                    let mut value = value.clone();
                    let own = if level.value.is_null() {
                        Value::from(level.key.as_str())
                    } else {
                        level.value.clone()
                    };
                    value.insert(factor.key.clone(), own);
                    longer.push((format!("{key}{joint}{}", level.key), weight * level.weight, value));
                }
            }
            if longer.is_empty() || longer.len() > VARIANTS_MAX {
                return Err(format!(
                    "the factors' levels combine to 1 to {VARIANTS_MAX} variants"
                ));
            }
            combinations = longer;
        }
        for (key, weight, value) in combinations {
            let key = VariantKey::new(&key).map_err(|error| error.to_string())?;
            let value = Value::Object(value);
            self.variants.push(VariantAllocation {
                key,
                weight,
                value,
                url: None,
                buckets: Vec::new(),
            });
        }
        Ok(())
    }
}

/// What has a slot: the list that it stands in and its key.
pub(super) type Owner<'o> = (&'static str, &'o str);

/// The layers and holdouts by their keys, and whose slots overlap.
pub(super) struct Populations<'d> {
    layers: HashMap<&'d str, &'d LayerDefinition>,
    holdouts: HashMap<&'d str, &'d HoldoutDefinition>,
    /// For the later of two owners whose slots overlap, the key of the earlier.
    overlaps: HashMap<Owner<'d>, &'d str>,
}

impl<'d> Populations<'d> {
    /// Reads layers and holdouts, and reports slots that overlap.
    pub(super) fn collect(definitions: &'d Definitions, report: &mut Report) -> Self {
        let (layers, holdouts, overlaps) = (HashMap::new(), HashMap::new(), overlaps(definitions));
        let mut populations = Self {
            layers,
            holdouts,
            overlaps,
        };
        for layer in &definitions.layers {
            if populations.layers.insert(layer.key.as_str(), layer).is_some() {
                report.at_key("layers", layer.key.as_str(), |report| {
                    report.error("the key stands twice")
                });
            }
        }
        for holdout in &definitions.holdouts {
            report.at_key("holdouts", holdout.key.as_str(), |report| {
                percent("percent", holdout.percent, report);
                if populations
                    .holdouts
                    .insert(holdout.key.as_str(), holdout)
                    .is_some()
                {
                    report.error("the key stands twice");
                }
            });
        }
        populations
    }

    /// The layer and holdout of a flag or an experiment.
    pub(super) fn gates(
        &self,
        owner: Owner<'_>,
        slot: Option<&LayerSlot>,
        holdout: Option<&HoldoutKey>,
        report: &mut Report,
    ) -> Gates {
        if let Some(other) = self.overlaps.get(&owner) {
            report.at("layer", |report| {
                report.error(format!("the slot overlaps the one of {other}"))
            });
        }
        Gates {
            prerequisites: Box::default(),
            layer: slot.and_then(|slot| report.at("layer", |report| self.slot(slot, report))),
            holdout: holdout.and_then(|key| report.at("holdout", |report| self.holdout(key, report))),
        }
    }

    fn slot(&self, slot: &LayerSlot, report: &mut Report) -> Option<Slot> {
        let Some(layer) = self.layers.get(slot.layer.as_str()) else {
            report.error(format!("there is no layer {}", slot.layer));
            return None;
        };
        let (from, to) = (
            percent("from_percent", slot.from_percent, report)?,
            percent("to_percent", slot.to_percent, report)?,
        );
        if from >= to {
            report.error("a slot ends after it starts");
            return None;
        }
        let salt = salt(layer.salt.as_ref(), layer.key.as_str(), report);
        let bucketer = Bucketer::new(&format!("{salt}/layer"));
        Some(Slot {
            key: layer.key.clone(),
            bucketer,
            from,
            to,
        })
    }

    fn holdout(&self, key: &HoldoutKey, report: &mut Report) -> Option<Holdout> {
        let Some(holdout) = self.holdouts.get(key.as_str()) else {
            report.error(format!("there is no holdout {key}"));
            return None;
        };
        let Some(buckets) = buckets_of_percent(holdout.percent) else {
            report.error(format!("it rests on holdout {key}, which has errors"));
            return None;
        };
        let salt = salt(holdout.salt.as_ref(), holdout.key.as_str(), report);
        let bucketer = Bucketer::new(&format!("{salt}/holdout"));
        Some(Holdout {
            key: key.clone(),
            bucketer,
            buckets,
        })
    }
}

/// Finds slots of one layer that overlap, among what can hold units: flags that are not archived and
/// experiments that run or pause.
fn overlaps(definitions: &Definitions) -> HashMap<Owner<'_>, &str> {
    let mut slots: HashMap<&str, Vec<(&LayerSlot, usize, Owner<'_>)>> = HashMap::new();
    let flags = definitions.flags.iter().filter(|flag| !flag.archived);
    let flags = flags.map(|flag| (flag.layer.as_ref(), ("flags", flag.key.as_str())));
    let holds_units = |status| matches!(status, ExperimentStatus::Running | ExperimentStatus::Paused);
    let experiments = definitions
        .experiments
        .iter()
        .filter(|experiment| holds_units(experiment.status));
    let experiments = experiments.map(|experiment| {
        (
            experiment.layer.as_ref(),
            ("experiments", experiment.key.as_str()),
        )
    });
    for (order, (slot, owner)) in flags.chain(experiments).enumerate() {
        if let Some(slot) = slot {
            slots
                .entry(slot.layer.as_str())
                .or_default()
                .push((slot, order, owner));
        }
    }
    let mut overlaps = HashMap::new();
    for slots in slots.values_mut() {
        slots.sort_by(|left, right| left.0.from_percent.total_cmp(&right.0.from_percent));
        // The slot that reaches furthest so far: whatever starts before its end overlaps it.
        let mut furthest: Option<&(&LayerSlot, usize, Owner<'_>)> = None;
        for slot in slots.iter() {
            if let Some(before) = furthest.filter(|before| slot.0.from_percent < before.0.to_percent) {
                let (earlier, later) = if before.1 < slot.1 {
                    (before, slot)
                } else {
                    (slot, before)
                };
                overlaps.insert(later.2, earlier.2.1);
            }
            if furthest.is_none_or(|before| before.0.to_percent < slot.0.to_percent) {
                furthest = Some(slot);
            }
        }
    }
    overlaps
}
