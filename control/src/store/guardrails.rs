//! Guardrails, their evidence and the looks that it was made from.

mod looks;

use std::fmt;

use domain::guardrail::GuardrailDefinition;
use domain::rules::definition::FlagDefinition;
use domain::{FlagKey, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::definitions::{exists, missing, remember, repeated, stored};
use super::{Entry, ObjectKind, Page, PageRequest, Store, Write, corrupt, failed, fresh_id, page, page_size};
use crate::change::Change;
use crate::error::ControlError;
use crate::safety::{Evidence, SafetyState};
pub(crate) use looks::Look;

/// The id of a guardrail: `grd_…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuardrailId(pub String);

impl fmt::Display for GuardrailId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A guardrail as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guardrail {
    /// Its id.
    pub id: GuardrailId,
    /// What it watches.
    pub definition: GuardrailDefinition,
    /// Whether it may roll back; not after a rollback, until a person enables the flag again.
    pub armed: bool,
    /// 1 at first, one more with each re-arming. Evidence is collected anew in each phase.
    pub phase: i64,
    /// The last commit that counted; absent before the first.
    pub last_epoch: Option<i64>,
    /// The evidence after that commit; absent before the first of the phase.
    pub evidence: Option<Evidence>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a person took it away; it then counts no more, and its record stays.
    pub retired_at: Option<Timestamp>,
    /// What the evidence is continued from.
    #[serde(skip)]
    pub(crate) state: Option<SafetyState>,
}

const GUARDRAIL_BY_ID: &str =
    "SELECT g.id, g.document, g.created_at, g.retired_at, s.armed, s.phase, s.last_epoch, s.state
     FROM guardrails g JOIN guardrail_states s ON s.guardrail = g.id WHERE g.id = $1";

impl Store {
    /// Puts a guardrail on a flag. It is armed at once.
    ///
    /// The error budget of a rollout is shared equally by the guardrails of its flag, so that each further guardrail
    /// makes all of them ask for more evidence.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] without the flag, [`ControlError::InvalidFlag`] when the flag lacks one of the
    /// variations, [`ControlError::AlreadyExists`] when the same arms and event are watched already,
    /// [`ControlError::InvalidGuardrail`].
    pub async fn create_guardrail(
        &self,
        definition: &GuardrailDefinition,
        change: &Change,
    ) -> Result<Guardrail, ControlError> {
        definition.check()?;
        let id = GuardrailId(fresh_id("grd", change.at));
        let document = serde_json::to_string(definition).map_err(corrupt(ObjectKind::Guardrail, &id.0))?;
        let mut write = self.begin().await?;
        if let Some(object) = repeated(&mut write, ObjectKind::Guardrail, &document, change).await? {
            return read_guardrail(&mut write, &GuardrailId(object)).await;
        }
        check_arms(&mut write, definition).await?;
        insert_guardrail(&mut write, &id, definition, &document, change.at).await?;
        let entry = Entry {
            action: "create",
            kind: ObjectKind::Guardrail,
            key: &id.0,
            before: None,
            after: Some(&document),
        };
        Self::record(&mut write, entry, change).await?;
        remember(&mut write, ObjectKind::Guardrail, &id.0, &document, change).await?;
        let made = read_guardrail(&mut write, &id).await?;
        self.commit(write).await?;
        Ok(made)
    }

    /// Reads a guardrail, also a retired one.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn guardrail(&self, id: &GuardrailId) -> Result<Guardrail, ControlError> {
        let row = sqlx::query(GUARDRAIL_BY_ID)
            .bind(&id.0)
            .fetch_optional(self.readers())
            .await
            .map_err(failed("read a guardrail"))?;
        read_row(&row.ok_or_else(|| missing(ObjectKind::Guardrail, &id.0))?)
    }

    /// A page of guardrails that are not retired, in order of creation; those of one flag when it is named.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn guardrails(
        &self,
        flag: Option<&FlagKey>,
        request: &PageRequest,
    ) -> Result<Page<Guardrail>, ControlError> {
        let size = page_size(request.limit)?;
        let found = self
            .guardrails_after(flag, request.after.as_deref(), size)
            .await?;
        Ok(page(found, request.limit, |guardrail: &Guardrail| {
            guardrail.id.0.clone()
        }))
    }

    /// Takes a guardrail away; what it recorded stays.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when it does not exist or is retired already.
    pub async fn retire_guardrail(&self, id: &GuardrailId, change: &Change) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        let before = read_guardrail(&mut write, id).await?;
        if before.retired_at.is_some() {
            return Err(missing(ObjectKind::Guardrail, &id.0));
        }
        sqlx::query("UPDATE guardrails SET retired_at = $2 WHERE id = $1")
            .bind(&id.0)
            .bind(change.at.0)
            .execute(&mut *write)
            .await
            .map_err(failed("retire a guardrail"))?;
        let document =
            serde_json::to_string(&before.definition).map_err(corrupt(ObjectKind::Guardrail, &id.0))?;
        let entry = Entry {
            action: "delete",
            kind: ObjectKind::Guardrail,
            key: &id.0,
            before: Some(&document),
            after: None,
        };
        Self::record(&mut write, entry, change).await?;
        self.commit(write).await
    }

    /// All guardrails that are not retired: what the engine shall bring looks for.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn watched(&self) -> Result<Vec<Guardrail>, ControlError> {
        self.guardrails_after(None, None, i64::MAX).await
    }

    /// The guardrails of a flag that are not retired.
    pub(crate) async fn all_guardrails(&self, flag: &FlagKey) -> Result<Vec<Guardrail>, ControlError> {
        self.guardrails_after(Some(flag), None, i64::MAX).await
    }

    async fn guardrails_after(
        &self,
        flag: Option<&FlagKey>,
        after: Option<&str>,
        size: i64,
    ) -> Result<Vec<Guardrail>, ControlError> {
        let rows = sqlx::query(
            "SELECT g.id, g.document, g.created_at, g.retired_at, s.armed, s.phase, s.last_epoch, s.state
             FROM guardrails g JOIN guardrail_states s ON s.guardrail = g.id
             WHERE g.retired_at IS NULL AND ($1 IS NULL OR g.flag = $1) AND g.id > $2 ORDER BY g.id LIMIT $3",
        )
        .bind(flag.map(FlagKey::as_str))
        .bind(after.unwrap_or(""))
        .bind(size)
        .fetch_all(self.readers())
        .await
        .map_err(failed("list guardrails"))?;
        rows.iter().map(read_row).collect()
    }

    /// The guardrails of a flag that are not retired, the oldest first, as a write sees them.
    pub(crate) async fn guardrails_on(
        write: &mut Write,
        flag: &FlagKey,
    ) -> Result<Vec<Guardrail>, ControlError> {
        let rows = sqlx::query(
            "SELECT g.id, g.document, g.created_at, g.retired_at, s.armed, s.phase, s.last_epoch, s.state
             FROM guardrails g JOIN guardrail_states s ON s.guardrail = g.id
             WHERE g.retired_at IS NULL AND g.flag = $1 ORDER BY g.id",
        )
        .bind(flag.as_str())
        .fetch_all(&mut **write)
        .await
        .map_err(failed("list guardrails"))?;
        rows.iter().map(read_row).collect()
    }

    /// Keeps all guardrails of a flag from rolling back again until they are re-armed.
    pub(super) async fn disarm(write: &mut Write, flag: &FlagKey) -> Result<(), ControlError> {
        sqlx::query(
            "UPDATE guardrail_states SET armed = 0
             WHERE guardrail IN (SELECT id FROM guardrails WHERE flag = $1 AND retired_at IS NULL)",
        )
        .bind(flag.as_str())
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("disarm guardrails"))
    }

    /// Starts a new phase of the flag's disarmed guardrails when a person has enabled the flag again.
    pub(super) async fn rearm(
        write: &mut Write,
        flag: &FlagDefinition,
        change: &Change,
    ) -> Result<(), ControlError> {
        let enabled_anywhere = flag.enabled
            || flag
                .environments
                .values()
                .any(|environment| environment.enabled == Some(true));
        if change.actor.is_system() || !enabled_anywhere {
            return Ok(());
        }
        for guardrail in Self::guardrails_on(write, &flag.key).await? {
            if guardrail.armed {
                continue;
            }
            sqlx::query(
                "UPDATE guardrail_states SET armed = 1, phase = phase + 1, state = NULL WHERE guardrail = $1",
            )
            .bind(&guardrail.id.0)
            .execute(&mut **write)
            .await
            .map_err(failed("re-arm a guardrail"))?;
            let entry = Entry {
                action: "rearm",
                kind: ObjectKind::Guardrail,
                key: &guardrail.id.0,
                before: None,
                after: None,
            };
            Self::record(write, entry, change).await?;
        }
        Ok(())
    }
}

