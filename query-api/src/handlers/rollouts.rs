//! What people do to rollout schedules; their routes as documents are in `documents.rs`.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use control::{ControlError, ObjectKind, RolloutAction};
use domain::RolloutScheduleKey;
use serde_json::{Map, Value};

use super::definitions::{self, Writer};
use crate::access::Caller;
use crate::enforce::{self, AllowedVersion};
use crate::extract::{self, ApiJson, PathKey, SeenVersion};
use crate::problem::{ApiResult, Problem};
use crate::state::ApiState;
use crate::wire;

type Shared = State<Arc<ApiState>>;

/// The schedule to act on, at the version that the caller has seen or, for a draft, at the one whose flag they may change:
/// a draft may turn to another flag between the two looks at it.
pub struct Target {
    key: RolloutScheduleKey,
    version: Option<i64>,
}

impl FromRequestParts<Arc<ApiState>> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> ApiResult<Self> {
        let PathKey(key) = PathKey::<RolloutScheduleKey>::from_request_parts(parts, state).await?;
        let SeenVersion(seen) = SeenVersion::from_request_parts(parts, state).await?;
        let allowed = parts.extensions.get::<AllowedVersion>().map(|allowed| allowed.0);
        match (seen, allowed) {
            (Some(expected), Some(current)) if expected != current => {
                Err(Problem::from(ControlError::VersionConflict {
                    kind: ObjectKind::RolloutSchedule,
                    key: key.to_string(),
                    expected,
                    current,
                }))
            }
            _ => Ok(Self {
                key,
                version: seen.or(allowed),
            }),
        }
    }
}

/// The members of a schedule or a guardrail, whose flag the caller may change: on a schedule for another's flag they could
/// not act, and could not take it back either; a guardrail chooses what the flag is turned to, and shares its error budget.
pub struct MembersOnOwnFlag(pub Map<String, Value>);

impl FromRequest<Arc<ApiState>> for MembersOnOwnFlag {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> ApiResult<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, state).await?;
        let request = Request::from_parts(parts, body);
        let ApiJson(members) = ApiJson::<Map<String, Value>>::from_request(request, state).await?;
        // A patch without a flag leaves it as it is, and whoever came this far may change that one.
        if let Some(flag) = members.get("flag").and_then(Value::as_str) {
            enforce::refuse_foreign_flag(state, &caller.principal?, flag).await?;
        }
        Ok(Self(members))
    }
}

/// Start a rollout schedule
///
/// Its flag must be enabled, and have a guardrail when a stage waits for health. A first stage that waits for nothing
/// begins at once.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/start", tag = "rollout-schedules", operation_id = "start_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Running.")))]
pub async fn start(state: Shared, target: Target, writer: Writer) -> ApiResult<Response> {
    act(state, target, RolloutAction::Start, writer).await
}

/// Hold a rollout schedule where it is
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/pause", tag = "rollout-schedules", operation_id = "pause_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Paused.")))]
pub async fn pause(state: Shared, target: Target, writer: Writer) -> ApiResult<Response> {
    act(state, target, RolloutAction::Pause, writer).await
}

/// Let a paused rollout schedule go on
///
/// The time that it was paused does not count towards its present stage.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/resume", tag = "rollout-schedules", operation_id = "resume_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Running.")))]
pub async fn resume(state: Shared, target: Target, writer: Writer) -> ApiResult<Response> {
    act(state, target, RolloutAction::Resume, writer).await
}

/// Begin the next stage now
///
/// Whatever it waits for.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/advance", tag = "rollout-schedules", operation_id = "advance_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "At the next stage.")))]
pub async fn advance(state: Shared, target: Target, writer: Writer) -> ApiResult<Response> {
    act(state, target, RolloutAction::Advance, writer).await
}

/// Take a rollout back
///
/// Turns the flag to its safe variation, as a guardrail does, and ends the schedule.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/rollback", tag = "rollout-schedules", operation_id = "roll_back_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Rolled back.")))]
pub async fn roll_back(state: Shared, target: Target, writer: Writer) -> ApiResult<Response> {
    act(state, target, RolloutAction::RollBack, writer).await
}

async fn act(
    State(state): Shared,
    Target { key, version }: Target,
    action: RolloutAction,
    Writer(change): Writer,
) -> ApiResult<Response> {
    let document = state.store.act_on_rollout(&key, action, version, &change).await?;
    definitions::changed(&state).await;
    let wire = definitions::to_wire(&document)?;
    Ok(extract::versioned(&HeaderMap::new(), document.version, wire))
}
