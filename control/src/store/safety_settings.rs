//! How guardrails work on this store: settings that people change, with versions and audit records.

use domain::guardrail::{GuardrailDefinition, InvalidGuardrail};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Entry, GuardrailId, ObjectKind, Store, Write, corrupt, failed};
use crate::change::Change;
use crate::error::ControlError;
use crate::metrics;

/// The name of the settings' row, which is also their key in the audit trail.
const NAME: &str = "safety";

/// How guardrails work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetySettings {
    /// Whether a guardrail whose evidence crosses rolls its flag back by itself. Without, it tells the receivers of
    /// webhooks once and leaves the flag to a person.
    pub automatic_rollback: bool,
    /// The margin of a guardrail that names none; finite and at least 0.
    pub default_margin: f64,
    /// The error budget of a guardrail that names none; between 0 and 1.
    pub default_alpha: f64,
}

impl Default for SafetySettings {
    fn default() -> Self {
        Self {
            automatic_rollback: true,
            default_margin: GuardrailDefinition::DEFAULT_MARGIN,
            default_alpha: GuardrailDefinition::DEFAULT_ALPHA,
        }
    }
}

/// The settings and their version; 0 before anybody changed them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VersionedSafetySettings {
    /// The settings.
    pub settings: SafetySettings,
    /// Their version.
    pub version: i64,
}

impl Store {
    /// How guardrails work.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn safety_settings(&self) -> Result<VersionedSafetySettings, ControlError> {
        read(self.readers()).await
    }

    /// Changes how guardrails work, from the version that the caller has seen, when it matters to it.
    ///
    /// # Errors
    /// [`ControlError::InvalidGuardrail`], [`ControlError::VersionConflict`].
    pub async fn set_safety_settings(
        &self,
        settings: SafetySettings,
        expected_version: Option<i64>,
        change: &Change,
    ) -> Result<VersionedSafetySettings, ControlError> {
        if !(settings.default_margin.is_finite() && settings.default_margin >= 0.0) {
            return Err(InvalidGuardrail::BadMargin.into());
        }
        if !(settings.default_alpha > 0.0 && settings.default_alpha < 1.0) {
            return Err(InvalidGuardrail::BadAlpha.into());
        }
        let mut write = self.begin().await?;
        let before = read(&mut *write).await?;
        if let Some(expected) = expected_version.filter(|expected| *expected != before.version) {
            metrics::version_conflict();
            let (kind, key, current) = (ObjectKind::Settings, NAME.to_owned(), before.version);
            return Err(ControlError::VersionConflict {
                kind,
                key,
                expected,
                current,
            });
        }
        let after = VersionedSafetySettings {
            settings,
            version: before.version + 1,
        };
        let texts = (text(&before.settings)?, text(&settings)?);
        sqlx::query(
            "INSERT INTO settings (name, document, version, updated_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET document = excluded.document, version = excluded.version,
               updated_at = excluded.updated_at",
        )
        .bind(NAME)
        .bind(&texts.1)
        .bind(after.version)
        .bind(change.at.0)
        .execute(&mut *write)
        .await
        .map_err(failed("write settings"))?;
        let entry = Entry {
            action: "update",
            kind: ObjectKind::Settings,
            key: NAME,
            before: Some(&texts.0),
            after: Some(&texts.1),
        };
        Self::record(&mut write, entry, change).await?;
        self.commit(write).await?;
        Ok(after)
    }

    /// Whether guardrails roll back by themselves, as a write sees it.
    pub(crate) async fn rolls_back_automatically(write: &mut Write) -> Result<bool, ControlError> {
        Ok(read(&mut **write).await?.settings.automatic_rollback)
    }

    /// Holds a guardrail that crossed while nothing is rolled back by itself: it is disarmed, and receivers are told.
    pub(crate) async fn hold(
        write: &mut Write,
        guardrail: &GuardrailId,
        (phase, told): (i64, &serde_json::Value),
        change: &Change,
    ) -> Result<(), ControlError> {
        sqlx::query("UPDATE guardrail_states SET armed = 0 WHERE guardrail = $1")
            .bind(&guardrail.0)
            .execute(&mut **write)
            .await
            .map_err(failed("disarm a guardrail"))?;
        let held = serde_json::json!({ "phase": phase }).to_string();
        let entry = Entry {
            action: "hold",
            kind: ObjectKind::Guardrail,
            key: &guardrail.0,
            before: None,
            after: Some(&held),
        };
        Self::record(write, entry, change).await?;
        Self::queue(write, "guardrail.crossed", told, change.at)
            .await
            .map(drop)
    }

    /// Whether a phase of a guardrail ended by being held.
    pub(crate) async fn was_held(&self, guardrail: &GuardrailId, phase: i64) -> Result<bool, ControlError> {
        let records: Vec<String> = sqlx::query_scalar(
            "SELECT after FROM audit
             WHERE kind = 'guardrail' AND key = $1 AND action = 'hold' AND after IS NOT NULL",
        )
        .bind(&guardrail.0)
        .fetch_all(self.readers())
        .await
        .map_err(failed("read the record of a guardrail"))?;
        for text in records {
            let held: serde_json::Value =
                serde_json::from_str(&text).map_err(corrupt(ObjectKind::Guardrail, &guardrail.0))?;
            if held["phase"] == phase {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn text(settings: &SafetySettings) -> Result<String, ControlError> {
    serde_json::to_string(settings).map_err(corrupt(ObjectKind::Settings, NAME))
}

async fn read<'e, E>(executor: E) -> Result<VersionedSafetySettings, ControlError>
where
    E: sqlx::Executor<'e, Database = sqlx::Any>,
{
    let row: Option<AnyRow> = sqlx::query("SELECT document, version FROM settings WHERE name = $1")
        .bind(NAME)
        .fetch_optional(executor)
        .await
        .map_err(failed("read settings"))?;
    let Some(row) = row else {
        let settings = SafetySettings::default();
        return Ok(VersionedSafetySettings { settings, version: 0 });
    };
    let document: String = row.try_get("document").map_err(failed("read settings"))?;
    Ok(VersionedSafetySettings {
        settings: serde_json::from_str(&document).map_err(corrupt(ObjectKind::Settings, NAME))?,
        version: row.try_get("version").map_err(failed("read settings"))?,
    })
}