/// Checks that the flag exists and has both arms.
async fn check_arms(write: &mut Write, definition: &GuardrailDefinition) -> Result<(), ControlError> {
    let flag = definition.flag.as_str();
    let found = stored::<FlagDefinition>(write, flag).await?;
    let found = found.ok_or_else(|| missing(ObjectKind::Flag, flag))?;
    let found = found.into_document::<FlagDefinition>()?.definition;
    for arm in [&definition.control, &definition.treatment] {
        if !found.variations.iter().any(|variation| variation.key == *arm) {
            return Err(ControlError::InvalidFlag {
                flag: definition.flag.clone(),
                problem: format!("has no variation {arm} to watch"),
            });
        }
    }
    Ok(())
}

async fn insert_guardrail(
    write: &mut Write,
    id: &GuardrailId,
    definition: &GuardrailDefinition,
    document: &str,
    at: Timestamp,
) -> Result<(), ControlError> {
    let inserted = sqlx::query(
        "INSERT INTO guardrails (id, flag, event, control, treatment, document, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&id.0)
    .bind(definition.flag.as_str())
    .bind(definition.event.as_str())
    .bind(definition.control.as_str())
    .bind(definition.treatment.as_str())
    .bind(document)
    .bind(at.0)
    .execute(&mut **write)
    .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            let what = format!(
                "for {} of {} on flag {}",
                definition.event, definition.treatment, definition.flag
            );
            return Err(exists(ObjectKind::Guardrail, &what));
        }
        other => other.map_err(failed("write a guardrail"))?,
    };
    sqlx::query("INSERT INTO guardrail_states (guardrail, armed, phase) VALUES ($1, 1, 1)")
        .bind(&id.0)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("write the state of a guardrail"))
}

