//! Coming in and leaving, for people: a session in a cookie.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use control::access::LoggedIn;
use control::permission::{Authority, Scope, TABLE};
use control::{AccountName, Principal, Resource, authorize};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::origin;
use crate::access::Caller;
use crate::cookies;
use crate::extract::ApiJson;

use crate::problem::{ApiResult, Code, Problem};
use crate::request_id::RequestId;
use crate::state::ApiState;

/// Who wants to come in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Login, example = json!({"name": "anna", "password": "correct horse battery"}))]
pub struct LoginRequest {
    /// The name of the account.
    #[schema(max_length = 128)]
    name: String,
    /// Its password.
    #[schema(max_length = 512)]
    password: String,
}

/// A one-time link and what it shall do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Redeem, example = json!({"link": "8HqHDnk2mEIbCQ", "name": "anna", "password": "correct horse battery"}))]
pub struct RedeemRequest {
    /// What stands behind the `#` of the link.
    #[schema(max_length = 128)]
    link: String,
    /// The name of the first administrator; passed over for links of accounts.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._@+-]+$")]
    name: Option<AccountName>,
    /// The password from now on: 12 to 128 characters.
    #[schema(min_length = 12, max_length = 128)]
    password: String,
}

/// Who asks, and what they may.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session, example = json!({"actor": "person:anna", "role": "developer", "permissions": ["flags:read", "flags:write"],
    "provider_logout": null}))]
pub struct SessionDocument {
    /// The name in audit records.
    actor: String,
    /// The role of a person; null for a key.
    role: Option<&'static str>,
    /// What they may, some of it only with what they own.
    permissions: Vec<&'static str>,
    /// Where a browser that came in by the identity provider can log out there as well, after logging out here; null when
    /// the provider offers none, or has not been asked yet.
    provider_logout: Option<String>,
}

impl SessionDocument {
    fn of(principal: &Principal) -> Self {
        let role = match principal.authority {
            Authority::Role(role) => Some(role.as_str()),
            Authority::Nobody | Authority::Key { .. } => None,
        };
        let may = |word: &str| authorize(principal, word, Resource::default()).is_ok();
        let permissions = TABLE.iter().map(|row| row.word).filter(|word| may(word));
        Self {
            actor: principal.actor.to_string(),
            role,
            permissions: permissions.collect(),
            provider_logout: None,
        }
    }
}

/// Log in
///
/// The answer sets the cookie of a new session, whatever session the request came by. It ends after half an hour without
/// a request, and after twelve hours. Five failures in a row are free; after that each makes the name wait twice as long.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "access", operation_id = "login", request_body = LoginRequest,
    responses((status = 200, body = SessionDocument, description = "In.")))]
pub async fn login(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    id: RequestId,
    ApiJson(request): ApiJson<LoginRequest>,
) -> ApiResult<Response> {
    let origin = Some(origin(&caller, id));
    let logged_in = state.access.login(&request.name, &request.password, origin).await;
    if let Err(error) = &logged_in {
        tracing::info!(error = %error, "a login failed");
    }
    enter(&state, &caller, logged_in?).await
}

/// Use a one-time link
///
/// Sets the password of the account that the link was made for, or makes the first administrator, and logs in.
#[utoipa::path(post, path = "/api/v1/auth/redeem", tag = "access", operation_id = "redeem_link", request_body = RedeemRequest,
    responses((status = 200, body = SessionDocument, description = "In, with the new password.")))]
pub async fn redeem(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    id: RequestId,
    ApiJson(request): ApiJson<RedeemRequest>,
) -> ApiResult<Response> {
    let redeemed = state
        .access
        .redeem(
            &request.link,
            request.name.as_ref(),
            &request.password,
            Some(origin(&caller, id)),
        )
        .await?;
    enter(&state, &caller, redeemed).await
}

async fn enter(state: &ApiState, caller: &Caller, logged_in: LoggedIn) -> ApiResult<Response> {
    if let Some(before) = &caller.session {
        // Whoever planted a session before the login shall not have one after it.
        state.access.logout(before).await?;
    }
    let principal = Principal::person(logged_in.account.name.actor(), logged_in.account.role);
    let cookie = cookies::set_session(state.access.settings().public_url.as_deref(), &logged_in.session);
    Ok((
        [(header::SET_COOKIE, cookie)],
        Json(SessionDocument::of(&principal)),
    )
        .into_response())
}

/// Log out
///
/// Ends the session of the request, if it has one, and takes the cookie back.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "access", operation_id = "logout",
    responses((status = 204, description = "Out.")))]
pub async fn logout(State(state): State<Arc<ApiState>>, caller: Caller) -> ApiResult<Response> {
    if let Some(session) = &caller.session {
        // Logging somebody else's browser out is refused like any other change.
        caller.principal?;
        state.access.logout(session).await?;
    }
    let cookie = cookies::set_session(state.access.settings().public_url.as_deref(), "");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Who am I?
///
/// Works for keys as well.
#[utoipa::path(get, path = "/api/v1/auth/session", tag = "access", operation_id = "get_session",
    responses((status = 200, body = SessionDocument, description = "Who asks, and what they may.")))]
pub async fn session(State(state): State<Arc<ApiState>>, caller: Caller) -> ApiResult<Json<SessionDocument>> {
    let principal = caller.principal?;
    let mut document = SessionDocument::of(&principal);
    if caller.session.is_some() && principal.actor.is_vouched_for() {
        document.provider_logout = state.access.provider_logout();
    }
    Ok(Json(document))
}

/// A scope out of its word, for bodies.
pub(super) fn scope(word: &str) -> ApiResult<Scope> {
    let words: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    Scope::from_word(word).ok_or_else(|| {
        let detail = format!("there is no scope {word}; there are {}", words.join(", "));
        Problem::new(Code::InvalidBody, detail).at("/scopes", "has an unknown scope")
    })
}
