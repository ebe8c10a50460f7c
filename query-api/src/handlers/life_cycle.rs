//! The life of experiments: actions, schedules, phases.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use control::{Change, Document, FailedCheck, NewDecision, Phase};
use domain::experiment::{ExperimentDefinition, Outcome, Schedule, Transition};
use domain::{ExperimentKey, Timestamp, VariantKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::{self, Writer};
use crate::extract::{self, ApiJson, PathKey, SeenVersion};
use crate::problem::ApiResult;
use crate::state::ApiState;
use crate::wire;

/// What an experiment is completed with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"decision": "ship", "variant": "one-page", "reason": "two per cent more revenue, no harm elsewhere"}))]
pub struct CompleteRequest {
    /// What came of it: `ship`, `keep_control` or `inconclusive`.
    #[schema(value_type = String, pattern = "^(ship|keep_control|inconclusive)$")]
    decision: Outcome,
    /// The variant that is kept, with the decision `ship`.
    #[serde(default)]
    #[schema(value_type = Option<wire::Key>)]
    variant: Option<VariantKey>,
    /// Why.
    #[schema(min_length = 1, max_length = 2000)]
    reason: String,
}

/// How the copy of an experiment is called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"key": "checkout-2", "name": "Shorter checkout, once more"}))]
pub struct CloneRequest {
    /// The key of the copy.
    #[schema(value_type = wire::Key)]
    key: ExperimentKey,
    /// What a person reads; the name of the original when absent.
    #[serde(default)]
    name: Option<String>,
}

/// When an experiment starts and ends by itself; nothing when both are absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"start_at": "2026-02-01T08:00:00Z", "end_at": "2026-02-15T08:00:00Z"}))]
pub struct ScheduleRequest {
    /// When it starts, or is resumed.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// When it is completed as inconclusive, for a person to decide.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
}

/// The phases on the wire.
#[derive(Debug, Serialize)]
pub struct Phases {
    items: Vec<Phase>,
}

/// The start checks on the wire.
#[derive(Debug, Serialize)]
pub struct Checks {
    can_start: bool,
    failures: Vec<FailedCheck>,
}

type Key = PathKey<ExperimentKey>;
type Shared = State<Arc<ApiState>>;

/// Start an experiment
///
/// From draft only. 409 lists every check that fails: metrics, weights, room in the layer, stated power.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/start", tag = "experiments", operation_id = "start_experiment",
    responses((status = 200, body = wire::ExperimentDocument, description = "Running.")))]
pub async fn start(
    state: Shared,
    key: Key,
    seen: SeenVersion,
    Writer(change): Writer,
) -> ApiResult<Response> {
    advance(state, key, seen, (Transition::Start, None), &change).await
}

/// Pause an experiment
///
/// It goes on measuring and takes no new users.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/pause", tag = "experiments", operation_id = "pause_experiment",
    responses((status = 200, body = wire::ExperimentDocument, description = "Paused.")))]
pub async fn pause(
    state: Shared,
    key: Key,
    seen: SeenVersion,
    Writer(change): Writer,
) -> ApiResult<Response> {
    advance(state, key, seen, (Transition::Pause, None), &change).await
}

/// Resume a paused experiment
#[utoipa::path(post, path = "/api/v1/experiments/{key}/resume", tag = "experiments", operation_id = "resume_experiment",
    responses((status = 200, body = wire::ExperimentDocument, description = "Running.")))]
pub async fn resume(
    state: Shared,
    key: Key,
    seen: SeenVersion,
    Writer(change): Writer,
) -> ApiResult<Response> {
    advance(state, key, seen, (Transition::Resume, None), &change).await
}

/// Complete an experiment
///
/// With the decision and its reason, which are kept.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/complete", tag = "experiments", operation_id = "complete_experiment",
    request_body = CompleteRequest,
    responses((status = 200, body = wire::ExperimentDocument, description = "Completed.")))]
pub async fn complete(
    state: Shared,
    key: Key,
    seen: SeenVersion,
    Writer(change): Writer,
    ApiJson(request): ApiJson<CompleteRequest>,
) -> ApiResult<Response> {
    let decision = NewDecision {
        outcome: request.decision,
        variant: request.variant,
        reason: request.reason,
    };
    advance(state, key, seen, (Transition::Complete, Some(&decision)), &change).await
}

