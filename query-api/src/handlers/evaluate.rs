//! What one user gets from one flag.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::rules::{Context, Decision, EvaluationError, Ruleset};
use domain::{ExperimentKey, FlagKey, UnitId, VariantKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::exposures::Exposure;
use crate::extract::{ApiJson, PathKey, json};
use crate::metrics;
use crate::problem::{ApiResult, Problem};
use crate::ruleset::Freshness;
use crate::state::ApiState;
use crate::wire;

/// When a client shall ask again while there is no ruleset yet: the store is asked every second.
pub const ABSENT_RETRY_SECONDS: u32 = 1;

/// About as much as an answer with a short value takes: room that is made at once.
pub const EVALUATION_BYTES: usize = 512;

/// Whom an evaluation is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_id": "u-4711", "context": {"plan": "pro", "country": "DE"}}))]
pub struct EvaluateRequest {
    /// The unit that rollouts are drawn by.
    #[schema(value_type = wire::Key)]
    pub user_id: UnitId,
    /// The attributes that rules look at.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub context: Map<String, Value>,
    /// Variants that the user was given before, by experiment: those that are sticky keep them.
    #[serde(default)]
    #[schema(value_type = BTreeMap<wire::Key, wire::Key>, required = false)]
    pub assignments: BTreeMap<ExperimentKey, VariantKey>,
    /// Whether the server logs the exposure, once a day and user; it answers when that is durable.
    #[serde(default)]
    #[schema(required = false, default = false)]
    pub track: bool,
}

impl EvaluateRequest {
    /// The request as the engine wants it.
    pub fn context(&self, state: &ApiState) -> Context<'_> {
        Context::from_json(self.user_id.as_str(), &self.context)
            .with_assignments(&self.assignments)
            .with_now(state.clock.now())
    }
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
    /// True while the store does not answer: the decision follows the newest ruleset known here. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
    /// With `track`, when something is measured: whether the exposure is durable. When not, the caller may send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tracked: Option<bool>,
    /// What is wrong, when the reason is `ERROR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EvaluationFailure>,
}

impl<'r> Evaluation<'r> {
    /// A decision as it is sent.
    pub fn new(flag: &'r str, decision: Decision<'r>, is_stale: bool, tracked: Option<bool>) -> Self {
        Self {
            flag,
            value: decision.value,
            variation: decision.variation.map(VariantKey::as_str),
            reason: decision.reason.as_str(),
            cause: decision.cause.as_str(),
            rule_id: decision.rule_id,
            bucket: decision.bucket,
            exposure: decision.exposure,
            ruleset_version: decision.ruleset_version,
            stale: is_stale.then_some(true),
            tracked,
            error: decision.error.map(EvaluationFailure::from),
        }
    }
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

impl From<EvaluationError> for EvaluationFailure {
    fn from(code: EvaluationError) -> Self {
        Self {
            code,
            message: code.to_string(),
        }
    }
}

/// Evaluate a flag for one user
///
/// Reads nothing but memory: it answers while the store is away, with `stale`. Whoever shows the variation sends the
/// exposure that `exposure` names, or lets the server log it with `track`. A flag whose definition does not compile
/// answers with the reason `ERROR`.
#[utoipa::path(post, path = "/api/v1/feature-flags/{key}/evaluate", tag = "feature-flags", operation_id = "evaluate_flag",
    request_body = EvaluateRequest,
    responses((status = 200, body = Evaluation<'_>, description = "What the user gets.")))]
pub async fn evaluate(
    State(state): State<Arc<ApiState>>,
    PathKey(flag): PathKey<FlagKey>,
    ApiJson(request): ApiJson<EvaluateRequest>,
) -> ApiResult<Response> {
    let (ruleset, is_stale) = serving(&state)?;
    let decision = ruleset.evaluate(flag.as_str(), &request.context(&state));
    if decision.error == Some(EvaluationError::FlagNotFound) {
        return Err(Problem::not_found("feature flag", flag.as_str()));
    }
    metrics::count_evaluation(decision.reason);
    let tracked = match request.track {
        true => track(&state, &request.user_id, &decision).await,
        false => None,
    };
    let evaluation = Evaluation::new(flag.as_str(), decision, is_stale, tracked);
    json(EVALUATION_BYTES, &evaluation)
}

/// The ruleset that serves, and whether it is stale.
///
/// # Errors
/// `unavailable` while there is none.
pub fn serving(state: &ApiState) -> ApiResult<(Arc<Ruleset>, bool)> {
    let is_stale = match state.ruleset.freshness() {
        Freshness::Absent => {
            let detail = "the flags have not been read yet; ask again in a moment";
            return Err(Problem::unavailable(detail, ABSENT_RETRY_SECONDS));
        }
        Freshness::Current => false,
        Freshness::Stale => true,
    };
    Ok((state.ruleset.load_full(), is_stale))
}

/// Logs the exposure of a decision: whether it is durable, or nothing when nothing is measured.
///
/// A log that takes nothing does not fail the evaluation: the caller learns it and may send the exposure later.
pub async fn track(state: &ApiState, user_id: &UnitId, decision: &Decision<'_>) -> Option<bool> {
    let exposure = exposure_of(user_id, decision)?;
    Some(log_exposures(state, &[exposure]).await)
}

/// The exposure that a decision is, when it is one.
pub fn exposure_of<'a>(user_id: &'a UnitId, decision: &Decision<'a>) -> Option<Exposure<'a>> {
    Some(Exposure {
        experiment: decision.exposure?,
        variant: decision.variation?.as_str(),
        user_id: user_id.as_str(),
    })
}

/// Whether exposures are durable now.
pub async fn log_exposures(state: &ApiState, exposures: &[Exposure<'_>]) -> bool {
    let logged = state
        .exposures
        .log(&state.collector, state.clock.now(), exposures)
        .await;
    if let Err(error) = &logged {
        tracing::warn!(error = %error, "exposures that were to be logged are not");
    }
    logged.is_ok()
}
