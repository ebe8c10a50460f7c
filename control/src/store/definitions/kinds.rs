//! The kinds of documents: their tables, and what makes metrics and flags valid.

use std::collections::BTreeSet;

use domain::experiment::ExperimentDefinition;
use domain::metric::MetricDefinition;
use domain::rollout::RolloutScheduleDefinition;
use domain::rules::definition::{Definitions, FlagDefinition, Serve};
use domain::{FlagKey, MetricKey, VariantKey};

use super::super::ObjectKind;
use super::Definition;
use super::labels::Labels;
use crate::error::ControlError;

/// The SQL of one table.
pub(in crate::store) struct Statements {
    pub(super) table: &'static str,
    pub(super) insert: &'static str,
    pub(super) get: &'static str,
    pub(super) update: &'static str,
    pub(super) delete: &'static str,
    pub(super) all: &'static str,
}

/// The tables differ in their names only; the macro keeps their SQL static text.
macro_rules! statements {
    ($table:literal) => {
        &$crate::store::definitions::kinds::Statements {
            table: $table,
            insert: concat!(
                "INSERT INTO ",
                $table,
                " (key, document, version, discovered, created_at, updated_at) VALUES ($1, $2, 1, $3, $4, $4)"
            ),
            get: concat!(
                "SELECT key, document, version, discovered, created_at, updated_at, deleted_at FROM ",
                $table,
                " WHERE key = $1"
            ),
            update: concat!(
                "UPDATE ",
                $table,
                " SET document = $2, version = $3, discovered = $4, created_at = $5, updated_at = $6,
                  deleted_at = NULL WHERE key = $1"
            ),
            delete: concat!(
                "UPDATE ",
                $table,
                " SET version = $2, deleted_at = $3 WHERE key = $1"
            ),
            all: concat!(
                "SELECT key, document, version, discovered, created_at, updated_at, deleted_at FROM ",
                $table,
                " WHERE deleted_at IS NULL ORDER BY key"
            ),
        }
    };
}
pub(super) use statements;

/// What the store needs to know of a kind of document.
pub(in crate::store) trait Table: Sized {
    /// Its SQL.
    const STATEMENTS: &'static Statements;

    /// What it is found by.
    fn labels(&self) -> Labels<'_>;

    /// Notes in the document itself whether it was discovered, where it has a place for that.
    fn set_discovered(&mut self, _discovered: bool) {}

    /// The metrics that must exist.
    fn used_metrics(&self) -> Vec<&MetricKey> {
        Vec::new()
    }

    /// Refuses to be deleted in a state in which it must stay.
    fn check_deletable(&self) -> Result<(), ControlError> {
        Ok(())
    }

    /// The flag, if it is one.
    fn as_flag(&self) -> Option<&FlagDefinition> {
        None
    }

    /// The experiment, if it is one.
    fn as_experiment(&self) -> Option<&ExperimentDefinition> {
        None
    }

    /// The rollout schedule, if it is one.
    fn as_rollout(&self) -> Option<&RolloutScheduleDefinition> {
        None
    }

    /// Puts it among the definitions that decide who gets what, instead of the one of its key, and gives the list that
    /// it stands in; nothing when it does not decide that.
    fn place(&self, _definitions: &mut Definitions) -> Option<&'static str> {
        None
    }
}

impl Table for MetricDefinition {
    const STATEMENTS: &'static Statements = statements!("metrics");

    fn labels(&self) -> Labels<'_> {
        Labels {
            name: &self.name,
            value_type: Some(self.kind.as_str()),
            ..Labels::default()
        }
    }
}

impl Definition for MetricDefinition {
    type Key = MetricKey;
    const KIND: ObjectKind = ObjectKind::Metric;

    fn key(&self) -> &MetricKey {
        &self.key
    }

    fn check(&self) -> Result<(), ControlError> {
        Ok(MetricDefinition::check(self)?)
    }
}

impl Table for FlagDefinition {
    const STATEMENTS: &'static Statements = statements!("flags");

    fn labels(&self) -> Labels<'_> {
        let status = match (self.archived, self.enabled) {
            (true, _) => "archived",
            (false, true) => "enabled",
            (false, false) => "disabled",
        };
        Labels {
            name: &self.name,
            status: Some(status),
            value_type: Some(value_type(self)),
            owner: self.owner.as_deref(),
            project: self.project.as_ref().map(domain::ProjectKey::as_str),
            tags: &self.tags,
        }
    }

    fn as_flag(&self) -> Option<&FlagDefinition> {
        Some(self)
    }

    fn place(&self, definitions: &mut Definitions) -> Option<&'static str> {
        definitions.flags.retain(|other| other.key != self.key);
        definitions.flags.push(self.clone());
        Some("flags")
    }
}

fn value_type(flag: &FlagDefinition) -> &'static str {
    use domain::rules::definition::ValueType;
    match flag.value_type {
        ValueType::Boolean => "boolean",
        ValueType::String => "string",
        ValueType::Number => "number",
        ValueType::Json => "json",
    }
}

impl Definition for FlagDefinition {
    type Key = FlagKey;
    const KIND: ObjectKind = ObjectKind::Flag;

    fn key(&self) -> &FlagKey {
        &self.key
    }

    /// Checks that the flag can always answer: variations that differ, and only known ones off and by default. The rest
    /// is for the ruleset that it is compiled into.
    fn check(&self) -> Result<(), ControlError> {
        let invalid = |problem: String| ControlError::InvalidFlag {
            flag: self.key.clone(),
            problem,
        };
        let mut known = BTreeSet::new();
        for variation in &self.variations {
            if !known.insert(&variation.key) {
                return Err(invalid(format!("has variation {} twice", variation.key)));
            }
        }
        let named: Vec<&VariantKey> = match &self.default {
            Serve::Variation(key) => vec![key],
            Serve::Rollout(shares) => shares.iter().map(|share| &share.variation).collect(),
            Serve::Experiment(_) => Vec::new(),
        };
        for key in std::iter::once(&self.off_variation).chain(named) {
            if !known.contains(key) {
                return Err(invalid(format!("serves {key}, which is none of its variations")));
            }
        }
        Ok(())
    }

    /// Lays changed rollouts out such that the fewest users move.
    fn prepare(&mut self, previous: Option<&Self>) -> Result<(), ControlError> {
        if let Some(previous) = previous {
            self.keep_assignments(previous);
        }
        Ok(())
    }
}
