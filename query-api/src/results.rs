//! Where results come from: what the engine shows of itself at its last commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::results::ExperimentSummary;
use domain::{ExperimentKey, Timestamp};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of all records so far: `received = accepted + duplicate + invalid`; `accepted` includes `late`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Records that came in.
    pub received: u64,
    /// Records that became events.
    pub accepted: u64,
    /// Events seen before.
    pub duplicate: u64,
    /// Records turned away; the dead letters hold them.
    pub invalid: u64,
    /// Accepted events that came after their windows were written.
    pub late: u64,
}

/// The engine at one commit. Never changed once made: readers share it.
#[derive(Debug, Clone)]
pub struct ResultsView {
    /// The commit; 0 before the first.
    pub epoch: i64,
    /// Event time up to which the view is complete.
    pub as_of: Timestamp,
    /// Every experiment with an exposure.
    pub experiments: BTreeMap<ExperimentKey, Arc<ExperimentSummary>>,
    /// Experiments that are measured no more because their first events are gone, and until when each is complete. One that
    /// is not among `experiments` has lost its aggregates, too.
    pub sealed: BTreeMap<ExperimentKey, Timestamp>,
    /// What became of all records up to this commit.
    pub counters: Counters,
}

/// Gives the newest view, and a sign when there is a newer one.
pub trait ResultsSource: Send + Sync + 'static {
    /// The newest view; at once, without waiting for anything.
    fn view(&self) -> Arc<ResultsView>;

    /// Waits until the view's epoch is greater than `epoch`; never answers when that cannot happen any more.
    fn newer_than(&self, epoch: i64) -> BoxFuture<'static, ()>;
}

/// A source fed through a channel: whoever owns the engine sends each commit's view.
#[derive(Debug, Clone)]
pub struct WatchedResults(pub tokio::sync::watch::Receiver<Arc<ResultsView>>);

impl ResultsSource for WatchedResults {
    fn view(&self) -> Arc<ResultsView> {
        Arc::clone(&self.0.borrow())
    }

    fn newer_than(&self, epoch: i64) -> BoxFuture<'static, ()> {
        let mut receiver = self.0.clone();
        Box::pin(async move {
            if receiver.wait_for(|view| view.epoch > epoch).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
