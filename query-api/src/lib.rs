//! The HTTP interface: routes, wire types, OpenAPI, streaming updates.
//!
//! [`router`] makes a service out of an [`ApiState`], [`serve`] listens. Every error is a problem of RFC 9457, every
//! route stands in one table, and an evaluation reads nothing but memory. What it leaves to others: what definitions
//! mean (`domain`, `control`), how numbers are made (`stats`), how events become durable (`ingest`).
#![forbid(unsafe_code)]

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::Method;
use axum::middleware;

pub mod access;
pub mod cookies;
mod cors;
mod exposures;
pub mod extract;
mod guards;
pub mod handlers;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod pages;
pub mod problem;
pub mod rates;
pub mod results;
pub mod routes;
pub mod ruleset;
pub mod server;
pub mod state;
pub mod user_data;
pub mod wire;

pub use exposures::ExposureLog;
pub use problem::{ApiResult, Code, Problem};
pub use rates::{RateSettings, Rates};
pub use results::{Counters, ResultsSource, ResultsView, WatchedResults};
pub use ruleset::{Freshness, RulesetHandle};
pub use server::{ServerLimits, serve, serve_with_limits};
pub use state::{ApiState, HealthCheck, HealthSource, HealthStatus, HostPolicy};

/// The service: every route of the table, inside the layer that all requests pass.
pub fn router(state: ApiState) -> Router {
    let state = Arc::new(state);
    routes::assemble(routes::table())
        .router
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            access::identify,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            limits::envelope,
        ))
        .with_state(state)
}

async fn unknown_path(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(
        Code::UnknownPath,
        format!("there is nothing at {}; /docs lists what there is", uri.path()),
    )
}

async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Problem {
    let detail = format!(
        "{} does not take {method}; the header Allow lists what it takes",
        uri.path()
    );
    Problem::new(Code::MethodNotAllowed, detail)
}
