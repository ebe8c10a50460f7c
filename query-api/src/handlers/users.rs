//! Local accounts, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use control::{Account, AccountName, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::{ListQuery, PageBody, Writer};
use crate::extract::{ApiJson, ApiQuery, PathKey, encode_segment};
use crate::problem::ApiResult;
use crate::state::ApiState;

/// An account to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser, example = json!({"name": "ben", "role": "developer"}))]
pub struct UserRequest {
    /// Under which its holder logs in.
    #[schema(value_type = String, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._@+-]+$")]
    name: AccountName,
    /// `viewer`, `analyst`, `developer` or `admin`.
    #[schema(value_type = String, pattern = "^(viewer|analyst|developer|admin)$")]
    role: Role,
}

/// What to change of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange, example = json!({"role": "analyst"}))]
pub struct UserChange {
    /// Another role.
    #[schema(value_type = Option<String>, pattern = "^(viewer|analyst|developer|admin)$")]
    role: Option<Role>,
    /// Whether its holder may come in; off ends all sessions.
    enabled: Option<bool>,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User, example = json!({"name": "ben", "role": "developer", "enabled": true, "has_password": false,
    "created_at": "2026-01-31T12:00:00Z"}))]
pub struct UserDocument {
    /// Under which its holder logs in.
    pub name: String,
    /// `viewer`, `analyst`, `developer` or `admin`.
    pub role: String,
    /// Whether its holder may come in.
    pub enabled: bool,
    /// Whether its holder has chosen a password.
    pub has_password: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserPage)]
pub struct UserPage {
    /// The entries.
    pub items: Vec<UserDocument>,
    /// The `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A one-time link.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OneTimeLink, example = json!({"path": "/setup#link=8HqHDnk2mEIbCQ"}))]
pub struct LinkDocument {
    /// The path on this server at which the holder of the account chooses a password: once, within a day.
    path: String,
}

/// List accounts
#[utoipa::path(get, path = "/api/v1/users", tag = "access", operation_id = "list_users", params(ListQuery),
    responses((status = 200, body = UserPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Json<PageBody<Account>>> {
    Ok(Json(state.store.accounts(&query.page()).await?.into()))
}

/// Make an account
///
/// It has no password until its holder chooses one by a one-time link.
#[utoipa::path(post, path = "/api/v1/users", tag = "access", operation_id = "create_user", request_body = UserRequest,
    responses((status = 201, body = UserDocument, description = "Made.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<UserRequest>,
) -> ApiResult<impl IntoResponse> {
    let account = state
        .store
        .create_account(&request.name, request.role, &change)
        .await?;
    state.access.refresh().await?;
    let place = format!("/api/v1/users/{}", encode_segment(account.name.as_str()));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(account)))
}

/// Read an account
#[utoipa::path(get, path = "/api/v1/users/{key}", tag = "access", operation_id = "get_user",
    responses((status = 200, body = UserDocument, description = "As it is now.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(name): PathKey<AccountName>,
) -> ApiResult<Json<Account>> {
    Ok(Json(state.store.account(&name).await?))
}

/// Change the role of an account, or let its holder in or out
///
/// In force at once, in running sessions too. The last administrator stays one.
#[utoipa::path(patch, path = "/api/v1/users/{key}", tag = "access", operation_id = "patch_user", request_body = UserChange,
    responses((status = 200, body = UserDocument, description = "As it is since.")))]
pub async fn patch(
    State(state): State<Arc<ApiState>>,
    PathKey(name): PathKey<AccountName>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<UserChange>,
) -> ApiResult<Json<Account>> {
    let account = state
        .store
        .change_account(&name, (request.role, request.enabled), &change)
        .await?;
    state.access.refresh().await?;
    Ok(Json(account))
}

/// Make a one-time link for an account
///
/// For its first password and for a forgotten one. Earlier links of the account end; it can be used once, within a day.
#[utoipa::path(post, path = "/api/v1/users/{key}/link", tag = "access", operation_id = "create_user_link",
    responses((status = 200, body = LinkDocument, description = "The link: the only time that it is shown.")))]
pub async fn link(
    State(state): State<Arc<ApiState>>,
    PathKey(name): PathKey<AccountName>,
    Writer(change): Writer,
) -> ApiResult<Json<LinkDocument>> {
    let link = state.store.create_link(&name, &change).await?;
    Ok(Json(LinkDocument {
        path: format!("/setup#link={link}"),
    }))
}
