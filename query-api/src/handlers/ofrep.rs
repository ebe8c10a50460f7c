//! OpenFeature Remote Evaluation Protocol 0.3: every OpenFeature SDK is a client of these routes.
//!
//! Bodies and codes are the protocol's, not problems. What its published clients stumble over is kept to: a success always has
//! a variant, a standard reason and an explicit value; an error always has its details; keys may hold `/`, encoded or not.

mod tag;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use domain::rules::{Context, Decision, EvaluationError, Ruleset};
use domain::{FlagKey, UnitId, VariantKey};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::evaluate::{ABSENT_RETRY_SECONDS, EVALUATION_BYTES, serving};
use crate::extract::{RawBody, is_json, json, not_json, parse_json};
use crate::metrics;
use crate::problem::{Code, Problem};
use crate::state::ApiState;

/// Where clients hear that they should ask again; a path, so that it holds behind any proxy.
const STREAM_PATH: &str = "/ofrep/v1/stream";
/// For how long a hidden page keeps its stream: the protocol's own default.
const INACTIVITY_SECONDS: u32 = 120;
/// About as much as a bulk answer without flags takes, and as each flag adds: room that is made at once.
const BULK_BYTES: usize = 256;
/// See [`BULK_BYTES`].
const ENTRY_BYTES: usize = 192;
/// The reason of every decision that follows a ruleset of which nobody knows whether it is the newest.
const STALE: &str = "STALE";

/// Whom an evaluation is for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepRequest, example = json!({"context": {"targetingKey": "u-4711", "plan": "pro"}}))]
pub struct OfrepRequest {
    /// `targetingKey` is the unit that rollouts are drawn by; everything is an attribute.
    #[schema(value_type = Option<Object>, required = false)]
    context: Map<String, Value>,
}

/// The same as it comes: the protocol has a word of its own for a context that is no object, and lets a body hold more.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    context: Value,
}

/// A flag's value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepEvaluation, example = json!({"key": "new-checkout", "value": true, "reason": "TARGETING_MATCH", "variant": "on",
    "metadata": {"ruleset_version": 12, "cause": "rule", "rule_id": "staff"}}))]
pub struct Success<'r> {
    /// The flag.
    key: &'r str,
    /// The value: numbers of a flag with fractions always have a point, those of others never.
    #[schema(value_type = Value)]
    value: &'r Value,
    /// `STATIC`, `TARGETING_MATCH`, `SPLIT`, `DISABLED`, `DEFAULT` or `STALE`.
    reason: &'static str,
    /// The variation's key.
    variant: &'r str,
    /// What else there is to say, in texts, numbers and booleans.
    metadata: Metadata<'r>,
}

/// What the protocol has no member for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepMetadata)]
struct Metadata<'r> {
    /// The version of the ruleset.
    ruleset_version: u64,
    /// Which step decided.
    cause: &'static str,
    /// The rule that served.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<&'r str>,
    /// The bucket that decided, of 100 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<u32>,
    /// The experiment whose exposure this is, with `variant` as the variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    exposure: Option<&'r str>,
    /// With the reason `STALE`: the reason that the decision has by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<&'static str>,
}

/// Why there is no value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepError, example = json!({"key": "new-checkout", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "There is no flag new-checkout."}))]
#[serde(rename_all = "camelCase")]
pub struct Failure<'k> {
    /// The flag; absent when the request is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'k str>,
    /// `FLAG_NOT_FOUND`, `PARSE_ERROR`, `TARGETING_KEY_MISSING`, `INVALID_CONTEXT` or `GENERAL`.
    error_code: &'static str,
    /// What is wrong, in one sentence.
    error_details: String,
}

/// Every flag's value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepBulk)]
#[serde(rename_all = "camelCase")]
pub struct Bulk<'r> {
    /// A value or an error for each flag.
    #[schema(value_type = Vec<Object>)]
    flags: Flags<'r>,
    /// About the whole.
    metadata: BulkMetadata,
    /// Where changes are told.
    event_streams: [EventStream; 1],
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry<'r> {
    Success(Success<'r>),
    Failure(Failure<'r>),
}

/// About the whole answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepBulkMetadata)]
struct BulkMetadata {
    /// The version of the ruleset.
    ruleset_version: u64,
    /// Whether the store did not answer when it was asked last.
    stale: bool,
}

/// A stream that tells of changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepEventStream)]
#[serde(rename_all = "camelCase")]
struct EventStream {
    /// `sse`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Where it is.
    endpoint: Endpoint,
    /// After how many seconds a hidden page closes it.
    inactivity_delay_sec: u32,
}

/// A path on this server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfrepEndpoint)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    /// The path.
    request_uri: &'static str,
}

