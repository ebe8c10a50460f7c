//! Rollbacks: a flag turned to its safe variation, with the evidence and what was before.

use std::fmt;

use domain::rules::definition::FlagDefinition;
use domain::{FlagKey, Timestamp, VariantKey};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::definitions::{missing, replace, stored, to_text};
use super::{Entry, GuardrailId, ObjectKind, Page, Store, Write, corrupt, failed, fresh_id, page, page_size};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::safety::Evidence;

/// The id of a rollback: `rbk_…`, ascending in time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RollbackId(pub String);

impl fmt::Display for RollbackId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A rollback as it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollbackRecord {
    /// Its id.
    pub id: RollbackId,
    /// The flag.
    pub flag: FlagKey,
    /// What everybody gets since.
    pub safe_variation: VariantKey,
    /// Whether the platform decided.
    pub automatic: bool,
    /// Who decided.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The guardrail that crossed; absent when a person decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<GuardrailId>,
    /// The guardrail's phase, with which the decision can be replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<i64>,
    /// The commit at which it crossed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The evidence at that commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The flag before, at `version_before`.
    pub before: FlagDefinition,
    /// The flag since.
    pub after: FlagDefinition,
    /// The flag's version before.
    pub version_before: i64,
    /// The flag's version since.
    pub version_after: i64,
}

/// What leads to a rollback.
pub(crate) struct Cause {
    pub(crate) safe_variation: VariantKey,
    pub(crate) reason: String,
    pub(crate) crossing: Option<Crossed>,
}

/// The guardrail that crossed.
pub(crate) struct Crossed {
    pub(crate) guardrail: GuardrailId,
    pub(crate) phase: i64,
    pub(crate) epoch: i64,
    pub(crate) evidence: Evidence,
}

impl Store {
    /// Turns the flag to its safe variation because a person says so: the same transaction as an automatic rollback.
    ///
    /// The safe variation is the control of the flag's oldest guardrail, or the off variation of a flag without one.
    /// All its guardrails are disarmed until a person enables the flag again.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::AlreadySafe`] when nothing would change.
    pub async fn rollback_by_hand(
        &self,
        flag: &FlagKey,
        change: &Change,
    ) -> Result<RollbackRecord, ControlError> {
        let mut write = self.begin().await?;
        let record = Self::roll_back_in(&mut write, flag, change).await?;
        self.finish(write).await?;
        Ok(record)
    }

    /// [`Store::rollback_by_hand`] within a write.
    pub(crate) async fn roll_back_in(
        write: &mut Write,
        flag: &FlagKey,
        change: &Change,
    ) -> Result<RollbackRecord, ControlError> {
        let before = Self::flag_in(write, flag).await?;
        let guardrails = Self::guardrails_on(write, flag).await?;
        let safe_variation = guardrails
            .first()
            .map_or(&before.off_variation, |guardrail| &guardrail.definition.control)
            .clone();
        if made_safe(&before, &safe_variation) == before {
            let (flag, variation) = (flag.clone(), safe_variation);
            return Err(ControlError::AlreadySafe { flag, variation });
        }
        let cause = Cause {
            safe_variation,
            reason: change.reason.clone().unwrap_or_else(|| "by hand".to_owned()),
            crossing: None,
        };
        Self::turn_to_safe(write, flag, cause, change).await
    }

