//! Metrics: what is measured.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::MetricKey;
use domain::metric::MetricDefinition;
use serde_json::{Map, Value};

use super::definitions::{self, FindQuery, Writer};
use crate::extract::{ApiJson, ApiQuery, IfMatch, PathKey};
use crate::problem::ApiResult;
use crate::state::ApiState;
use crate::wire::{MetricDocument, MetricDocumentPage};

const COLLECTION: &str = "/api/v1/metrics";

type Key = MetricKey;
type Definition = MetricDefinition;

/// List metrics
///
/// In order of key, a page at a time.
#[utoipa::path(get, path = "/api/v1/metrics", tag = "metrics", operation_id = "list_metrics", params(FindQuery),
    responses((status = 200, body = MetricDocumentPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<FindQuery>,
) -> ApiResult<Response> {
    definitions::list::<Definition>(&state, query).await
}

/// Create a metric
#[utoipa::path(post, path = "/api/v1/metrics", tag = "metrics", operation_id = "create_metric", request_body = MetricDocument,
    responses((status = 201, body = MetricDocument, description = "Created, at version 1.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::create::<Definition>(&state, COLLECTION, members, &change).await
}

/// Read a metric
#[utoipa::path(get, path = "/api/v1/metrics/{key}", tag = "metrics", operation_id = "get_metric",
    responses((status = 200, body = MetricDocument, description = "As it is now."),
        (status = 304, description = "Still at the version that If-None-Match names.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    definitions::get::<Definition>(&state, &key, &headers).await
}

/// Replace a metric
#[utoipa::path(put, path = "/api/v1/metrics/{key}", tag = "metrics", operation_id = "replace_metric", request_body = MetricDocument,
    responses((status = 200, body = MetricDocument, description = "Replaced.")))]
pub async fn replace(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::replace::<Definition>(&state, &key, expected, (members, &change)).await
}

/// Change some members of a metric
///
/// JSON merge patch (RFC 7396): members given replace, members given as null go.
#[utoipa::path(patch, path = "/api/v1/metrics/{key}", tag = "metrics", operation_id = "patch_metric",
    request_body(content = Object, description = "The members to change.", example = json!({"name": "A better name"})),
    responses((status = 200, body = MetricDocument, description = "Changed.")))]
pub async fn patch(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::patch::<Definition>(&state, &key, expected, (members, &change)).await
}

/// Delete a metric
///
/// It can be restored.
#[utoipa::path(delete, path = "/api/v1/metrics/{key}", tag = "metrics", operation_id = "delete_metric",
    responses((status = 204, description = "Deleted.")))]
pub async fn delete(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
) -> ApiResult<StatusCode> {
    definitions::delete::<Definition>(&state, &key, expected, &change).await
}

/// Bring a deleted metric back
#[utoipa::path(post, path = "/api/v1/metrics/{key}/restore", tag = "metrics", operation_id = "restore_metric",
    responses((status = 200, body = MetricDocument, description = "As it was, at a new version.")))]
pub async fn restore(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    Writer(change): Writer,
) -> ApiResult<Response> {
    definitions::restore::<Definition>(&state, &key, &change).await
}
