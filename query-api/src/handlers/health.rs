//! Whether the process lives, may be sent requests, and is well; and its metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics;
use crate::problem::{ApiResult, Problem};
use crate::results::Counters;
use crate::state::{ApiState, HealthCheck, HealthStatus};

/// A short answer for machines.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// `alive` or `ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
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
/// A server that is stopping is not ready. A store that is away does not matter: evaluations go on without it.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "readyz",
    responses((status = 200, body = Alive, description = "Send requests.")))]
pub async fn readyz(State(state): State<Arc<ApiState>>) -> ApiResult<Json<Alive>> {
    if state.shutdown.is_cancelled() {
        return Err(Problem::unavailable("the server is stopping", 1));
    }
    Ok(Json(Alive { status: "ready" }))
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
    let mut checks = vec![store_check(state).await];
    checks.extend((state.health)());
    let worst = checks.iter().map(|check| check.status).max();
    let view = state.results.view();
    let health = Health {
        status: worst.unwrap_or(HealthStatus::Healthy),
        version: env!("CARGO_PKG_VERSION"),
        ruleset_version: state.ruleset.version(),
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
