//! Server-sent events: a sign that flags or results have changed.
//!
//! An event says the newest version, not the way there, so a client that was away misses nothing by getting one event
//! instead of ten, and a slow client costs no memory: there is no queue.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use futures::{Stream, StreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use super::ofrep::config_etag;
use crate::metrics::OpenStream;
use crate::request_id::RequestId;
use crate::state::ApiState;

/// How often an idle stream says that it is alive: proxies close what is silent for a minute, some for thirty seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The shortest wait that clients are advised to make before they come back.
const RETRY_MIN_MS: u64 = 1_000;
/// The spread of that wait: five thousand clients that lost their stream at once come back at 500 a second.
const RETRY_SPREAD_MS: u64 = 10_000;

/// The data of a `ruleset` event.
#[derive(Debug, Serialize, ToSchema)]
pub struct RulesetChanged {
    /// The version that evaluations use from now on.
    #[schema(example = 12)]
    pub version: u64,
}

/// The data of a `results` event.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResultsChanged {
    /// The commit.
    #[schema(example = 40)]
    pub epoch: i64,
    /// Event time up to which results are complete.
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00Z")]
    pub as_of: Timestamp,
}

/// What a client has seen: the id of the last event it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    ruleset: Option<u64>,
    epoch: Option<i64>,
}

impl Seen {
    /// Reads an id such as `r12.e40`; what is not ours is as good as nothing seen.
    fn parse(id: &str) -> Self {
        let mut seen = Self::default();
        for part in id.split('.') {
            if let Some(version) = part.strip_prefix('r') {
                seen.ruleset = version.parse().ok();
            } else if let Some(epoch) = part.strip_prefix('e') {
                seen.epoch = epoch.parse().ok();
            }
        }
        seen
    }

    fn id(self) -> String {
        let ruleset = self.ruleset.map(|version| format!("r{version}"));
        let epoch = self.epoch.map(|epoch| format!("e{epoch}"));
        [ruleset, epoch]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// Follow flag and result changes
///
/// Server-sent events. `ruleset` with a new version after each change of a flag, `results` with a new epoch after each commit
/// of the engine. The first events say the present state, unless `Last-Event-ID` shows that the client knows it. A comment
/// comes every 15 seconds. The stream ends when the server stops; clients come back after the time that `retry` says.
#[utoipa::path(get, path = "/api/v1/stream", tag = "stream", operation_id = "stream",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received.", example = "r12.e40")),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "Events without end.",
        example = "retry: 4711\n\nevent: ruleset\nid: r12\ndata: {\"version\":12}\n\nevent: results\nid: r12.e40\ndata: {\"epoch\":40,\"as_of\":\"2026-01-31T12:00:00Z\"}\n\n")))]
pub async fn stream(State(state): State<Arc<ApiState>>, request: RequestId, headers: HeaderMap) -> Response {
    let changes = futures::stream::unfold(Follower::new(&state, &headers), |mut follower| async move {
        let event = follower.next().await;
        Some((event, follower))
    });
    endless(changes, &state, request)
}

/// Follow flag changes, as OpenFeature SDKs in browsers do
///
/// Server-sent events in the form of OFREP: `refetchEvaluation` with the `etag` of the configuration, first for the present
/// state, unless `Last-Event-ID` shows that the client knows it, then after each change. Otherwise as `/api/v1/stream`.
#[utoipa::path(get, path = "/ofrep/v1/stream", tag = "ofrep", operation_id = "ofrep_stream",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received.", example = "r12")),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "Events without end.",
        example = "retry: 4711\n\nid: r12\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"r12\"}\n\n")))]
pub async fn ofrep_stream(
    State(state): State<Arc<ApiState>>,
    request: RequestId,
    headers: HeaderMap,
) -> Response {
    let changes = futures::stream::unfold(Follower::new(&state, &headers), |mut follower| async move {
        let version = follower.next_version().await;
        let refetch = Refetch {
            kind: "refetchEvaluation",
            etag: config_etag(version),
        };
        let data = serde_json::to_string(&refetch).unwrap_or_default();
        // Without a name, so that it is a `message`, which is what the protocol's clients listen to.
        Some((Event::default().id(follower.seen.id()).data(data), follower))
    });
    endless(changes, &state, request)
}

/// The data of an event in the form of OFREP.
#[derive(Debug, Serialize)]
struct Refetch {
    #[serde(rename = "type")]
    kind: &'static str,
    etag: String,
}

/// A stream of events that begins with advice on coming back, shows that it is alive, and ends with the server.
fn endless(
    changes: impl Stream<Item = Event> + Send + 'static,
    state: &ApiState,
    request: RequestId,
) -> Response {
    let retry = Duration::from_millis(RETRY_MIN_MS + request.spread() % RETRY_SPREAD_MS);
    let advice = futures::stream::once(async move { Event::default().retry(retry) });
    let ended = state.shutdown.clone().cancelled_owned();
    let events = advice.chain(changes).map(Ok::<_, Infallible>);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    // Proxies that collect answers before they pass them on are asked not to.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (
        unbuffered,
        Sse::new(events.take_until(ended)).keep_alive(keep_alive),
    )
        .into_response()
}

struct Follower {
    state: Arc<ApiState>,
    seen: Seen,
    _open: OpenStream,
}

impl Follower {
    fn new(state: &Arc<ApiState>, headers: &HeaderMap) -> Self {
        let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        Self {
            state: Arc::clone(state),
            seen: seen.map(Seen::parse).unwrap_or_default(),
            _open: OpenStream::open(),
        }
    }

    /// The next version of the ruleset that the client does not know.
    async fn next_version(&mut self) -> u64 {
        let mut versions = self.state.ruleset.versions();
        let seen = self.seen.ruleset;
        // The handle lives as long as the state, so its end is not a case.
        let version = versions.wait_for(|version| seen != Some(*version)).await;
        let version = version.map_or(0, |version| *version);
        self.seen.ruleset = Some(version);
        version
    }

    /// The next thing that the client does not know.
    async fn next(&mut self) -> Event {
        let mut versions = self.state.ruleset.versions();
        loop {
            let version = *versions.borrow_and_update();
            if self.seen.ruleset != Some(version) {
                self.seen.ruleset = Some(version);
                return self.event("ruleset", &RulesetChanged { version });
            }
            let view = self.state.results.view();
            if self.seen.epoch != Some(view.epoch) {
                self.seen.epoch = Some(view.epoch);
                let (epoch, as_of) = (view.epoch, view.as_of);
                return self.event("results", &ResultsChanged { epoch, as_of });
            }
            tokio::select! {
                // The handle lives as long as the state, so its end is not a case.
                _ = versions.changed() => {}
                () = self.state.results.newer_than(view.epoch) => {}
            }
        }
    }

    fn event(&self, name: &str, data: &impl Serialize) -> Event {
        let data = serde_json::to_string(data).unwrap_or_default();
        Event::default().event(name).id(self.seen.id()).data(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_was_seen() {
        // What must never change: a client that comes back with its last id is told what it missed and nothing else.
        let seen = Seen {
            ruleset: Some(12),
            epoch: Some(40),
        };
        assert_eq!(Seen::parse(&seen.id()), seen);
        assert_eq!(
            Seen::parse("r7"),
            Seen {
                ruleset: Some(7),
                epoch: None
            }
        );
        assert_eq!(Seen::parse("another server's id"), Seen::default());
    }
}
