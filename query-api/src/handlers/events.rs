//! Events over HTTP: durable before they are acknowledged.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName};
use domain::RejectReason;
use ingest::{CollectError, CollectReport, CollectRequest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::RawBody;
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;

/// How long a client shall wait when the log has stopped: a restart takes a few seconds.
const STOPPED_RETRY_SECONDS: u32 = 10;

/// What became of a batch, all of which is on disk now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventsReport, example = json!({"received": 3, "accepted": 2, "rejected_count": 1,
    "rejected": [{"index": 2, "reason": "missing_field", "detail": "user_id is missing"}]}))]
pub struct EventsReport {
    /// Records found in the body.
    received: u64,
    /// Records that are events.
    accepted: u64,
    /// Records that are not, and are kept as dead letters.
    rejected_count: u64,
    /// The first hundred of these.
    rejected: Vec<RejectedEvent>,
}

/// A record that is no event.
#[derive(Debug, Serialize, ToSchema)]
pub struct RejectedEvent {
    /// Its place in the batch, from 0; blank lines do not count.
    index: u64,
    /// Why, out of a closed list.
    #[schema(value_type = String, example = "missing_field")]
    reason: RejectReason,
    /// What exactly.
    detail: String,
}

impl From<CollectReport> for EventsReport {
    fn from(report: CollectReport) -> Self {
        let rejected = report.rejected.into_iter().map(|record| RejectedEvent {
            index: record.index,
            reason: record.reason,
            detail: record.detail,
        });
        Self {
            received: report.received,
            accepted: report.accepted,
            rejected_count: report.rejected_count,
            rejected: rejected.collect(),
        }
    }
}

impl From<CollectError> for Problem {
    fn from(error: CollectError) -> Self {
        use CollectError as E;
        let text = error.to_string();
        match error {
            E::Empty | E::NotRecords { .. } => Self::new(Code::InvalidBody, text),
            E::TooLarge { .. } => Self::new(Code::BodyTooLarge, text),
            E::UnsupportedMediaType { .. } | E::UnsupportedEncoding { .. } => {
                Self::new(Code::UnsupportedMediaType, text)
            }
            E::BadCompression { .. } => Self::new(Code::InvalidEncoding, text),
            E::Busy {
                retry_after_seconds, ..
            } => Self::new(
                Code::Overloaded,
                "more events wait to be committed than may; nothing was taken, send the batch again",
            )
            .retry_after(retry_after_seconds)
            .caused_by(error),
            E::Unavailable { .. } => Self::unavailable(
                "events cannot be made durable until the server is restarted; send the batch again later",
                STOPPED_RETRY_SECONDS,
            )
            .caused_by(error),
        }
    }
}

/// Send events
///
/// NDJSON (one event a line) or a JSON array, plain or with `Content-Encoding` gzip or zstd. The answer comes when the
/// events are on disk. Bad records do not hold up good ones: they are listed, and kept as dead letters. Sending a batch
/// again is harmless, because events are counted once by `event_id`.
#[utoipa::path(post, path = "/api/v1/events", tag = "events", operation_id = "send_events",
    request_body(content(
        (String = "application/x-ndjson", example = "{\"event_id\":\"1\",\"type\":\"exposure\",\"ts\":\"2026-01-31T12:00:00Z\",\"user_id\":\"u1\",\"experiment\":\"checkout\",\"variant\":\"one-page\"}\n{\"event_id\":\"2\",\"type\":\"track\",\"ts\":\"2026-01-31T12:01:00Z\",\"user_id\":\"u1\",\"event\":\"purchase\",\"value\":19.9}\n"),
        (EventBatch = "application/json"),
    )),
    responses((status = 202, body = EventsReport, description = "On disk.")))]
pub async fn collect(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> ApiResult<(StatusCode, Json<EventsReport>)> {
    let request = CollectRequest {
        content_type: text(&headers, &header::CONTENT_TYPE)?,
        content_encoding: text(&headers, &header::CONTENT_ENCODING)?,
        body,
        received_at: state.clock.now(),
    };
    let report = state.collector.collect(request).await?;
    Ok((StatusCode::ACCEPTED, Json(report.into())))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> ApiResult<Option<&'h str>> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| {
        Problem::new(
            Code::UnsupportedMediaType,
            format!("the header {name} is not plain text"),
        )
    })
}

/// Events, for the documentation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventBatch, min_items = 1)]
pub struct EventBatch(Vec<EventDocument>);

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({"event_id": "2", "type": "track", "ts": "2026-01-31T12:01:00Z", "user_id": "u1",
    "event": "purchase", "value": 19.9}))]
pub struct EventDocument {
    /// Made by the producer, UUIDv7 or ULID advised; the event is counted once by it.
    #[schema(min_length = 1, max_length = 64)]
    event_id: String,
    /// `exposure` or `track`.
    #[serde(rename = "type")]
    #[schema(example = "track")]
    kind: String,
    /// When it happened, RFC 3339; at most a day ahead of the server's clock.
    #[schema(format = DateTime)]
    ts: String,
    /// The user, account or device that experiments are drawn by.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// Of an exposure: the experiment, or the flag with a measured rollout.
    experiment: Option<String>,
    /// Of an exposure: the variant that was shown.
    variant: Option<String>,
    /// Of a track: what happened.
    event: Option<String>,
    /// Of a track: its value, 1 when absent.
    value: Option<f64>,
    /// Free attributes: at most 16 KiB, 8 levels.
    #[schema(value_type = Option<Object>)]
    properties: Option<serde_json::Value>,
}
