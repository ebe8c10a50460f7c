//! The metrics of the HTTP interface, and the engine's counters in the text that Prometheus reads.
//!
//! | name | labels | meaning |
//! | --- | --- | --- |
//! | `http_server_request_duration_seconds` | method, route, status | time from the head of a request to the head of its answer |
//! | `exp_sse_connections` | | open event streams |
//! | `exp_evaluations_total` | reason | flag evaluations answered |
//! | `exp_authz_denied_total` | permission | requests of known callers who may not do what they ask (403) |
//! | `exp_ingest_events_total` | result | records: `received` is the sum of `accepted`, `duplicate` and `invalid` |
//! | `exp_ingest_late_total` | | accepted records that came after their windows were written |
//! | `exp_results_epoch` | | the last commit whose results are served |
//! | `exp_ruleset_version` | | the version of the ruleset that evaluations use |

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use axum::http::{Method, StatusCode};
use domain::rules::Reason;
use metrics::{Counter, Histogram};
use xxhash_rust::xxh3::Xxh3;

use crate::results::Counters;

/// The time a request takes.
#[derive(Debug)]
pub struct Observation(Instant);

impl Observation {
    /// Starts the clock.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.0
    }

    /// Records the request under its route, never under its path: paths hold keys.
    pub fn end(self, method: &Method, route: &str, status: StatusCode) {
        let method = method_label(method);
        let mut hasher = Xxh3::new();
        hasher.update(method.as_bytes());
        hasher.update(&status.as_u16().to_le_bytes());
        hasher.update(route.as_bytes());
        let seconds = self.0.elapsed().as_secs_f64();
        DURATIONS.with_borrow_mut(|durations| {
            let duration = durations
                .entry(hasher.digest())
                .or_insert_with(|| duration_of(method, route, status));
            duration.record(seconds);
        });
    }
}

thread_local! {
    /// The histograms by their labels: to ask the recorder for one costs more than an evaluation. There are as many as
    /// routes, methods and statuses go together, so it stays small.
    static DURATIONS: RefCell<HashMap<u64, Histogram>> = RefCell::default();
}

fn duration_of(method: &'static str, route: &str, status: StatusCode) -> Histogram {
    metrics::histogram!(
        "http_server_request_duration_seconds",
        "http_request_method" => method,
        "http_route" => route.to_owned(),
        "http_response_status_code" => status.as_u16().to_string(),
    )
}

/// Methods are labels only while they are few: a client can invent any.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// Every reason, in the order in which they are counted.
const REASONS: [Reason; 8] = [
    Reason::Static,
    Reason::TargetingMatch,
    Reason::Split,
    Reason::Disabled,
    Reason::Default,
    Reason::Cached,
    Reason::Stale,
    Reason::Error,
];

/// The counters of evaluations, by reason: to ask the recorder for one costs more than an evaluation.
static EVALUATIONS: LazyLock<[Counter; REASONS.len()]> = LazyLock::new(|| {
    REASONS.map(|reason| metrics::counter!("exp_evaluations_total", "reason" => reason.as_str()))
});

/// Counts the evaluations of one request, and adds them to those of the process at its end.
#[derive(Debug, Default)]
pub struct EvaluationCounts([Cell<u64>; REASONS.len()]);

impl EvaluationCounts {
    /// Counts one evaluation.
    pub fn add(&self, reason: Reason) {
        let place = REASONS.iter().position(|known| *known == reason);
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.set(count.get() + 1);
        }
    }
}

impl Drop for EvaluationCounts {
    fn drop(&mut self) {
        for (counter, count) in EVALUATIONS.iter().zip(&self.0) {
            if count.get() > 0 {
                counter.increment(count.get());
            }
        }
    }
}

/// Counts one evaluation.
pub fn count_evaluation(reason: Reason) {
    EvaluationCounts::default().add(reason);
}

/// Counts a request whose caller is known and lacks a permission.
pub fn count_denial(permission: &'static str) {
    metrics::counter!("exp_authz_denied_total", "permission" => permission).increment(1);
}

/// Counts an event stream while it lives.
#[derive(Debug)]
pub struct OpenStream(());

impl OpenStream {
    /// A stream begins.
    pub fn open() -> Self {
        metrics::gauge!("exp_sse_connections").increment(1.0);
        Self(())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        metrics::gauge!("exp_sse_connections").decrement(1.0);
    }
}

/// The engine's counters as Prometheus text. They are read from the live view, so that `received = accepted + duplicate
/// + invalid` holds in every scrape, which counters incremented one by one cannot promise.
pub fn engine_text(counters: &Counters, epoch: i64, ruleset_version: u64) -> String {
    let mut text = String::from("# TYPE exp_ingest_events_total counter\n");
    let results = [
        ("received", counters.received),
        ("accepted", counters.accepted),
        ("duplicate", counters.duplicate),
        ("invalid", counters.invalid),
    ];
    for (result, count) in results {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "exp_ingest_events_total{{result=\"{result}\"}} {count}");
    }
    let singles = [
        ("exp_ingest_late_total", "counter", counters.late.to_string()),
        ("exp_results_epoch", "gauge", epoch.to_string()),
        ("exp_ruleset_version", "gauge", ruleset_version.to_string()),
    ];
    for (name, kind, value) in singles {
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_stand_in_the_text_as_they_are() {
        let counters = Counters {
            received: 7,
            accepted: 4,
            duplicate: 2,
            invalid: 1,
            late: 3,
        };
        let text = engine_text(&counters, 9, 12);
        for line in [
            "exp_ingest_events_total{result=\"received\"} 7",
            "exp_ingest_events_total{result=\"duplicate\"} 2",
            "exp_ingest_late_total 3",
            "exp_results_epoch 9",
            "exp_ruleset_version 12",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
}
