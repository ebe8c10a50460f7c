//! Experiments: what is compared with what.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::ExperimentKey;
use domain::experiment::ExperimentDefinition;
use serde_json::{Map, Value};

use super::definitions::{self, FindQuery, Writer};
use crate::extract::{ApiJson, ApiQuery, IfMatch, PathKey};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;
use crate::wire::{ExperimentDocument, ExperimentDocumentPage};

const COLLECTION: &str = "/api/v1/experiments";

type Key = ExperimentKey;
type Definition = ExperimentDefinition;

/// List experiments
///
/// In order of key, a page at a time.
#[utoipa::path(get, path = "/api/v1/experiments", tag = "experiments", operation_id = "list_experiments", params(FindQuery),
    responses((status = 200, body = ExperimentDocumentPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<FindQuery>,
) -> ApiResult<Response> {
    definitions::list::<Definition>(&state, query).await
}

/// Create an experiment
#[utoipa::path(post, path = "/api/v1/experiments", tag = "experiments", operation_id = "create_experiment", request_body = ExperimentDocument,
    responses((status = 201, body = ExperimentDocument, description = "Created, at version 1.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::create::<Definition>(&state, COLLECTION, members, &change).await
}

/// Read an experiment
#[utoipa::path(get, path = "/api/v1/experiments/{key}", tag = "experiments", operation_id = "get_experiment",
    responses((status = 200, body = ExperimentDocument, description = "As it is now."),
        (status = 304, description = "Still at the version that If-None-Match names.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    definitions::get::<Definition>(&state, &key, &headers).await
}

/// Replace an experiment
#[utoipa::path(put, path = "/api/v1/experiments/{key}", tag = "experiments", operation_id = "replace_experiment", request_body = ExperimentDocument,
    responses((status = 200, body = ExperimentDocument, description = "Replaced.")))]
pub async fn replace(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    refuse_status(&state, &key, expected, &members).await?;
    definitions::replace::<Definition>(&state, &key, expected, (members, &change)).await
}

/// Change some members of an experiment
///
/// JSON merge patch (RFC 7396): members given replace, members given as null go.
#[utoipa::path(patch, path = "/api/v1/experiments/{key}", tag = "experiments", operation_id = "patch_experiment",
    request_body(content = Object, description = "The members to change.", example = json!({"name": "A better name"})),
    responses((status = 200, body = ExperimentDocument, description = "Changed.")))]
pub async fn patch(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    refuse_status(&state, &key, expected, &members).await?;
    definitions::patch::<Definition>(&state, &key, expected, (members, &change)).await
}

/// Delete an experiment
///
/// Drafts only, or what was only discovered; it can be restored.
#[utoipa::path(delete, path = "/api/v1/experiments/{key}", tag = "experiments", operation_id = "delete_experiment",
    responses((status = 204, description = "Deleted.")))]
pub async fn delete(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
) -> ApiResult<StatusCode> {
    definitions::delete::<Definition>(&state, &key, expected, &change).await
}

/// Bring a deleted experiment back
#[utoipa::path(post, path = "/api/v1/experiments/{key}/restore", tag = "experiments", operation_id = "restore_experiment",
    responses((status = 200, body = ExperimentDocument, description = "As it was, at a new version.")))]
pub async fn restore(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    Writer(change): Writer,
) -> ApiResult<Response> {
    definitions::restore::<Definition>(&state, &key, &change).await
}

/// Refuses a status that is not the present one: left out it stays, and only actions change it.
async fn refuse_status(
    state: &ApiState,
    key: &Key,
    expected: IfMatch,
    members: &Map<String, Value>,
) -> ApiResult<()> {
    let Some(status) = members.get("status").and_then(Value::as_str) else {
        return Ok(());
    };
    let document = state.store.get::<Definition>(key).await?;
    // Who has read another version is told that first.
    if document.version == expected.0 && !document.discovered && status != document.definition.status.as_str()
    {
        let detail = format!(
            "experiment {key} is {}; its status changes by the actions start, pause, resume, complete and archive",
            document.definition.status.as_str()
        );
        return Err(Problem::new(Code::Conflict, detail).at("/status", "is not the present one"));
    }
    Ok(())
}
