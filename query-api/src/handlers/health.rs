//! Whether the process lives, may be sent requests, and is well; and its metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::evaluate::ABSENT_RETRY_SECONDS;
use crate::metrics;
use crate::problem::{ApiResult, Problem};
use crate::results::Counters;
use crate::ruleset::Freshness;
use crate::state::{ApiState, HealthCheck, HealthStatus};

/// A short answer for machines.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// `alive`; `ready`; or `degraded`: ready, with a ruleset of which the store does not say whether it is the newest.
    #[schema(example = "ready")]
    pub status: &'static str,
}

/// How the ruleset that evaluations use stands to the store.
#[derive(Debug, Serialize, ToSchema)]
pub struct RulesetHealth {
    /// `current`; `stale`: the store did not answer when it was asked last; `absent`: there is none yet.
    #[schema(example = "current")]
    pub state: &'static str,
    /// Its version.
    #[schema(example = 12)]
    pub version: u64,
    /// How long ago the store last said that it is the newest, in seconds.
    #[schema(example = 3)]
    pub age_seconds: Option<u64>,
}

/// How the whole is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// The worst of all checks, except that a missing store only degrades: evaluations do not need it.
    pub status: HealthStatus,
    /// The program's version.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
    /// The version of the ruleset that evaluations use.
    #[schema(example = 12)]
    pub ruleset_version: u64,
    /// How that ruleset stands to the store.
    pub ruleset: RulesetHealth,
    /// The last commit whose results are served.
    #[schema(example = 40)]
    pub results_epoch: i64,
    /// What became of all records up to that commit.
    pub counters: Counters,
    /// One line per part.
    pub checks: Vec<HealthCheck>,
}

/// Whether the process lives
///
/// Looks at nothing else: a restart helps only when this fails.
#[utoipa::path(get, path = "/livez", tag = "operation", operation_id = "livez",
    responses((status = 200, body = Alive, description = "It answers, so it lives.")))]
pub async fn livez() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

/// Whether requests may be sent here
///
/// A server that is stopping is not ready, nor one that has no ruleset yet. A store that is away does not matter otherwise:
/// evaluations go on without it, and the answer is `degraded`.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "readyz",
    responses((status = 200, body = Alive, description = "Send requests.")))]
pub async fn readyz(State(state): State<Arc<ApiState>>) -> ApiResult<Json<Alive>> {
    if state.shutdown.is_cancelled() {
        return Err(Problem::unavailable("the server is stopping", 1));
    }
    match state.ruleset.freshness() {
        Freshness::Absent => {
            let detail = "the flags have not been read yet, and none were kept from before";
            Err(Problem::unavailable(detail, ABSENT_RETRY_SECONDS))
        }
        Freshness::Current => Ok(Json(Alive { status: "ready" })),
        Freshness::Stale => Ok(Json(Alive { status: "degraded" })),
    }
}

/// How each part is
///
/// `healthy`, `degraded` (working, look at it) or `unhealthy`, for the whole and for each part.
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "healthz",
    responses((status = 200, body = Health, description = "Working."),
        (status = 503, body = Health, description = "A part that is needed does not work.")))]
pub async fn healthz(State(state): State<Arc<ApiState>>) -> Response {
    health_answer(&state).await
}

/// How each part is, at the path that load balancers try first
#[utoipa::path(get, path = "/health", tag = "operation", operation_id = "health",
    responses((status = 200, body = Health, description = "Working."),
        (status = 503, body = Health, description = "A part that is needed does not work.")))]
pub async fn health(State(state): State<Arc<ApiState>>) -> Response {
    health_answer(&state).await
}

async fn health_answer(state: &ApiState) -> Response {
    let ruleset = RulesetHealth {
        state: state.ruleset.freshness().as_str(),
        version: state.ruleset.version(),
        age_seconds: state.ruleset.age_seconds(state.clock.now()),
    };
    let mut checks = vec![store_check(state).await, ruleset_check(state, &ruleset)];
    checks.extend((state.health)());
    let worst = checks.iter().map(|check| check.status).max();
    let view = state.results.view();
    let health = Health {
        status: worst.unwrap_or(HealthStatus::Healthy),
        version: env!("CARGO_PKG_VERSION"),
        ruleset_version: ruleset.version,
        ruleset,
        results_epoch: view.epoch,
        counters: view.counters,
        checks,
    };
    let status = match health.status {
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
    };
    (status, Json(health)).into_response()
}

async fn store_check(state: &ApiState) -> HealthCheck {
    let answer = state.store.ping().await;
    HealthCheck {
        name: "store".to_owned(),
        status: match answer {
            Ok(_) => HealthStatus::Healthy,
            Err(_) => HealthStatus::Degraded,
        },
        detail: answer.is_err().then(|| "the store does not answer".to_owned()),
    }
}

fn ruleset_check(state: &ApiState, ruleset: &RulesetHealth) -> HealthCheck {
    let (status, detail) = match state.ruleset.freshness() {
        Freshness::Absent => (
            HealthStatus::Unhealthy,
            Some("there is none yet: evaluations are refused until the store answers".to_owned()),
        ),
        Freshness::Stale => {
            let age = ruleset
                .age_seconds
                .map_or("unknown".to_owned(), |age| format!("{age} seconds"));
            let (version, detail) = (ruleset.version, "the store did not answer when it was asked last");
            (
                HealthStatus::Degraded,
                Some(format!("{detail}; version {version} is served, of age {age}")),
            )
        }
        Freshness::Current if state.ruleset.keeping_failed() => (
            HealthStatus::Degraded,
            Some(
                "it could not be kept on disk: a restart without the store would serve an older one"
                    .to_owned(),
            ),
        ),
        Freshness::Current => (HealthStatus::Healthy, None),
    };
    HealthCheck {
        name: "ruleset".to_owned(),
        status,
        detail,
    }
}

/// The metrics of the process
///
/// In the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain", description = "One sample per line.",
        example = "exp_ingest_events_total{result=\"received\"} 7")))]
pub async fn prometheus(State(state): State<Arc<ApiState>>) -> impl IntoResponse {
    let view = state.results.view();
    let mut text = state.prometheus.render();
    text.push_str(&metrics::engine_text(
        &view.counters,
        view.epoch,
        state.ruleset.version(),
    ));
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}