/// Reads a guardrail within a write, also a retired one.
pub(super) async fn read_guardrail(write: &mut Write, id: &GuardrailId) -> Result<Guardrail, ControlError> {
    let row = sqlx::query(GUARDRAIL_BY_ID)
        .bind(&id.0)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read a guardrail"))?;
    read_row(&row.ok_or_else(|| missing(ObjectKind::Guardrail, &id.0))?)
}

fn read_row(row: &AnyRow) -> Result<Guardrail, ControlError> {
    let id: String = row.try_get("id").map_err(failed("read a guardrail"))?;
    let document: String = row.try_get("document").map_err(failed("read a guardrail"))?;
    let state: Option<String> = row.try_get("state").map_err(failed("read a guardrail"))?;
    let definition = serde_json::from_str(&document).map_err(corrupt(ObjectKind::Guardrail, &id))?;
    let state: Option<SafetyState> = state
        .map(|text| serde_json::from_str(&text).map_err(corrupt(ObjectKind::Guardrail, &id)))
        .transpose()?;
    let read = || -> Result<Guardrail, sqlx::Error> {
        Ok(Guardrail {
            id: GuardrailId(id),
            definition,
            armed: row.try_get::<i64, _>("armed")? != 0,
            phase: row.try_get("phase")?,
            last_epoch: row.try_get("last_epoch")?,
            evidence: state.as_ref().map(|state| state.evidence),
            created_at: Timestamp(row.try_get("created_at")?),
            retired_at: row.try_get::<Option<i64>, _>("retired_at")?.map(Timestamp),
            state,
        })
    };
    read().map_err(failed("read a guardrail"))
}
