//! The documented shapes of what flags and experiments refer to and are sorted by.

use serde::Serialize;
use utoipa::ToSchema;

use super::flag::Condition;
use super::{Key, Stored};

/// A named group of users. Excluded ids are never in it; included and listed ids are; the condition decides the rest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Segment, example = json!({
    "key": "beta", "name": "Beta testers", "included": ["u1", "u2"],
    "condition": {"attribute": "email", "operator": "ends_with", "value": ["@example.com"]}
}))]
pub struct SegmentDocument {
    /// The key that the operator `in_segment` names.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// Ids that are in it; a long list is uploaded to `/api/v1/segments/{key}/ids` instead.
    #[schema(required = false)]
    pub included: Vec<String>,
    /// Ids that are not in it, whatever else says so.
    #[schema(required = false)]
    pub excluded: Vec<String>,
    /// Who else is in it; nobody when absent.
    pub condition: Option<Condition>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// A layer: whoever is in one of its slots is in no other.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Layer, example = json!({"key": "checkout-page", "name": "Checkout page"}))]
pub struct LayerDocument {
    /// The key that slots name.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// What its buckets are drawn with; the layer's key when absent.
    pub salt: Option<String>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// A share of users kept out of every flag and experiment that names it, to measure them together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Holdout, example = json!({"key": "2026", "name": "Sees nothing new in 2026", "percent": 2.0}))]
pub struct HoldoutDocument {
    /// The key that flags and experiments name.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// The share that is held out, in steps of 0.001.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: f64,
    /// What its buckets are drawn with; the holdout's key when absent.
    pub salt: Option<String>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// A deployment environment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment, example = json!({"key": "production", "name": "Production", "production": true}))]
pub struct EnvironmentDocument {
    /// The key, as in a flag's `environments`.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// What it is for.
    #[schema(required = false)]
    pub description: String,
    /// Whether users of the product are in it.
    #[schema(required = false, default = false)]
    pub production: bool,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// A property of events by which results are broken down.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Dimension, example = json!({"key": "country", "property": "country", "values": ["DE", "FR"]}))]
pub struct DimensionDocument {
    /// The key.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// What it is for.
    #[schema(required = false)]
    pub description: String,
    /// The property of exposure events that holds the value: a name or a JSON pointer.
    pub property: String,
    /// The values that are told apart; any value when empty.
    #[schema(required = false)]
    pub values: Vec<String>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// What belongs together: the work of one team or on one product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Project, example = json!({"key": "shop", "name": "Shop", "owner": "ada"}))]
pub struct ProjectDocument {
    /// The key that flags and experiments name.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// What it is for.
    #[schema(required = false)]
    pub description: String,
    /// Who answers for it.
    #[schema(required = false)]
    pub owner: String,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// A word that definitions are marked with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tag, example = json!({"key": "mobile", "description": "Changes the apps, which update late."}))]
pub struct TagDocument {
    /// The tag.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// What it means.
    #[schema(required = false)]
    pub description: String,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}
