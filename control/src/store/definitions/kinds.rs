//! The kinds of documents: their tables, what makes each valid, and what they need of each other.

use std::collections::BTreeSet;

use domain::experiment::ExperimentDefinition;
use domain::metric::{InvalidMetric, MetricDefinition};
use domain::rules::definition::{FlagDefinition, Serve};
use domain::{ExperimentKey, FlagKey, MetricKey, VariantKey};

use super::super::{ObjectKind, Store, Write, failed};
use super::{Definition, stored};
use crate::error::ControlError;

/// The SQL of one table.
pub(in crate::store) struct Statements {
    pub(super) insert: &'static str,
    pub(super) get: &'static str,
    pub(super) update: &'static str,
    pub(super) delete: &'static str,
    pub(super) list: &'static str,
}

/// The tables differ in their names only; the macro keeps their SQL static text.
macro_rules! statements {
    ($table:literal) => {
        &Statements {
            insert: concat!(
                "INSERT INTO ",
                $table,
                " (key, document, version, discovered, created_at, updated_at) VALUES (?1, ?2, 1, ?3, ?4, ?4)"
            ),
            get: concat!(
                "SELECT key, document, version, discovered, created_at, updated_at FROM ",
                $table,
                " WHERE key = ?1"
            ),
            update: concat!(
                "UPDATE ",
                $table,
                " SET document = ?2, version = ?3, discovered = ?4, updated_at = ?5 WHERE key = ?1"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE key = ?1"),
            list: concat!(
                "SELECT key, document, version, discovered, created_at, updated_at FROM ",
                $table,
                " WHERE key > ?1 ORDER BY key LIMIT ?2"
            ),
        }
    };
}

/// What the store needs to know of a kind of document.
pub(in crate::store) trait Table {
    /// Its SQL.
    const STATEMENTS: &'static Statements;

    /// Notes in the document itself whether it was discovered, where it has a place for that.
    fn set_discovered(&mut self, _discovered: bool) {}

    /// The metrics that must exist.
    fn used_metrics(&self) -> Vec<&MetricKey> {
        Vec::new()
    }

    /// The flag, if it is one.
    fn as_flag(&self) -> Option<&FlagDefinition> {
        None
    }

    /// The experiment, if it is one.
    fn as_experiment(&self) -> Option<&ExperimentDefinition> {
        None
    }
}

impl Table for ExperimentDefinition {
    const STATEMENTS: &'static Statements = statements!("experiments");

    fn set_discovered(&mut self, discovered: bool) {
        self.discovered = discovered;
    }

    fn used_metrics(&self) -> Vec<&MetricKey> {
        self.metrics.iter().map(|used| &used.metric).collect()
    }

    fn as_experiment(&self) -> Option<&ExperimentDefinition> {
        Some(self)
    }
}

impl Definition for ExperimentDefinition {
    type Key = ExperimentKey;
    const KIND: ObjectKind = ObjectKind::Experiment;

    fn key(&self) -> &ExperimentKey {
        &self.key
    }

    fn check(&self) -> Result<(), ControlError> {
        Ok(ExperimentDefinition::check(self)?)
    }
}

impl Table for MetricDefinition {
    const STATEMENTS: &'static Statements = statements!("metrics");
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

    fn as_flag(&self) -> Option<&FlagDefinition> {
        Some(self)
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
}

/// Checks a document against those that it needs and those that need it.
pub(super) async fn check_references<D: Definition>(
    write: &mut Write,
    definition: &D,
) -> Result<(), ControlError> {
    for metric in definition.used_metrics() {
        let known = stored::<MetricDefinition>(write, metric.as_str()).await?;
        if let (None, Some(experiment)) = (known, definition.as_experiment()) {
            let (experiment, metric) = (experiment.key.clone(), metric.clone());
            return Err(InvalidMetric::Unknown { experiment, metric }.into());
        }
    }
    let Some(flag) = definition.as_flag() else {
        return Ok(());
    };
    for guardrail in Store::guardrails_on(write, &flag.key).await? {
        let watched = &guardrail.definition;
        for needed in [&watched.control, &watched.treatment] {
            if !flag.variations.iter().any(|variation| variation.key == *needed) {
                return Err(ControlError::InUse {
                    kind: ObjectKind::Flag,
                    key: flag.key.to_string(),
                    used_by: format!("guardrail {}, which compares variation {needed}", guardrail.id),
                });
            }
        }
    }
    Ok(())
}

/// Who would miss the document if it were deleted.
pub(super) async fn used_by(
    write: &mut Write,
    kind: ObjectKind,
    key: &str,
) -> Result<Option<String>, ControlError> {
    let (sql, user) = match kind {
        ObjectKind::Metric => (
            "SELECT experiments.key FROM experiments, json_each(experiments.document, '$.metrics') AS used
             WHERE json_extract(used.value, '$.metric') = ?1 ORDER BY experiments.key LIMIT 1",
            ObjectKind::Experiment,
        ),
        ObjectKind::Flag => (
            "SELECT id FROM guardrails WHERE flag = ?1 AND retired_at IS NULL ORDER BY id LIMIT 1",
            ObjectKind::Guardrail,
        ),
        _ => return Ok(None),
    };
    let found: Option<String> = sqlx::query_scalar(sql)
        .bind(key)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("look for users of a definition"))?;
    Ok(found.map(|found| format!("{user} {found}")))
}
