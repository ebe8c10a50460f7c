//! Planned looks: what the engine knew when an experiment reached a number of users at which its plan decides.
//!
//! A fixed-horizon or group-sequential analysis holds its error rate only when it decides at its looks and nowhere else.
//! So each look is kept when it is reached, whoever reads results and however often; results decide from what was kept.
//! One is due when more users are exposed than the next planned look asks for; looks that were passed in one step are one
//! look. The end of an experiment is a last look, where there are looks left.

use domain::ExperimentKey;
use domain::experiment::{ExperimentDefinition, ExperimentStatus};
use domain::results::ExperimentSummary;
use domain::timestamp::MICROS_PER_SECOND;

use crate::change::Change;
use crate::error::ControlError;
use crate::store::{DueTimer, LooksSoFar, Store, TimerKind};

/// How often the number of users is compared with the next look: the few users that come meanwhile are counted by the
/// look, which takes place at the information that is there.
pub(crate) const LOOK_INTERVAL_SECONDS: i64 = 5;

impl Store {
    /// Keeps a look of an experiment whose timer is due, and sets its timer for the next time.
    ///
    /// Gives whether something was written. Nothing is when another process was faster.
    pub(crate) async fn look_due(&self, timer: &DueTimer, change: &Change) -> Result<bool, ControlError> {
        let Ok(key) = ExperimentKey::new(&timer.key) else {
            return Ok(false);
        };
        let summary = self.latest_summary(&key);
        let mut write = self.begin().await?;
        if !Self::timer_stands(&mut write, timer).await? {
            return Ok(false);
        }
        let experiment = self.experiment_in(&mut write, &key, None).await?.definition;
        let so_far = Self::looks_so_far(&mut write, &key).await?;
        let look = summary
            .as_deref()
            .filter(|summary| is_due(&experiment, so_far, summary));
        if let Some(summary) = look {
            Self::add_look(&mut write, so_far.count + 1, summary, change).await?;
        }
        let taken = so_far.count + u64::from(look.is_some());
        let goes_on = experiment.status.is_live() && taken < planned(&experiment);
        let next = goes_on.then(|| change.at.plus_micros(LOOK_INTERVAL_SECONDS * MICROS_PER_SECOND));
        Self::set_timer(&mut write, TimerKind::PlannedLook, key.as_str(), next).await?;
        if look.is_some() {
            self.finish(write).await?;
        } else {
            self.commit_quietly(write).await?;
        }
        Ok(true)
    }
}

fn planned(experiment: &ExperimentDefinition) -> u64 {
    experiment.analysis.decision_looks().len() as u64
}

/// Whether a look is to be taken of what the engine knows now.
fn is_due(experiment: &ExperimentDefinition, so_far: LooksSoFar, summary: &ExperimentSummary) -> bool {
    let looks = experiment.analysis.decision_looks();
    let units = summary.exposed();
    if so_far.count >= looks.len() as u64 || units <= so_far.units {
        return false;
    }
    match experiment.status {
        ExperimentStatus::Completed => true,
        status if status.is_live() => {
            let next = looks.into_iter().find(|look| *look > so_far.units);
            next.is_some_and(|next| units >= next)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
