//! Does what is due: schedules of experiments, stages of rollouts, weights of bandits, planned looks.
//!
//! Any number of processes may run one over the same store. Each timer is done by one of them: whoever gets the write
//! lock first sees the timer as it was read, does what it stands for and takes the timer away or moves it on, all in one
//! transaction. That is the lease: it ends with its work and no clock can make two hold it.

use std::sync::Arc;
use std::time::Duration;

use domain::experiment::{ExperimentStatus, Outcome, Transition};
use domain::{ExperimentKey, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::change::{Actor, Change};
use crate::clock::Clock;
use crate::error::ControlError;
use crate::life_cycle::NewDecision;
use crate::metrics;
use crate::store::{DueTimer, Store, TimerKind};

/// How often timers are looked at: what is due happens well within a second.
const POLL: Duration = Duration::from_millis(200);

/// Does what is due over a store.
pub struct Scheduler {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Scheduler {
    /// A scheduler over `store`.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Does what is due as it becomes due, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut failing = false;
        while tokio::time::timeout(POLL, shutdown.cancelled()).await.is_err() {
            match self.run_once().await {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "timers cannot be read; they are done once the store answers");
                }
                Err(_) => {}
            }
        }
    }

    /// Does everything that is due now, and gives how much was done.
    ///
    /// One that fails stands in nobody's way: it is logged, and tried again in the next round.
    ///
    /// # Errors
    /// [`ControlError::Database`] when the timers cannot be read.
    pub async fn run_once(&self) -> Result<usize, ControlError> {
        let now = self.clock.now();
        let mut done = 0;
        for timer in self.store.due_timers(now).await? {
            match self.see_to(&timer, now).await {
                Ok(true) => {
                    done += 1;
                    metrics::timer_done(timer.kind.as_str());
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(timer.kind = timer.kind.as_str(), timer.key = %timer.key, %error, "a timer failed and is tried again");
                }
            }
        }
        Ok(done)
    }

    async fn see_to(&self, timer: &DueTimer, now: Timestamp) -> Result<bool, ControlError> {
        match timer.kind {
            TimerKind::Experiment => self.experiment_due(timer, now).await,
            TimerKind::Bandit => {
                let change = Change::new(Actor::system("bandit"), now);
                self.store.bandit_due(timer, &change).await
            }
            TimerKind::Rollout => {
                let change = Change::new(Actor::system("rollout"), now);
                self.store.rollout_due(timer, &change).await
            }
            TimerKind::PlannedLook => {
                let change = Change::new(Actor::system("scheduler"), now);
                self.store.look_due(timer, &change).await
            }
        }
    }

    /// Starts, resumes or completes an experiment whose schedule says so.
    async fn experiment_due(&self, timer: &DueTimer, now: Timestamp) -> Result<bool, ControlError> {
        let Ok(key) = ExperimentKey::new(&timer.key) else {
            return Ok(false);
        };
        let change = Change::new(Actor::system("scheduler"), now).because("its schedule says so");
        let mut write = self.store.begin().await?;
        if !Store::timer_stands(&mut write, timer).await? {
            return Ok(false);
        }
        let before = self.store.experiment_in(&mut write, &key, None).await?;
        let experiment = &before.definition;
        let ends = experiment.schedule.end_at.is_some_and(|end| end <= now) && experiment.status.is_live();
        let decision = NewDecision {
            outcome: Outcome::Inconclusive,
            variant: None,
            reason: "the experiment ended as scheduled; what it showed is still to be judged".to_owned(),
        };
        let transition = match experiment.status {
            _ if ends => Transition::Complete,
            ExperimentStatus::Paused => Transition::Resume,
            _ => Transition::Start,
        };
        let action = (transition, ends.then_some(&decision));
        match self.store.advance_in(&mut write, &before, action, &change).await {
            Ok(_) => {}
            Err(error @ ControlError::CannotStart { .. }) => {
                let mut after = experiment.clone();
                after.schedule.start_at = None;
                after.schedule.problem = Some(error.to_string());
                let put = self
                    .store
                    .put_experiment(&mut write, &before, "start_failed", &after, &change);
                put.await?;
                let told = serde_json::json!({"experiment": key, "problem": error.to_string()});
                Store::queue(&mut write, "experiment.start_failed", &told, now).await?;
            }
            Err(other) => return Err(other),
        }
        self.store.finish(write).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
