//! Logging in by browser through the identity provider: away to it, and back with a session.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use control::access::SignOnAnswer;
use serde::Deserialize;
use utoipa::IntoParams;

use super::definitions::origin;
use crate::access::Caller;
use crate::cookies;
use crate::extract::ApiQuery;
use crate::problem::{ApiResult, Code, Problem};
use crate::request_id::RequestId;
use crate::state::ApiState;

/// Where a login ends.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BeginQuery {
    /// The path of this server to go to once the person is in.
    #[param(default = "/", example = "/docs", max_length = 1024)]
    pub return_to: Option<String>,
}

/// What a provider sends a browser back with. Providers add parameters of their own, which are passed over.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReturnedQuery {
    /// The word that the login was begun with.
    #[param(example = "kq3Ua0sJqO4zYb8y")]
    pub state: Option<String>,
    /// What the identity token is bought with.
    #[param(example = "l9R0CHGovPeQxJrX")]
    pub code: Option<String>,
    /// The provider, where it names itself (RFC 9207).
    #[param(example = "https://idp.example.com")]
    pub iss: Option<String>,
    /// Why there is no code.
    #[param(example = "access_denied")]
    pub error: Option<String>,
}

/// Log in by the identity provider
///
/// For browsers: the answer sends them to the provider, with a cookie by which they are known when they come back. Only
/// where the settings have `[auth.oidc.login]`.
#[utoipa::path(get, path = "/api/v1/auth/oidc/login", tag = "access", operation_id = "begin_oidc_login", params(BeginQuery),
    responses((status = 303, description = "To the identity provider.")))]
pub async fn begin(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<BeginQuery>,
) -> ApiResult<Response> {
    let begun = state.access.begin_sign_on(query.return_to.as_deref()).await?;
    let public_url = state.access.settings().public_url.as_deref();
    let cookie = cookies::set_sign_on(public_url, &begun.secret);
    Ok((
        StatusCode::SEE_OTHER,
        [
            (header::LOCATION, place(&begun.redirect)?),
            (header::SET_COOKIE, cookie),
        ],
    )
        .into_response())
}

/// Come back from the identity provider
///
/// The provider sends browsers here. The answer sets the cookie of a new session, whatever session the request came by, and
/// goes to where the login was to end. A login is finished once, by the browser that began it, within ten minutes.
#[utoipa::path(get, path = "/api/v1/auth/oidc/callback", tag = "access", operation_id = "finish_oidc_login",
    params(ReturnedQuery), responses((status = 303, description = "In, and on to where the login was to end.")))]
pub async fn finish(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    id: RequestId,
    headers: HeaderMap,
    query: Result<Query<ReturnedQuery>, axum::extract::rejection::QueryRejection>,
) -> ApiResult<Response> {
    let Query(query) = query.map_err(|_| {
        Problem::new(
            Code::InvalidQuery,
            "the provider's answer does not read, or says something twice",
        )
    })?;
    let public_url = state.access.settings().public_url.as_deref();
    let secret = cookies::sign_on(&headers, public_url);
    let answer = SignOnAnswer {
        state: query.state,
        code: query.code,
        issuer: query.iss,
        error: query.error,
    };
    let origin = origin(&caller, id);
    let finished = state
        .access
        .finish_sign_on(secret.as_deref(), &answer, Some(origin))
        .await?;
    if let Some(before) = &caller.session {
        // Whoever planted a session before the login shall not have one after it.
        state.access.logout(before).await?;
    }
    let cookies = AppendHeaders([
        (
            header::SET_COOKIE,
            cookies::set_session(public_url, &finished.session),
        ),
        (header::SET_COOKIE, cookies::set_sign_on(public_url, "")),
    ]);
    let place = [(header::LOCATION, place(&finished.return_to)?)];
    Ok((StatusCode::SEE_OTHER, place, cookies).into_response())
}

fn place(url: &str) -> ApiResult<HeaderValue> {
    HeaderValue::from_str(url).map_err(Problem::internal)
}
