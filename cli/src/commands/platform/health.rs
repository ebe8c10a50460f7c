//! How the engine, the log and the lake are, for whoever asks over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::timestamp::MICROS_PER_SECOND;
use domain::{ExperimentKey, Timestamp};
use ingest::EmbeddedLog;
use pipeline::engine::Watch;
use query_api::{HealthCheck, HealthSource, HealthStatus, ResultsView};
use tokio::sync::watch;

use crate::clock::Now;

/// Events that wait longer than this for their commit are worth a look: commits come every second or so.
const COMMIT_OVERDUE_SECONDS: i64 = 60;

/// What the engine is doing.
#[derive(Debug, Clone)]
pub enum Doing {
    /// Restoring its state.
    Restoring,
    /// Taking events.
    Running,
    /// Erasing users.
    Erasing,
    /// Deleting what is older than the retention.
    Deleting,
    /// Waiting before it tries again, and why.
    Waiting(String),
}

/// What the engine says of itself.
#[derive(Debug)]
struct State {
    doing: Doing,
    /// The last moment at which nothing waited for a commit, or something was committed.
    on_time_at: Timestamp,
    epoch: i64,
    retention: String,
}

/// The engine's state, shared between the engine and those who ask, and what guardrails watch.
#[derive(Debug, Clone)]
pub struct EngineHealth(Arc<Mutex<State>>, watch::Receiver<Vec<Watch>>);

impl EngineHealth {
    /// An engine that is about to restore its state.
    pub fn new(now: Timestamp, watches: watch::Receiver<Vec<Watch>>) -> Self {
        let state = State {
            doing: Doing::Restoring,
            on_time_at: now,
            epoch: 0,
            retention: "not looked at yet".to_owned(),
        };
        Self(Arc::new(Mutex::new(state)), watches)
    }

    /// Says what the engine is doing.
    pub fn set(&self, doing: Doing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).doing = doing;
    }

    /// Says what is kept, and why longer than asked for.
    pub fn set_retention(&self, kept: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retention = kept;
    }

    fn retention_check(&self, blind: &[&ExperimentKey]) -> HealthCheck {
        if let Some(flag) = blind.first() {
            let detail =
                format!("the guardrail of {flag} sees no harm: {flag} is sealed; use a flag of another key");
            return check("retention", HealthStatus::Degraded, Some(&detail));
        }
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        check("retention", HealthStatus::Healthy, Some(&state.retention))
    }

    fn engine_check(&self) -> HealthCheck {
        let doing = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .doing
            .clone();
        match doing {
            Doing::Running => check("engine", HealthStatus::Healthy, None),
            Doing::Restoring => check(
                "engine",
                HealthStatus::Degraded,
                Some("it restores its state; results are those of the last commit"),
            ),
            Doing::Erasing => check(
                "engine",
                HealthStatus::Degraded,
                Some("it erases users; results are those of the last commit"),
            ),
            Doing::Deleting => check(
                "engine",
                HealthStatus::Degraded,
                Some("it deletes what is older than the retention; results are those of the last commit"),
            ),
            // Events are still taken and kept; what is behind is what is seen of them.
            Doing::Waiting(why) => check(
                "engine",
                HealthStatus::Degraded,
                Some(&format!("it failed and will try again: {why}")),
            ),
        }
    }

    fn lake_check(&self, log: &EmbeddedLog, epoch: i64, now: Timestamp) -> HealthCheck {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held_bytes = log.held_bytes();
        if held_bytes == 0 || epoch != state.epoch {
            state.on_time_at = now;
        }
        state.epoch = epoch;
        let waited = now.0.saturating_sub(state.on_time_at.0) / MICROS_PER_SECOND;
        if waited > COMMIT_OVERDUE_SECONDS {
            let detail = format!("{held_bytes} bytes of events wait for a commit since {waited} seconds");
            return check("lake", HealthStatus::Degraded, Some(&detail));
        }
        check("lake", HealthStatus::Healthy, None)
    }
}

fn check(name: &str, status: HealthStatus, detail: Option<&str>) -> HealthCheck {
    HealthCheck {
        name: name.to_owned(),
        status,
        detail: detail.map(str::to_owned),
    }
}

fn log_check(log: &EmbeddedLog, max_held_bytes: u64) -> HealthCheck {
    if !log.is_writable() {
        let detail = "it stopped after a failed write; mend the disk and restart";
        return check("log", HealthStatus::Unhealthy, Some(detail));
    }
    let held_bytes = log.held_bytes();
    if held_bytes > max_held_bytes / 5 * 4 {
        let detail = format!(
            "{held_bytes} of {max_held_bytes} bytes are held; events will be refused when it is full"
        );
        return check("log", HealthStatus::Degraded, Some(&detail));
    }
    check("log", HealthStatus::Healthy, None)
}

/// What is guarded and measured no more: its guardrail would wait for harm in vain.
pub fn blind<'w>(
    watches: &'w [Watch],
    sealed: &BTreeMap<ExperimentKey, Timestamp>,
) -> Vec<&'w ExperimentKey> {
    let watched = watches.iter().map(|watch| &watch.experiment);
    watched
        .filter(|experiment| sealed.contains_key(*experiment))
        .collect()
}

/// The health of the engine, the log and the lake.
pub fn source(
    engine: EngineHealth,
    log: EmbeddedLog,
    max_held_bytes: u64,
    views: watch::Receiver<Arc<ResultsView>>,
    now: Now,
) -> HealthSource {
    Arc::new(move || {
        let view = Arc::clone(&views.borrow());
        let watches = engine.1.borrow();
        vec![
            log_check(&log, max_held_bytes),
            engine.engine_check(),
            engine.lake_check(&log, view.epoch, now()),
            engine.retention_check(&blind(&watches, &view.sealed)),
        ]
    })
}
