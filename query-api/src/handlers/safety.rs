//! Rollbacks: by hand, and what happened; how guardrails work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use control::store::VersionedSafetySettings;
use control::{PageRequest, RollbackId, RollbackRecord};
use domain::FlagKey;
use domain::guardrail::COHORT_SECONDS;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::definitions::{PageBody, REASON_MAX_BYTES, Writer};
use super::guardrails::flag_parameter;
use crate::extract::{self, ApiJson, ApiQuery, PathKey, SeenVersion};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;
use crate::wire;

/// Why a flag is rolled back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// What the record and the webhooks will say.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = "\\S",
        example = "support reports failed payments"
    )]
    reason: String,
}

/// Which rollbacks are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RollbackQuery {
    /// Only those of this flag.
    #[param(value_type = Option<wire::Key>)]
    flag: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// Roll a flag back now
///
/// Turns the flag to its safe variation for everybody, in one transaction with the rollback's record, the audit record
/// and the webhooks: what a guardrail does, done by hand. 409 when the flag is safe already.
#[utoipa::path(post, path = "/api/v1/safety/rollback/{key}", tag = "safety", operation_id = "rollback",
    request_body = RollbackRequest,
    responses((status = 200, body = wire::Rollback, description = "Rolled back.")))]
pub async fn rollback(
    State(state): State<Arc<ApiState>>,
    PathKey(flag): PathKey<FlagKey>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<RollbackRequest>,
) -> ApiResult<Json<RollbackRecord>> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.len() > REASON_MAX_BYTES || reason.contains('\0') {
        let detail = format!("the reason has 1 to {REASON_MAX_BYTES} bytes, none of them zero");
        return Err(Problem::new(Code::InvalidBody, detail).at("/reason", "is empty, too long or no text"));
    }
    let record = state
        .store
        .rollback_by_hand(&flag, &change.because(reason))
        .await?;
    state.ruleset.refresh_logged(&state.store).await;
    Ok(Json(record))
}

/// How guardrails work here.
#[derive(Debug, Serialize, ToSchema)]
pub struct SafetySettings {
    /// Whether a guardrail whose evidence crosses rolls its flag back by itself; without, it tells the receivers of
    /// webhooks once and leaves the flag to a person.
    automatic_rollback: bool,
    /// The margin of a guardrail that names none.
    #[schema(example = 0.1)]
    default_margin: f64,
    /// The error budget of a guardrail that names none.
    #[schema(example = 0.01)]
    default_alpha: f64,
    /// Users are compared with those first exposed in the same span of this many seconds.
    #[schema(example = 60)]
    cohort_seconds: i32,
}

/// How guardrails shall work here.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"automatic_rollback": true, "default_margin": 0.1, "default_alpha": 0.01}))]
pub struct NewSafetySettings {
    /// Whether a guardrail whose evidence crosses rolls its flag back by itself.
    automatic_rollback: bool,
    /// The margin of a guardrail that names none.
    #[schema(minimum = 0)]
    default_margin: f64,
    /// The error budget of a guardrail that names none; between 0 and 1.
    default_alpha: f64,
    /// May be sent back as it was read; it is fixed.
    #[serde(default, rename = "cohort_seconds")]
    #[schema(required = false, read_only)]
    _cohort_seconds: i32,
}

/// Read how guardrails work here
#[utoipa::path(get, path = "/api/v1/safety/settings", tag = "safety", operation_id = "get_safety_settings",
    responses((status = 200, body = SafetySettings, description = "The settings, with their version as ETag.")))]
pub async fn settings(State(state): State<Arc<ApiState>>) -> ApiResult<Response> {
    Ok(shown(state.store.safety_settings().await?))
}

/// Change how guardrails work here
///
/// Guardrails that exist keep their margin and error budget.
#[utoipa::path(put, path = "/api/v1/safety/settings", tag = "safety", operation_id = "set_safety_settings",
    request_body = NewSafetySettings,
    responses((status = 200, body = SafetySettings, description = "The settings since.")))]
pub async fn set_settings(
    State(state): State<Arc<ApiState>>,
    SeenVersion(seen): SeenVersion,
    Writer(change): Writer,
    ApiJson(new): ApiJson<NewSafetySettings>,
) -> ApiResult<Response> {
    let settings = control::store::SafetySettings {
        automatic_rollback: new.automatic_rollback,
        default_margin: new.default_margin,
        default_alpha: new.default_alpha,
    };
    Ok(shown(
        state.store.set_safety_settings(settings, seen, &change).await?,
    ))
}

fn shown(found: VersionedSafetySettings) -> Response {
    let settings = SafetySettings {
        automatic_rollback: found.settings.automatic_rollback,
        default_margin: found.settings.default_margin,
        default_alpha: found.settings.default_alpha,
        cohort_seconds: COHORT_SECONDS,
    };
    extract::versioned(&HeaderMap::new(), found.version, settings)
}

/// List rollbacks
///
/// The newest first.
#[utoipa::path(get, path = "/api/v1/safety/rollbacks", tag = "safety", operation_id = "list_rollbacks", params(RollbackQuery),
    responses((status = 200, body = wire::RollbackPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<RollbackQuery>,
) -> ApiResult<Json<PageBody<RollbackRecord>>> {
    let flag = flag_parameter(query.flag.as_deref())?;
    let before = query.cursor.map(RollbackId);
    let limit = query.limit.unwrap_or(PageRequest::default().limit);
    let page = state
        .store
        .rollbacks(flag.as_ref(), before.as_ref(), limit)
        .await?;
    Ok(Json(page.into()))
}

/// Read a rollback
#[utoipa::path(get, path = "/api/v1/safety/rollbacks/{key}", tag = "safety", operation_id = "get_rollback",
    responses((status = 200, body = wire::Rollback, description = "As it happened.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
) -> ApiResult<Json<RollbackRecord>> {
    Ok(Json(state.store.rollback(&RollbackId(id)).await?))
}