    /// Reads a rollback.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn rollback(&self, id: &RollbackId) -> Result<RollbackRecord, ControlError> {
        let row = sqlx::query("SELECT id, document FROM rollbacks WHERE id = $1")
            .bind(&id.0)
            .fetch_optional(self.readers())
            .await
            .map_err(failed("read a rollback"))?;
        read_row(&row.ok_or_else(|| missing(ObjectKind::Rollback, &id.0))?)
    }

    /// Rollbacks, the newest first; those of one flag when it is named. `before` is the `next` of the page before.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn rollbacks(
        &self,
        flag: Option<&FlagKey>,
        before: Option<&RollbackId>,
        limit: u32,
    ) -> Result<Page<RollbackRecord>, ControlError> {
        let size = page_size(limit)?;
        let rows = sqlx::query(
            "SELECT id, document FROM rollbacks WHERE ($1 IS NULL OR flag = $1) AND ($2 IS NULL OR id < $2)
             ORDER BY id DESC LIMIT $3",
        )
        .bind(flag.map(FlagKey::as_str))
        .bind(before.map(|id| id.0.as_str()))
        .bind(size)
        .fetch_all(self.readers())
        .await
        .map_err(failed("list rollbacks"))?;
        let records = rows.iter().map(read_row).collect::<Result<_, _>>()?;
        Ok(page(records, limit, |record: &RollbackRecord| {
            record.id.0.clone()
        }))
    }

    /// The rollback that a phase of a guardrail ended with.
    pub(crate) async fn rollback_of(
        &self,
        guardrail: &GuardrailId,
        phase: i64,
    ) -> Result<Option<RollbackRecord>, ControlError> {
        let row = sqlx::query("SELECT id, document FROM rollbacks WHERE guardrail = $1 AND phase = $2")
            .bind(&guardrail.0)
            .bind(phase)
            .fetch_optional(self.readers())
            .await
            .map_err(failed("read a rollback"))?;
        row.as_ref().map(read_row).transpose()
    }

    /// Turns the flag as it is now to its safe variation, within a write: flag, record, audit record and messages.
    pub(crate) async fn turn_to_safe(
        write: &mut Write,
        flag: &FlagKey,
        cause: Cause,
        change: &Change,
    ) -> Result<RollbackRecord, ControlError> {
        let found = stored::<FlagDefinition>(write, flag.as_str()).await?;
        let found = found.ok_or_else(|| missing(ObjectKind::Flag, flag.as_str()))?;
        let before: FlagDefinition =
            serde_json::from_str(&found.document).map_err(corrupt(ObjectKind::Flag, flag.as_str()))?;
        let after = made_safe(&before, &cause.safe_variation);
        let document = to_text(&after)?;
        let replaced = replace(write, (&found, &after), &document, change.at).await?;
        let crossing = cause.crossing;
        let record = RollbackRecord {
            id: RollbackId(fresh_id("rbk", change.at)),
            flag: flag.clone(),
            safe_variation: cause.safe_variation,
            automatic: crossing.is_some(),
            actor: change.actor.clone(),
            reason: cause.reason,
            at: change.at,
            guardrail: crossing.as_ref().map(|crossed| crossed.guardrail.clone()),
            phase: crossing.as_ref().map(|crossed| crossed.phase),
            epoch: crossing.as_ref().map(|crossed| crossed.epoch),
            evidence: crossing.as_ref().map(|crossed| crossed.evidence),
            before,
            after,
            version_before: found.version,
            version_after: replaced.version,
        };
        Self::disarm(write, flag).await?;
        insert_record(write, &record).await?;
        let entry = Entry {
            action: "rollback",
            kind: ObjectKind::Flag,
            key: flag.as_str(),
            before: Some(&found.document),
            after: Some(&document),
        };
        let explained = change.clone().because(&record.reason);
        Self::record(write, entry, &explained).await?;
        Self::end_rollouts(write, flag, (&record.reason, change)).await?;
        Self::queue(write, "flag.rolled_back", &message(&record), change.at).await?;
        Ok(record)
    }
}

/// The flag such that every evaluation, in every environment, gives `safe`.
///
/// Off comes before overrides, prerequisites, layers and rules, so a flag that is off and whose off variation is the
/// safe one leaves no way around it. What people wrote otherwise stays, so that enabling it again is one change.
pub(crate) fn made_safe(flag: &FlagDefinition, safe: &VariantKey) -> FlagDefinition {
    let mut after = flag.clone();
    after.enabled = false;
    after.off_variation = safe.clone();
    for environment in after.environments.values_mut() {
        environment.enabled = environment.enabled.map(|_| false);
        environment.off_variation = environment.off_variation.as_ref().map(|_| safe.clone());
    }
    after
}

/// What receivers are told: the decision without the documents, which may be larger than a webhook may be.
fn message(record: &RollbackRecord) -> serde_json::Value {
    serde_json::json!({
        "rollback": record.id,
        "flag": record.flag,
        "flag_version": record.version_after,
        "safe_variation": record.safe_variation,
        "automatic": record.automatic,
        "actor": record.actor,
        "reason": record.reason,
        "guardrail": record.guardrail,
        "epoch": record.epoch,
        "evidence": record.evidence,
    })
}

async fn insert_record(write: &mut Write, record: &RollbackRecord) -> Result<(), ControlError> {
    let document = serde_json::to_string(record).map_err(corrupt(ObjectKind::Rollback, &record.id.0))?;
    sqlx::query(
        "INSERT INTO rollbacks (id, flag, guardrail, phase, at, document) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&record.id.0)
    .bind(record.flag.as_str())
    .bind(record.guardrail.as_ref().map(|id| id.0.as_str()))
    .bind(record.phase)
    .bind(record.at.0)
    .bind(document)
    .execute(&mut **write)
    .await
    .map(drop)
    .map_err(failed("write the record of a rollback"))
}

fn read_row(row: &AnyRow) -> Result<RollbackRecord, ControlError> {
    let id: String = row.try_get("id").map_err(failed("read a rollback"))?;
    let document: String = row.try_get("document").map_err(failed("read a rollback"))?;
    serde_json::from_str(&document).map_err(corrupt(ObjectKind::Rollback, &id))
}
