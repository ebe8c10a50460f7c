//! API keys, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use control::access::{KeyEnvironment, KeyKind};
use control::store::{FreshKey, NewKey};
use control::{ApiKey, Change, Scope};
use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth;
use super::definitions::{ListQuery, PageBody, Writer};
use crate::extract::{ApiJson, ApiQuery, PathKey, encode_segment};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;

/// The longest overlap of two keys: what is not rolled out after thirty days is forgotten.
const OVERLAP_MAX_SECONDS: u32 = 30 * 86_400;

/// The overlap unless another is asked for: a working day.
const OVERLAP_DEFAULT_SECONDS: u32 = 86_400;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey, example = json!({"name": "shop front", "kind": "client", "environment": "production"}))]
pub struct KeyRequest {
    /// What it is for.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// `server`, `client`, `ingest` or `admin`.
    #[schema(value_type = String, pattern = "^(server|client|ingest|admin)$")]
    kind: KeyKind,
    /// What it may: `evaluate`, `events`, `read`, `admin`. All that its kind can have when left out.
    #[serde(default)]
    #[schema(value_type = Vec<ScopeWord>)]
    scopes: Vec<String>,
    /// The one environment that it may see.
    #[schema(pattern = "^[a-z0-9-]{1,32}$")]
    environment: Option<String>,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// What a key may do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Scope)]
pub enum ScopeWord {
    /// Ask what users get.
    Evaluate,
    /// Send events.
    Events,
    /// Read definitions and results.
    Read,
    /// Manage the platform.
    Admin,
}

/// How a key is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRotation, example = json!({"overlap_seconds": 3600}))]
pub struct RotateRequest {
    /// How long the present key goes on, up to thirty days; a day when left out.
    #[schema(maximum = 2_592_000)]
    overlap_seconds: Option<u32>,
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey, example = json!({"selector": "3kTMd0pBvXuA5cE9qWzR1f", "slot": "3kTMd0pBvXuA5cE9qWzR1f",
    "name": "shop front", "kind": "client", "scopes": ["evaluate", "events"], "environment": "production",
    "created_at": "2026-01-31T12:00:00Z", "created_by": "person:anna", "expires_at": null, "revoked_at": null,
    "last_used_at": null}))]
pub struct KeyDocument {
    /// Its public part, by which it is found.
    pub selector: String,
    /// The selector of the first key of the row of rotations that it stands in.
    pub slot: String,
    /// What it is for.
    pub name: String,
    /// Who uses it.
    pub kind: String,
    /// What it may.
    pub scopes: Vec<String>,
    /// The one environment that it may see; null for all.
    pub environment: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who made it.
    pub created_by: String,
    /// When it ends by itself.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it was revoked.
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
    /// When it was last used, as of half a minute ago.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

/// A key just made: the only time that it is shown whole.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FreshApiKey)]
pub struct FreshKeyDocument {
    /// The key without its secret.
    #[schema(value_type = KeyDocument)]
    key: ApiKey,
    /// The whole key.
    #[schema(example = "exp_client_production_3kTMd0pBvXuA5cE9qWzR1f_…")]
    secret: String,
}

impl From<FreshKey> for FreshKeyDocument {
    fn from(fresh: FreshKey) -> Self {
        Self {
            secret: fresh.text.reveal().to_owned(),
            key: fresh.key,
        }
    }
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeyPage)]
pub struct KeyPage {
    /// The entries.
    pub items: Vec<KeyDocument>,
    /// The `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// List API keys
///
/// Without their secrets; ended ones too.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "access", operation_id = "list_api_keys", params(ListQuery),
    responses((status = 200, body = KeyPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Json<PageBody<ApiKey>>> {
    Ok(Json(state.store.keys(&query.page()).await?.into()))
}

/// Make an API key
///
/// The answer holds its secret, which is never shown again.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "access", operation_id = "create_api_key", request_body = KeyRequest,
    responses((status = 201, body = FreshKeyDocument, description = "Made.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<KeyRequest>,
) -> ApiResult<impl IntoResponse> {
    let scopes: ApiResult<Vec<Scope>> = request.scopes.iter().map(|word| auth::scope(word)).collect();
    let environment = request.environment.as_deref().map(|name| {
        KeyEnvironment::new(name).ok_or_else(|| {
            let detail =
                "an environment in a key has 1 to 32 lowercase letters, digits and hyphens, and is not any";
            Problem::new(Code::InvalidDefinition, detail).at("/environment", "cannot stand in a key")
        })
    });
    let new = NewKey {
        name: request.name,
        kind: request.kind,
        scopes: scopes?,
        environment: environment.transpose()?,
        expires_at: request.expires_at,
    };
    let fresh = state.store.create_key(&new, &change).await?;
    state.access.refresh().await?;
    let place = format!("/api/v1/api-keys/{}", encode_segment(&fresh.key.selector));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, place)],
        Json(FreshKeyDocument::from(fresh)),
    ))
}

/// Read an API key
#[utoipa::path(get, path = "/api/v1/api-keys/{key}", tag = "access", operation_id = "get_api_key",
    responses((status = 200, body = KeyDocument, description = "As it is now, without its secret.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(selector): PathKey<String>,
) -> ApiResult<Json<ApiKey>> {
    Ok(Json(state.store.key(&selector).await?))
}

/// Revoke an API key
///
/// It is refused from now on, by other processes within a second. It stays in the list.
#[utoipa::path(delete, path = "/api/v1/api-keys/{key}", tag = "access", operation_id = "revoke_api_key",
    responses((status = 204, description = "Revoked.")))]
pub async fn revoke(
    State(state): State<Arc<ApiState>>,
    PathKey(selector): PathKey<String>,
    Writer(change): Writer,
) -> ApiResult<StatusCode> {
    state.store.revoke_key(&selector, &change).await?;
    state.access.refresh().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make another key in the place of an API key
///
/// Both work until the overlap is over; then the older one ends by itself. A slot has at most two live keys.
#[utoipa::path(post, path = "/api/v1/api-keys/{key}/rotate", tag = "access", operation_id = "rotate_api_key",
    request_body = RotateRequest,
    responses((status = 201, body = FreshKeyDocument, description = "The new key.")))]
pub async fn rotate(
    State(state): State<Arc<ApiState>>,
    PathKey(selector): PathKey<String>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<RotateRequest>,
) -> ApiResult<impl IntoResponse> {
    let fresh = state
        .store
        .rotate_key(&selector, old_ends_at(&request, &change)?, &change)
        .await?;
    state.access.refresh().await?;
    let place = format!("/api/v1/api-keys/{}", encode_segment(&fresh.key.selector));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, place)],
        Json(FreshKeyDocument::from(fresh)),
    ))
}

fn old_ends_at(request: &RotateRequest, change: &Change) -> ApiResult<Timestamp> {
    let seconds = request.overlap_seconds.unwrap_or(OVERLAP_DEFAULT_SECONDS);
    if seconds > OVERLAP_MAX_SECONDS {
        let detail = format!("keys overlap for at most {OVERLAP_MAX_SECONDS} seconds");
        return Err(Problem::new(Code::InvalidBody, detail).at("/overlap_seconds", "is too long"));
    }
    Ok(change.at.plus_micros(i64::from(seconds) * MICROS_PER_SECOND))
}
