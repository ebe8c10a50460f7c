//! Timers: what is to happen to a definition, and when.
//!
//! A timer is set in the transaction that makes it necessary and taken away in the one that does what it stands for.

use domain::Timestamp;
use domain::experiment::{ExperimentDefinition, ExperimentStatus, ExperimentType};
use domain::rollout::{RolloutScheduleDefinition, RolloutStatus, StageTrigger};
use domain::timestamp::MICROS_PER_SECOND;
use sqlx::Row;

use super::{ObjectKind, Store, Write, failed};
use crate::error::ControlError;
use crate::planned_looks::LOOK_INTERVAL_SECONDS;

/// The most timers that are read at once: more than there are stages waiting for evidence, which stay due meanwhile.
const DUE_MAX: i64 = 10_000;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// The schedule of an experiment.
    Experiment,
    /// The weights of a bandit.
    Bandit,
    /// The next stage of a rollout schedule.
    Rollout,
    /// The next look of an experiment whose plan decides at looks.
    PlannedLook,
}

impl TimerKind {
    /// The kind as it is stored and counted.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Bandit => "bandit",
            Self::Rollout => "rollout",
            Self::PlannedLook => "planned_look",
        }
    }

    fn from_stored(text: &str) -> Option<Self> {
        [Self::Experiment, Self::Bandit, Self::Rollout, Self::PlannedLook]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A timer whose moment has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DueTimer {
    pub(crate) kind: TimerKind,
    pub(crate) key: String,
    pub(crate) due_at: Timestamp,
}

impl Store {
    /// The timers that are due at `now`, the oldest first.
    pub(crate) async fn due_timers(&self, now: Timestamp) -> Result<Vec<DueTimer>, ControlError> {
        let rows =
            sqlx::query("SELECT kind, key, due_at FROM timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2")
                .bind(now.0)
                .bind(DUE_MAX)
                .fetch_all(self.readers())
                .await
                .map_err(failed("read timers"))?;
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            let kind: String = row.try_get("kind").map_err(failed("read timers"))?;
            // A kind that only a newer version knows is left to it.
            let Some(kind) = TimerKind::from_stored(&kind) else {
                continue;
            };
            due.push(DueTimer {
                kind,
                key: row.try_get("key").map_err(failed("read timers"))?,
                due_at: Timestamp(row.try_get("due_at").map_err(failed("read timers"))?),
            });
        }
        Ok(due)
    }

    /// Whether a timer stands in the store as it was read: nobody has done meanwhile what it is for.
    pub(crate) async fn timer_stands(write: &mut Write, timer: &DueTimer) -> Result<bool, ControlError> {
        let found = sqlx::query("SELECT 1 FROM timers WHERE kind = $1 AND key = $2 AND due_at = $3")
            .bind(timer.kind.as_str())
            .bind(&timer.key)
            .bind(timer.due_at.0)
            .fetch_optional(&mut **write)
            .await
            .map_err(failed("read timers"))?;
        Ok(found.is_some())
    }

    /// Sets a timer, moves it, or takes it away.
    pub(crate) async fn set_timer(
        write: &mut Write,
        kind: TimerKind,
        key: &str,
        due_at: Option<Timestamp>,
    ) -> Result<(), ControlError> {
        let query = match due_at {
            Some(due_at) => sqlx::query(
                "INSERT INTO timers (kind, key, due_at) VALUES ($1, $2, $3)
                 ON CONFLICT (kind, key) DO UPDATE SET due_at = excluded.due_at",
            )
            .bind(kind.as_str())
            .bind(key)
            .bind(due_at.0),
            None => sqlx::query("DELETE FROM timers WHERE kind = $1 AND key = $2")
                .bind(kind.as_str())
                .bind(key),
        };
        query
            .execute(&mut **write)
            .await
            .map(drop)
            .map_err(failed("set a timer"))
    }

    /// Sets the timers of an experiment after a change of it.
    pub(super) async fn set_experiment_timers(
        write: &mut Write,
        previous: Option<&ExperimentDefinition>,
        experiment: &ExperimentDefinition,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        let key = experiment.key.as_str();
        let due_at = experiment.schedule.due_at(experiment.status);
        Self::set_timer(write, TimerKind::Experiment, key, due_at).await?;
        let decides = |experiment: &ExperimentDefinition| {
            experiment.status.is_live() && !experiment.analysis.decision_looks().is_empty()
        };
        let (decided, decides) = (previous.is_some_and(decides), decides(experiment));
        if decided != decides {
            // The end is a look as well, so that the timer outlives the experiment by one turn.
            let due_at = if decides {
                now.plus_micros(LOOK_INTERVAL_SECONDS * MICROS_PER_SECOND)
            } else {
                now
            };
            Self::set_timer(write, TimerKind::PlannedLook, key, Some(due_at)).await?;
        }
        let learns = |experiment: &ExperimentDefinition| {
            let running = experiment.status == ExperimentStatus::Running;
            (running && experiment.experiment_type == ExperimentType::Bandit)
                .then(|| experiment.bandit.clone().unwrap_or_default())
        };
        let (before, after) = (previous.and_then(learns), learns(experiment));
        if before == after {
            return Ok(());
        }
        let due_at =
            after.map(|bandit| now.plus_micros(i64::from(bandit.interval_seconds) * MICROS_PER_SECOND));
        Self::set_timer(write, TimerKind::Bandit, key, due_at).await
    }

    /// Sets the timer of a rollout schedule after a change of it.
    pub(super) async fn set_rollout_timer(
        write: &mut Write,
        rollout: &RolloutScheduleDefinition,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        let due_at = stage_due_at(rollout, now);
        Self::set_timer(write, TimerKind::Rollout, rollout.key.as_str(), due_at).await
    }

    /// Takes all timers of a definition away.
    pub(super) async fn clear_timers(
        write: &mut Write,
        kind: ObjectKind,
        key: &str,
    ) -> Result<(), ControlError> {
        let timers: &[TimerKind] = match kind {
            ObjectKind::Experiment => &[TimerKind::Experiment, TimerKind::Bandit, TimerKind::PlannedLook],
            ObjectKind::RolloutSchedule => &[TimerKind::Rollout],
            _ => &[],
        };
        for timer in timers {
            Self::set_timer(write, *timer, key, None).await?;
        }
        Ok(())
    }
}

/// The earliest moment at which the next stage may begin; nothing when only a person can begin it.
pub(crate) fn stage_due_at(rollout: &RolloutScheduleDefinition, now: Timestamp) -> Option<Timestamp> {
    if rollout.progress.status != RolloutStatus::Running {
        return None;
    }
    let began = rollout.progress.stage_began_at.unwrap_or(now);
    let after = |seconds: u32| began.plus_micros(i64::from(seconds) * MICROS_PER_SECOND);
    match rollout.next_stage()?.trigger {
        StageTrigger::Manual {} => None,
        StageTrigger::After { seconds } => Some(after(seconds)),
        StageTrigger::At { time } => Some(time),
        StageTrigger::Healthy { min_seconds, .. } => Some(after(min_seconds)),
    }
}
