//! What definitions are sorted by: environments, dimensions, projects and tags.

use serde::{Deserialize, Serialize};

use crate::ids::{DimensionKey, EnvironmentKey, ProjectKey, TagKey};

/// A deployment environment. Flags may have settings of their own in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentDefinition {
    /// The environment's key, as in a flag's `environments`.
    pub key: EnvironmentKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whether users of the product are in it.
    #[serde(default)]
    pub production: bool,
}

/// A property of events by which results are broken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionDefinition {
    /// The dimension's key.
    pub key: DimensionKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The property of exposure events that holds the value: a name or a JSON pointer.
    pub property: String,
    /// The values that are told apart; any value when empty.
    #[serde(default)]
    pub values: Vec<String>,
}

/// What belongs together: the work of one team or on one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectDefinition {
    /// The project's key.
    pub key: ProjectKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Who answers for it.
    #[serde(default)]
    pub owner: String,
}

/// A word that definitions are marked with. A tag need not be defined to be used; its definition says what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagDefinition {
    /// The tag.
    pub key: TagKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
}
