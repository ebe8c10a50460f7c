//! The life of an experiment: actions, what must hold before a start, and what each leaves behind.
//!
//! An action is one transaction: the new status, the phase that begins or ends with it, the audit record and the
//! message for receivers of webhooks. It applies from the status that the experiment has at that moment, so that of
//! two that start it at once one learns that it runs already.

use domain::experiment::{
    Decision, ExperimentDefinition, ExperimentStatus, ExperimentType, Outcome, Schedule, Transition,
};
use domain::{ExperimentKey, Timestamp, VariantKey};
use serde::Serialize;

use crate::change::Change;
use crate::error::ControlError;
use crate::store::{Document, Store, Write};

/// Said to those who try to change the status as a member.
pub(crate) const HOW_STATUS_CHANGES: &str =
    "it changes by the actions start, pause, resume, complete and archive";

/// The longest reason of a decision, in bytes.
pub const DECISION_REASON_MAX_BYTES: usize = 2_000;

/// What an experiment is completed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    /// What came of it.
    pub outcome: Outcome,
    /// The variant that is kept; needed with [`Outcome::Ship`], and not allowed otherwise.
    pub variant: Option<VariantKey>,
    /// Why; 1 to [`DECISION_REASON_MAX_BYTES`].
    pub reason: String,
}

/// Something that must hold before an experiment starts, and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedCheck {
    /// Which check: `metrics_exist`, `weights_positive`, `layer_has_room`, `power_stated` or `can_be_served`.
    pub check: &'static str,
    /// Where in the experiment, as a JSON pointer.
    pub pointer: String,
    /// What is missing, in one phrase.
    pub message: String,
}

impl Store {
    /// Moves an experiment on; `expected_version` is the version that the caller has seen, when it matters to it.
    ///
    /// # Errors
    /// [`ControlError::NotAllowed`] when the status does not allow it, [`ControlError::CannotStart`] with every check
    /// that fails, [`ControlError::BadDecision`], [`ControlError::NotFound`], [`ControlError::VersionConflict`].
    pub async fn advance(
        &self,
        key: &ExperimentKey,
        transition: Transition,
        decision: Option<&NewDecision>,
        expected_version: Option<i64>,
        change: &Change,
    ) -> Result<Document<ExperimentDefinition>, ControlError> {
        let mut write = self.begin().await?;
        let before = self.experiment_in(&mut write, key, expected_version).await?;
        let document = self
            .advance_in(&mut write, &before, (transition, decision), change)
            .await?;
        self.finish(write).await?;
        Ok(document)
    }

    /// Everything that stands in the way of a start; empty when it may start.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn start_checks(&self, key: &ExperimentKey) -> Result<Vec<FailedCheck>, ControlError> {
        let mut write = self.begin().await?;
        let before = self.experiment_in(&mut write, key, None).await?;
        failed_checks(&mut write, &before.definition).await
    }

    /// Sets when an experiment starts and ends by itself.
    ///
    /// # Errors
    /// [`ControlError::ScheduleNotAllowed`] unless it is a draft or paused, [`ControlError::BadSchedule`] for times that
    /// have passed or stand the wrong way round, [`ControlError::NotFound`], [`ControlError::VersionConflict`].
    pub async fn schedule(
        &self,
        key: &ExperimentKey,
        schedule: &Schedule,
        expected_version: Option<i64>,
        change: &Change,
    ) -> Result<Document<ExperimentDefinition>, ControlError> {
        let mut write = self.begin().await?;
        let before = self.experiment_in(&mut write, key, expected_version).await?;
        let status = before.definition.status;
        if !matches!(status, ExperimentStatus::Draft | ExperimentStatus::Paused) {
            let experiment = key.clone();
            return Err(ControlError::ScheduleNotAllowed { experiment, status });
        }
        check_times(key, schedule, change.at)?;
        let mut after = before.definition.clone();
        after.schedule = schedule.clone();
        after.schedule.problem = None;
        let document = self
            .put_experiment(&mut write, &before, "schedule", &after, change)
            .await?;
        self.finish(write).await?;
        Ok(document)
    }

    /// Makes a draft of the same design under another key: without schedule, decision and learned weights.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::AlreadyExists`].
    pub async fn clone_experiment(
        &self,
        key: &ExperimentKey,
        (new_key, name): (&ExperimentKey, Option<&str>),
        change: &Change,
    ) -> Result<Document<ExperimentDefinition>, ControlError> {
        let mut draft = self.get::<ExperimentDefinition>(key).await?.definition;
        draft.key = new_key.clone();
        draft.status = ExperimentStatus::Draft;
        draft.schedule = Schedule::default();
        draft.decision = None;
        draft.live_weights = None;
        // Users are drawn anew: those of the first experiment must not meet the same halves again.
        draft.salt = None;
        draft
            .variants
            .iter_mut()
            .for_each(|variant| variant.buckets.clear());
        if let Some(name) = name {
            name.clone_into(&mut draft.name);
        }
        self.create(&draft, change).await
    }

    /// [`Store::advance`] within a write.
    pub(crate) async fn advance_in(
        &self,
        write: &mut Write,
        before: &Document<ExperimentDefinition>,
        (transition, decision): (Transition, Option<&NewDecision>),
        change: &Change,
    ) -> Result<Document<ExperimentDefinition>, ControlError> {
        let experiment = &before.definition;
        let Some(status) = transition.leads_to(experiment.status) else {
            return Err(not_allowed(experiment, transition));
        };
        let mut after = experiment.clone();
        after.discovered = false;
        match transition {
            Transition::Start => {
                let failures = failed_checks(write, experiment).await?;
                if !failures.is_empty() {
                    let experiment = experiment.key.clone();
                    return Err(ControlError::CannotStart { experiment, failures });
                }
                after.schedule.start_at = None;
                after.schedule.problem = None;
            }
            Transition::Resume => after.schedule.start_at = None,
            Transition::Complete => {
                let decision = checked_decision(experiment, decision, change.at)?;
                after.decision = Some(decision);
                after.schedule = Schedule::default();
            }
            Transition::Pause | Transition::Archive => {}
        }
        after.status = status;
        let document = self
            .put_experiment(write, before, transition.as_str(), &after, change)
            .await?;
        Self::queue(
            write,
            event_name(transition),
            &serde_json::json!({
                "experiment": after.key, "status": status, "version": document.version,
                "decision": after.decision, "actor": change.actor, "reason": change.reason,
            }),
            change.at,
        )
        .await?;
        Ok(document)
    }
}

