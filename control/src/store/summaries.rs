//! The seam to the engine's numbers: what rollout schedules, bandits and phases read of them.

use std::sync::Arc;

use domain::ExperimentKey;
use domain::results::ExperimentSummary;

use super::Store;

/// Gives the newest summary of an experiment, or of a flag with a measured rollout.
///
/// May be asked from several tasks at once and answers from memory, without waiting. What it gives may be as old as the
/// last commit; nothing means that nobody has been exposed, or that no engine runs beside this store.
pub trait Summaries: Send + Sync {
    /// The newest summary.
    fn latest(&self, experiment: &ExperimentKey) -> Option<Arc<ExperimentSummary>>;
}

impl<F> Summaries for F
where
    F: Fn(&ExperimentKey) -> Option<Arc<ExperimentSummary>> + Send + Sync,
{
    fn latest(&self, experiment: &ExperimentKey) -> Option<Arc<ExperimentSummary>> {
        self(experiment)
    }
}

impl Store {
    /// Names the source of summaries, once for all clones; a second one is not taken.
    pub fn use_summaries(&self, summaries: Arc<dyn Summaries>) {
        if self.shared.summaries.set(summaries).is_err() {
            tracing::warn!("a second source of summaries was named; the first stays");
        }
    }

    /// The newest summary of an experiment.
    pub(crate) fn latest_summary(&self, experiment: &ExperimentKey) -> Option<Arc<ExperimentSummary>> {
        self.shared.summaries.get()?.latest(experiment)
    }
}
