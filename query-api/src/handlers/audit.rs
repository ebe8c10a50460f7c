//! Who changed what, when and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::{AuditFilter, AuditRecord, PageRequest};
use serde::Deserialize;
use utoipa::IntoParams;

use super::definitions::{PageBody, kind_from_word};
use crate::extract::ApiQuery;
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;
use crate::wire;

/// Which records are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only of this kind: `experiment`, `metric`, `flag`, `guardrail`, `rollback`, `webhook_endpoint`.
    #[param(example = "flag")]
    kind: Option<String>,
    /// Only of the object with this key or id.
    key: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// List audit records
///
/// One per write, made in the write's transaction; the newest first.
#[utoipa::path(get, path = "/api/v1/audit-logs", tag = "audit", operation_id = "list_audit_logs", params(AuditQuery),
    responses((status = 200, body = wire::AuditPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> ApiResult<Json<PageBody<AuditRecord>>> {
    let kind = match &query.kind {
        None => None,
        Some(word) => Some(
            kind_from_word(word)
                .ok_or_else(|| Problem::new(Code::InvalidQuery, format!("there is no kind {word}")))?,
        ),
    };
    let before_seq = query
        .cursor
        .map(|cursor| cursor.parse())
        .transpose()
        .map_err(|_| Problem::new(Code::InvalidQuery, "the cursor is none that a page gave"))?;
    let filter = AuditFilter {
        kind,
        key: query.key,
        before_seq,
    };
    let limit = query.limit.unwrap_or(PageRequest::default().limit);
    Ok(Json(state.store.audit(&filter, limit).await?.into()))
}
