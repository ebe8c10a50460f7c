//! Rollout schedules: a flag's variation reaches more users stage by stage.
//!
//! A stage begins in one transaction: the flag's new shares with the fewest users moved, the schedule's progress, both
//! audit records and the message for receivers of webhooks. What has been reached stands in the store, so that after a
//! restart a schedule goes on where it was. A rollback of the flag, by whomever, ends its schedules with it; a flag that
//! somebody changed by hand meanwhile is never overwritten, the schedule pauses instead.

use domain::rollout::{RolloutScheduleDefinition, RolloutStatus, StageTrigger};
use domain::rules::definition::{FlagDefinition, Serve, Share};
use domain::{ExperimentKey, FlagKey, RolloutScheduleKey};

use crate::change::Change;
use crate::error::ControlError;
use crate::store::{Document, DueTimer, Guardrail, Store, Write};

/// What a person does to a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutAction {
    /// Begins it; stages that wait for nothing begin at once.
    Start,
    /// Holds it where it is.
    Pause,
    /// Lets it go on; time spent paused does not count towards a stage.
    Resume,
    /// Begins the next stage whatever it waits for.
    Advance,
    /// Takes the flag back to its safe variation and ends the schedule.
    RollBack,
}

impl RolloutAction {
    /// The action as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::RollBack => "rollback",
        }
    }

    /// The action as a participle, for sentences.
    fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Advance => "advanced",
            Self::RollBack => "rolled back",
        }
    }

    fn is_allowed(self, status: RolloutStatus) -> bool {
        use RolloutStatus as Status;
        match self {
            Self::Start => status == Status::Draft,
            Self::Pause => status == Status::Running,
            Self::Resume => status == Status::Paused,
            Self::Advance => status == Status::Running,
            Self::RollBack => matches!(status, Status::Running | Status::Paused | Status::Completed),
        }
    }
}

/// The actions that a status allows, as the end of a sentence.
fn allowed(status: RolloutStatus) -> &'static str {
    match status {
        RolloutStatus::Draft => "started",
        RolloutStatus::Running => "paused, advanced or rolled back",
        RolloutStatus::Paused => "resumed or rolled back",
        RolloutStatus::Completed => "rolled back",
        RolloutStatus::RolledBack => "deleted",
    }
}

/// Why the next stage does not begin.
enum Wait {
    /// Not yet.
    NotYet,
    /// Somebody changed the flag.
    Changed(String),
}

impl Store {
    /// Does to a rollout schedule what a person asks for.
    ///
    /// # Errors
    /// [`ControlError::RolloutNotAllowed`] when its status or its flag does not allow it, [`ControlError::NotFound`],
    /// [`ControlError::VersionConflict`].
    pub async fn act_on_rollout(
        &self,
        key: &RolloutScheduleKey,
        action: RolloutAction,
        expected_version: Option<i64>,
        change: &Change,
    ) -> Result<Document<RolloutScheduleDefinition>, ControlError> {
        let mut write = self.begin().await?;
        let before = Self::rollout_in(&mut write, key, expected_version).await?;
        let status = before.definition.progress.status;
        if !action.is_allowed(status) {
            return Err(refused(&before.definition, action.done(), allowed(status)));
        }
        if action == RolloutAction::RollBack {
            let document = self.roll_schedule_back(&mut write, &before, change).await?;
            self.finish(write).await?;
            return Ok(document);
        }
        let mut after = before.definition.clone();
        let progress = &mut after.progress;
        progress.note = None;
        match action {
            RolloutAction::Pause => {
                progress.status = RolloutStatus::Paused;
                progress.paused_at = Some(change.at);
            }
            RolloutAction::Resume => {
                progress.status = RolloutStatus::Running;
                let paused = progress
                    .paused_at
                    .take()
                    .map_or(0, |since| change.at.0.saturating_sub(since.0));
                progress.stage_began_at = progress
                    .stage_began_at
                    .map(|began| began.plus_micros(paused.max(0)));
            }
            RolloutAction::Start => {
                progress.status = RolloutStatus::Running;
                progress.stage_began_at = Some(change.at);
            }
            RolloutAction::Advance | RolloutAction::RollBack => {}
        }
        let flag = Self::flag_in(&mut write, &after.flag).await?;
        if action != RolloutAction::Pause && !flag.enabled {
            return Err(refused(
                &before.definition,
                action.done(),
                "continued once its flag is enabled",
            ));
        }
        if action == RolloutAction::Start && is_measured(&after) {
            let guardrails = Self::guardrails_on(&mut write, &after.flag).await?;
            if guardrails.is_empty() {
                let allowed = "started once its flag has a guardrail, which its stages wait for";
                return Err(refused(&before.definition, action.done(), allowed));
            }
        }
        let forced = action == RolloutAction::Advance;
        let document = if forced || (action == RolloutAction::Start && begins_at_once(&after)) {
            self.begin_stage(&mut write, (&before, after), (action.as_str(), &flag), change)
                .await?
        } else {
            Self::put_rollout(&mut write, &before, action.as_str(), &after, change).await?
        };
        self.finish(write).await?;
        Ok(document)
    }

