//! The HTTP interface: routes, wire types, OpenAPI, streaming updates.
//!
//! [`service`] makes a service out of an [`ApiState`], [`serve`] listens. Every error is a problem of RFC 9457, every
//! route stands in one table, and an evaluation reads nothing but memory. What it leaves to others: what definitions
//! mean (`domain`, `control`), how numbers are made (`stats`), how events become durable (`ingest`).
#![forbid(unsafe_code)]

use std::sync::Arc;

use axum::http::{Method, Uri};

pub mod access;
pub mod cookies;
mod cors;
pub mod enforce;
mod exposures;
pub mod extract;
pub mod gate;
mod guards;
pub mod handlers;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod pages;
pub mod problem;
pub mod rates;
pub mod request_id;
pub mod results;
pub mod routes;
pub mod ruleset;
pub mod server;
pub mod state;
pub mod user_data;
pub mod wire;

pub use exposures::ExposureLog;
pub use gate::Gate;
pub use problem::{ApiResult, Code, Problem};
pub use rates::{RateSettings, Rates};
pub use results::{Counters, ResultsSource, ResultsView, WatchedResults};
pub use ruleset::{Freshness, RulesetHandle};
pub use server::{ServerLimits, serve, serve_with_limits};
pub use state::{ApiState, HealthCheck, HealthSource, HealthStatus, HostPolicy};

/// The service: every route of the table, behind the gate that all requests pass.
pub fn service(state: ApiState) -> Gate {
    let state = Arc::new(state);
    let router = routes::assemble(routes::table())
        .router
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::clone(&state));
    Gate::new(state, router)
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(
        Code::UnknownPath,
        format!("there is nothing at {}; /docs lists what there is", uri.path()),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} does not take {method}; the header Allow lists what it takes",
        uri.path()
    );
    Problem::new(Code::MethodNotAllowed, detail)
}
