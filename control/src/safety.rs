//! From the looks of a commit to a decision: roll the flag back, or go on.
//!
//! The numbers are those of [`stats::safety::rate_ratio`]; here is what they are counted from, when they may decide,
//! and that each decision is made once. Users of both arms of a cohort who were exposed and not affected before the
//! look are at risk in it; the treatment's share of them is the share of newly affected users that is no harm.

mod evidence;

use domain::Timestamp;
use domain::guardrail::GuardrailLook;
use serde::Serialize;

use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::metrics;
use crate::store::{Cause, Crossed, Guardrail, GuardrailId, Look, RollbackRecord, Store, Write};

pub(crate) use evidence::SafetyState;
pub use evidence::{Evidence, PLANNED_LOOKS};

/// Two computations of the same evidence differ by rounding only: states travel through decimal text.
const REPLAY_TOLERANCE: f64 = 1e-9;

/// One recorded look, and what it gives when computed again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayedLook {
    /// The commit.
    pub epoch: i64,
    /// What was recorded.
    pub recorded: Evidence,
    /// What the record gives now.
    pub recomputed: Evidence,
}

/// A phase of a guardrail computed again from its record alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// The guardrail.
    pub guardrail: GuardrailId,
    /// The phase.
    pub phase: i64,
    /// Every look of the phase in order.
    pub looks: Vec<ReplayedLook>,
    /// The commit at which the record crosses when computed again; absent when it does not.
    pub crossing_epoch: Option<i64>,
    /// The commit at which the flag was rolled back by this guardrail; absent when it was not.
    pub rollback_epoch: Option<i64>,
    /// Whether every look and the decision came out the same.
    pub agrees: bool,
}

/// The safety loop over a store.
#[derive(Debug, Clone)]
pub struct Safety {
    store: Store,
}