    /// Begins the next stage of a schedule whose timer is due, when what it waits for has happened.
    ///
    /// Gives whether something was written. Nothing is when another process was faster.
    pub(crate) async fn rollout_due(&self, timer: &DueTimer, change: &Change) -> Result<bool, ControlError> {
        let Ok(key) = RolloutScheduleKey::new(&timer.key) else {
            return Ok(false);
        };
        // Looked at without a write first: a stage that waits for evidence is looked at often and begins once.
        let seen = self.get::<RolloutScheduleDefinition>(&key).await?;
        let guardrails = self.all_guardrails(&seen.definition.flag).await?;
        if !self.may_begin(&seen.definition, &guardrails) {
            return Ok(false);
        }
        let mut write = self.begin().await?;
        if !Self::timer_stands(&mut write, timer).await? {
            return Ok(false);
        }
        let before = Self::rollout_in(&mut write, &key, Some(seen.version)).await?;
        let flag = Self::flag_in(&mut write, &before.definition.flag).await?;
        let guardrails = Self::guardrails_on(&mut write, &flag.key).await?;
        match self.stage_wait(&before.definition, &flag, &guardrails) {
            Some(Wait::NotYet) => return Ok(false),
            Some(Wait::Changed(note)) => {
                let mut after = before.definition.clone();
                after.progress.status = RolloutStatus::Paused;
                after.progress.paused_at = Some(change.at);
                after.progress.note = Some(note);
                Self::put_rollout(&mut write, &before, "pause", &after, change).await?;
            }
            None => {
                let after = before.definition.clone();
                self.begin_stage(&mut write, (&before, after), ("advance", &flag), change)
                    .await?;
            }
        }
        self.finish(write).await?;
        Ok(true)
    }

    /// Ends the running schedules of a flag that is being rolled back.
    pub(crate) async fn end_rollouts(
        write: &mut Write,
        flag: &FlagKey,
        (reason, change): (&str, &Change),
    ) -> Result<(), ControlError> {
        for before in Self::rollouts_on(write, flag).await? {
            let status = before.definition.progress.status;
            if matches!(status, RolloutStatus::Running | RolloutStatus::Paused) {
                let after = taken_back(&before.definition, reason);
                Self::put_rollout(write, &before, "rollback", &after, change).await?;
            }
        }
        Ok(())
    }

