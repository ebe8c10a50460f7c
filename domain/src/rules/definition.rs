//! Definitions as people write them: flags, experiments, segments, layers and holdouts.
//!
//! Their serde shapes are stored and sent, so a field may be added (with a default) but never renamed. What
//! the types cannot say is checked by [`Ruleset::compile`](super::Ruleset::compile), which turns them into
//! what is evaluated.

mod condition;
mod experiment;
mod population;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::allocation::BucketRange;
use super::compile::{CompileError, Report, Step};
use super::id_set::IdSet;
use crate::ids::{ExperimentKey, FlagKey, HoldoutKey, ProjectKey, SegmentKey, UnitId, VariantKey};

pub use condition::{Clause, Condition, InvalidCondition, Operator};
pub use experiment::{ExperimentAllocation, Factor, FactorLevel, VariantAllocation};
pub use population::{HoldoutDefinition, LayerDefinition, LayerSlot, SegmentDefinition};

/// Everything that decides who gets what, at one version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definitions {
    /// The version of the whole; every decision carries it.
    #[serde(default)]
    pub version: u64,
    /// The environment to compile for; flags without an entry for it keep their own settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The flags.
    #[serde(default)]
    pub flags: Vec<FlagDefinition>,
    /// The experiments' allocations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experiments: Vec<ExperimentAllocation>,
    /// The segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentDefinition>,
    /// The layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerDefinition>,
    /// The holdouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holdouts: Vec<HoldoutDefinition>,
    /// Long id lists of segments, built once and shared between rulesets; they travel apart from the rest.
    #[serde(skip)]
    pub id_sets: BTreeMap<SegmentKey, Arc<IdSet>>,
}

/// The JSON type that all variations of a flag share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// A number.
    Number,
    /// Any JSON value.
    Json,
}

/// One value that a flag can take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variation {
    /// The variation's key.
    pub key: VariantKey,
    /// Its value, of the flag's type.
    pub value: Value,
}

/// What a rule, or the end of all rules, gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serve {
    /// One variation for everybody.
    Variation(VariantKey),
    /// Shares of the traffic, in percent; what is left over to 100 gets the flag's off variation.
    Rollout(Vec<Share>),
    /// The variation that is called like the experiment's variant; who takes no part goes on to the next
    /// rule.
    Experiment(ExperimentKey),
}

/// One share of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The variation.
    pub variation: VariantKey,
    /// Its share in percent, 0 to 100 in steps of 0.001.
    pub percent: f64,
    /// The buckets that it holds, as many as `percent` says. Empty: the shares follow each other from bucket
    /// 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketRange>,
}

/// The bucketing algorithm, stored so that a later one never reshuffles what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Algorithm {
    /// Multiply-shift of murmur3_x86_32 of `salt + ":" + unit` into 100 000 buckets.
    #[default]
    #[serde(rename = "murmur3_x86_32_100k")]
    Murmur3,
}

impl Algorithm {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Another flag that must have given one of some variations first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prerequisite {
    /// The other flag.
    pub flag: FlagKey,
    /// The variations that will do, at least one.
    pub variations: Vec<VariantKey>,
}

/// One rule: who it is for and what they get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its id, unique within the flag; decisions name it.
    pub id: String,
    /// What a person reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who it is for; everybody when absent.
    #[serde(default)]
    pub condition: Condition,
    /// What they get.
    pub serve: Serve,
}

/// What one environment has instead of the flag's own settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagEnvironment {
    /// Instead of `enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Instead of `off_variation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_variation: Option<VariantKey>,
    /// Instead of `overrides`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<BTreeMap<UnitId, VariantKey>>,
    /// Instead of `rules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
    /// Instead of `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Serve>,
}

/// A feature flag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagDefinition {
    /// The flag's key.
    pub key: FlagKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectKey>,
    /// What it is marked with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The type of all variations.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// The values that it can take, at least one.
    pub variations: Vec<Variation>,
    /// Whether it is on; off serves `off_variation`.
    #[serde(default)]
    pub enabled: bool,
    /// Served when the flag is off, and by what a rollout leaves over.
    pub off_variation: VariantKey,
    /// Served when no rule matches.
    pub default: Serve,
    /// Whether it is out of use; it then serves `off_variation` in every environment.
    #[serde(default, skip_serializing_if = "is_false")]
    pub archived: bool,
    /// What its buckets are drawn with; the flag's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// How its buckets are drawn.
    #[serde(default, skip_serializing_if = "Algorithm::is_default")]
    pub algorithm: Algorithm,
    /// The attribute that is bucketed instead of the user id, such as `/company/id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_by: Option<String>,
    /// Units that get a variation whatever the rules say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<UnitId, VariantKey>,
    /// What other flags must have given; otherwise this one serves `off_variation`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<Prerequisite>,
    /// Its place in a mutual-exclusion layer; units outside get `off_variation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerSlot>,
    /// The holdout that it respects; held-out units get `off_variation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<HoldoutKey>,
    /// The rules, tried in order; the first that matches serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Whether its splits are measured: exposures carry the flag's key and the variation's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub measured: bool,
    /// What environments have instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<String, FlagEnvironment>,
}

/// Whether a field may be left out of the JSON.
fn is_false(value: &bool) -> bool {
    !value
}

impl Definitions {
    /// Reads definitions one by one: what does not read is left out and reported, and the rest is kept.
    pub fn from_json_lenient(value: &Value) -> (Self, Vec<CompileError>) {
        let mut report = Report::default();
        let mut definitions = Self::default();
        let Some(fields) = value.as_object() else {
            report.error("definitions are an object");
            return (definitions, report.into_errors());
        };
        for (name, value) in fields {
            report.at(Step::Key(name.clone()), |report| match name.as_str() {
                "version" => definitions.version = read(value, report).unwrap_or_default(),
                "environment" => definitions.environment = read(value, report).unwrap_or_default(),
                "flags" => definitions.flags = read_each(value, report),
                "experiments" => definitions.experiments = read_each(value, report),
                "segments" => definitions.segments = read_each(value, report),
                "layers" => definitions.layers = read_each(value, report),
                "holdouts" => definitions.holdouts = read_each(value, report),
                _ => report.error("there is no such field"),
            });
        }
        (definitions, report.into_errors())
    }
}

fn read<T: DeserializeOwned>(value: &Value, report: &mut Report) -> Option<T> {
    report.keep(T::deserialize(value).map_err(|error| error.to_string()))
}

fn read_each<T: DeserializeOwned>(value: &Value, report: &mut Report) -> Vec<T> {
    let Some(values) = value.as_array() else {
        report.error("it is a list");
        return Vec::new();
    };
    let each = values.iter().enumerate();
    each.filter_map(|(at, value)| report.at(at, |report| read(value, report)))
        .collect()
}

impl FlagDefinition {
    /// The flag as it is in an environment.
    pub fn in_environment(&self, environment: &str) -> Self {
        let mut flag = self.clone();
        let Some(own) = flag.environments.remove(environment) else {
            return flag;
        };
        flag.enabled = own.enabled.unwrap_or(flag.enabled);
        flag.off_variation = own.off_variation.unwrap_or(flag.off_variation);
        flag.overrides = own.overrides.unwrap_or(flag.overrides);
        flag.rules = own.rules.unwrap_or(flag.rules);
        flag.default = own.default.unwrap_or(flag.default);
        flag
    }
}