/// A request that cannot be evaluated.
struct Refused {
    status: StatusCode,
    code: &'static str,
    details: String,
}

impl Refused {
    fn response(self, key: Option<&str>) -> Response {
        let failure = Failure {
            key,
            error_code: self.code,
            error_details: self.details,
        };
        let mut response = (self.status, Json(failure)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let wait = HeaderValue::from(ABSENT_RETRY_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let code = match problem.code() {
            Code::BodyTooLarge => "INVALID_CONTEXT",
            Code::Unavailable => "GENERAL",
            _ => "PARSE_ERROR",
        };
        Self {
            status: problem.code().status(),
            code,
            details: problem.body("").detail,
        }
    }
}

/// Evaluate a flag, as OpenFeature SDKs on servers do
///
/// The key may hold `/`, percent-encoded or not. The context may hold anything; without a `targetingKey`, a flag that needs a
/// bucket answers `TARGETING_KEY_MISSING`. While the store is away the reason is `STALE`.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep", operation_id = "ofrep_evaluate_flag",
    request_body = OfrepRequest,
    responses((status = 200, body = Success<'_>, description = "The value."),
        (status = 400, body = Failure<'_>, description = "The request or the flag cannot be evaluated."),
        (status = 404, body = Failure<'_>, description = "There is no such flag."),
        (status = 413, body = Failure<'_>, description = "The context is larger than 64 KiB."),
        (status = 415, body = Failure<'_>, description = "The body does not say that it is JSON."),
        (status = 503, body = Failure<'_>, description = "The flags have not been read yet.")))]
pub async fn evaluate(
    State(state): State<Arc<ApiState>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let whom = match Whom::read(request).await {
        Ok(whom) => whom,
        Err(refused) => return refused.response(Some(&key)),
    };
    let (ruleset, is_stale) = match serving(&state) {
        Ok(serving) => serving,
        Err(problem) => return Refused::from(problem).response(Some(&key)),
    };
    let decision = ruleset.evaluate(&key, &whom.context(&state));
    metrics::count_evaluation(decision.reason);
    match entry(&key, decision, is_stale) {
        Entry::Success(success) => json(EVALUATION_BYTES, &success).into_response(),
        Entry::Failure(failure) => {
            let status = match decision.error {
                Some(EvaluationError::FlagNotFound) => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, Json(failure)).into_response()
        }
    }
}

/// Evaluate every flag, as OpenFeature SDKs in browsers do
///
/// The ETag covers the flags and the context, so an `If-None-Match` with another context is not answered with 304. A flag that
/// cannot be evaluated is an entry with an error and does not touch the others. `flagConfigEtag` is what the event stream said:
/// when it is not the version here, the answer is always whole.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags", tag = "ofrep", operation_id = "ofrep_evaluate_flags",
    params(("flagConfigEtag" = Option<String>, Query, description = "The `etag` of the event that made the client ask.", example = "r12"),
        ("flagConfigLastModified" = Option<String>, Query, description = "Taken and not used: events carry an `etag`."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the answer that the client has.", example = "\"7be6f23aa6b0c2d11f6c7a95a3c1d0e2\"")),
    request_body = OfrepRequest,
    responses((status = 200, body = Bulk<'_>, description = "Every flag.", headers(("ETag" = String, description = "The tag of this answer to this context."))),
        (status = 304, description = "Nothing has changed for this context."),
        (status = 400, body = Failure<'_>, description = "The request cannot be evaluated."),
        (status = 413, body = Failure<'_>, description = "The context is larger than 64 KiB."),
        (status = 415, body = Failure<'_>, description = "The body does not say that it is JSON."),
        (status = 503, body = Failure<'_>, description = "The flags have not been read yet.")))]
pub async fn evaluate_all(State(state): State<Arc<ApiState>>, request: Request) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let announced = config_etag_of(request.uri());
    let whom = match Whom::read(request).await {
        Ok(whom) => whom,
        Err(refused) => return refused.response(None),
    };
    let (ruleset, is_stale) = match serving(&state) {
        Ok(serving) => serving,
        Err(problem) => return Refused::from(problem).response(None),
    };
    let body = bulk(&ruleset, &whom.context(&state), is_stale);
    let tag = tag::of(&body, ruleset.version(), &whom.attributes);
    // What the client was told of is not here yet, or gone already: it gets what there is, never "nothing has changed".
    let is_other_config = announced.is_some_and(|announced| announced != config_etag(ruleset.version()));
    let is_known = known.is_some_and(|known| tag::is_named_by(&known, &tag));
    let Ok(tag) = HeaderValue::from_str(&tag) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::ETAG, tag),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        ),
    ];
    if is_known && !is_other_config {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Body::from(body)).into_response()
}

/// The tag by which event streams and clients name a version of the ruleset.
pub fn config_etag(ruleset_version: u64) -> String {
    format!("r{ruleset_version}")
}

fn config_etag_of(uri: &Uri) -> Option<String> {
    let mut query = Query::<BTreeMap<String, String>>::try_from_uri(uri).ok()?;
    query.0.remove("flagConfigEtag")
}

/// Whom a request is about.
struct Whom {
    targeting_key: Option<UnitId>,
    attributes: Map<String, Value>,
}

impl Whom {
    async fn read(request: Request) -> Result<Self, Refused> {
        if !is_json(request.headers()) {
            return Err(not_json().into());
        }
        let RawBody(bytes) = RawBody::from_request(request, &()).await?;
        let body: Asked = parse_json(&bytes)?;
        let invalid = |details: &str| Refused {
            status: StatusCode::BAD_REQUEST,
            code: "INVALID_CONTEXT",
            details: details.to_owned(),
        };
        let attributes = match body.context {
            Value::Object(attributes) => attributes,
            Value::Null => Map::new(),
            _ => return Err(invalid("The context must be an object.")),
        };
        let targeting_key = match attributes.get("targetingKey") {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) if key.is_empty() => None,
            Some(Value::String(key)) => {
                let key = UnitId::new(key);
                Some(key.map_err(|error| invalid(&format!("The targetingKey cannot be used: {error}.")))?)
            }
            Some(_) => return Err(invalid("The targetingKey must be a string.")),
        };
        Ok(Self {
            targeting_key,
            attributes,
        })
    }

    fn context(&self, state: &ApiState) -> Context<'_> {
        let key = self.targeting_key.as_ref().map_or("", UnitId::as_str);
        Context::from_json(key, &self.attributes).with_now(state.clock.now())
    }
}

fn entry<'r>(key: &'r str, decision: Decision<'r>, is_stale: bool) -> Entry<'r> {
    let reason = decision.reason.as_str();
    let (None, Some(variant)) = (decision.error, decision.variation) else {
        return Entry::Failure(failure(key, decision.error));
    };
    Entry::Success(Success {
        key,
        value: decision.value,
        reason: if is_stale { STALE } else { reason },
        variant: VariantKey::as_str(variant),
        metadata: Metadata {
            ruleset_version: decision.ruleset_version,
            cause: decision.cause.as_str(),
            rule_id: decision.rule_id,
            bucket: decision.bucket,
            exposure: decision.exposure,
            decided_by: is_stale.then_some(reason),
        },
    })
}

fn failure(key: &str, error: Option<EvaluationError>) -> Failure<'_> {
    let (error_code, error_details) = match error {
        Some(EvaluationError::FlagNotFound) => ("FLAG_NOT_FOUND", format!("There is no flag {key}.")),
        Some(EvaluationError::TargetingKeyMissing) => (
            "TARGETING_KEY_MISSING",
            format!("The flag {key} needs a targetingKey to choose between its variations."),
        ),
        _ => (
            "GENERAL",
            format!("The definition of the flag {key} has errors and is not served."),
        ),
    };
    Failure {
        key: Some(key),
        error_code,
        error_details,
    }
}

/// The body of a bulk answer.
fn bulk(ruleset: &Ruleset, context: &Context<'_>, is_stale: bool) -> Vec<u8> {
    let answer = Bulk {
        flags: Flags {
            ruleset,
            context,
            is_stale,
        },
        metadata: BulkMetadata {
            ruleset_version: ruleset.version(),
            stale: is_stale,
        },
        event_streams: [EventStream {
            kind: "sse",
            endpoint: Endpoint {
                request_uri: STREAM_PATH,
            },
            inactivity_delay_sec: INACTIVITY_SECONDS,
        }],
    };
    let mut body = Vec::with_capacity(BULK_BYTES + ruleset.flag_keys().count() * ENTRY_BYTES);
    let written = serde_json::to_writer(&mut body, &answer);
    debug_assert!(written.is_ok(), "JSON can be written to memory");
    body
}

/// All flags of a ruleset for a context, evaluated while they are written.
#[derive(Debug)]
struct Flags<'r> {
    ruleset: &'r Ruleset,
    context: &'r Context<'r>,
    is_stale: bool,
}

impl Serialize for Flags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = metrics::EvaluationCounts::default();
        let served = self.ruleset.flag_keys().map(FlagKey::as_str);
        let broken = self.ruleset.broken_flag_keys();
        serializer.collect_seq(served.chain(broken).map(|key| {
            let decision = self.ruleset.evaluate(key, self.context);
            counts.add(decision.reason);
            entry(key, decision, self.is_stale)
        }))
    }
}
