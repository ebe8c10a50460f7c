//! What handlers take out of a request, each failure a problem.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use axum::http::{StatusCode, header::HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gate::Arrival;
use crate::limits::JSON_DEPTH_MAX;
use crate::problem::{ApiResult, Code, Problem};

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// A JSON body of the shape `T`.
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        parse_json(&bytes).map(Self)
    }
}

/// A body of the shape `T` out of its bytes.
///
/// # Errors
/// `invalid_json` when it is not JSON, `invalid_body` with the place when it is of another shape.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    if json_depth_exceeds(bytes, JSON_DEPTH_MAX) {
        let detail = format!("the body is nested deeper than {JSON_DEPTH_MAX} levels");
        return Err(Problem::new(Code::InvalidJson, detail));
    }
    // Serde takes the members of a struct also in their order, out of an array; we say that bodies are objects.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let message = "an array where an object is expected";
        return Err(Problem::new(Code::InvalidBody, format!("the body is {message}")).at("", message));
    }
    // To note the way to each member costs an allocation a member: only what is wrong is read a second time with it.
    if let Ok(parsed) = serde_json::from_slice(bytes) {
        return Ok(parsed);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        shape_problem(&error.into_inner(), &pointer)
    })?;
    deserializer.end().map_err(|error| shape_problem(&error, ""))?;
    Ok(parsed)
}

fn shape_problem(error: &serde_json::Error, pointer: &str) -> Problem {
    let (line, column) = (error.line(), error.column());
    if !error.is_data() {
        let detail = format!("the body is not JSON at line {line}, column {column}");
        return Problem::new(Code::InvalidJson, detail).at("", error.to_string());
    }
    // serde_json ends its sentences with the place, which the pointer says better.
    let text = error.to_string();
    let suffix = format!(" at line {line} column {column}");
    let message = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
    let place = if pointer.is_empty() { "the body" } else { pointer };
    Problem::new(Code::InvalidBody, format!("{place} does not fit: {message}")).at(pointer, message)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

/// Whether JSON text opens more brackets at once than `limit`. Looks at the bytes only: what is cut short or misplaced
/// is left to the parser, which never recurses deeper than this lets through.
pub fn json_depth_exceeds(bytes: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// How much more than its limit of a body is read and thrown away: a client hears the answer only when it has sent all,
/// and one that is a little over shall hear it. Beyond that the connection is cut.
const DISCARD_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A body as it came, up to the route's limit.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> ApiResult<Self> {
        let limit = Arrival::body_max_bytes(request.extensions());
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit + DISCARD_MAX_BYTES) {
            return Err(too_large(limit));
        }
        let mut bytes = Vec::new();
        let mut size = 0;
        let mut chunks = request.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::new(Code::InvalidBody, "the body did not arrive whole").caused_by(error)
            })?;
            if size == 0 && announced == Some(chunk.len()) && chunk.len() <= limit {
                // It came in one piece, as the small ones do, and is used where it stands.
                return Ok(Self(chunk));
            }
            if size == 0 {
                bytes.reserve_exact(announced.unwrap_or(chunk.len()).min(limit));
            }
            size += chunk.len();
            if size > limit + DISCARD_MAX_BYTES {
                break;
            }
            if size <= limit {
                bytes.extend_from_slice(&chunk);
            }
        }
        if size > limit {
            return Err(too_large(limit));
        }
        Ok(Self(bytes.into()))
    }
}

fn too_large(limit: usize) -> Problem {
    let detail =
        format!("the body is larger than the {limit} bytes that this route takes; send less at once");
    Problem::new(Code::BodyTooLarge, detail)
}

/// The media type of a body without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or("").trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

/// Whether a body says that it is JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    // As nearly all of them say it.
    let is_plainly = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == JSON);
    is_plainly
        || media_type(headers).is_some_and(|media| {
            media == JSON || media.starts_with("application/") && media.ends_with("+json")
        })
}

/// An answer in JSON, for whose text about `room` bytes are made at once. That it is JSON is said by [`crate::gate`], as of
/// every body of which nobody says what it is.
///
/// # Errors
/// `internal` when the value cannot be written as JSON.
pub fn json(room: usize, value: &impl Serialize) -> ApiResult<Response> {
    let mut body = Vec::with_capacity(room);
    serde_json::to_writer(&mut body, value).map_err(Problem::internal)?;
    Ok(Response::new(Body::from(body)))
}

/// What a body is answered with that is to be JSON and does not say so.
pub fn not_json() -> Problem {
    Problem::new(
        Code::UnsupportedMediaType,
        "the body must be JSON, with the header content-type: application/json",
    )
}

/// The one key in a path, percent-decoded: it may hold `/`.
#[derive(Debug)]
pub struct PathKey<K>(pub K);

impl<K, S> FromRequestParts<S> for PathKey<K>
where
    K: TryFrom<String, Error: std::fmt::Display>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                Problem::new(
                    Code::InvalidKey,
                    "the key in the path is not percent-encoded UTF-8",
                )
                .caused_by(rejection)
            })?;
        // No key holds it, and one of the two databases refuses to look for it.
        if text.contains('\0') {
            return Err(Problem::new(Code::InvalidKey, "the key in the path holds U+0000"));
        }
        K::try_from(text)
            .map(Self)
            .map_err(|error| Problem::new(Code::InvalidKey, error.to_string()))
    }
}

