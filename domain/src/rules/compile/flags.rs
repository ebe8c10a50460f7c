//! Compiles flags: variations, gates, rules and splits.

use serde_json::{Number, Value};

use super::{Builder, Report, salt};
use crate::ids::VariantKey;
use crate::rules::allocation::{BucketRange, buckets_of_percent, lay_out};
use crate::rules::bucketing::{BUCKETS, Bucketer};
use crate::rules::context::AttributePath;
use crate::rules::definition::{FlagDefinition, Prerequisite, Rule, Serve, Share, ValueType, Variation};
use crate::rules::ruleset::{Answer, CompiledRule, Flag, FlagState, KeyMap, Need, Split, SplitPart};

/// The most variations of a flag: a person cannot tell more apart, and shares are searched among them.
const VARIATIONS_MAX: usize = 256;
/// The most rules of a flag: they are tried one after the other.
const RULES_MAX: usize = 1_000;
/// The most individual overrides of a flag; a longer list is a segment.
const OVERRIDES_MAX: usize = 10_000;

impl Builder<'_> {
    /// Compiles one flag.
    pub(super) fn flag(&self, at: usize, report: &mut Report) -> Option<Flag> {
        let definition = self.names.flag(at)?;
        report.at_key("flags", definition.key.as_str(), |report| {
            self.flag_parts(definition, report)
        })
    }

    fn flag_parts(&self, definition: &FlagDefinition, report: &mut Report) -> Option<Flag> {
        let variations = variations(definition, report);
        let off = report.at("off_variation", |report| {
            place(&variations, &definition.off_variation, report)
        });
        let overrides = report.at("overrides", |report| {
            overrides(
                &definition.overrides,
                |key, report| place(&variations, key, report),
                report,
            )
        });
        let mut gates = self.populations.gates(
            ("flags", definition.key.as_str()),
            definition.layer.as_ref(),
            definition.holdout.as_ref(),
            report,
        );
        gates.prerequisites = self.prerequisites(&definition.prerequisites, report);
        let rules = report.at("rules", |report| self.rules(definition, &variations, report));
        let default = report.at("default", |report| {
            self.answer(&definition.default, &variations, report)
        });
        let salt = salt(definition.salt.as_ref(), definition.key.as_str(), report);
        Some(Flag {
            key: definition.key.clone(),
            value_type: definition.value_type,
            state: match (definition.archived, definition.enabled) {
                (true, _) => FlagState::Archived,
                (false, false) => FlagState::Off,
                (false, true) => FlagState::On,
            },
            off: off?,
            overrides,
            gates,
            rules,
            default: default?,
            bucketer: Bucketer::new(salt),
            unit: unit_path(definition.bucket_by.as_ref(), report)?,
            measured: definition.measured,
            variations: variations.into(),
        })
    }

    pub(super) fn prerequisites(&self, prerequisites: &[Prerequisite], report: &mut Report) -> Box<[Need]> {
        let mut needs = Vec::with_capacity(prerequisites.len());
        report.at("prerequisites", |report| {
            for (at, prerequisite) in prerequisites.iter().enumerate() {
                let wanted: Vec<&str> = prerequisite.variations.iter().map(VariantKey::as_str).collect();
                let found = report.at(at, |report| {
                    self.wanted_variations(prerequisite.flag.as_str(), &wanted, report)
                });
                needs.extend(found.map(|(flag, variations)| Need {
                    key: prerequisite.flag.clone(),
                    flag,
                    variations,
                }));
            }
        });
        needs.into()
    }

    fn rules(
        &self,
        definition: &FlagDefinition,
        variations: &[Variation],
        report: &mut Report,
    ) -> Box<[CompiledRule]> {
        if definition.rules.len() > RULES_MAX {
            report.error(format!("a flag has at most {RULES_MAX} rules"));
        }
        let mut ids = std::collections::HashSet::new();
        let mut compiled = Vec::with_capacity(definition.rules.len());
        for (at, rule) in definition.rules.iter().take(RULES_MAX).enumerate() {
            report.at(at, |report| {
                if rule.id.is_empty() || rule.id.len() > crate::ids::KEY_MAX_BYTES || !ids.insert(&rule.id) {
                    let message = "a rule's id has 1 to 256 bytes and is unique in its flag";
                    report.at("id", |report| report.error(message));
                }
                compiled.extend(self.rule(rule, variations, report));
            });
        }
        compiled.into()
    }

    fn rule(&self, rule: &Rule, variations: &[Variation], report: &mut Report) -> Option<CompiledRule> {
        let condition = report.at("condition", |report| self.condition(&rule.condition, report));
        let answer = report.at("serve", |report| self.answer(&rule.serve, variations, report));
        Some(CompiledRule {
            id: rule.id.as_str().into(),
            condition: condition?,
            answer: answer?,
        })
    }

    fn answer(&self, serve: &Serve, variations: &[Variation], report: &mut Report) -> Option<Answer> {
        match serve {
            Serve::Variation(key) => report
                .at("variation", |report| place(variations, key, report))
                .map(Answer::Variation),
            Serve::Rollout(shares) => report
                .at("rollout", |report| rollout(shares, variations, report))
                .map(Answer::Rollout),
            Serve::Experiment(key) => report.at("experiment", |report| {
                let Some(at) = self.names.experiments.get(key.as_str()).copied() else {
                    report.error(format!("there is no experiment {key}"));
                    return None;
                };
                let Some(experiment) = self.ruleset.experiment(at) else {
                    report.error(format!("it rests on experiment {key}, which has errors"));
                    return None;
                };
                let places: Vec<usize> = experiment
                    .variants
                    .iter()
                    .filter_map(|variant| place(variations, &variant.key, report))
                    .collect();
                let complete = places.len() == experiment.variants.len();
                complete.then(|| Answer::Experiment {
                    experiment: at,
                    variations: places.into(),
                })
            }),
        }
    }
}

