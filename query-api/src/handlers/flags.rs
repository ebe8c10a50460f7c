//! Feature flags: what products ask for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::FlagKey;
use domain::rules::definition::FlagDefinition;
use serde_json::{Map, Value};

use super::definitions::{self, FindQuery, Writer};
use crate::extract::{ApiJson, ApiQuery, IfMatch, PathKey};
use crate::problem::ApiResult;
use crate::state::ApiState;
use crate::wire::{FlagDocument, FlagDocumentPage};

const COLLECTION: &str = "/api/v1/feature-flags";

type Key = FlagKey;
type Definition = FlagDefinition;

/// List feature flags
///
/// In order of key, a page at a time.
#[utoipa::path(get, path = "/api/v1/feature-flags", tag = "feature-flags", operation_id = "list_feature_flags", params(FindQuery),
    responses((status = 200, body = FlagDocumentPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<FindQuery>,
) -> ApiResult<Response> {
    definitions::list::<Definition>(&state, query).await
}

/// Create a feature flag
#[utoipa::path(post, path = "/api/v1/feature-flags", tag = "feature-flags", operation_id = "create_feature_flag", request_body = FlagDocument,
    responses((status = 201, body = FlagDocument, description = "Created, at version 1.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::create::<Definition>(&state, COLLECTION, members, &change).await
}

/// Read a feature flag
#[utoipa::path(get, path = "/api/v1/feature-flags/{key}", tag = "feature-flags", operation_id = "get_feature_flag",
    responses((status = 200, body = FlagDocument, description = "As it is now."),
        (status = 304, description = "Still at the version that If-None-Match names.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    definitions::get::<Definition>(&state, &key, &headers).await
}

/// Replace a feature flag
#[utoipa::path(put, path = "/api/v1/feature-flags/{key}", tag = "feature-flags", operation_id = "replace_feature_flag", request_body = FlagDocument,
    responses((status = 200, body = FlagDocument, description = "Replaced.")))]
pub async fn replace(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::replace::<Definition>(&state, &key, expected, (members, &change)).await
}

/// Change some members of a feature flag
///
/// JSON merge patch (RFC 7396): members given replace, members given as null go.
#[utoipa::path(patch, path = "/api/v1/feature-flags/{key}", tag = "feature-flags", operation_id = "patch_feature_flag",
    request_body(content = Object, description = "The members to change.", example = json!({"name": "A better name"})),
    responses((status = 200, body = FlagDocument, description = "Changed.")))]
pub async fn patch(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
    ApiJson(members): ApiJson<Map<String, Value>>,
) -> ApiResult<Response> {
    definitions::patch::<Definition>(&state, &key, expected, (members, &change)).await
}

/// Delete a feature flag
///
/// It can be restored.
#[utoipa::path(delete, path = "/api/v1/feature-flags/{key}", tag = "feature-flags", operation_id = "delete_feature_flag",
    responses((status = 204, description = "Deleted.")))]
pub async fn delete(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    expected: IfMatch,
    Writer(change): Writer,
) -> ApiResult<StatusCode> {
    definitions::delete::<Definition>(&state, &key, expected, &change).await
}

/// Bring a deleted feature flag back
#[utoipa::path(post, path = "/api/v1/feature-flags/{key}/restore", tag = "feature-flags", operation_id = "restore_feature_flag",
    responses((status = 200, body = FlagDocument, description = "As it was, at a new version.")))]
pub async fn restore(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<Key>,
    Writer(change): Writer,
) -> ApiResult<Response> {
    definitions::restore::<Definition>(&state, &key, &change).await
}
