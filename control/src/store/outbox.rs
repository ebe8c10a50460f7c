//! Messages queued in the transaction that they tell of, and how far each receiver has them.

use domain::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{EndpointId, Page, Store, Write, failed, fresh_id, page, page_size};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::webhook::WebhookSecret;

/// A receiver that fails for this long without one success is turned off.
const FAILING_MAX_MICROS: i64 = 5 * domain::timestamp::MICROS_PER_DAY;

/// What receivers are told when another receiver was turned off.
const ENDPOINT_DISABLED: &str = "webhook_endpoint.disabled";

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waiting for its next attempt.
    Pending,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up: all attempts failed, or the receiver said that it is gone.
    Exhausted,
}

impl DeliveryState {
    /// The state as stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A message on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// The receiver.
    pub endpoint: EndpointId,
    /// The message: `msg_…`, the same at every attempt.
    pub message: String,
    /// The type of the message, such as `flag.rolled_back`.
    pub event_type: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the next attempt is due; absent unless pending.
    pub next_attempt_at: Option<Timestamp>,
    /// The status that the last attempt was answered with; absent when there was no answer.
    pub last_status: Option<u16>,
    /// What went wrong at the last attempt; absent when nothing did.
    pub last_error: Option<String>,
}

/// A delivery that is due, with everything that an attempt needs.
pub(crate) struct DueDelivery {
    pub(crate) endpoint: EndpointId,
    pub(crate) message: String,
    pub(crate) url: String,
    pub(crate) payload: String,
    pub(crate) attempts: u32,
    /// The secrets to sign with: the present one, and the one before while it counts.
    pub(crate) secrets: Vec<WebhookSecret>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptResult {
    /// When to try again; never when delivered or given up.
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// Whether the receiver took the message.
    pub(crate) delivered: bool,
    /// Whether the receiver said that it is gone.
    pub(crate) gone: bool,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
}

impl Store {
    /// The deliveries to a receiver, the newest message first; `before` is the `next` of the page before.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn deliveries(
        &self,
        endpoint: &EndpointId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Page<Delivery>, ControlError> {
        let size = page_size(limit)?;
        let rows = sqlx::query(
            "SELECT d.endpoint, d.message, o.type, d.state, d.attempts, d.next_attempt_at, d.last_status, d.last_error
             FROM deliveries d JOIN outbox o ON o.id = d.message
             WHERE d.endpoint = $1 AND ($2 IS NULL OR d.message < $2) ORDER BY d.message DESC LIMIT $3",
        )
        .bind(&endpoint.0)
        .bind(before)
        .bind(size)
        .fetch_all(self.readers())
        .await
        .map_err(failed("list deliveries"))?;
        let deliveries = rows
            .iter()
            .map(|row| read_delivery(row).map_err(failed("list deliveries")))
            .collect::<Result<_, _>>()?;
        Ok(page(deliveries, limit, |delivery: &Delivery| {
            delivery.message.clone()
        }))
    }

    /// Queues a message to every receiver that is on, within the write that it tells of.
    pub(crate) async fn queue(
        write: &mut Write,
        event_type: &str,
        data: &serde_json::Value,
        at: Timestamp,
    ) -> Result<String, ControlError> {
        let id = fresh_id("msg", at);
        let body = serde_json::json!({ "type": event_type, "timestamp": at, "data": data });
        sqlx::query("INSERT INTO outbox (id, type, payload, created_at) VALUES ($1, $2, $3, $4)")
            .bind(&id)
            .bind(event_type)
            .bind(body.to_string())
            .bind(at.0)
            .execute(&mut **write)
            .await
            .map_err(failed("queue a message"))?;
        sqlx::query(
            "INSERT INTO deliveries (endpoint, message, state, attempts, next_attempt_at)
             SELECT id, $1, 'pending', 0, $2 FROM webhook_endpoints WHERE enabled = 1",
        )
        .bind(&id)
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("queue a message"))?;
        Ok(id)
    }

