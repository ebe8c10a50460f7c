//! Why a user gets what they get: each gate, rule and clause with what it found.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::rules::{EvaluationError, Explanation};
use domain::{ExperimentKey, FlagKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::evaluate::{EvaluateRequest, serving};
use crate::extract::{ApiJson, ApiQuery, PathKey};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;

/// Whom an explanation is for, in a query string.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The unit that rollouts are drawn by.
    #[param(value_type = crate::wire::Key, example = "u-4711")]
    user_id: String,
    /// The attributes that rules look at, as a JSON object; send them in a body where they are not for a log of addresses.
    #[param(example = "{\"plan\":\"pro\"}")]
    context: Option<String>,
}

impl ExplainQuery {
    fn request(self) -> ApiResult<EvaluateRequest> {
        let context: Value = match &self.context {
            Some(text) => serde_json::from_str(text).map_err(|_| {
                Problem::new(Code::InvalidQuery, "the parameter context must be a JSON object")
            })?,
            None => json!({}),
        };
        let request = json!({"user_id": self.user_id, "context": context});
        serde_json::from_value(request)
            .map_err(|error| Problem::new(Code::InvalidQuery, format!("the query does not fit: {error}")))
    }
}

/// A decision and everything that led to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation, example = json!({"key": "new-checkout", "value": true, "variation": "on", "reason": "TARGETING_MATCH",
    "cause": {"kind": "rule"}, "rule_id": "staff", "ruleset_version": 12, "bucket": null, "exposure": null, "error": null,
    "gates": [], "rules": [{"id": "staff", "matched": true, "served": true, "condition": {"kind": "clause", "holds": true,
    "attribute": "email", "operator": "ends_with", "expected": "[\"@example.com\"]", "actual": "\"ada@example.com\"",
    "outcome": "holds", "negate": false}}]}))]
pub struct ExplanationDocument {
    /// The flag or experiment.
    key: String,
    /// The value given.
    value: Value,
    /// The variation or variant given.
    variation: Option<String>,
    /// Why, in standard words.
    reason: String,
    /// Which step decided: `kind`, and with a prerequisite, layer or holdout its `key`.
    #[schema(value_type = Object)]
    cause: Value,
    /// The rule that served.
    rule_id: Option<String>,
    /// The version of the ruleset.
    ruleset_version: u64,
    /// The bucket that decided, of 100 000.
    bucket: Option<u32>,
    /// The experiment whose exposure this is.
    exposure: Option<String>,
    /// Why there is no answer.
    error: Option<String>,
    /// What stood before the rules, one sentence each.
    gates: Vec<String>,
    /// The rules in order, also those after the one that served; for an experiment its audience.
    rules: Vec<RuleExplanationDocument>,
}

/// One rule and why it did or did not match.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleExplanation)]
pub struct RuleExplanationDocument {
    /// The rule's id.
    id: String,
    /// Whether its condition holds.
    matched: bool,
    /// Whether the decision came from it.
    served: bool,
    /// Its condition: `kind` is `all`, `any`, `not` (with `parts` or `part`) or `clause`; a clause says what it expected, the
    /// `actual` value, and its `outcome`: `holds`, `does_not_hold`, `missing`, `wrong_type` or `too_long`.
    #[schema(value_type = Object)]
    condition: Value,
}

/// Explain a flag's evaluation
///
/// With the user in the query. Every rule and clause says whether it holds and what it found. Logs nothing, counts nothing.
#[utoipa::path(get, path = "/api/v1/feature-flags/{key}/explain", tag = "feature-flags", operation_id = "explain_flag",
    params(ExplainQuery),
    responses((status = 200, body = ExplanationDocument, description = "What the user gets, and why.")))]
pub async fn flag(
    State(state): State<Arc<ApiState>>,
    PathKey(flag): PathKey<FlagKey>,
    ApiQuery(query): ApiQuery<ExplainQuery>,
) -> ApiResult<Response> {
    explain_flag(&state, &flag, &query.request()?)
}

/// Explain a flag's evaluation for a user in the body
///
/// As the other one, for contexts that are long or not for a log of addresses.
#[utoipa::path(post, path = "/api/v1/feature-flags/{key}/explain", tag = "feature-flags", operation_id = "explain_flag_for",
    request_body = EvaluateRequest,
    responses((status = 200, body = ExplanationDocument, description = "What the user gets, and why.")))]
pub async fn flag_for(
    State(state): State<Arc<ApiState>>,
    PathKey(flag): PathKey<FlagKey>,
    ApiJson(request): ApiJson<EvaluateRequest>,
) -> ApiResult<Response> {
    explain_flag(&state, &flag, &request)
}

/// Explain an experiment's assignment
///
/// With the user in the query. The experiment's audience stands as a rule, its layer, holdout and traffic as gates.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/explain", tag = "experiments", operation_id = "explain_experiment",
    params(ExplainQuery),
    responses((status = 200, body = ExplanationDocument, description = "What the user gets, and why.")))]
pub async fn experiment(
    State(state): State<Arc<ApiState>>,
    PathKey(experiment): PathKey<ExperimentKey>,
    ApiQuery(query): ApiQuery<ExplainQuery>,
) -> ApiResult<Response> {
    explain_experiment(&state, &experiment, &query.request()?)
}

/// Explain an experiment's assignment for a user in the body
///
/// As the other one, for contexts that are long or not for a log of addresses.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/explain", tag = "experiments", operation_id = "explain_experiment_for",
    request_body = EvaluateRequest,
    responses((status = 200, body = ExplanationDocument, description = "What the user gets, and why.")))]
pub async fn experiment_for(
    State(state): State<Arc<ApiState>>,
    PathKey(experiment): PathKey<ExperimentKey>,
    ApiJson(request): ApiJson<EvaluateRequest>,
) -> ApiResult<Response> {
    explain_experiment(&state, &experiment, &request)
}

fn explain_flag(state: &ApiState, flag: &FlagKey, request: &EvaluateRequest) -> ApiResult<Response> {
    let (ruleset, _) = serving(state)?;
    let explanation = ruleset.explain(flag.as_str(), &request.context(state));
    answer(&explanation, "feature flag", flag.as_str())
}

fn explain_experiment(
    state: &ApiState,
    experiment: &ExperimentKey,
    request: &EvaluateRequest,
) -> ApiResult<Response> {
    let (ruleset, _) = serving(state)?;
    let explanation = ruleset.explain_assignment(experiment.as_str(), &request.context(state));
    answer(&explanation, "experiment", experiment.as_str())
}

fn answer(explanation: &Explanation<'_>, what: &str, key: &str) -> ApiResult<Response> {
    if explanation.error == Some(EvaluationError::FlagNotFound) {
        return Err(Problem::not_found(what, key));
    }
    Ok(Json(explanation).into_response())
}
