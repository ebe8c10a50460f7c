//! What definitions need of each other: nothing is written that names what is not there, and nothing is deleted that
//! another names.

use domain::catalog::ProjectDefinition;
use domain::metric::{InvalidMetric, MetricDefinition};
use domain::rules::definition::FlagDefinition;
use serde_json::Value;
use sqlx::Row;

use super::super::{ObjectKind, Store, Write, corrupt, failed};
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

/// Documents read at a time when users are looked for: those that hold the key at all, of which most use it.
const PAGE: i64 = 100;

/// Documents of a table that hold a text, after a key. `LIKE` also finds a few that do not, as some letters of keys mean
/// any letter to it, and as SQLite's knows no case; who uses what is decided by the document.
macro_rules! holding {
    ($table:literal) => {
        concat!(
            "SELECT key, document FROM ",
            $table,
            " WHERE deleted_at IS NULL AND key > $1 AND document LIKE $2 ORDER BY key LIMIT $3"
        )
    };
}

/// Those who may use a kind of document: their kind, how they are found, and what tells whether one does.
type Users = (ObjectKind, &'static str, fn(&Value, &str) -> bool);

/// Who would miss the document if it were deleted.
pub(super) async fn used_by(
    write: &mut Write,
    kind: ObjectKind,
    key: &str,
) -> Result<Option<String>, ControlError> {
    if kind == ObjectKind::Flag
        && let Some(guardrail) = guardrail_on(write, key).await?
    {
        return Ok(Some(format!("{} {guardrail}", ObjectKind::Guardrail)));
    }
    for (user, sql, uses) in users(kind) {
        // A segment may name itself nowhere, so only its own kind leaves the key itself out.
        let itself = (*user == kind).then_some(key);
        if let Some(found) = first_user(write, (*user, sql, *uses), key, itself).await? {
            return Ok(Some(format!("{user} {found}")));
        }
    }
    Ok(None)
}

async fn guardrail_on(write: &mut Write, flag: &str) -> Result<Option<String>, ControlError> {
    sqlx::query_scalar("SELECT id FROM guardrails WHERE flag = $1 AND retired_at IS NULL ORDER BY id LIMIT 1")
        .bind(flag)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("look for users of a definition"))
}

/// The first of the users of a kind who uses the key.
async fn first_user(
    write: &mut Write,
    (user, sql, uses): Users,
    key: &str,
    itself: Option<&str>,
) -> Result<Option<String>, ControlError> {
    let held = format!("%\"{key}\"%");
    let mut after = String::new();
    loop {
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(&held)
            .bind(PAGE)
            .fetch_all(&mut **write)
            .await
            .map_err(failed("look for users of a definition"))?;
        let mut last = None;
        for row in rows {
            let read = || -> Result<(String, String), sqlx::Error> {
                Ok((row.try_get("key")?, row.try_get("document")?))
            };
            let (found, document) = read().map_err(failed("look for users of a definition"))?;
            let document: Value = serde_json::from_str(&document).map_err(corrupt(user, &found))?;
            if itself != Some(found.as_str()) && uses(&document, key) {
                return Ok(Some(found));
            }
            last = Some(found);
        }
        match last {
            Some(last) => after = last,
            None => return Ok(None),
        }
    }
}

/// Where users of a kind of document are looked for.
fn users(kind: ObjectKind) -> &'static [Users] {
    use ObjectKind as Kind;
    const FLAGS: &str = holding!("flags");
    const EXPERIMENTS: &str = holding!("experiments");
    match kind {
        Kind::Metric => &[(Kind::Experiment, EXPERIMENTS, |document, key| {
            list(document, "/metrics")
                .iter()
                .any(|used| is(used, "/metric", key))
        })],
        Kind::Flag => &[(
            Kind::RolloutSchedule,
            holding!("rollout_schedules"),
            |document, key| is(document, "/flag", key),
        )],
        Kind::Segment => &[
            (Kind::Flag, FLAGS, has_clause_on),
            (Kind::Experiment, EXPERIMENTS, has_clause_on),
            (Kind::Segment, holding!("segments"), has_clause_on),
        ],
        Kind::Layer => &[
            (Kind::Flag, FLAGS, |document, key| {
                is(document, "/layer/layer", key)
            }),
            (Kind::Experiment, EXPERIMENTS, |document, key| {
                is(document, "/layer/layer", key)
            }),
        ],
        Kind::Holdout => &[
            (Kind::Flag, FLAGS, |document, key| is(document, "/holdout", key)),
            (Kind::Experiment, EXPERIMENTS, |document, key| {
                is(document, "/holdout", key)
            }),
        ],
        Kind::Project => &[
            (Kind::Flag, FLAGS, |document, key| is(document, "/project", key)),
            (Kind::Experiment, EXPERIMENTS, |document, key| {
                is(document, "/project", key)
            }),
        ],
        Kind::Environment => &[
            (Kind::Flag, FLAGS, |document, key| {
                let environments = document.get("environments").and_then(Value::as_object);
                environments.is_some_and(|environments| environments.contains_key(key))
            }),
            (Kind::Experiment, EXPERIMENTS, |document, key| {
                list(document, "/environments").iter().any(|name| name == key)
            }),
        ],
        _ => &[],
    }
}

/// Whether the member at a place is the key.
fn is(document: &Value, place: &str, key: &str) -> bool {
    document.pointer(place).is_some_and(|found| found == key)
}

/// The list at a place; an empty one when there is none.
fn list<'d>(document: &'d Value, place: &str) -> &'d [Value] {
    let found = document.pointer(place).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

/// Whether a clause on a segment stands anywhere in a document: its value is one key or a list of keys.
fn has_clause_on(document: &Value, segment: &str) -> bool {
    match document {
        Value::Object(members) => {
            let names = |value: &Value| match value {
                Value::Array(keys) => keys.iter().any(|key| key == segment),
                value => value == segment,
            };
            let is_clause = members.get("operator").is_some_and(|found| found == "in_segment");
            (is_clause && members.get("value").is_some_and(names))
                || members.values().any(|inner| has_clause_on(inner, segment))
        }
        Value::Array(items) => items.iter().any(|inner| has_clause_on(inner, segment)),
        _ => false,
    }
}
