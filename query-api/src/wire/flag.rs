//! The documented shape of feature flags.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Key, Stored};

/// A feature flag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeatureFlag, example = json!({
    "key": "new-checkout", "name": "New checkout", "type": "boolean", "enabled": true,
    "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
    "off_variation": "off", "measured": true,
    "rules": [{"id": "staff", "condition": {"attribute": "email", "operator": "ends_with", "value": ["@example.com"]},
        "serve": {"variation": "on"}}],
    "default": {"rollout": [{"variation": "on", "percent": 10.0}, {"variation": "off", "percent": 90.0}]}
}))]
pub struct FlagDocument {
    /// The key that products ask for.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What it belongs to.
    pub project: Option<Key>,
    /// What it is marked with.
    #[schema(required = false)]
    pub tags: Vec<Key>,
    /// The type of all variations.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// The values that it can take.
    #[schema(min_items = 1)]
    pub variations: Vec<Variation>,
    /// Whether it is on; off serves `off_variation`.
    #[schema(required = false, default = false)]
    pub enabled: bool,
    /// Served when the flag is off, and by what a rollout leaves over.
    pub off_variation: Key,
    /// Served when no rule matches.
    pub default: Serve,
    /// Whether it is out of use; it then serves `off_variation` in every environment.
    #[schema(required = false, default = false)]
    pub archived: bool,
    /// What its buckets are drawn with; the flag's key when absent.
    pub salt: Option<String>,
    /// How its buckets are drawn.
    #[schema(
        required = false,
        default = "murmur3_x86_32_100k",
        pattern = "^murmur3_x86_32_100k$",
        example = "murmur3_x86_32_100k"
    )]
    pub algorithm: String,
    /// The attribute that is bucketed instead of the user id, such as `/company/id`.
    pub bucket_by: Option<String>,
    /// Units that get a variation whatever the rules say: variation by unit.
    #[schema(required = false)]
    pub overrides: BTreeMap<Key, Key>,
    /// What other flags must have given; otherwise this one serves `off_variation`.
    #[schema(required = false)]
    pub prerequisites: Vec<Prerequisite>,
    /// Its place in a mutual-exclusion layer; units outside get `off_variation`.
    pub layer: Option<LayerSlot>,
    /// The holdout that it respects; held-out units get `off_variation`.
    pub holdout: Option<Key>,
    /// The rules, tried in order; the first that matches serves.
    #[schema(required = false)]
    pub rules: Vec<Rule>,
    /// Whether its splits are measured: exposures carry the flag's key and the variation's.
    #[schema(required = false, default = false)]
    pub measured: bool,
    /// What environments have instead.
    #[schema(required = false)]
    pub environments: BTreeMap<Key, FlagEnvironment>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// The JSON type that all variations of a flag share.
#[derive(Debug, Serialize, ToSchema)]
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

/// What an environment has instead of the flag's own; what is absent is the flag's.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagEnvironment {
    /// Instead of `enabled`.
    pub enabled: Option<bool>,
    /// Instead of `off_variation`.
    pub off_variation: Option<Key>,
    /// Instead of `overrides`.
    pub overrides: Option<BTreeMap<Key, Key>>,
    /// Instead of `rules`.
    pub rules: Option<Vec<Rule>>,
    /// Instead of `default`.
    pub default: Option<Serve>,
}

/// One value that a flag can take.
#[derive(Debug, Serialize, ToSchema)]
pub struct Variation {
    /// The variation's key.
    pub key: Key,
    /// Its value, of the flag's type.
    #[schema(value_type = Value)]
    pub value: Value,
}

/// What a rule, or the end of all rules, gives: exactly one of the members.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Serve {
    /// One variation for everybody.
    Variation(Key),
    /// Shares of the traffic; what is left over to 100 gets `off_variation`.
    Rollout(Vec<Share>),
    /// The variation called like the experiment's variant; who takes no part goes on to the next rule.
    Experiment(Key),
}

/// One share of a rollout.
#[derive(Debug, Serialize, ToSchema)]
pub struct Share {
    /// The variation.
    pub variation: Key,
    /// Its share in percent, in steps of 0.001.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: f64,
    /// The buckets that it holds, as many as `percent` says; from bucket 0 one share after the other when absent.
    #[schema(required = false)]
    pub buckets: Vec<BucketRange>,
}

/// Buckets from `from` to before `to`.
#[derive(Debug, Serialize, ToSchema)]
pub struct BucketRange {
    /// The first bucket.
    #[schema(maximum = 100_000)]
    pub from: u32,
    /// The bucket after the last.
    #[schema(maximum = 100_000)]
    pub to: u32,
}

/// Another flag that must have given one of some variations first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prerequisite {
    /// The other flag.
    pub flag: Key,
    /// The variations that will do.
    #[schema(min_items = 1)]
    pub variations: Vec<Key>,
}

/// The part of a layer's units that a flag has for itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct LayerSlot {
    /// The layer.
    pub layer: Key,
    /// Where the slot starts, in percent of the layer.
    pub from_percent: f64,
    /// Where it ends (not included).
    pub to_percent: f64,
}

/// One rule: who it is for and what they get.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rule {
    /// Its id, unique within the flag; evaluations name it.
    pub id: String,
    /// What a person reads.
    #[schema(required = false)]
    pub description: String,
    /// Who it is for; everybody when absent.
    #[schema(required = false)]
    pub condition: Condition,
    /// What they get.
    pub serve: Serve,
}

/// Who is meant, in one of four forms.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!({"attribute": "plan", "operator": "in", "value": ["pro", "team"]}))]
pub enum Condition {
    /// Every one holds.
    All(AllOf),
    /// At least one holds.
    Any(AnyOf),
    /// It does not hold.
    Not(Not),
    /// An attribute passes a test.
    Clause(Clause),
}

/// Conditions that must all hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AllConditions)]
pub struct AllOf {
    /// The conditions.
    #[schema(no_recursion)]
    pub all: Vec<Condition>,
}

/// Conditions of which one must hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnyCondition)]
pub struct AnyOf {
    /// The conditions.
    #[schema(no_recursion)]
    pub any: Vec<Condition>,
}

/// A condition that must not hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotCondition)]
pub struct Not {
    /// The condition.
    #[schema(no_recursion)]
    pub not: Box<Condition>,
}

/// A test of an attribute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"attribute": "plan", "operator": "in", "value": ["pro", "team"]}))]
pub struct Clause {
    /// A name (`plan`), a JSON pointer (`/company/plan`), `user_id` or `now`.
    pub attribute: Option<String>,
    /// The test.
    pub operator: String,
    /// What it tests against.
    #[schema(value_type = Option<Value>)]
    pub value: Option<Value>,
    /// Whether the result is turned round.
    #[schema(required = false, default = false)]
    pub negate: bool,
}
