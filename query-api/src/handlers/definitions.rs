//! What experiments, metrics and flags have in common: documents that are created, read, replaced, patched and deleted,
//! one version at a time.
//!
//! On the wire a document is its definition with a few members more: `version`, `discovered`, `created_at`, `updated_at`
//! and, once it is deleted, `deleted_at`. They may be sent back and are then ignored, so that what was read can be changed and sent as it is.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use control::store::{Definition, PAGE_LIMIT_MAX};
use control::{Change, ControlError, Document, ListFilter, ObjectKind, Page, PageRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::IntoParams;

use crate::access::Caller;
use crate::extract::{self, IdempotencyKey, IfMatch};
use crate::problem::{ApiResult, Code, Problem};
use crate::request_id::RequestId;
use crate::state::ApiState;

/// The members of a document that the platform writes.
pub const READ_ONLY: [&str; 5] = ["version", "discovered", "created_at", "updated_at", "deleted_at"];

/// How long a client shall wait when the store does not answer: longer than a lock is held, shorter than patience.
pub const STORE_RETRY_SECONDS: u32 = 2;

/// The same when the identity provider does not answer, which is asked again after five seconds.
const PROVIDER_RETRY_SECONDS: u32 = 6;

/// The longest reason for a change, in bytes.
pub const REASON_MAX_BYTES: usize = 500;

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
}

impl ListQuery {
    /// The page that the store is asked for.
    pub fn page(self) -> PageRequest {
        let default = PageRequest::default();
        PageRequest {
            after: self.cursor,
            limit: self.limit.unwrap_or(default.limit),
        }
    }
}

/// Which definitions are wanted, and which part of the list of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FindQuery {
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// Only of this status, such as `running` or `enabled`.
    pub status: Option<String>,
    /// Only of this type, such as `bandit` or `boolean`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub value_type: Option<String>,
    /// Only of this owner.
    pub owner: Option<String>,
    /// Only of this project.
    pub project: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// Only those in whose key, name or tags each of these words begins a word.
    pub search: Option<String>,
    /// Deleted ones, which can be restored, instead of those that are there; nothing else then filters.
    #[param(default = false)]
    pub deleted: Option<bool>,
}

impl FindQuery {
    /// The page and the filter that the store is asked for.
    pub fn parts(self) -> (PageRequest, ListFilter) {
        let default = PageRequest::default();
        let page = PageRequest {
            after: self.cursor,
            limit: self.limit.unwrap_or(default.limit),
        };
        let filter = ListFilter {
            status: self.status,
            value_type: self.value_type,
            owner: self.owner,
            project: self.project,
            tag: self.tag,
            search: self.search,
            deleted: self.deleted.unwrap_or(false),
        };
        (page, filter)
    }
}

/// A page on the wire.
#[derive(Debug, Serialize)]
pub struct PageBody<T> {
    /// The entries.
    pub items: Vec<T>,
    /// What to ask with for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> From<Page<T>> for PageBody<T> {
    fn from(page: Page<T>) -> Self {
        Self {
            items: page.items,
            next_cursor: page.next,
        }
    }
}

/// Who changes something and why, out of the request.
#[derive(Debug)]
pub struct Writer(pub Change);

impl FromRequestParts<Arc<ApiState>> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> ApiResult<Self> {
        let IdempotencyKey(idempotency_key) = IdempotencyKey::from_request_parts(parts, state).await?;
        let caller = Caller::from_request_parts(parts, state).await?;
        let id = RequestId::from_request_parts(parts, state).await?;
        let reason = match parts.headers.get("x-change-reason") {
            None => None,
            Some(value) => Some(reason(value.as_bytes())?),
        };
        let origin = Some(origin(&caller, id));
        Ok(Self(Change {
            actor: caller.principal?.actor,
            at: state.clock.now(),
            reason,
            origin,
            idempotency_key,
        }))
    }
}

/// From where a change came: the machine and the request.
pub fn origin(caller: &Caller, id: RequestId) -> String {
    format!("address {}, request {id}", caller.address)
}

fn reason(bytes: &[u8]) -> ApiResult<String> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    let text = text.filter(|text| text.len() <= REASON_MAX_BYTES);
    text.map(str::to_owned).ok_or_else(|| {
        let detail = format!("x-change-reason takes at most {REASON_MAX_BYTES} bytes of UTF-8");
        Problem::new(Code::InvalidHeader, detail)
    })
}

