//! Which routes pages of other sites may use: those of OFREP, whose clients run in browsers everywhere.
//!
//! An evaluation changes nothing and carries no cookie, so any site may ask. Everything else stays closed to them.

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::guards;

const OPEN_PREFIX: &str = "/ofrep/v1/";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, OPTIONS");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "content-type, authorization, x-api-key, if-none-match, last-event-id, cache-control",
);
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("etag, retry-after, x-request-id");
/// For how long a browser need not ask again: two hours, the most that browsers allow.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Whether pages of other sites may use a path.
pub fn is_open(path: &str) -> bool {
    path.starts_with(OPEN_PREFIX)
}

/// The answer to a browser that asks what it may send; nothing when the request is another one.
pub fn preflight(method: &Method, path: &str) -> Option<Response> {
    if *method != Method::OPTIONS || !is_open(path) {
        return None;
    }
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS),
    ];
    Some((StatusCode::NO_CONTENT, headers).into_response())
}

/// Lets a page of another site read an answer.
pub fn open(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    headers.insert(guards::RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}
