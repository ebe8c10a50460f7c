//! Groups of units that flags and experiments share: segments, layers and holdouts.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::ids::{HoldoutKey, LayerKey, SegmentKey};

/// A named group of units. Excluded ids are never in it; included and listed ids are; the condition decides
/// the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentDefinition {
    /// The segment's key.
    pub key: SegmentKey,
    /// What a person reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Ids that are in it. Lists too long for a definition go to `Definitions::id_sets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<String>,
    /// Ids that are not in it, whatever else says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Who else is in it; nobody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// A layer: whoever is in one of its slots is in no other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerDefinition {
    /// The layer's key.
    pub key: LayerKey,
    /// What a person reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What its buckets are drawn with; the layer's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// The part of a layer's units that a flag or an experiment has for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSlot {
    /// The layer.
    pub layer: LayerKey,
    /// Where the slot starts, in percent of the layer, in steps of 0.001.
    pub from_percent: f64,
    /// Where it ends (not included). The slots of a layer do not overlap.
    pub to_percent: f64,
}

/// A holdout: a share of units kept out of every flag and experiment that names it, to measure them together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutDefinition {
    /// The holdout's key.
    pub key: HoldoutKey,
    /// What a person reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The share that is held out, 0 to 100 in steps of 0.001.
    pub percent: f64,
    /// What its buckets are drawn with; the holdout's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}