    /// Takes the flag of a schedule back, and ends the schedule even when the flag is safe already.
    async fn roll_schedule_back(
        &self,
        write: &mut Write,
        before: &Document<RolloutScheduleDefinition>,
        change: &Change,
    ) -> Result<Document<RolloutScheduleDefinition>, ControlError> {
        let key = &before.definition.key;
        match Self::roll_back_in(write, &before.definition.flag, change).await {
            Ok(_) | Err(ControlError::AlreadySafe { .. }) => {}
            Err(other) => return Err(other),
        }
        let present = Self::rollout_in(write, key, None).await?;
        if present.definition.progress.status == RolloutStatus::RolledBack {
            return Ok(present);
        }
        let reason = change.reason.as_deref().unwrap_or("by hand");
        let after = taken_back(&present.definition, reason);
        Self::put_rollout(write, &present, "rollback", &after, change).await
    }

    /// Gives the flag the shares of the next stage and notes the progress.
    async fn begin_stage(
        &self,
        write: &mut Write,
        (before, mut after): (&Document<RolloutScheduleDefinition>, RolloutScheduleDefinition),
        (action, flag): (&'static str, &FlagDefinition),
        change: &Change,
    ) -> Result<Document<RolloutScheduleDefinition>, ControlError> {
        let Some(stage) = after.next_stage().cloned() else {
            return Err(refused(&after, "advanced", allowed(after.progress.status)));
        };
        let mut served = flag.clone();
        let serve = target(&mut served, &after)?;
        *serve = shares(&after, stage.percent);
        served.keep_assignments(flag);
        Self::replace_flag(write, &served, "rollout", change).await?;
        after.progress.stages_begun += 1;
        after.progress.stage_began_at = Some(change.at);
        after.progress.units_at_stage_start = Some(self.exposed_to(&after));
        after.progress.note = None;
        if after.next_stage().is_none() {
            after.progress.status = RolloutStatus::Completed;
        }
        let document = Self::put_rollout(write, before, action, &after, change).await?;
        Self::queue(
            write,
            "rollout.stage_begun",
            &serde_json::json!({
                "rollout_schedule": after.key, "flag": after.flag, "variation": after.variation,
                "percent": stage.percent, "stage": after.progress.stages_begun, "stages": after.stages.len(),
                "status": after.progress.status, "actor": change.actor,
            }),
            change.at,
        )
        .await?;
        Ok(document)
    }

    /// Why the next stage may not begin; nothing when it may. Time is the timer's to tell.
    fn stage_wait(
        &self,
        rollout: &RolloutScheduleDefinition,
        flag: &FlagDefinition,
        guardrails: &[Guardrail],
    ) -> Option<Wait> {
        if rollout.progress.status != RolloutStatus::Running {
            return Some(Wait::NotYet);
        }
        if !flag.enabled {
            return Some(Wait::Changed("the flag was switched off".to_owned()));
        }
        if !stands_as_left(rollout, flag) {
            let note = "somebody changed the flag's shares by hand".to_owned();
            return Some(Wait::Changed(note));
        }
        (!self.may_begin(rollout, guardrails)).then_some(Wait::NotYet)
    }

    /// Whether the evidence that the next stage waits for is there.
    fn may_begin(&self, rollout: &RolloutScheduleDefinition, guardrails: &[Guardrail]) -> bool {
        let Some(stage) = rollout.next_stage() else {
            return false;
        };
        let StageTrigger::Healthy {
            min_units,
            hold_below_p,
            ..
        } = stage.trigger
        else {
            return true;
        };
        let before = rollout.progress.units_at_stage_start.unwrap_or(0);
        let units = self.exposed_to(rollout).saturating_sub(before);
        units >= min_units
            && !guardrails.is_empty()
            && guardrails
                .iter()
                .all(|guardrail| healthy(guardrail, hold_below_p))
    }

    /// Users exposed to the variation that is rolled out.
    fn exposed_to(&self, rollout: &RolloutScheduleDefinition) -> u64 {
        let summary = ExperimentKey::new(rollout.flag.as_str())
            .ok()
            .and_then(|key| self.latest_summary(&key));
        summary
            .iter()
            .flat_map(|summary| &summary.arms)
            .find(|arm| arm.variant == rollout.variation)
            .map_or(0, |arm| arm.exposed)
    }
}

/// A guardrail that may decide and has no evidence of harm.
fn healthy(guardrail: &Guardrail, hold_below_p: f64) -> bool {
    // Without a look nobody was affected, which is no evidence of harm either.
    let calm = guardrail
        .evidence
        .is_none_or(|evidence| !evidence.verdict.crossed && evidence.verdict.p_value >= hold_below_p);
    guardrail.armed && calm
}

/// A schedule that has ended with its flag.
fn taken_back(rollout: &RolloutScheduleDefinition, reason: &str) -> RolloutScheduleDefinition {
    let mut after = rollout.clone();
    after.progress.status = RolloutStatus::RolledBack;
    after.progress.paused_at = None;
    after.progress.note = Some(reason.to_owned());
    after
}

/// Whether a stage waits for the evidence of guardrails.
fn is_measured(rollout: &RolloutScheduleDefinition) -> bool {
    let mut triggers = rollout.stages.iter().map(|stage| &stage.trigger);
    triggers.any(|trigger| matches!(trigger, StageTrigger::Healthy { .. }))
}

/// Whether the first stage waits for nothing.
fn begins_at_once(rollout: &RolloutScheduleDefinition) -> bool {
    let trigger = rollout.next_stage().map(|stage| &stage.trigger);
    matches!(trigger, Some(StageTrigger::After { seconds: 0 }))
}

/// The shares of a stage.
fn shares(rollout: &RolloutScheduleDefinition, percent: f64) -> Serve {
    let share = |variation: &domain::VariantKey, percent| Share {
        variation: variation.clone(),
        percent,
        buckets: Vec::new(),
    };
    Serve::Rollout(vec![
        share(&rollout.variation, percent),
        share(&rollout.control, 100.0 - percent),
    ])
}

/// The part of a flag that a schedule changes.
fn target<'f>(
    flag: &'f mut FlagDefinition,
    rollout: &RolloutScheduleDefinition,
) -> Result<&'f mut Serve, ControlError> {
    let Some(id) = &rollout.rule else {
        return Ok(&mut flag.default);
    };
    let rule = flag.rules.iter_mut().find(|rule| rule.id == *id);
    rule.map(|rule| &mut rule.serve)
        .ok_or_else(|| ControlError::InvalidFlag {
            flag: rollout.flag.clone(),
            problem: format!("has no rule {id} to roll out"),
        })
}

