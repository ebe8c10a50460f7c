//! Which variant of an experiment one user gets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::rules::{EvaluationError, redirect_url};
use domain::{ExperimentKey, VariantKey};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::evaluate::{EvaluateRequest, EvaluationFailure, serving, track};
use crate::extract::{ApiJson, PathKey};
use crate::metrics;
use crate::problem::{ApiResult, Problem};
use crate::state::ApiState;

/// What the user gets, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"experiment": "checkout", "in_experiment": true, "variant": "one-page", "value": null, "url": null,
    "reason": "SPLIT", "cause": "bucket", "bucket": 7421, "exposure": "checkout", "ruleset_version": 12, "tracked": true}))]
pub struct Assignment<'r> {
    /// The experiment.
    experiment: &'r str,
    /// Whether the user takes part.
    in_experiment: bool,
    /// The variant; null when the user takes no part.
    variant: Option<&'r str>,
    /// The variant's value, where it has one.
    #[schema(value_type = Value)]
    value: &'r Value,
    /// Where the variant sends the visitor, with the query string of the attribute `page_url` kept.
    url: Option<String>,
    /// `TARGETING_MATCH`, `SPLIT`, `DISABLED`, `DEFAULT` or `ERROR`.
    reason: &'static str,
    /// Which step decided: `not_running`, `override`, `layer`, `holdout`, `sticky`, `audience`, `traffic`, `bucket`, …
    cause: &'static str,
    /// The bucket that decided, of 100 000.
    bucket: Option<u32>,
    /// The experiment whose exposure this is; null when nothing is measured, as with an override.
    exposure: Option<&'r str>,
    /// The version of the ruleset.
    ruleset_version: u64,
    /// True while the store does not answer; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
    /// With `track`, when something is measured: whether the exposure is durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    tracked: Option<bool>,
    /// What is wrong, when the reason is `ERROR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EvaluationFailure>,
}

/// Assign a user to a variant
///
/// The same user gets the same variant while the experiment's shares stay. Reads nothing but memory. With `track` the
/// exposure is logged, once a day and user, before the answer.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/assign", tag = "experiments", operation_id = "assign",
    request_body = EvaluateRequest,
    responses((status = 200, body = Assignment<'_>, description = "What the user gets.")))]
pub async fn assign(
    State(state): State<Arc<ApiState>>,
    PathKey(experiment): PathKey<ExperimentKey>,
    ApiJson(request): ApiJson<EvaluateRequest>,
) -> ApiResult<Response> {
    let (ruleset, is_stale) = serving(&state)?;
    let decision = ruleset.assign(experiment.as_str(), &request.context(&state));
    if decision.error == Some(EvaluationError::FlagNotFound) {
        return Err(Problem::not_found("experiment", experiment.as_str()));
    }
    metrics::count_evaluation(decision.reason);
    let tracked = match request.track {
        true => track(&state, &request.user_id, &decision).await,
        false => None,
    };
    let visited = request.context.get("page_url").and_then(Value::as_str);
    let assignment = Assignment {
        experiment: experiment.as_str(),
        in_experiment: decision.variation.is_some(),
        variant: decision.variation.map(VariantKey::as_str),
        value: decision.value,
        url: decision.url.map(|url| redirect_url(url, visited.unwrap_or(""))),
        reason: decision.reason.as_str(),
        cause: decision.cause.as_str(),
        bucket: decision.bucket,
        exposure: decision.exposure,
        ruleset_version: decision.ruleset_version,
        stale: is_stale.then_some(true),
        tracked,
        error: decision.error.map(EvaluationFailure::from),
    };
    Ok(Json(assignment).into_response())
}
