//! What definitions need of each other: nothing is written that names what is not there, and nothing is deleted that
//! another names.

use domain::catalog::ProjectDefinition;
use domain::metric::{InvalidMetric, MetricDefinition};
use domain::rules::definition::FlagDefinition;

use super::super::{ObjectKind, Store, Write, failed};
use super::{Definition, missing, stored};
use crate::error::ControlError;

/// Checks a document against those that it needs and those that need it.
pub(super) async fn check<D: Definition>(write: &mut Write, definition: &D) -> Result<(), ControlError> {
    for metric in definition.used_metrics() {
        let known = stored::<MetricDefinition>(write, metric.as_str()).await?;
        if let (None, Some(experiment)) = (known, definition.as_experiment()) {
            let (experiment, metric) = (experiment.key.clone(), metric.clone());
            return Err(InvalidMetric::Unknown { experiment, metric }.into());
        }
    }
    if let Some(project) = definition.labels().project
        && stored::<ProjectDefinition>(write, project).await?.is_none()
    {
        return Err(ControlError::UnknownReference {
            kind: ObjectKind::Project,
            key: project.to_owned(),
        });
    }
    if let Some(rollout) = definition.as_rollout() {
        let flag = stored::<FlagDefinition>(write, rollout.flag.as_str()).await?;
        let flag = flag.ok_or_else(|| missing(ObjectKind::Flag, rollout.flag.as_str()))?;
        crate::rollouts::check_target(rollout, &flag.definition()?)?;
    }
    match definition.as_flag() {
        Some(flag) => check_guardrails(write, flag).await,
        None => Ok(()),
    }
}

/// Checks that a flag keeps the variations that its guardrails compare.
async fn check_guardrails(write: &mut Write, flag: &FlagDefinition) -> Result<(), ControlError> {
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

/// Clauses on segments anywhere in a document: the value is one key or a list of keys.
macro_rules! clauses_on_segment {
    ($table:literal) => {
        concat!(
            "SELECT d.key FROM ",
            $table,
            " AS d, json_tree(d.document) AS t, json_tree(d.document, t.path || '.value') AS v
             WHERE d.deleted_at IS NULL AND instr(d.document, 'in_segment') > 0
               AND t.key = 'operator' AND t.atom = 'in_segment' AND v.atom = ?1 AND d.key <> ?2
             ORDER BY d.key LIMIT 1"
        )
    };
}

/// Documents with the key in a member.
macro_rules! named_in {
    ($table:literal, $path:literal) => {
        concat!(
            "SELECT key FROM ",
            $table,
            " WHERE deleted_at IS NULL AND json_extract(document, '",
            $path,
            "') = ?1 ORDER BY key LIMIT 1"
        )
    };
}

/// Who would miss the document if it were deleted.
pub(super) async fn used_by(
    write: &mut Write,
    kind: ObjectKind,
    key: &str,
) -> Result<Option<String>, ControlError> {
    for (sql, user) in users(kind) {
        // A segment may name itself nowhere, so only its own kind leaves the key itself out.
        let itself = if *user == kind { key } else { "" };
        let found: Option<String> = sqlx::query_scalar(*sql)
            .bind(key)
            .bind(itself)
            .fetch_optional(&mut **write)
            .await
            .map_err(failed("look for users of a definition"))?;
        if let Some(found) = found {
            return Ok(Some(format!("{user} {found}")));
        }
    }
    Ok(None)
}

/// The queries that find a user of a kind of document.
fn users(kind: ObjectKind) -> &'static [(&'static str, ObjectKind)] {
    use ObjectKind as Kind;
    match kind {
        Kind::Metric => &[(
            "SELECT experiments.key FROM experiments, json_each(experiments.document, '$.metrics') AS used
             WHERE experiments.deleted_at IS NULL AND json_extract(used.value, '$.metric') = ?1
             ORDER BY experiments.key LIMIT 1",
            Kind::Experiment,
        )],
        Kind::Flag => &[
            (
                "SELECT id FROM guardrails WHERE flag = ?1 AND retired_at IS NULL ORDER BY id LIMIT 1",
                Kind::Guardrail,
            ),
            (named_in!("rollout_schedules", "$.flag"), Kind::RolloutSchedule),
        ],
        Kind::Segment => &[
            (clauses_on_segment!("flags"), Kind::Flag),
            (clauses_on_segment!("experiments"), Kind::Experiment),
            (clauses_on_segment!("segments"), Kind::Segment),
        ],
        Kind::Layer => &[
            (named_in!("flags", "$.layer.layer"), Kind::Flag),
            (named_in!("experiments", "$.layer.layer"), Kind::Experiment),
        ],
        Kind::Holdout => &[
            (named_in!("flags", "$.holdout"), Kind::Flag),
            (named_in!("experiments", "$.holdout"), Kind::Experiment),
        ],
        Kind::Project => &[
            (named_in!("flags", "$.project"), Kind::Flag),
            (named_in!("experiments", "$.project"), Kind::Experiment),
        ],
        Kind::Environment => &[
            (
                "SELECT d.key FROM flags AS d, json_each(d.document, '$.environments') AS e
                 WHERE d.deleted_at IS NULL AND e.key = ?1 ORDER BY d.key LIMIT 1",
                Kind::Flag,
            ),
            (
                "SELECT d.key FROM experiments AS d, json_each(d.document, '$.environments') AS e
                 WHERE d.deleted_at IS NULL AND e.value = ?1 ORDER BY d.key LIMIT 1",
                Kind::Experiment,
            ),
        ],
        _ => &[],
    }
}