/// Archive a completed experiment
#[utoipa::path(post, path = "/api/v1/experiments/{key}/archive", tag = "experiments", operation_id = "archive_experiment",
    responses((status = 200, body = wire::ExperimentDocument, description = "Archived.")))]
pub async fn archive(
    state: Shared,
    key: Key,
    seen: SeenVersion,
    Writer(change): Writer,
) -> ApiResult<Response> {
    advance(state, key, seen, (Transition::Archive, None), &change).await
}

/// Clone an experiment
///
/// The copy is a draft: without schedule and decision, its users drawn anew.
#[utoipa::path(post, path = "/api/v1/experiments/{key}/clone", tag = "experiments", operation_id = "clone_experiment",
    request_body = CloneRequest,
    responses((status = 201, body = wire::ExperimentDocument, description = "The copy, at version 1.")))]
pub async fn clone(
    State(state): Shared,
    PathKey(key): Key,
    Writer(change): Writer,
    ApiJson(request): ApiJson<CloneRequest>,
) -> ApiResult<Response> {
    let target = (&request.key, request.name.as_deref());
    let document = state.store.clone_experiment(&key, target, &change).await?;
    definitions::changed(&state).await;
    let wire = definitions::to_wire(&document)?;
    Ok(extract::created(
        "/api/v1/experiments",
        request.key.as_str(),
        document.version,
        wire,
    ))
}

/// Read what stands in the way of a start
#[utoipa::path(get, path = "/api/v1/experiments/{key}/start-checks", tag = "experiments", operation_id = "get_start_checks",
    responses((status = 200, body = wire::StartChecks, description = "Every check that fails.")))]
pub async fn start_checks(State(state): Shared, PathKey(key): Key) -> ApiResult<Json<Checks>> {
    let failures = state.store.start_checks(&key).await?;
    Ok(Json(Checks {
        can_start: failures.is_empty(),
        failures,
    }))
}

/// List the phases of an experiment
///
/// Each change of weights or traffic while it runs begins one.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/phases", tag = "experiments", operation_id = "list_phases",
    responses((status = 200, body = wire::PhaseList, description = "In order.")))]
pub async fn phases(State(state): Shared, PathKey(key): Key) -> ApiResult<Json<Phases>> {
    state.store.get::<ExperimentDefinition>(&key).await?;
    let items = state.store.phases(&key).await?;
    Ok(Json(Phases { items }))
}

/// Read when an experiment starts and ends by itself
#[utoipa::path(get, path = "/api/v1/experiments/{key}/schedule", tag = "experiments", operation_id = "get_schedule",
    responses((status = 200, body = wire::Schedule, description = "What is still to come.")))]
pub async fn schedule(State(state): Shared, PathKey(key): Key) -> ApiResult<Response> {
    let document = state.store.get::<ExperimentDefinition>(&key).await?;
    Ok(scheduled(&document))
}

/// Set when an experiment starts and ends by itself
///
/// On a draft or a paused experiment. Both times are honoured once, within a second, however many processes run. A
/// start that its checks refuse is told in `problem` and not tried again.
#[utoipa::path(put, path = "/api/v1/experiments/{key}/schedule", tag = "experiments", operation_id = "set_schedule",
    request_body = ScheduleRequest,
    responses((status = 200, body = wire::Schedule, description = "Set.")))]
pub async fn set_schedule(
    State(state): Shared,
    PathKey(key): Key,
    SeenVersion(seen): SeenVersion,
    Writer(change): Writer,
    ApiJson(request): ApiJson<ScheduleRequest>,
) -> ApiResult<Response> {
    let schedule = Schedule {
        start_at: request.start_at,
        end_at: request.end_at,
        problem: None,
    };
    let document = state.store.schedule(&key, &schedule, seen, &change).await?;
    Ok(scheduled(&document))
}

async fn advance(
    State(state): Shared,
    PathKey(key): Key,
    SeenVersion(seen): SeenVersion,
    (transition, decision): (Transition, Option<&NewDecision>),
    change: &Change,
) -> ApiResult<Response> {
    let document = state
        .store
        .advance(&key, transition, decision, seen, change)
        .await?;
    definitions::changed(&state).await;
    let wire = definitions::to_wire(&document)?;
    Ok(extract::versioned(&HeaderMap::new(), document.version, wire))
}

fn scheduled(document: &Document<ExperimentDefinition>) -> Response {
    let schedule = &document.definition.schedule;
    extract::versioned(&HeaderMap::new(), document.version, schedule)
}
