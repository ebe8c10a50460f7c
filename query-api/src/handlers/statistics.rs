//! Any statistical method by name, many at once.

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::ApiJson;
use crate::problem::{ApiResult, Code, Problem};

/// The most calls in one request: a dashboard page needs a few dozen.
pub const CALLS_MAX: usize = 1_000;

/// Calls to be answered in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StatisticsRequest, example = json!({"calls": [
    {"id": 1, "method": "normal", "inputs": {"x": 1.96}}
]}))]
pub struct Calls {
    /// Each with `method`, `inputs`, and an `id` of the caller's choice.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 1000)]
    calls: Vec<Value>,
}

/// The answers, one per call, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatisticsAnswer)]
pub struct Answers {
    /// Each with the call's `id`, and with `method` and `result`, or with `error` saying `code` and `message`.
    #[schema(value_type = Vec<Object>)]
    answers: Vec<Value>,
}

/// Call statistical methods
///
/// The methods behind all results, by name; `docs/statistics` lists them. A call that cannot be answered has its own error
/// and does not disturb the others.
#[utoipa::path(post, path = "/api/v1/stats", tag = "results", operation_id = "call_statistics", request_body = Calls,
    responses((status = 200, body = Answers, description = "As many answers as calls.")))]
pub async fn call(ApiJson(Calls { calls }): ApiJson<Calls>) -> ApiResult<Json<Answers>> {
    if calls.is_empty() || calls.len() > CALLS_MAX {
        let detail = format!("a request has 1 to {CALLS_MAX} calls, not {}", calls.len());
        return Err(Problem::new(Code::InvalidBody, detail).at("/calls", "wrong number of entries"));
    }
    // Some methods search for a root or simulate: more than an event loop may wait for.
    let answers = tokio::task::spawn_blocking(move || calls.iter().map(stats::call).collect()).await;
    let answers = answers.map_err(Problem::internal)?;
    Ok(Json(Answers { answers }))
}
