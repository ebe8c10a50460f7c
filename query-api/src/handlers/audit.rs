//! Who changed what, when and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::difference::{Difference, differences};
use control::{AuditFilter, AuditRecord, PageRequest};
use serde::{Deserialize, Serialize};
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
    /// Only of this kind, such as `experiment`, `flag`, `segment`, `guardrail`, `rollout_schedule` or `settings`.
    #[param(example = "flag")]
    kind: Option<String>,
    /// Only of the object with this key or id.
    key: Option<String>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// A record with what changed, place by place.
#[derive(Debug, Serialize)]
pub struct ShownRecord {
    #[serde(flatten)]
    record: AuditRecord,
    changes: Vec<Difference>,
}

/// List audit records
///
/// One per write, made in the write's transaction; the newest first.
#[utoipa::path(get, path = "/api/v1/audit-logs", tag = "audit", operation_id = "list_audit_logs", params(AuditQuery),
    responses((status = 200, body = wire::AuditPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> ApiResult<Json<PageBody<ShownRecord>>> {
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
    let page = state.store.audit(&filter, limit).await?;
    Ok(Json(PageBody {
        items: page.items.into_iter().map(shown).collect(),
        next_cursor: page.next,
    }))
}

fn shown(record: AuditRecord) -> ShownRecord {
    let changes = match (&record.before, &record.after) {
        (Some(before), Some(after)) => differences(before, after),
        _ => Vec::new(),
    };
    ShownRecord { record, changes }
}
