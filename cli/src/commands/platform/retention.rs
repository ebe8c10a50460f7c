//! Once a day, and at the start: what is older than the retention is deleted, and what is kept longer is said.
//!
//! Looking only reads, beside the pipeline that runs; the pipeline is stopped only where something has to go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::metric::MeasurementPlan;
use pipeline::Settings;
use pipeline::lake::Lake;
use pipeline::retention::{Asked, Deleted, Due, Held, Policy, Standing, due, enforce};
use tokio_util::sync::CancellationToken;

use super::supervisor::{Supervisor, watched};
use crate::clock;

/// How often what is too old is looked for: days are what is deleted.
const LOOK_INTERVAL: Duration = Duration::from_secs(86_400);
/// When it is looked for again after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(3_600);

/// When to look next.
#[derive(Debug, Default)]
pub struct Retention(Mutex<Option<Instant>>);

impl Retention {
    fn wait(&self) -> Duration {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        next.map_or(Duration::ZERO, |next| {
            next.saturating_duration_since(Instant::now())
        })
    }

    fn look_again_in(&self, wait: Duration) {
        let next = Instant::now().checked_add(wait);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl Supervisor {
    /// Ends the run when something has to go; never answers.
    pub(super) async fn stop_to_delete(&self, run_stop: &CancellationToken, deletes: &AtomicBool) {
        let Some(policy) = self.policy() else {
            self.health.set_retention("events are kept for ever".to_owned());
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(self.retention.wait()).await;
            // What the log still holds on disk of the day before is given up with its segment.
            if let Err(error) = self.log.start_segment().await {
                tracing::warn!(%error, "the log cannot begin another segment; committed records stay in it for now");
            }
            match self.look(policy).await {
                Ok(found) if found.is_empty() => {
                    self.retention.look_again_in(LOOK_INTERVAL);
                    self.tell_held(found.held.as_ref());
                }
                Ok(_) => {
                    deletes.store(true, Ordering::Release);
                    run_stop.cancel();
                    break;
                }
                Err(error) => {
                    self.retention.look_again_in(RETRY_INTERVAL);
                    tracing::warn!(error = %format!("{error:#}"), "what is too old cannot be found and is looked for again");
                }
            }
        }
        std::future::pending().await
    }

    /// Deletes what is too old. A failure is told and does not keep the pipeline from going on.
    pub(super) async fn delete_old(&self, plan: MeasurementPlan) {
        let Some(policy) = self.policy() else { return };
        match self.try_delete(plan, policy).await {
            Ok(deleted) => {
                self.retention.look_again_in(LOOK_INTERVAL);
                tell(&deleted);
                self.tell_held(deleted.held.as_ref());
            }
            Err(error) => {
                self.retention.look_again_in(RETRY_INTERVAL);
                tracing::error!(error = %format!("{error:#}"), "what is too old cannot be deleted and is tried again in an hour");
            }
        }
    }

    async fn look(&self, policy: Policy) -> anyhow::Result<Due> {
        let asked = self.asked(policy).await?;
        let lake = Lake::open_existing(self.root.clone())
            .await
            .context("cannot open the lake")?;
        due(&lake, &asked).await.context("cannot read the tables")
    }

    async fn try_delete(&self, plan: MeasurementPlan, policy: Policy) -> anyhow::Result<Deleted> {
        let asked = self.asked(policy).await?;
        let settings = || Settings::replay(Arc::clone(&self.now), clock::run_id());
        Ok(Box::pin(enforce(self.root.clone(), plan, settings, &asked)).await?)
    }

    fn policy(&self) -> Option<Policy> {
        Some(Policy {
            events_micros: self.settings.events_days.micros()?,
            aggregates_micros: self.settings.aggregates_days.micros(),
        })
    }

    async fn asked(&self, policy: Policy) -> anyhow::Result<Asked> {
        let ended = self.store.ended_experiments().await;
        let ended = ended.context("cannot read which experiments have ended")?;
        let standing = |is_over| match is_over {
            true => Standing::Ended,
            false => Standing::InMotion,
        };
        let declared = ended
            .into_iter()
            .map(|(key, is_over)| (key.to_string(), standing(is_over)));
        let watched = watched(&self.store).await?.into_iter();
        let guarded = watched.map(|watch| (watch.experiment.to_string(), Standing::Guarded));
        Ok(Asked {
            now: (self.now)(),
            policy,
            declared: declared.chain(guarded).collect(),
        })
    }

    /// Says what is kept longer than asked for, in the log and to whoever asks for the health.
    fn tell_held(&self, held: Option<&Held>) {
        let days = self.settings.events_days.days.unwrap_or_default();
        let kept = match held {
            None => format!("events are kept for {days} days"),
            Some(held) => format!(
                "events are kept for {days} days; those since {} are kept because experiment {} is still computed from them",
                held.since(),
                held.experiment
            ),
        };
        tracing::info!(kept, "what is too old was looked for");
        self.health.set_retention(kept);
    }
}

/// Tells the log what went.
fn tell(deleted: &Deleted) {
    let sealed: Vec<&str> = deleted.sealed.iter().map(|key| key.as_str()).collect();
    let expired: Vec<&str> = deleted.expired.iter().map(|key| key.as_str()).collect();
    tracing::info!(
        days = deleted.event_days.join(" "),
        events = deleted.events,
        first_exposures = deleted.first_exposures,
        dead_letters = deleted.dead_letters,
        sealed = sealed.join(" "),
        expired = expired.join(" "),
        "deleted what is older than the retention"
    );
}