impl Safety {
    /// A safety loop over `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Takes the looks of one or more commits and gives the rollbacks that they caused.
    ///
    /// May be called again with the same looks: a commit that a guardrail has counted is ignored. When it returns,
    /// evidence, looks, rollbacks and queued webhooks are durable, each guardrail's together in one transaction.
    ///
    /// # Errors
    /// [`ControlError::Database`] when a guardrail's transaction failed: the call is then to be repeated with the same
    /// looks. Other guardrails are seen to before it returns, and what they caused is in the store.
    pub async fn observe(
        &self,
        looks: &[GuardrailLook],
        now: Timestamp,
    ) -> Result<Vec<RollbackRecord>, ControlError> {
        if looks.is_empty() {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        let mut first_error = None;
        for guardrail in self.store.watched().await? {
            let mut own: Vec<&GuardrailLook> =
                looks.iter().filter(|look| concerns(&guardrail, look)).collect();
            if own.is_empty() {
                continue;
            }
            own.sort_by_key(|look| look.epoch);
            match self.observe_one(&guardrail.id, &own, now).await {
                Ok(record) => records.extend(record),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(records), Err)
    }

    /// Counts the looks of one guardrail in one transaction.
    async fn observe_one(
        &self,
        id: &GuardrailId,
        looks: &[&GuardrailLook],
        now: Timestamp,
    ) -> Result<Option<RollbackRecord>, ControlError> {
        let mut write = self.store.begin().await?;
        let guardrail = Store::guardrail_in(&mut write, id).await?;
        let counted = guardrail.last_epoch.unwrap_or(i64::MIN);
        let fresh: Vec<&GuardrailLook> = looks
            .iter()
            .copied()
            .filter(|look| look.epoch > counted)
            .collect();
        let (Some(last), None) = (fresh.last(), guardrail.retired_at) else {
            return Ok(None);
        };
        if !guardrail.armed {
            Store::save_progress(&mut write, id, last.epoch, None).await?;
            self.store.commit_quietly(write).await?;
            return Ok(None);
        }
        let sharers = Store::guardrails_on(&mut write, &guardrail.definition.flag)
            .await?
            .len();
        let alpha = guardrail.definition.alpha / sharers.max(1) as f64;
        let mut state = match guardrail.state.clone() {
            Some(state) => state,
            None => SafetyState::new(&guardrail.definition, alpha)?,
        };
        let mut crossed = None;
        for look in &fresh {
            let cohorts = evidence::own_arms(&guardrail.definition, &look.cohorts);
            state.observe(&guardrail.definition, &cohorts, alpha);
            let (epoch, evidence) = (look.epoch, state.evidence);
            let look = Look {
                epoch,
                alpha,
                cohorts,
                evidence,
            };
            Store::record_look(&mut write, &guardrail, &look, now).await?;
            if evidence.verdict.crossed {
                crossed = Some((epoch, evidence));
                break;
            }
        }
        Store::save_progress(&mut write, id, last.epoch, Some(&state)).await?;
        metrics::safety_looks(fresh.len());
        let Some((epoch, evidence)) = crossed else {
            self.store.commit_quietly(write).await?;
            return Ok(None);
        };
        self.act(write, &guardrail, (epoch, evidence), now).await
    }

    /// Rolls the flag of a guardrail that crossed back, or tells receivers where people want to do that themselves.
    async fn act(
        &self,
        mut write: Write,
        guardrail: &Guardrail,
        (epoch, evidence): (i64, Evidence),
        now: Timestamp,
    ) -> Result<Option<RollbackRecord>, ControlError> {
        let cause = cause(guardrail, epoch, evidence);
        let change = Change::new(Actor::system("safety"), now);
        if !Store::rolls_back_automatically(&mut write).await? {
            let told = serde_json::json!({
                "guardrail": guardrail.id, "flag": guardrail.definition.flag, "phase": guardrail.phase, "epoch": epoch,
                "evidence": evidence, "reason": cause.reason,
            });
            let change = change.because(&cause.reason);
            Store::hold(&mut write, &guardrail.id, (guardrail.phase, &told), &change).await?;
            self.store.finish(write).await?;
            return Ok(None);
        }
        let record = Store::turn_to_safe(&mut write, &guardrail.definition.flag, cause, &change).await?;
        self.store.commit(write).await?;
        self.store.wake_worker();
        metrics::rolled_back();
        tracing::warn!(
            flag.key = %record.flag,
            rollback.id = %record.id,
            guardrail.id = %guardrail.id,
            epoch,
            "a guardrail crossed and the flag was rolled back"
        );
        Ok(Some(record))
    }

    /// Computes a phase of a guardrail again from its recorded looks and compares.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] without the guardrail.
    pub async fn replay_decision(&self, guardrail: &GuardrailId, phase: i64) -> Result<Replay, ControlError> {
        let definition = self.store.guardrail(guardrail).await?.definition;
        let recorded = self.store.looks(guardrail, phase).await?;
        let rollback = self.store.rollback_of(guardrail, phase).await?;
        let mut state = None;
        let mut looks = Vec::with_capacity(recorded.len());
        for look in recorded {
            let state = match &mut state {
                Some(state) => state,
                empty => empty.insert(SafetyState::new(&definition, look.alpha)?),
            };
            state.observe(&definition, &look.cohorts, look.alpha);
            looks.push(ReplayedLook {
                epoch: look.epoch,
                recorded: look.evidence,
                recomputed: state.evidence,
            });
        }
        let crossing = looks.iter().find(|look| look.recomputed.verdict.crossed);
        let crossing_epoch = crossing.map(|look| look.epoch);
        let rollback_epoch = rollback.as_ref().and_then(|record| record.epoch);
        let held = self.store.was_held(guardrail, phase).await?;
        let decided = if held {
            crossing_epoch.is_some() && rollback.is_none()
        } else {
            crossing_epoch == rollback_epoch
        };
        let same = |look: &ReplayedLook| look.recorded.agrees_with(&look.recomputed, REPLAY_TOLERANCE);
        Ok(Replay {
            guardrail: guardrail.clone(),
            phase,
            agrees: decided && looks.iter().all(same),
            looks,
            crossing_epoch,
            rollback_epoch,
        })
    }
}

fn concerns(guardrail: &Guardrail, look: &GuardrailLook) -> bool {
    let watched = &guardrail.definition;
    look.experiment.as_str() == watched.flag.as_str() && look.event == watched.event
}

fn cause(guardrail: &Guardrail, epoch: i64, evidence: Evidence) -> Cause {
    let watched = &guardrail.definition;
    let reason = format!(
        "{} affected {} users of {} against {} of {} in {} looks: p-value {:.2e}, {:.2e} allowed",
        watched.event,
        evidence.affected_treatment,
        watched.treatment,
        evidence.affected_control,
        watched.control,
        evidence.looks,
        evidence.verdict.p_value,
        evidence.alpha,
    );
    Cause {
        safe_variation: watched.control.clone(),
        reason,
        crossing: Some(Crossed {
            guardrail: guardrail.id.clone(),
            phase: guardrail.phase,
            epoch,
            evidence,
        }),
    }
}

#[cfg(test)]
mod tests;
