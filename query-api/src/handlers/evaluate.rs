//! What one user gets from one flag.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::rules::{Context, EvaluationError};
use domain::{FlagKey, UnitId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::extract::{ApiJson, PathKey};
use crate::metrics;
use crate::problem::{ApiResult, Problem};
use crate::state::ApiState;

/// Whom an evaluation is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_id": "u-4711", "context": {"plan": "pro", "country": "DE"}}))]
pub struct EvaluateRequest {
    /// The unit that rollouts are drawn by.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    user_id: UnitId,
    /// The attributes that rules look at.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    context: Map<String, Value>,
}

/// What the user gets, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"flag": "new-checkout", "value": true, "variation": "on", "reason": "SPLIT", "cause": "bucket",
    "rule_id": null, "bucket": 7421, "exposure": "new-checkout", "ruleset_version": 12}))]
pub struct Evaluation<'r> {
    /// The flag.
    flag: &'r str,
    /// The variation's value; null on an error without one.
    #[schema(value_type = Value)]
    value: &'r Value,
    /// The variation's key; null on an error.
    variation: Option<&'r str>,
    /// `STATIC`, `TARGETING_MATCH`, `SPLIT`, `DISABLED`, `DEFAULT`, `CACHED`, `STALE` or `ERROR`.
    reason: &'static str,
    /// Which step decided: `off`, `override`, `prerequisite`, `holdout`, `layer`, `rule`, `bucket`, `default`, …
    cause: &'static str,
    /// The rule that served.
    rule_id: Option<&'r str>,
    /// The bucket that decided, of 100 000.
    bucket: Option<u32>,
    /// The experiment whose exposure this is, with `variation` as the variant; null when nothing is measured.
    exposure: Option<&'r str>,
    /// The version of the ruleset.
    ruleset_version: u64,
    /// What is wrong, when the reason is `ERROR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EvaluationFailure>,
}

/// Why there is no value.
#[derive(Debug, Serialize, ToSchema)]
pub struct EvaluationFailure {
    /// The word that programs compare.
    #[schema(value_type = String, example = "INVALID_DEFINITION")]
    code: EvaluationError,
    /// What it means.
    message: String,
}

/// Evaluate a flag for one user
///
/// Reads nothing but memory: it answers while the store is away. Whoever shows the variation sends the exposure that
/// `exposure` names. A flag whose definition does not compile answers with the reason `ERROR`.
#[utoipa::path(post, path = "/api/v1/feature-flags/{key}/evaluate", tag = "feature-flags", operation_id = "evaluate_flag",
    request_body = EvaluateRequest,
    responses((status = 200, body = Evaluation<'_>, description = "What the user gets.")))]
pub async fn evaluate(
    State(state): State<Arc<ApiState>>,
    PathKey(flag): PathKey<FlagKey>,
    ApiJson(request): ApiJson<EvaluateRequest>,
) -> ApiResult<Response> {
    let ruleset = state.ruleset.load();
    let context = Context::from_json(request.user_id.as_str(), &request.context).with_now(state.clock.now());
    let decision = ruleset.evaluate(flag.as_str(), &context);
    if decision.error == Some(EvaluationError::FlagNotFound) {
        return Err(Problem::not_found("feature flag", flag.as_str()));
    }
    metrics::count_evaluation(decision.reason.as_str());
    let evaluation = Evaluation {
        flag: flag.as_str(),
        value: decision.value,
        variation: decision.variation.map(domain::VariantKey::as_str),
        reason: decision.reason.as_str(),
        cause: decision.cause.as_str(),
        rule_id: decision.rule_id,
        bucket: decision.bucket,
        exposure: decision.exposure,
        ruleset_version: decision.ruleset_version,
        error: decision.error.map(|code| EvaluationFailure {
            code,
            message: code.to_string(),
        }),
    };
    Ok(Json(evaluation).into_response())
}
