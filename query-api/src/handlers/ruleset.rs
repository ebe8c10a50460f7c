//! The whole ruleset, for SDKs that evaluate by themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::evaluate::serving;
use crate::problem::{ApiResult, Problem};
use crate::ruleset::{Coding, Published};
use crate::state::ApiState;

/// Get the ruleset
///
/// Every definition that evaluation needs, for SDKs that evaluate by themselves: flags, experiments, segments, layers and
/// holdouts, without names, descriptions and the settings of other environments. It names users in overrides and segments,
/// so it is for servers; browsers use `/ofrep/v1/evaluate/flags`. The ETag is strong and differs between codings; any of
/// them, sent back, is answered with 304 while the definitions are the same.
#[utoipa::path(get, path = "/api/v1/ruleset", tag = "feature-flags", operation_id = "get_ruleset",
    params(("If-None-Match" = Option<String>, Header, description = "ETags that the caller has.", example = "\"6f1c0d9a3b5e7f8091a2b3c4-zstd\""),
        ("Accept-Encoding" = Option<String>, Header, description = "`zstd` and `gzip` are known.", example = "zstd")),
    responses((status = 200, body = Object, description = "The definitions, at one `version`.",
            headers(("ETag" = String, description = "The tag of these bytes."), ("X-Ruleset-Freshness" = String, description = "`current`, or `stale` while the store does not answer."))),
        (status = 304, description = "The caller has them.")))]
pub async fn ruleset(State(state): State<Arc<ApiState>>, headers: HeaderMap) -> ApiResult<Response> {
    serving(&state)?;
    let published = state.ruleset.published();
    let text = |name| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.unwrap_or("").to_owned()
    };
    let coding = Coding::accepted(&text(header::ACCEPT_ENCODING));
    let is_known = published.is_named_by(&text(header::IF_NONE_MATCH));
    let mut answer = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut answer = document(published.clone(), coding).await?;
        if let Some(name) = coding.name() {
            let coding = HeaderValue::from_static(name);
            answer.headers_mut().insert(header::CONTENT_ENCODING, coding);
        }
        answer
    };
    let own = answer.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&published.etag(coding)) {
        own.insert(header::ETAG, tag);
    }
    own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    own.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    let freshness = HeaderValue::from_static(state.ruleset.freshness().as_str());
    own.insert(HeaderName::from_static("x-ruleset-freshness"), freshness);
    Ok(answer)
}

async fn document(published: Arc<Published>, coding: Coding) -> ApiResult<Response> {
    // Compressing a large ruleset takes tens of milliseconds, once per version and coding.
    let bytes = match published.is_ready(coding) {
        true => published.bytes(coding),
        false => tokio::task::spawn_blocking(move || published.bytes(coding))
            .await
            .map_err(Problem::internal)?,
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
