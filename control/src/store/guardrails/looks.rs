//! The looks of a guardrail as recorded, and the state that they lead to.

use domain::Timestamp;
use domain::guardrail::CohortCounts;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::super::{ObjectKind, Store, Write, corrupt, failed};
use super::{Guardrail, GuardrailId, read_guardrail};
use crate::error::ControlError;
use crate::safety::{Evidence, SafetyState};

/// One commit's look as it counted.
pub(crate) struct Look {
    pub(crate) epoch: i64,
    pub(crate) alpha: f64,
    pub(crate) cohorts: Vec<CohortCounts>,
    pub(crate) evidence: Evidence,
}

impl Store {
    /// A guardrail as a write sees it.
    pub(crate) async fn guardrail_in(write: &mut Write, id: &GuardrailId) -> Result<Guardrail, ControlError> {
        read_guardrail(write, id).await
    }

    /// Records a look.
    pub(crate) async fn record_look(
        write: &mut Write,
        guardrail: &Guardrail,
        look: &Look,
        at: Timestamp,
    ) -> Result<(), ControlError> {
        let id = &guardrail.id.0;
        let cohorts = serde_json::to_string(&look.cohorts).map_err(corrupt(ObjectKind::Guardrail, id))?;
        let evidence = serde_json::to_string(&look.evidence).map_err(corrupt(ObjectKind::Guardrail, id))?;
        sqlx::query(
            "INSERT INTO guardrail_looks (guardrail, phase, epoch, at, alpha, cohorts, evidence)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(guardrail.phase)
        .bind(look.epoch)
        .bind(at.0)
        .bind(look.alpha)
        .bind(cohorts)
        .bind(evidence)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("record a look"))
    }

    /// Writes how far a guardrail has come; its state stays when none is given.
    pub(crate) async fn save_progress(
        write: &mut Write,
        id: &GuardrailId,
        last_epoch: i64,
        state: Option<&SafetyState>,
    ) -> Result<(), ControlError> {
        let state = state
            .map(|state| serde_json::to_string(state).map_err(corrupt(ObjectKind::Guardrail, &id.0)))
            .transpose()?;
        sqlx::query(
            "UPDATE guardrail_states SET last_epoch = $2, state = coalesce($3, state) WHERE guardrail = $1",
        )
        .bind(&id.0)
        .bind(last_epoch)
        .bind(state)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("write the state of a guardrail"))
    }

    /// The recorded looks of a phase, in order.
    pub(crate) async fn looks(&self, id: &GuardrailId, phase: i64) -> Result<Vec<Look>, ControlError> {
        let rows = sqlx::query(
            "SELECT epoch, alpha, cohorts, evidence FROM guardrail_looks
             WHERE guardrail = $1 AND phase = $2 ORDER BY epoch",
        )
        .bind(&id.0)
        .bind(phase)
        .fetch_all(self.readers())
        .await
        .map_err(failed("read looks"))?;
        rows.iter().map(|row| read_look(row, id)).collect()
    }
}

fn read_look(row: &AnyRow, id: &GuardrailId) -> Result<Look, ControlError> {
    let text = |column: &'static str| -> Result<String, ControlError> {
        row.try_get(column).map_err(failed("read looks"))
    };
    Ok(Look {
        epoch: row.try_get("epoch").map_err(failed("read looks"))?,
        alpha: row.try_get("alpha").map_err(failed("read looks"))?,
        cohorts: serde_json::from_str(&text("cohorts")?).map_err(corrupt(ObjectKind::Guardrail, &id.0))?,
        evidence: serde_json::from_str(&text("evidence")?).map_err(corrupt(ObjectKind::Guardrail, &id.0))?,
    })
}