    /// What is due at `now`: the oldest of each receiver, so that none waits behind another's backlog.
    pub(crate) async fn due(
        &self,
        now: Timestamp,
        per_endpoint: u32,
    ) -> Result<Vec<DueDelivery>, ControlError> {
        let rows = sqlx::query(
            "SELECT endpoint, message, attempts, url, payload, secret, previous_secret, previous_secret_until FROM (
                 SELECT d.endpoint, d.message, d.attempts, e.url, o.payload, e.secret, e.previous_secret,
                        e.previous_secret_until,
                        row_number() OVER (PARTITION BY d.endpoint ORDER BY d.next_attempt_at, d.message) AS place
                 FROM deliveries d
                 JOIN webhook_endpoints e ON e.id = d.endpoint
                 JOIN outbox o ON o.id = d.message
                 WHERE d.state = 'pending' AND d.next_attempt_at <= $1 AND e.enabled = 1
             ) AS due WHERE place <= $2",
        )
        .bind(now.0)
        .bind(i64::from(per_endpoint))
        .fetch_all(self.readers())
        .await
        .map_err(failed("read due deliveries"))?;
        rows.iter()
            .map(|row| read_due(row, now).map_err(failed("read due deliveries")))
            .collect()
    }

    /// Records how an attempt ended, and turns off a receiver that is gone or has failed for too long.
    pub(crate) async fn record_attempt(
        &self,
        delivery: &DueDelivery,
        result: &AttemptResult,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        let endpoint = match Self::endpoint_in(&mut write, &delivery.endpoint).await {
            // The receiver was deleted while the message was under way, and its deliveries with it.
            Err(ControlError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        write_attempt(&mut write, delivery, result).await?;
        let failing_since = (!result.delivered).then(|| endpoint.failing_since.unwrap_or(now));
        sqlx::query("UPDATE webhook_endpoints SET failing_since = $2 WHERE id = $1")
            .bind(&endpoint.id.0)
            .bind(failing_since.map(|since| since.0))
            .execute(&mut *write)
            .await
            .map_err(failed("write a webhook receiver"))?;
        let failed_for = failing_since.map_or(0, |since| now.0.saturating_sub(since.0));
        let reason = match (result.gone, failed_for >= FAILING_MAX_MICROS) {
            (true, _) => "the receiver answered 410",
            (false, true) => "every attempt failed for five days",
            (false, false) => return self.commit_quietly(write).await,
        };
        if endpoint.enabled {
            let change = Change::new(Actor::system("webhooks"), now).because(reason);
            let data = serde_json::json!({ "endpoint": endpoint.id, "reason": reason });
            Self::switch_endpoint(&mut write, endpoint, false, &change).await?;
            Self::queue(&mut write, ENDPOINT_DISABLED, &data, now).await?;
            tracing::warn!(endpoint.id = %delivery.endpoint, reason, "a webhook receiver was turned off");
        }
        self.commit_quietly(write).await?;
        self.wake_worker();
        Ok(())
    }
}

async fn write_attempt(
    write: &mut Write,
    delivery: &DueDelivery,
    result: &AttemptResult,
) -> Result<(), ControlError> {
    let state = match (result.delivered, result.next_attempt_at) {
        (true, _) => DeliveryState::Delivered,
        (false, Some(_)) => DeliveryState::Pending,
        (false, None) => DeliveryState::Exhausted,
    };
    sqlx::query(
        "UPDATE deliveries SET state = $3, attempts = attempts + 1, next_attempt_at = $4, last_status = $5,
             last_error = $6
         WHERE endpoint = $1 AND message = $2",
    )
    .bind(&delivery.endpoint.0)
    .bind(&delivery.message)
    .bind(state.as_str())
    .bind(result.next_attempt_at.map(|at| at.0))
    .bind(result.status.map(i64::from))
    .bind(result.error.as_deref())
    .execute(&mut **write)
    .await
    .map(drop)
    .map_err(failed("record an attempt"))
}

fn read_delivery(row: &AnyRow) -> Result<Delivery, sqlx::Error> {
    let state: String = row.try_get("state")?;
    Ok(Delivery {
        endpoint: EndpointId(row.try_get("endpoint")?),
        message: row.try_get("message")?,
        event_type: row.try_get("type")?,
        state: match state.as_str() {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            // The table allows three states.
            _ => DeliveryState::Exhausted,
        },
        attempts: number(row.try_get("attempts")?)?,
        next_attempt_at: row.try_get::<Option<i64>, _>("next_attempt_at")?.map(Timestamp),
        last_status: row
            .try_get::<Option<i64>, _>("last_status")?
            .map(number)
            .transpose()?,
        last_error: row.try_get("last_error")?,
    })
}

fn read_due(row: &AnyRow, now: Timestamp) -> Result<DueDelivery, sqlx::Error> {
    let mut secrets = vec![WebhookSecret::from_stored(row.try_get("secret")?)];
    let previous: Option<Vec<u8>> = row.try_get("previous_secret")?;
    let until: Option<i64> = row.try_get("previous_secret_until")?;
    if until.is_some_and(|until| now.0 < until) {
        secrets.extend(previous.map(WebhookSecret::from_stored));
    }
    Ok(DueDelivery {
        endpoint: EndpointId(row.try_get("endpoint")?),
        message: row.try_get("message")?,
        url: row.try_get("url")?,
        payload: row.try_get("payload")?,
        attempts: number(row.try_get("attempts")?)?,
        secrets,
    })
}

/// A stored number in the type that it has in memory.
fn number<N: TryFrom<i64>>(stored: i64) -> Result<N, sqlx::Error>
where
    N::Error: std::error::Error + Send + Sync + 'static,
{
    N::try_from(stored).map_err(|source| sqlx::Error::Decode(Box::new(source)))
}