/// Checks the variations and gives all numbers one form, so that a flag never answers `5` here and `5.5`
/// there.
fn variations(definition: &FlagDefinition, report: &mut Report) -> Vec<Variation> {
    let mut variations = definition.variations.clone();
    report.at("variations", |report| {
        if variations.is_empty() || variations.len() > VARIATIONS_MAX {
            report.error(format!("a flag has 1 to {VARIATIONS_MAX} variations"));
        }
        let mut seen = std::collections::HashSet::new();
        for (at, variation) in variations.iter().enumerate() {
            report.at(at, |report| {
                if !seen.insert(&variation.key) {
                    report.at("key", |report| {
                        report.error(format!("{} stands twice", variation.key))
                    });
                }
                if !fits(&variation.value, definition.value_type) {
                    report.at("value", |report| {
                        report.error("the value is not of the flag's type")
                    });
                }
            });
        }
    });
    let fractional = |variation: &Variation| variation.value.as_number().is_some_and(Number::is_f64);
    if definition.value_type == ValueType::Number && variations.iter().any(fractional) {
        for variation in &mut variations {
            let number = variation.value.as_f64().and_then(Number::from_f64);
            variation.value = number.map_or(Value::Null, Value::Number);
        }
    }
    variations
}

fn fits(value: &Value, value_type: ValueType) -> bool {
    match value_type {
        ValueType::Boolean => value.is_boolean(),
        ValueType::String => value.is_string(),
        ValueType::Number => value.is_number(),
        ValueType::Json => true,
    }
}

fn place(variations: &[Variation], key: &VariantKey, report: &mut Report) -> Option<usize> {
    let place = variations.iter().position(|variation| variation.key == *key);
    if place.is_none() {
        report.error(format!("there is no variation {key}"));
    }
    place
}

/// Turns the overrides' variations into their places.
pub(super) fn overrides(
    overrides: &std::collections::BTreeMap<crate::ids::UnitId, VariantKey>,
    place: impl Fn(&VariantKey, &mut Report) -> Option<usize>,
    report: &mut Report,
) -> KeyMap<usize> {
    if overrides.len() > OVERRIDES_MAX {
        report.error(format!(
            "there are at most {OVERRIDES_MAX} overrides; a longer list is a segment"
        ));
    }
    let mut places = KeyMap::default();
    for (unit, key) in overrides {
        if let Some(place) = place(key, report) {
            places.insert(unit.as_str().into(), place);
        }
    }
    places
}

/// The attribute that is bucketed.
pub(super) fn unit_path(bucket_by: Option<&String>, report: &mut Report) -> Option<AttributePath> {
    match bucket_by {
        None => Some(AttributePath::UserId),
        Some(text) => report.at("bucket_by", |report| report.keep(AttributePath::parse(text))),
    }
}

fn rollout(shares: &[Share], variations: &[Variation], report: &mut Report) -> Option<Split> {
    let mut counts = Vec::with_capacity(shares.len());
    let mut targets = Vec::with_capacity(shares.len());
    for (at, share) in shares.iter().enumerate() {
        report.at(at, |report| {
            targets.extend(report.at("variation", |report| place(variations, &share.variation, report)));
            match buckets_of_percent(share.percent) {
                Some(count) => counts.push(count),
                None => report.at("percent", |report| {
                    report.error("a share is 0 to 100 percent in steps of 0.001");
                }),
            }
        });
    }
    if counts.len() != shares.len() || targets.len() != shares.len() {
        return None;
    }
    let stored: Vec<&[BucketRange]> = shares.iter().map(|share| share.buckets.as_slice()).collect();
    split(&counts, &stored, &targets, report)
}

/// Which target each bucket belongs to: by the stored ranges where there are some, else one after the other.
pub(super) fn split(
    counts: &[u32],
    stored: &[&[BucketRange]],
    targets: &[usize],
    report: &mut Report,
) -> Option<Split> {
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    if total > u64::from(BUCKETS) {
        report.error("the shares sum to more than 100 percent");
        return None;
    }
    let layout = if stored.iter().all(|ranges| ranges.is_empty()) {
        lay_out(counts)
    } else {
        stored.iter().map(|ranges| ranges.to_vec()).collect()
    };
    let sizes_fit = layout.iter().zip(counts).all(|(ranges, count)| {
        ranges.iter().map(|range| u64::from(range.len())).sum::<u64>() == u64::from(*count)
    });
    let mut ranges: Vec<(BucketRange, usize)> = Vec::new();
    for (own, target) in layout.iter().zip(targets) {
        ranges.extend(own.iter().map(|range| (*range, *target)));
    }
    ranges.sort_by_key(|(range, _)| range.from);
    let mut parts = Vec::with_capacity(ranges.len());
    let mut end = 0;
    for (range, target) in ranges {
        if range.from < end || range.to < range.from || range.to > BUCKETS {
            report.error("the bucket ranges overlap or leave the 100000 buckets");
            return None;
        }
        if range.from > end {
            parts.push(SplitPart {
                end: range.from,
                target: None,
            });
        }
        end = range.to;
        parts.push(SplitPart {
            end,
            target: Some(target),
        });
    }
    if !sizes_fit {
        report.error("the bucket ranges do not hold as many buckets as the shares say");
        return None;
    }
    Some(Split { parts: parts.into() })
}
