//! Errors as RFC 9457 problems: a stable code, one sentence for the caller, and the cause for the log alone.
//!
//! A handler returns a [`Problem`]. Its body is written by [`crate::gate::Gate`], which knows
//! the request's id and logs the cause, once. Nothing of a cause ever reaches the caller.

use std::error::Error;
use std::sync::Arc;

use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $status:ident, $title:literal;)+) => {
        /// What went wrong, in a word that clients may rely on. The list is closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The status that goes with it.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// What it means in general, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or is nested too deep.
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not valid JSON";
    /// The JSON does not have the shape that the route takes.
    InvalidBody = "invalid_body", BAD_REQUEST, "The body has the wrong shape";
    /// A parameter in the query string is unknown or has a value that it cannot have.
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter is not valid";
    /// A key in the path cannot be a key.
    InvalidKey = "invalid_key", BAD_REQUEST, "The key in the path is not valid";
    /// A header has a value that it cannot have.
    InvalidHeader = "invalid_header", BAD_REQUEST, "A header is not valid";
    /// A compressed body cannot be opened.
    InvalidEncoding = "invalid_encoding", BAD_REQUEST, "The body cannot be decompressed";
    /// The definition has the right shape and contradicts itself or another definition.
    InvalidDefinition = "invalid_definition", UNPROCESSABLE_ENTITY, "The definition is not consistent";
    /// Nothing stands at this path.
    UnknownPath = "unknown_path", NOT_FOUND, "There is nothing at this path";
    /// The path names something that does not exist.
    NotFound = "not_found", NOT_FOUND, "What the path names does not exist";
    /// The path exists and does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    /// The key is taken.
    AlreadyExists = "already_exists", CONFLICT, "The key is taken";
    /// What is asked does not fit the present state.
    Conflict = "conflict", CONFLICT, "The request does not fit the present state";
    /// The idempotency key was used with another request.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The idempotency key was used for another request";
    /// The definition has changed since the caller read it.
    VersionMismatch = "version_mismatch", PRECONDITION_FAILED, "The definition has changed";
    /// A change must name the version that it changes.
    VersionRequired = "version_required", PRECONDITION_REQUIRED, "The If-Match header is missing";
    /// The body is larger than the route takes.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The content type or content encoding is none that the route takes.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The content type is not supported";
    /// Another site's page made the request.
    CrossSite = "cross_site", FORBIDDEN, "Requests from other sites are refused";
    /// Nobody said who asks, or what they said is not valid.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Who asks is not known";
    /// The name or the password is wrong.
    WrongCredentials = "wrong_credentials", UNAUTHORIZED, "The login failed";
    /// The identity provider, or what it says, lets nobody in.
    LoginRefused = "login_refused", FORBIDDEN, "The login by the identity provider is refused";
    /// Who asks may not do this.
    Forbidden = "forbidden", FORBIDDEN, "This is not allowed";
    /// The one-time link was used or has ended.
    InvalidLink = "invalid_link", GONE, "The link is not valid any more";
    /// The caller asks more often than they may; try again.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// The Host header names a host that this server does not answer for.
    UnknownHost = "unknown_host", MISDIRECTED_REQUEST, "This server does not answer for that host";
    /// The request did not arrive or was not answered in time.
    Timeout = "timeout", REQUEST_TIMEOUT, "The request took too long";
    /// More is coming in than can be made durable; try again.
    Overloaded = "overloaded", TOO_MANY_REQUESTS, "Too much at once";
    /// A part that the request needs does not answer; try again.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Not available right now";
    /// A defect of the server.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server failed";
}

/// One place in the body that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where, as a JSON pointer; empty for the whole body.
    #[schema(example = "/variants/0/weight")]
    pub pointer: String,
    /// What is wrong there.
    #[schema(example = "invalid type: string \"1\", expected f64")]
    pub message: String,
}

/// The body of every error.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A stable URI of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:experimently:problem:not_found")]
    pub problem_type: String,
    /// What the kind of problem is, the same for every problem of the code.
    #[schema(example = "What the path names does not exist")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// The word that programs compare.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// What went wrong this time, in one sentence.
    #[schema(example = "There is no feature flag new-checkout.")]
    pub detail: String,
    /// The request's id, as in the header `x-request-id` and in the log.
    #[schema(example = "urn:uuid:0198c5de-7a30-7c3e-9d5b-6f6f0c9e1a11")]
    pub instance: String,
    /// The places in the body that are wrong, where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The present version of the definition, where the caller's is not it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 4)]
    pub current_version: Option<i64>,
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    current_version: Option<i64>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What handlers return.
pub type ApiResult<T> = Result<T, Problem>;

impl Problem {
    /// A problem with a sentence for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: sentence(&detail.into()),
            errors: Vec::new(),
            current_version: None,
            headers: Vec::new(),
            cause: None,
        }
    }

    /// A defect of the server: the caller learns the request's id, the log the cause.
    pub fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            Code::Internal,
            "The server failed; the log has the cause under this request's id.",
        )
        .caused_by(cause)
    }

    /// A part that does not answer: the caller is told to come back after `retry_after_seconds`.
    pub fn unavailable(detail: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(Code::Unavailable, detail).retry_after(retry_after_seconds)
    }

    /// What a path names and does not exist.
    pub fn not_found(what: &str, key: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} {key}"))
    }

    /// Adds a place in the body.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            message: message.into(),
        });
        self
    }

    /// Adds the version that the definition really has.
    #[must_use]
    pub fn current_version(mut self, version: i64) -> Self {
        self.current_version = Some(version);
        self
    }

    /// Adds the advice to come back after some seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds what the log shall say.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// The problem's code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The cause with its own causes, in one line; for the log.
    pub fn cause_chain(&self) -> Option<String> {
        let first: &dyn Error = self.cause.as_deref()?;
        let mut text = first.to_string();
        let mut next = first.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        Some(text)
    }

    /// The problem as the caller sees it.
    pub fn body(&self, request_id: &str) -> ProblemBody {
        ProblemBody {
            problem_type: format!("urn:experimently:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            detail: self.detail.clone(),
            instance: format!("urn:uuid:{request_id}"),
            errors: self.errors.clone(),
            current_version: self.current_version,
        }
    }
}

impl IntoResponse for Problem {
    /// The status and headers, with the problem as an extension; [`crate::gate::Gate`] writes the body.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// An error text of a library ("lowercase, without final stop") as a sentence.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let mut sentence: String = first.to_uppercase().chain(chars).collect();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_word_and_an_error_status() {
        // What must never change: clients tell problems apart by their codes.
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400));
    }

    #[test]
    fn the_cause_is_in_the_log_line_and_not_in_the_body() {
        let problem = Problem::internal(std::io::Error::other("secret path"));
        assert_eq!(problem.cause_chain().as_deref(), Some("secret path"));
        let body = serde_json::to_string(&problem.body("1")).unwrap();
        assert!(!body.contains("secret"), "{body}");
    }

    #[test]
    fn library_phrases_become_sentences() {
        assert_eq!(
            sentence("a key has no control characters"),
            "A key has no control characters."
        );
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), "");
    }
}
