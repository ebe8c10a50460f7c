//! Lists the stream's shards again and again, so that what a resharding brings is found.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::Delivery;
use super::api::{CallError, CallErrorKind, ShardApi, ShardInfo};
use super::backoff::Backoff;
use super::lineage::misplaced_hash_key;
use super::metrics;
use super::settings::PollPace;

/// How often a list is asked for until its hash keys fit together. After that it is taken as it is: reading goes on,
/// the order of parents and children is kept in any case, and the counter tells.
const LIST_ATTEMPTS: u32 = 5;

/// The failures in a row after which a failing list is told to whoever reads.
const FAILURES_UNTIL_TOLD: u32 = 5;

/// The stream's shards, listed until the list is of one time.
pub(crate) async fn list_consistently(
    api: &dyn ShardApi,
    wait: Duration,
) -> Result<Vec<ShardInfo>, CallError> {
    for attempt in 1.. {
        let shards = api.list_shards().await?;
        let Some(hash_key) = misplaced_hash_key(&shards) else {
            return Ok(shards);
        };
        metrics::list_was_uneven();
        if attempt == LIST_ATTEMPTS {
            tracing::warn!(hash_key = %hash_key, "open shards do not share out the hash keys exactly");
            return Ok(shards);
        }
        tokio::time::sleep(wait).await;
    }
    unreachable!("the loop ends at its last attempt")
}

/// Lists shards at intervals and when woken.
pub(crate) struct Lister {
    pub(crate) api: Arc<dyn ShardApi>,
    pub(crate) stream: String,
    pub(crate) pace: PollPace,
    pub(crate) wake: Arc<Notify>,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
}

impl Lister {
    /// Goes on until nobody reads any more.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(&self.pace);
        loop {
            // An early wake is as good as the interval's end; which of the two it was does not matter.
            let _ = tokio::time::timeout(self.pace.list_interval, self.wake.notified()).await;
            let delivery = loop {
                match list_consistently(&*self.api, self.pace.backoff_min).await {
                    Ok(shards) => {
                        backoff.reset();
                        break Delivery::Shards(shards);
                    }
                    Err(error) => {
                        let wait = backoff.next(&error);
                        let told = error.kind != CallErrorKind::Throttled
                            && backoff.failure_count().is_multiple_of(FAILURES_UNTIL_TOLD);
                        if told || matches!(error.kind, CallErrorKind::Permanent | CallErrorKind::NotFound) {
                            let error = error.into_ingest_error(&self.stream);
                            if self.deliveries.send(Delivery::Failure(error)).await.is_err() {
                                return;
                            }
                        }
                        tokio::time::sleep(wait).await;
                    }
                }
            };
            if self.deliveries.send(delivery).await.is_err() {
                return;
            }
        }
    }
}
