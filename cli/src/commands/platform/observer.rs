//! What happens at each commit: results are shown, news are recorded, guardrails decide.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use control::{ControlError, Discovered, RollbackRecord, Safety, Store};
use domain::results::ExperimentSummary;
use domain::{ExperimentKey, Timestamp};
use pipeline::view::{CommitObserver, CommitOutcome, Counters, LiveView};
use query_api::{ResultsView, RulesetHandle};
use tokio::sync::{broadcast, watch};

use crate::clock::Now;

/// How often the store is asked again before the pipeline stops and is opened anew.
const STORE_RETRIES: u32 = 4;
/// The wait before the first of these, which doubles with each: together a second and a half.
const STORE_RETRY_WAIT: Duration = Duration::from_millis(100);

/// Is told of commits and acts on them.
pub struct Observer {
    store: Store,
    safety: Safety,
    ruleset: Arc<RulesetHandle>,
    views: watch::Sender<Arc<ResultsView>>,
    rollbacks: broadcast::Sender<Arc<RollbackRecord>>,
    now: Now,
    recorded: Mutex<Shape>,
}

/// How many arms and metrics each experiment has: discovery has news only when it changes.
type Shape = BTreeMap<ExperimentKey, (usize, usize)>;

/// What an observer needs.
pub struct Parts {
    /// The definitions.
    pub store: Store,
    /// What evaluations use.
    pub ruleset: Arc<RulesetHandle>,
    /// Where results are shown.
    pub views: watch::Sender<Arc<ResultsView>>,
    /// Who wants to hear of rollbacks.
    pub rollbacks: broadcast::Sender<Arc<RollbackRecord>>,
    /// The clock.
    pub now: Now,
}

impl Observer {
    /// An observer over these parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            safety: Safety::new(parts.store.clone()),
            store: parts.store,
            ruleset: parts.ruleset,
            views: parts.views,
            rollbacks: parts.rollbacks,
            now: parts.now,
            recorded: Mutex::default(),
        }
    }

    /// The experiments that are sealed as of the last commit, and until when each is complete.
    pub fn sealed(&self) -> BTreeMap<ExperimentKey, Timestamp> {
        self.views.borrow().sealed.clone()
    }

    async fn record_discovered(&self, view: &LiveView) -> Result<(), ControlError> {
        let shape: Shape = view
            .experiments
            .iter()
            .map(|(key, summary)| (key.clone(), shape_of(summary)))
            .collect();
        if shape == *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        let summaries: Vec<ExperimentSummary> = view.experiments.values().cloned().collect();
        let seen = Discovered::from_summaries(&summaries);
        let now = &self.now;
        with_retries(|| self.store.record_discovered(&seen, now())).await?;
        *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = shape;
        Ok(())
    }

    async fn decide(&self, outcome: &CommitOutcome) -> Result<(), ControlError> {
        let now = &self.now;
        let records = with_retries(|| self.safety.observe(&outcome.looks, now())).await?;
        if records.is_empty() {
            return Ok(());
        }
        // The decision is durable; a ruleset that cannot be read now is read by the task that follows the store.
        self.ruleset.refresh_logged(&self.store).await;
        for record in records {
            // Nobody listening is no fault: the record is in the store.
            drop(self.rollbacks.send(Arc::new(record)));
        }
        Ok(())
    }
}

#[async_trait]
impl CommitObserver for Observer {
    async fn committed(
        &self,
        outcome: CommitOutcome,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Decisions first: a harmful flag is off before anything else is seen to.
        self.decide(&outcome).await?;
        self.views.send_replace(Arc::new(results_view(&outcome.view)));
        self.record_discovered(&outcome.view).await?;
        Ok(())
    }
}

fn shape_of(summary: &ExperimentSummary) -> (usize, usize) {
    (
        summary.arms.len(),
        summary.arms.iter().map(|arm| arm.metrics.len()).sum(),
    )
}

fn results_view(view: &LiveView) -> ResultsView {
    let experiments = view.experiments.iter();
    ResultsView {
        epoch: view.epoch,
        as_of: view.as_of,
        experiments: experiments
            .map(|(key, summary)| (key.clone(), Arc::new(summary.clone())))
            .collect(),
        sealed: view.sealed.clone(),
        counters: counters(view.counters),
    }
}

fn counters(counters: Counters) -> query_api::Counters {
    query_api::Counters {
        received: counters.received,
        accepted: counters.accepted,
        duplicate: counters.duplicate,
        invalid: counters.invalid,
        late: counters.late,
    }
}

/// Asks the store again a few times: it may be busy for a moment.
async fn with_retries<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ControlError>
where
    F: Future<Output = Result<T, ControlError>>,
{
    let mut wait = STORE_RETRY_WAIT;
    for _ in 0..STORE_RETRIES {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => tracing::warn!(%error, "the store did not take a commit and is asked again"),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    ask().await
}
