//! Carries queued messages to their receivers, each at its own pace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use sha2::{Digest, Sha256};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::target::{GuardedResolver, check_target};
use super::{WebhookSettings, next_attempt, sign};
use crate::clock::Clock;
use crate::error::ControlError;
use crate::metrics;
use crate::store::{AttemptResult, DueDelivery, EndpointId, Store};

/// How long a receiver may take for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a receiver may take in all: it should take the message and work later.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Attempts under way to one receiver.
const PER_ENDPOINT: u32 = 2;

/// Attempts under way in all.
const IN_FLIGHT_MAX: usize = 256;

/// How often the store is asked for what became due meanwhile; what is queued by this process wakes the worker at once.
const POLL: Duration = Duration::from_secs(1);

/// How often the end of an attempt is written again when the store does not answer, a second apart.
const RECORD_RETRIES: u32 = 60;

/// Carries queued messages to their receivers.
///
/// One worker runs over a store at a time. What was sent but not yet recorded when the process ends is sent again.
pub struct WebhookWorker {
    sender: Arc<Sender>,
}

struct Sender {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: WebhookSettings,
    client: reqwest::Client,
}

/// What names a delivery.
type DeliveryKey = (EndpointId, String);

/// The attempts that have not ended.
#[derive(Default)]
struct InFlight {
    tasks: JoinSet<()>,
    keys: HashSet<DeliveryKey>,
    by_task: HashMap<Id, DeliveryKey>,
}

impl WebhookWorker {
    /// A worker over `store`.
    ///
    /// # Errors
    /// [`ControlError::HttpClient`] when the TLS roots of the machine cannot be read.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: &WebhookSettings,
    ) -> Result<Self, ControlError> {
        Self::with_timeout(store, clock, *settings, TIMEOUT)
    }

    fn with_timeout(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: WebhookSettings,
        timeout: Duration,
    ) -> Result<Self, ControlError> {
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(GuardedResolver { settings }))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Each attempt resolves and connects anew, so that no connection outlives the check of its address.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("experimently/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| ControlError::HttpClient { source })?;
        let sender = Sender {
            store,
            clock,
            settings,
            client,
        };
        Ok(Self {
            sender: Arc::new(sender),
        })
    }

    /// Sends what is due, again and again, until `cancellation`; then waits for what is under way.
    pub async fn run(self, cancellation: CancellationToken) {
        let mut in_flight = InFlight::default();
        while !cancellation.is_cancelled() {
            if let Err(error) = self.start_due(&mut in_flight).await {
                tracing::warn!(error = %error, "due webhooks cannot be read");
            }
            tokio::select! {
                () = cancellation.cancelled() => {}
                () = self.sender.store.queued() => {}
                () = tokio::time::sleep(POLL) => {}
                Some(ended) = in_flight.tasks.join_next_with_id() => in_flight.ended(ended),
            }
        }
        in_flight.drain().await;
    }

    /// Sends everything that is due now and gives how many attempts were made: for a last flush before the end.
    ///
    /// # Errors
    /// [`ControlError::Database`] when the store does not answer.
    pub async fn deliver_due(&self) -> Result<usize, ControlError> {
        let mut in_flight = InFlight::default();
        let mut attempts = 0;
        loop {
            let started = self.start_due(&mut in_flight).await?;
            if started == 0 {
                return Ok(attempts);
            }
            attempts += started;
            in_flight.drain().await;
        }
    }

    async fn start_due(&self, in_flight: &mut InFlight) -> Result<usize, ControlError> {
        let due = self
            .sender
            .store
            .due(self.sender.clock.now(), PER_ENDPOINT)
            .await?;
        let mut started = 0;
        for delivery in due {
            let key = (delivery.endpoint.clone(), delivery.message.clone());
            if in_flight.keys.contains(&key) || in_flight.tasks.len() >= IN_FLIGHT_MAX {
                continue;
            }
            let sender = Arc::clone(&self.sender);
            let task = in_flight
                .tasks
                .spawn(async move { sender.attempt(&delivery).await });
            in_flight.by_task.insert(task.id(), key.clone());
            in_flight.keys.insert(key);
            started += 1;
        }
        Ok(started)
    }
}

