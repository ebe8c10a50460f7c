//! What people do to rollout schedules; their routes as documents are in `documents.rs`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use control::RolloutAction;
use domain::RolloutScheduleKey;

use super::definitions::{self, Writer};
use crate::extract::{self, PathKey, SeenVersion};
use crate::problem::ApiResult;
use crate::state::ApiState;
use crate::wire;

type Key = PathKey<RolloutScheduleKey>;
type Shared = State<Arc<ApiState>>;

/// Start a rollout schedule
///
/// Its flag must be enabled, and have a guardrail when a stage waits for health. A first stage that waits for nothing
/// begins at once.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/start", tag = "rollout-schedules", operation_id = "start_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Running.")))]
pub async fn start(state: Shared, key: Key, seen: SeenVersion, writer: Writer) -> ApiResult<Response> {
    act(state, key, seen, RolloutAction::Start, writer).await
}

/// Hold a rollout schedule where it is
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/pause", tag = "rollout-schedules", operation_id = "pause_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Paused.")))]
pub async fn pause(state: Shared, key: Key, seen: SeenVersion, writer: Writer) -> ApiResult<Response> {
    act(state, key, seen, RolloutAction::Pause, writer).await
}

/// Let a paused rollout schedule go on
///
/// The time that it was paused does not count towards its present stage.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/resume", tag = "rollout-schedules", operation_id = "resume_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Running.")))]
pub async fn resume(state: Shared, key: Key, seen: SeenVersion, writer: Writer) -> ApiResult<Response> {
    act(state, key, seen, RolloutAction::Resume, writer).await
}

/// Begin the next stage now
///
/// Whatever it waits for.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/advance", tag = "rollout-schedules", operation_id = "advance_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "At the next stage.")))]
pub async fn advance(state: Shared, key: Key, seen: SeenVersion, writer: Writer) -> ApiResult<Response> {
    act(state, key, seen, RolloutAction::Advance, writer).await
}

/// Take a rollout back
///
/// Turns the flag to its safe variation, as a guardrail does, and ends the schedule.
#[utoipa::path(post, path = "/api/v1/rollout-schedules/{key}/rollback", tag = "rollout-schedules", operation_id = "roll_back_rollout",
    responses((status = 200, body = wire::RolloutScheduleDocument, description = "Rolled back.")))]
pub async fn roll_back(state: Shared, key: Key, seen: SeenVersion, writer: Writer) -> ApiResult<Response> {
    act(state, key, seen, RolloutAction::RollBack, writer).await
}

async fn act(
    State(state): Shared,
    PathKey(key): Key,
    SeenVersion(seen): SeenVersion,
    action: RolloutAction,
    Writer(change): Writer,
) -> ApiResult<Response> {
    let document = state.store.act_on_rollout(&key, action, seen, &change).await?;
    definitions::changed(&state).await;
    let wire = definitions::to_wire(&document)?;
    Ok(extract::versioned(&HeaderMap::new(), document.version, wire))
}
