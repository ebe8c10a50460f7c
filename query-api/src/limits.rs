//! What every request passes, whatever its route: an id, a deadline, a guard against other sites, and the same headers
//! and the same shape of errors on the way out.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::cors;
use crate::guards;
use crate::metrics;
use crate::problem::{Code, PROBLEM_JSON, Problem};
use crate::state::{ApiState, HostPolicy};

/// The header that carries a request's id in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a request may take to arrive whole and be answered; streams count until their head is sent. Ten megabytes
/// arrive in that time at 3 Mbit/s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest body of one evaluation.
pub const EVALUATE_BODY_MAX_BYTES: usize = 64 * 1024;
/// The largest body of evaluations for many users: ten thousand with a context of 800 bytes each.
pub const EVALUATE_MANY_BODY_MAX_BYTES: usize = 8 * 1024 * 1024;
/// The largest body with a name and a password.
pub const CREDENTIALS_BODY_MAX_BYTES: usize = 4 * 1024;
/// The largest definition.
pub const MANAGEMENT_BODY_MAX_BYTES: usize = 1024 * 1024;
/// The largest batch of events on the wire; what it may open to is the collector's to limit.
pub const EVENTS_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;
/// The largest file of ids in one request: ten million ids of fifty bytes.
pub const ID_LIST_BODY_MAX_BYTES: usize = 512 * 1024 * 1024;
/// The largest batch of statistical calls: a thousand with a few hundred numbers each.
pub const STATISTICS_BODY_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting of any JSON body: definitions with nested conditions stay below 20.
pub const JSON_DEPTH_MAX: usize = 32;

/// The id of the request being served, as a request extension.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The outermost layer of the router.
pub async fn envelope(State(state): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let is_open = cors::is_open(request.uri().path());
    let is_encrypted = guards::is_encrypted(&state, &request);
    let observation = metrics::Observation::start();
    let response = match guard(&state.hosts, request.method(), request.uri(), request.headers()) {
        Ok(()) => match cors::preflight(request.method(), request.uri().path()) {
            Some(permission) => permission,
            None => answer(request, next).await,
        },
        Err(problem) => problem.into_response(),
    };
    let mut response = finish(response, &id, is_encrypted);
    if is_open {
        cors::open(response.headers_mut());
    }
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    observation.end(&method, route, response.status());
    response
}

/// The answer of the routes, or a problem when it took too long or a defect ended it.
async fn answer(request: Request, next: Next) -> Response {
    let running = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(REQUEST_TIMEOUT, running).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Problem::internal(Panicked(panic_text(panic.as_ref()))).into_response(),
        Err(_) => Problem::new(
            Code::Timeout,
            "the request did not arrive whole, or could not be answered, in 30 seconds",
        )
        .into_response(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Writes the body of a problem, logs its cause, and adds the headers that every answer has.
fn finish(mut response: Response, id: &str, is_encrypted: bool) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        log(&problem, id);
        response = with_problem_body(response, &problem, id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    guards::write(headers, is_encrypted);
    response
}

fn with_problem_body(response: Response, problem: &Problem, id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    let body = serde_json::to_vec(&problem.body(id)).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(parts, Body::from(body))
}

fn log(problem: &Problem, id: &str) {
    let (code, cause) = (problem.code(), problem.cause_chain());
    let cause = cause.as_deref().unwrap_or("none");
    match code.status() {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(request.id = id, code = code.as_str(), cause, "a request failed");
        }
        status if status.is_server_error() => {
            tracing::warn!(
                request.id = id,
                code = code.as_str(),
                cause,
                "a request was put off"
            );
        }
        _ => tracing::debug!(
            request.id = id,
            code = code.as_str(),
            cause,
            "a request was refused"
        ),
    }
}

/// The caller's id where it is a UUID in any spelling, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| Uuid::parse_str(text).ok());
    given.unwrap_or_else(fresh_id).to_string()
}

/// An id that no other request has. It is no secret, so it is made from one random number and a count: asking the
/// system for random bytes takes as long as an evaluation.
fn fresh_id() -> Uuid {
    static START: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mixed = xxh3_128_with_seed(&START.to_le_bytes(), count);
    Builder::from_random_bytes(mixed.to_le_bytes()).into_uuid()
}

/// Refuses what only a browser on another site's page would send.
///
/// While nobody has to log in, whoever reaches the port may do everything, so a page must not be able to use the
/// browser's place on this machine: neither by a request across sites, nor by a name that it makes point to 127.0.0.1.
fn guard(hosts: &HostPolicy, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = host_of(uri, headers);
    if *hosts == HostPolicy::Local && !host.is_some_and(is_local) {
        return Err(Problem::new(
            Code::UnknownHost,
            "this server answers for localhost and 127.0.0.1 only",
        ));
    }
    if method.is_safe() || cors::is_open(uri.path()) {
        return Ok(());
    }
    let fetch_site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign_site = fetch_site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let origin = headers
        .get(header::ORIGIN)
        .map(|value| value.to_str().unwrap_or(""));
    let foreign_origin = origin.is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none() || authority != host
    });
    if foreign_site || foreign_origin {
        return Err(Problem::new(
            Code::CrossSite,
            "a page of another site may not change anything here",
        ));
    }
    Ok(())
}

fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    named.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    let address = name.parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_loopback()) || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn check(hosts: HostPolicy, method: &Method, pairs: &[(&'static str, &'static str)]) -> Option<Code> {
        let refused = guard(
            &hosts,
            method,
            &Uri::from_static("/api/v1/metrics"),
            &headers(pairs),
        );
        refused.err().map(|problem| problem.code())
    }

    #[test]
    fn a_page_of_another_site_cannot_use_the_browsers_place() {
        // What must never change: without keys, a page elsewhere reads nothing and changes nothing.
        let local = ("host", "127.0.0.1:8080");
        assert_eq!(check(HostPolicy::Local, &Method::GET, &[local]), None);
        assert_eq!(
            check(HostPolicy::Local, &Method::POST, &[("host", "[::1]:80")]),
            None
        );
        assert_eq!(
            check(HostPolicy::Local, &Method::POST, &[("host", "LOCALHOST")]),
            None
        );
        for rebound in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
        ] {
            let refused = check(HostPolicy::Local, &Method::GET, &[("host", rebound)]);
            assert_eq!(refused, Some(Code::UnknownHost), "{rebound}");
        }
        assert_eq!(
            check(HostPolicy::Any, &Method::GET, &[("host", "ab.example")]),
            None
        );
        let across = [
            [local, ("sec-fetch-site", "cross-site")],
            [local, ("sec-fetch-site", "same-site")],
            [local, ("origin", "https://evil.example")],
            [local, ("origin", "null")],
        ];
        for pairs in across {
            assert_eq!(
                check(HostPolicy::Local, &Method::POST, &pairs),
                Some(Code::CrossSite)
            );
            assert_eq!(check(HostPolicy::Local, &Method::GET, &pairs), None);
        }
        let own = [
            local,
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(check(HostPolicy::Local, &Method::POST, &own), None);
    }

    #[test]
    fn a_request_keeps_the_id_that_a_proxy_gave_it() {
        let given = headers(&[("x-request-id", "0198c5de7a307c3e9d5b6f6f0c9e1a11")]);
        assert_eq!(request_id(&given), "0198c5de-7a30-7c3e-9d5b-6f6f0c9e1a11");
        let bad = headers(&[("x-request-id", "' or 1=1")]);
        assert!(Uuid::parse_str(&request_id(&bad)).is_ok());
    }
}