/// The problem that a failure of the store is to the caller.
impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        use ControlError as E;
        let text = error.to_string();
        match error {
            E::NotFound { .. } => Self::new(Code::NotFound, text),
            E::AlreadyExists { .. } => Self::new(Code::AlreadyExists, text),
            E::VersionConflict { current, .. } => {
                Self::new(Code::VersionMismatch, text).current_version(current)
            }
            E::InUse { .. }
            | E::AlreadySafe { .. }
            | E::LastAdmin { .. }
            | E::NotAllowed { .. }
            | E::NotADraft { .. }
            | E::Managed { .. }
            | E::Frozen { .. }
            | E::ScheduleNotAllowed { .. }
            | E::RolloutNotAllowed { .. } => Self::new(Code::Conflict, text),
            E::CannotStart { ref failures, .. } => {
                let problem = Self::new(Code::Conflict, text);
                failures.iter().fold(problem, |problem, failed| {
                    problem.at(
                        failed.pointer.clone(),
                        format!("{}: {}", failed.check, failed.message),
                    )
                })
            }
            E::InvalidKey { .. } => Self::new(Code::InvalidDefinition, text),
            E::InvalidPassword { .. } => {
                Self::new(Code::InvalidBody, text).at("/password", "has another length")
            }
            E::NameMissing => Self::new(Code::InvalidBody, text).at("/name", "is missing"),
            E::TooManyEditors { .. } => Self::new(Code::InvalidBody, text).at("/editors", "are too many"),
            E::InvalidLink => Self::new(Code::InvalidLink, text),
            E::NoSignOn => Self::new(Code::NotFound, text),
            E::InvalidReturn => Self::new(Code::InvalidQuery, text),
            E::SignOnRefused { .. } => Self::new(Code::LoginRefused, text),
            E::ProviderAway => Self::unavailable(text, PROVIDER_RETRY_SECONDS),
            E::WrongCredentials => Self::new(Code::WrongCredentials, text),
            E::LockedOut { retry_after_seconds } => {
                Self::new(Code::RateLimited, text).retry_after(retry_after_seconds)
            }
            E::IdempotencyMismatch { .. } => Self::new(Code::IdempotencyKeyReused, text),
            E::InvalidLimit { .. } => Self::new(Code::InvalidQuery, text),
            E::BlockedTarget { source, .. } => {
                Self::new(Code::InvalidDefinition, text).at("/url", source.to_string())
            }
            E::InvalidExperiment(_)
            | E::InvalidMetric(_)
            | E::InvalidGuardrail(_)
            | E::InvalidRollout(_)
            | E::UnknownReference { .. }
            | E::BadDecision { .. }
            | E::BadSchedule { .. }
            | E::TooManyIds { .. }
            | E::BadBundle { .. }
            | E::UnstorableText
            | E::InvalidFlag { .. } => Self::new(Code::InvalidDefinition, text),
            unavailable if unavailable.is_unavailable() => Self::unavailable(
                "the store does not answer; evaluations go on",
                STORE_RETRY_SECONDS,
            )
            .caused_by(unavailable),
            defect => Self::internal(defect),
        }
    }
}

/// A document as on the wire.
pub fn to_wire<D: Definition>(document: &Document<D>) -> ApiResult<Value> {
    let mut wire = serde_json::to_value(&document.definition).map_err(Problem::internal)?;
    let Value::Object(members) = &mut wire else {
        return Ok(wire);
    };
    members.insert("version".to_owned(), document.version.into());
    members.insert("discovered".to_owned(), document.discovered.into());
    members.insert("created_at".to_owned(), document.created_at.to_string().into());
    members.insert("updated_at".to_owned(), document.updated_at.to_string().into());
    if let Some(deleted_at) = document.deleted_at {
        members.insert("deleted_at".to_owned(), deleted_at.to_string().into());
    }
    Ok(wire)
}

/// A definition out of a body; `key` is the path's, which the body may repeat and may not contradict.
pub fn from_wire<D: Definition>(mut members: Map<String, Value>, key: Option<&str>) -> ApiResult<D> {
    for member in READ_ONLY {
        members.remove(member);
    }
    if let Some(key) = key {
        let named = members.insert("key".to_owned(), key.into());
        if named.is_some_and(|named| named.as_str() != Some(key)) {
            let detail = format!("the body's key is not {key}, the key in the path; keys cannot be changed");
            return Err(Problem::new(Code::InvalidDefinition, detail).at("/key", "differs from the path"));
        }
    }
    let bytes = serde_json::to_vec(&members).map_err(Problem::internal)?;
    extract::parse_json(&bytes)
}

/// A page of documents.
pub async fn list<D: Definition>(state: &ApiState, query: FindQuery) -> ApiResult<Response> {
    let (request, filter) = query.parts();
    let page = state.store.find::<D>(&filter, &request).await?;
    let items: ApiResult<Vec<Value>> = page.items.iter().map(to_wire).collect();
    let body = PageBody {
        items: items?,
        next_cursor: page.next,
    };
    Ok(axum::Json(body).into_response())
}

/// One document with its ETag.
pub async fn get<D: Definition>(state: &ApiState, key: &D::Key, headers: &HeaderMap) -> ApiResult<Response> {
    let document = state.store.get::<D>(key).await?;
    Ok(extract::versioned(headers, document.version, to_wire(&document)?))
}

/// Creates a document out of a body.
pub async fn create<D: Definition>(
    state: &ApiState,
    collection: &str,
    members: Map<String, Value>,
    change: &Change,
) -> ApiResult<Response> {
    let definition: D = from_wire(members, None)?;
    check_compiles(state, &definition).await?;
    let document = state.store.create(&definition, change).await?;
    changed(state).await;
    let key: &str = std::borrow::Borrow::borrow(document.definition.key());
    Ok(extract::created(
        collection,
        key,
        document.version,
        to_wire(&document)?,
    ))
}