/// Whether the flag serves what the last stage left behind.
fn stands_as_left(rollout: &RolloutScheduleDefinition, flag: &FlagDefinition) -> bool {
    let Some(last) = rollout.progress.stages_begun.checked_sub(1) else {
        return true;
    };
    let mut flag = flag.clone();
    let (Some(stage), Ok(Serve::Rollout(now))) = (rollout.stages.get(last), target(&mut flag, rollout))
    else {
        return false;
    };
    let share = now.iter().find(|share| share.variation == rollout.variation);
    let percent = share.map_or(0.0, |share| share.percent);
    // A thousandth of the smallest step: what differs less was written by us.
    (percent - stage.percent).abs() < 1e-6
}

/// Checks that the flag has what a schedule rolls out.
pub(crate) fn check_target(
    rollout: &RolloutScheduleDefinition,
    flag: &FlagDefinition,
) -> Result<(), ControlError> {
    for key in [&rollout.variation, &rollout.control] {
        if !flag.variations.iter().any(|variation| variation.key == *key) {
            return Err(ControlError::InvalidFlag {
                flag: rollout.flag.clone(),
                problem: format!("has no variation {key} to roll out"),
            });
        }
    }
    target(&mut flag.clone(), rollout).map(drop)
}

fn refused(rollout: &RolloutScheduleDefinition, action: &'static str, allowed: &'static str) -> ControlError {
    ControlError::RolloutNotAllowed {
        schedule: rollout.key.clone(),
        status: rollout.progress.status,
        action,
        allowed,
    }
}
