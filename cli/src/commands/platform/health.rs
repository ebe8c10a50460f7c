//! How the engine, the log and the lake are, for whoever asks over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use ingest::EmbeddedLog;
use query_api::{HealthCheck, HealthSource, HealthStatus};

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
}

/// The engine's state, shared between the engine and those who ask.
#[derive(Debug, Clone)]
pub struct EngineHealth(Arc<Mutex<State>>);

impl EngineHealth {
    /// An engine that is about to restore its state.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            doing: Doing::Restoring,
            on_time_at: now,
            epoch: 0,
        })))
    }

    /// Says what the engine is doing.
    pub fn set(&self, doing: Doing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).doing = doing;
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

/// The health of the engine, the log and the lake.
pub fn source(
    engine: EngineHealth,
    log: EmbeddedLog,
    max_held_bytes: u64,
    views: tokio::sync::watch::Receiver<Arc<query_api::ResultsView>>,
    now: Now,
) -> HealthSource {
    Arc::new(move || {
        let epoch = views.borrow().epoch;
        vec![
            log_check(&log, max_held_bytes),
            engine.engine_check(),
            engine.lake_check(&log, epoch, now()),
        ]
    })
}
