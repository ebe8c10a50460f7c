//! The metrics of the HTTP interface, and the engine's counters in the text that Prometheus reads.
//!
//! | name | labels | meaning |
//! | --- | --- | --- |
//! | `http_server_request_duration_seconds` | method, route, status | time from the head of a request to the head of its answer |
//! | `exp_sse_connections` | | open event streams |
//! | `exp_evaluations_total` | reason | flag evaluations answered |
//! | `exp_ingest_events_total` | result | records: `received` is the sum of `accepted`, `duplicate` and `invalid` |
//! | `exp_ingest_late_total` | | accepted records that came after their windows were written |
//! | `exp_results_epoch` | | the last commit whose results are served |
//! | `exp_ruleset_version` | | the version of the ruleset that evaluations use |

use std::fmt::Write as _;
use std::time::Instant;

use axum::http::{Method, StatusCode};

use crate::results::Counters;

/// The time a request takes.
#[derive(Debug)]
pub struct Observation(Instant);

impl Observation {
    /// Starts the clock.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Records the request under its route, never under its path: paths hold keys.
    pub fn end(self, method: &Method, route: &str, status: StatusCode) {
        metrics::histogram!(
            "http_server_request_duration_seconds",
            "http_request_method" => method_label(method),
            "http_route" => route.to_owned(),
            "http_response_status_code" => status.as_u16().to_string(),
        )
        .record(self.0.elapsed().as_secs_f64());
    }
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

/// Counts one evaluation.
pub fn count_evaluation(reason: &str) {
    metrics::counter!("exp_evaluations_total", "reason" => reason.to_owned()).increment(1);
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
