//! Who did what: one record per write, in the transaction of the write.

use domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{ObjectKind, Page, Store, Write, chain, corrupt, failed, page, page_size};
use crate::change::{Actor, Change};
use crate::error::ControlError;

/// One write, as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditRecord {
    /// Its place in the order of all writes.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done: `create`, `update`, `delete`, `rollback`, `rearm`, `enable`, `disable`, `rotate_secret`, `login`,
    /// `refuse_login`.
    pub action: String,
    /// To what kind of object.
    pub kind: ObjectKind,
    /// Its key or id.
    pub key: String,
    /// The object before; absent at a creation.
    pub before: Option<Value>,
    /// The object after; absent at a deletion.
    pub after: Option<Value>,
    /// Why, when a reason was given.
    pub reason: Option<String>,
    /// From where, when known.
    pub origin: Option<String>,
}

/// Which audit records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this kind.
    pub kind: Option<ObjectKind>,
    /// Only of this key.
    pub key: Option<String>,
    /// Only older than this record.
    pub before_seq: Option<i64>,
}

/// A record about to be written.
pub(crate) struct Entry<'e> {
    pub(crate) action: &'static str,
    pub(crate) kind: ObjectKind,
    pub(crate) key: &'e str,
    pub(crate) before: Option<&'e str>,
    pub(crate) after: Option<&'e str>,
}

impl Store {
    /// Audit records, the newest first; the page's `next` is the `before_seq` of the following page.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Page<AuditRecord>, ControlError> {
        let size = page_size(limit)?;
        let rows = sqlx::query(
            "SELECT seq, at, actor, action, kind, key, before, after, reason, origin FROM audit
             WHERE ($1 IS NULL OR kind = $1) AND ($2 IS NULL OR key = $2) AND ($3 IS NULL OR seq < $3)
             ORDER BY seq DESC LIMIT $4",
        )
        .bind(filter.kind.map(ObjectKind::as_str))
        .bind(filter.key.as_deref())
        .bind(filter.before_seq)
        .bind(size)
        .fetch_all(self.readers())
        .await
        .map_err(failed("read audit records"))?;
        let records = rows.iter().map(record).collect::<Result<_, _>>()?;
        Ok(page(records, limit, |record: &AuditRecord| {
            record.seq.to_string()
        }))
    }

    /// Writes an audit record into a transaction.
    pub(crate) async fn record(
        write: &mut Write,
        entry: Entry<'_>,
        change: &Change,
    ) -> Result<(), ControlError> {
        let last = chain::head(&mut **write).await?;
        let content = chain::Content {
            seq: last.seq + 1,
            at: change.at.0,
            actor: change.actor.as_str(),
            action: entry.action,
            kind: entry.kind.as_str(),
            key: entry.key,
            before: entry.before,
            after: entry.after,
            reason: change.reason.as_deref(),
            origin: change.origin.as_deref(),
        };
        let link = last.then(content.seq, &content.canonical()?);
        sqlx::query(
            "INSERT INTO audit (at, actor, action, kind, key, before, after, reason, origin, seq, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(change.at.0)
        .bind(change.actor.as_str())
        .bind(entry.action)
        .bind(entry.kind.as_str())
        .bind(entry.key)
        .bind(entry.before)
        .bind(entry.after)
        .bind(change.reason.as_deref())
        .bind(change.origin.as_deref())
        .bind(link.seq)
        .bind(link.hash.to_vec())
        .execute(&mut **write)
        .await
        .map_err(failed("write an audit record"))?;
        Self::follow_ownership(write, &entry, change).await
    }
}

pub(super) fn record(row: &AnyRow) -> Result<AuditRecord, ControlError> {
    let seq: i64 = row.try_get("seq").map_err(failed("read an audit record"))?;
    let text = |column: &'static str| -> Result<String, ControlError> {
        row.try_get(column).map_err(failed("read an audit record"))
    };
    let optional = |column: &'static str| -> Result<Option<String>, ControlError> {
        row.try_get(column).map_err(failed("read an audit record"))
    };
    let (kind, key) = (text("kind")?, text("key")?);
    let kind: ObjectKind = serde_json::from_value(Value::String(kind))
        .map_err(corrupt(ObjectKind::AuditRecord, &seq.to_string()))?;
    let document = |column: &'static str| -> Result<Option<Value>, ControlError> {
        optional(column)?
            .map(|text| serde_json::from_str(&text).map_err(corrupt(kind, &key)))
            .transpose()
    };
    Ok(AuditRecord {
        seq,
        at: Timestamp(row.try_get("at").map_err(failed("read an audit record"))?),
        actor: Actor::from_stored(&text("actor")?),
        action: text("action")?,
        before: document("before")?,
        after: document("after")?,
        reason: optional("reason")?,
        origin: optional("origin")?,
        kind,
        key,
    })
}
