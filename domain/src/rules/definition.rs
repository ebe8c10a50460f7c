//! Flags as people write them. `Ruleset::compile` turns them into what is evaluated.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{FlagKey, VariantKey};

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
}

/// One share of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The variation.
    pub variation: VariantKey,
    /// Its share in percent, 0 to 100 in steps of 0.001.
    pub percent: f64,
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
}