/// The query string as `T`.
#[derive(Debug)]
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        // Nothing that is stored holds it, and one of the two databases refuses to look for it.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::new(Code::InvalidQuery, "the query holds U+0000"));
        }
        let parsed = Query::<T>::from_request_parts(parts, state).await;
        parsed.map(|Query(query)| Self(query)).map_err(|rejection| {
            let text = rejection.body_text();
            let detail = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            Problem::new(Code::InvalidQuery, detail)
        })
    }
}

/// The version that a change is made to, out of `If-Match: "v3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfMatch(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Err(Problem::new(
                Code::VersionRequired,
                "a change needs the header If-Match with the ETag that was read, such as \"v3\"",
            ));
        };
        let version = said_once(&parts.headers, &header::IF_MATCH).then_some(value);
        let version = version.and_then(|value| parse_etag(value.to_str().ok()?));
        version.map(Self).ok_or_else(|| {
            Problem::new(
                Code::InvalidHeader,
                "If-Match takes one ETag as it was given, such as \"v3\"",
            )
        })
    }
}

/// The version that a caller has seen, when it says so with `If-Match`: for actions, which the state guards already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenVersion(pub Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for SeenVersion {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(None));
        }
        let IfMatch(version) = IfMatch::from_request_parts(parts, state).await?;
        Ok(Self(Some(version)))
    }
}

/// Whether a header stands in a request once. Of two that differ, a proxy on the way may have read the other one.
fn said_once(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().count() == 1
}

fn parse_etag(text: &str) -> Option<i64> {
    let digits = text.trim().strip_prefix("\"v")?.strip_suffix('"')?;
    // What we never gave cannot come back: no sign, no leading zero.
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten()
}

/// The key under which a creation is done once, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

/// The longest idempotency key: a UUID, a ULID, or two of them joined.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// What an idempotency key looks like, for the documentation.
pub const IDEMPOTENCY_KEY_PATTERN: &str = r#"^("[!#-~]{1,255}"|[!#-~]{1,255})$"#;

/// The header of the idempotency key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        let Some(value) = parts.headers.get(&IDEMPOTENCY_KEY) else {
            return Ok(Self(None));
        };
        let is_single = said_once(&parts.headers, &IDEMPOTENCY_KEY);
        let text = value.to_str().ok().filter(|_| is_single).unwrap_or("");
        // The draft standard writes the key as a quoted string; most clients send it bare.
        let text = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if text.is_empty() || text.len() > IDEMPOTENCY_KEY_MAX_BYTES || !is_plain {
            let detail = format!(
                "Idempotency-Key takes 1 to {IDEMPOTENCY_KEY_MAX_BYTES} visible ASCII characters, none of them a quote"
            );
            return Err(Problem::new(Code::InvalidHeader, detail));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

/// The ETag of a version.
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"v{version}\""))
        .unwrap_or_else(|_| unreachable!("digits, a letter and quotes are a header value"))
}

/// A definition with its ETag, or 304 when the caller has that version.
pub fn versioned(request: &HeaderMap, version: i64, body: impl Serialize) -> Response {
    let tag = etag(version);
    let known = request.get(header::IF_NONE_MATCH).is_some_and(|known| {
        let listed = known.to_str().unwrap_or("");
        listed
            .split(',')
            .any(|one| one.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
    });
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag), cache]).into_response();
    }
    ([(header::ETAG, tag), cache], axum::Json(body)).into_response()
}

/// A created definition with its ETag and its place.
pub fn created(collection: &str, key: &str, version: i64, body: impl Serialize) -> Response {
    let place = format!("{collection}/{}", encode_segment(key));
    let place = HeaderValue::from_str(&place).unwrap_or_else(|_| HeaderValue::from_static("/"));
    let headers = [(header::ETAG, etag(version)), (header::LOCATION, place)];
    (StatusCode::CREATED, headers, axum::Json(body)).into_response()
}

/// A key as one path segment: everything but unreserved characters percent-encoded.
pub fn encode_segment(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_taken_as_they_were_given_and_not_otherwise() {
        // What must never change: a client that sends back what it got can change what it read.
        assert_eq!(parse_etag(etag(37).to_str().unwrap()), Some(37));
        for text in [
            "v3",
            "\"3\"",
            "\"v03\"",
            "\"v-1\"",
            "W/\"v3\"",
            "*",
            "\"v1\", \"v2\"",
            "",
        ] {
            assert_eq!(parse_etag(text), None, "{text}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(!json_depth_exceeds(br#"{"a": "[[[[\"[[[["}"#, 1));
        assert!(!json_depth_exceeds("[]".repeat(100).as_bytes(), 1));
        assert!(json_depth_exceeds("[".repeat(33).as_bytes(), 32));
        assert!(!json_depth_exceeds("[".repeat(32).as_bytes(), 32));
    }

    #[test]
    fn a_wrong_shape_is_told_with_its_place() {
        #[derive(Debug, serde::Deserialize)]
        struct Inner {
            #[expect(dead_code, reason = "only its type matters")]
            weight: f64,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only its type matters")]
            variants: Vec<Inner>,
        }
        let problem = parse_json::<Outer>(br#"{"variants": [{"weight": "1"}]}"#).unwrap_err();
        assert_eq!(problem.code(), Code::InvalidBody);
        assert_eq!(problem.body("1").errors[0].pointer, "/variants/0/weight");
        for text in ["", "{", "{} {}", "nul", "{\"a\": 1e400}", "\u{feff}{}"] {
            let problem = parse_json::<serde_json::Value>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidJson, "{text:?}");
        }
    }

    #[test]
    fn keys_are_written_into_paths_as_one_segment() {
        assert_eq!(encode_segment("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