/// Replaces a document by a body.
pub async fn replace<D: Definition>(
    state: &ApiState,
    key: &D::Key,
    expected: IfMatch,
    (members, change): (Map<String, Value>, &Change),
) -> ApiResult<Response> {
    let definition: D = from_wire(members, Some(std::borrow::Borrow::borrow(key)))?;
    update(state, &definition, expected, change).await
}

/// Changes some members of a document: JSON merge patch (RFC 7396), where null takes a member out.
pub async fn patch<D: Definition>(
    state: &ApiState,
    key: &D::Key,
    expected: IfMatch,
    (patch, change): (Map<String, Value>, &Change),
) -> ApiResult<Response> {
    let document = state.store.get::<D>(key).await?;
    if document.version != expected.0 {
        let key: &str = std::borrow::Borrow::borrow(key);
        return Err(Problem::from(ControlError::VersionConflict {
            kind: D::KIND,
            key: key.to_owned(),
            expected: expected.0,
            current: document.version,
        }));
    }
    let mut merged = serde_json::to_value(&document.definition).map_err(Problem::internal)?;
    merge(&mut merged, &Value::Object(patch));
    let members = merged.as_object().cloned().unwrap_or_default();
    let definition: D = from_wire(members, Some(std::borrow::Borrow::borrow(key)))?;
    update(state, &definition, expected, change).await
}

async fn update<D: Definition>(
    state: &ApiState,
    definition: &D,
    expected: IfMatch,
    change: &Change,
) -> ApiResult<Response> {
    check_compiles(state, definition).await?;
    let document = state.store.update(definition, expected.0, change).await?;
    changed(state).await;
    Ok(extract::versioned(
        &HeaderMap::new(),
        document.version,
        to_wire(&document)?,
    ))
}

/// Deletes a document.
pub async fn delete<D: Definition>(
    state: &ApiState,
    key: &D::Key,
    expected: IfMatch,
    change: &Change,
) -> ApiResult<StatusCode> {
    state.store.delete::<D>(key, expected.0, change).await?;
    changed(state).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a deleted document back.
pub async fn restore<D: Definition>(state: &ApiState, key: &D::Key, change: &Change) -> ApiResult<Response> {
    let document = state.store.restore::<D>(key, change).await?;
    changed(state).await;
    Ok(extract::versioned(
        &HeaderMap::new(),
        document.version,
        to_wire(&document)?,
    ))
}

/// Refuses what could not be served: a rule that names an unknown variation, a regular expression that is none, a circle
/// of prerequisites, a slot that another has.
async fn check_compiles<D: Definition>(state: &ApiState, definition: &D) -> ApiResult<()> {
    let errors = state.store.compile_errors(definition).await?;
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let place = if first.path.is_empty() {
        format!("the {}", D::KIND)
    } else {
        first.path.clone()
    };
    let problem = Problem::new(Code::InvalidDefinition, format!("{place}: {}", first.message));
    Err(errors.iter().fold(problem, |problem, error| {
        problem.at(error.path.clone(), error.message.clone())
    }))
}

/// Makes a change visible to evaluations before the writer is answered, so that writers read what they wrote. What does
/// not decide who gets what costs one look at the version.
pub async fn changed(state: &ApiState) {
    state.ruleset.refresh_logged(&state.store).await;
}

/// Merges a patch into a value as RFC 7396 says.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The largest page, for the documentation of limits.
pub const LIMIT_MAX: u32 = PAGE_LIMIT_MAX;

/// The kind that a word of the wire names.
pub fn kind_from_word(word: &str) -> Option<ObjectKind> {
    serde_json::from_value(Value::String(word.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches_merge_as_the_standard_shows() {
        // The cases of RFC 7396, appendix A.
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (target, patch, expected) in cases {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, expected, "{target} with {patch}");
        }
    }

    #[test]
    fn what_was_read_can_be_sent_back() {
        // What must never change: the platform's own members neither fail nor alter a write; any other unknown one does.
        let wire = json!({"key": "revenue", "kind": "sum", "event": "purchase", "version": 7, "discovered": true,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
        let members = wire.as_object().cloned().unwrap();
        let metric: domain::metric::MetricDefinition = from_wire(members.clone(), Some("revenue")).unwrap();
        assert_eq!(metric.event.as_str(), "purchase");
        let other = from_wire::<domain::metric::MetricDefinition>(members.clone(), Some("orders"));
        assert_eq!(other.unwrap_err().code(), Code::InvalidDefinition);
        let mut smuggled = members;
        smuggled.insert("tenant_id".to_owned(), json!(1));
        let refused = from_wire::<domain::metric::MetricDefinition>(smuggled, None);
        assert_eq!(refused.unwrap_err().code(), Code::InvalidBody);
    }
}