fn event_name(transition: Transition) -> &'static str {
    match transition {
        Transition::Start => "experiment.started",
        Transition::Pause => "experiment.paused",
        Transition::Resume => "experiment.resumed",
        Transition::Complete => "experiment.completed",
        Transition::Archive => "experiment.archived",
    }
}

fn not_allowed(experiment: &ExperimentDefinition, transition: Transition) -> ControlError {
    let allowed: Vec<&str> = experiment.status.transitions().map(Transition::as_str).collect();
    let allowed = if allowed.is_empty() {
        "nothing more".to_owned()
    } else {
        allowed.join(" or ")
    };
    ControlError::NotAllowed {
        experiment: experiment.key.clone(),
        status: experiment.status,
        action: transition.as_str(),
        allowed,
    }
}

fn check_times(key: &ExperimentKey, schedule: &Schedule, now: Timestamp) -> Result<(), ControlError> {
    let refused = |problem| ControlError::BadSchedule {
        experiment: key.clone(),
        problem,
    };
    let times = [schedule.start_at, schedule.end_at];
    if times.iter().flatten().any(|time| *time <= now) {
        return Err(refused("its times lie in the future"));
    }
    match times {
        [Some(start), Some(end)] if start >= end => Err(refused("it ends after it starts")),
        _ => Ok(()),
    }
}

fn checked_decision(
    experiment: &ExperimentDefinition,
    decision: Option<&NewDecision>,
    at: Timestamp,
) -> Result<Decision, ControlError> {
    let refused = |problem: &'static str| ControlError::BadDecision {
        experiment: experiment.key.clone(),
        problem,
    };
    let decision = decision.ok_or_else(|| refused("it has an outcome and a reason"))?;
    let reason = decision.reason.trim();
    if reason.is_empty() || reason.len() > DECISION_REASON_MAX_BYTES {
        return Err(refused("its reason has 1 to 2000 bytes"));
    }
    match (&decision.variant, decision.outcome) {
        (Some(variant), Outcome::Ship) => {
            let known = experiment.variants.iter().any(|own| own.key == *variant);
            if !known {
                return Err(refused("the variant that is kept is one of the experiment"));
            }
        }
        (None, Outcome::Ship) => return Err(refused("it names the variant that is kept")),
        (Some(_), _) => return Err(refused("only the outcome ship names a variant")),
        (None, _) => {}
    }
    Ok(Decision {
        outcome: decision.outcome,
        variant: decision.variant.clone(),
        reason: reason.to_owned(),
        at,
    })
}

/// Every check that a start fails.
async fn failed_checks(
    write: &mut Write,
    experiment: &ExperimentDefinition,
) -> Result<Vec<FailedCheck>, ControlError> {
    let mut failures = Vec::new();
    let mut fails = |check, pointer: &str, message: String| {
        failures.push(FailedCheck {
            check,
            pointer: pointer.to_owned(),
            message,
        });
    };
    for (index, used) in experiment.metrics.iter().enumerate() {
        if !Store::metric_exists(write, &used.metric).await? {
            let message = format!("metric {} does not exist", used.metric);
            fails("metrics_exist", &format!("/metrics/{index}"), message);
        }
    }
    if experiment.metrics.is_empty() {
        let message = "an experiment names the metrics that it is decided by".to_owned();
        fails("metrics_exist", "/metrics", message);
    }
    for (index, variant) in experiment.variants.iter().enumerate() {
        if variant.weight <= 0.0 {
            let message = format!("variant {} has no weight, so nobody would get it", variant.key);
            fails("weights_positive", &format!("/variants/{index}/weight"), message);
        }
    }
    if experiment.traffic_percent <= 0.0 {
        let message = "nobody takes part in an experiment with no traffic".to_owned();
        fails("weights_positive", "/traffic_percent", message);
    }
    // A bandit goes on for as long as it pays, so it plans no number of users.
    let planned = experiment.analysis.planned_units.is_some() && experiment.analysis.minimum_effect.is_some();
    if !planned && experiment.experiment_type != ExperimentType::Bandit {
        let message = "planned_units and minimum_effect say how many users show which effect".to_owned();
        fails("power_stated", "/analysis", message);
    }
    let mut running = experiment.clone();
    running.status = ExperimentStatus::Running;
    for error in Store::compile_errors_in(write, &running).await? {
        let check = if error.path.starts_with("/layer") {
            "layer_has_room"
        } else {
            "can_be_served"
        };
        fails(check, &error.path, error.message);
    }
    Ok(failures)
}

#[cfg(test)]
mod tests;