impl InFlight {
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(error = %error, "an attempt to deliver a webhook broke off");
                error.id()
            }
        };
        if let Some(key) = self.by_task.remove(&id) {
            self.keys.remove(&key);
        }
    }

    async fn drain(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }
}

impl Sender {
    /// Makes one attempt and records how it ended.
    async fn attempt(&self, delivery: &DueDelivery) {
        let answer = self.send(delivery).await;
        let now = self.clock.now();
        let result = judge(delivery, answer, now);
        metrics::webhook_attempt(match (&result.delivered, &result.next_attempt_at) {
            (true, _) => "delivered",
            (false, Some(_)) => "retry",
            (false, None) => "exhausted",
        });
        // Without its record the attempt would be repeated at once: that must not become a flood.
        for _ in 0..RECORD_RETRIES {
            match self.store.record_attempt(delivery, &result, now).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(error = %error, message.id = %delivery.message, "an attempt cannot be recorded");
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn send(&self, delivery: &DueDelivery) -> Answer {
        let url = match check_target(&delivery.url, &self.settings) {
            Ok(url) => url,
            Err(ControlError::BlockedTarget { source, .. }) => return Answer::failed(&source),
            Err(error) => return Answer::failed(&error),
        };
        let seconds = self.clock.now().0.div_euclid(MICROS_PER_SECOND);
        let signature = sign(&delivery.secrets, &delivery.message, seconds, &delivery.payload);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &delivery.message)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(delivery.payload.clone());
        match request.send().await {
            // The status is the answer. The body is never read, so it can be neither slow nor large.
            Ok(response) => Answer {
                status: Some(response.status().as_u16()),
                retry_after_seconds: retry_after(response.headers(), self.clock.now()),
                error: None,
            },
            Err(error) => Answer::failed(&error.without_url()),
        }
    }
}

/// What came of an attempt.
struct Answer {
    status: Option<u16>,
    retry_after_seconds: Option<i64>,
    error: Option<String>,
}

impl Answer {
    /// No answer, with the chain of reasons.
    fn failed(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self {
            status: None,
            retry_after_seconds: None,
            error: Some(text),
        }
    }
}

/// What follows from an answer.
fn judge(delivery: &DueDelivery, answer: Answer, now: Timestamp) -> AttemptResult {
    let delivered = answer.status.is_some_and(|status| (200..300).contains(&status));
    let gone = answer.status == Some(410);
    // Only these two say when to come back.
    let asked = answer
        .retry_after_seconds
        .filter(|_| matches!(answer.status, Some(429 | 503)));
    let attempts = delivery.attempts.saturating_add(1);
    let again = next_attempt(attempts, now, asked, jitter(&delivery.message, attempts));
    let refused = |status| match status {
        300..400 => format!("answered {status}, and redirects are not followed"),
        _ => format!("answered {status}"),
    };
    AttemptResult {
        next_attempt_at: again.filter(|_| !delivered && !gone),
        delivered,
        gone,
        status: answer.status,
        error: answer
            .error
            .or_else(|| answer.status.filter(|_| !delivered).map(refused)),
    }
}

/// A number between 0 and 1 that differs between messages and attempts and is the same when computed again.
fn jitter(message: &str, attempts: u32) -> f64 {
    let hash = Sha256::digest(format!("{message}.{attempts}"));
    f64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])) / f64::from(u32::MAX)
}

/// The wait that a receiver asks for: a number of seconds, or an instant.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let instant = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Some(instant.as_second() - now.0.div_euclid(MICROS_PER_SECOND))
}

#[cfg(test)]
mod tests;
