//! What others see of the engine after each commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use domain::guardrail::GuardrailLook;
use domain::results::ExperimentSummary;
use domain::{ExperimentKey, Timestamp};

use crate::engine::Engine;
use crate::seals::Seals;
pub use crate::state::Counters;

/// The newest numbers, as of a commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiveView {
    /// The commit.
    pub epoch: i64,
    /// The watermark.
    pub as_of: Timestamp,
    /// What has been received since the lake exists.
    pub counters: Counters,
    /// Users seen.
    pub users: u64,
    /// The summaries of all experiments, sealed ones included as long as their rows are kept.
    pub experiments: BTreeMap<ExperimentKey, ExperimentSummary>,
    /// Experiments that are measured no more because their first events are gone, and until when each is complete.
    pub sealed: BTreeMap<ExperimentKey, Timestamp>,
}

impl LiveView {
    pub(crate) fn of(engine: &Engine, seals: &Seals, epoch: i64, counters: Counters) -> Self {
        let mut experiments = engine.summaries(epoch);
        seals.complete(&mut experiments);
        Self {
            epoch,
            as_of: engine.watermark(),
            counters,
            users: engine.user_count() as u64,
            experiments,
            sealed: seals.complete_until(),
        }
    }
}

/// What a commit brought.
#[derive(Debug, Clone)]
pub struct CommitOutcome {
    /// The newest numbers.
    pub view: Arc<LiveView>,
    /// What guardrails learn from the commit.
    pub looks: Vec<GuardrailLook>,
}

/// Is told of every commit, in order.
#[async_trait]
pub trait CommitObserver: Send + Sync {
    /// Learns of a commit that is durable in every table.
    ///
    /// After a crash the last commit may be told again, with the same epoch and the same content. The sources learn of the
    /// commit only after this answered; an error stops the pipeline.
    async fn committed(&self, outcome: CommitOutcome)
    -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// An observer that keeps the newest view and nothing else.
#[derive(Debug)]
pub struct KeepView(pub tokio::sync::watch::Sender<Arc<LiveView>>);

#[async_trait]
impl CommitObserver for KeepView {
    async fn committed(
        &self,
        outcome: CommitOutcome,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.send_replace(outcome.view);
        Ok(())
    }
}
