//! Creations that are done once, however often they are sent.

use domain::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::Row;

use super::super::{ObjectKind, Write, failed};
use crate::change::Change;
use crate::error::ControlError;

/// How long a creation is remembered by its idempotency key: a day covers the retries of any client.
const IDEMPOTENCY_MICROS: i64 = domain::timestamp::MICROS_PER_DAY;

fn fingerprint(kind: ObjectKind, document: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(kind.as_str());
    hash.update([0]);
    hash.update(document);
    hash.finalize().to_vec()
}

/// The key or id of what the same request made before, when it was made before.
pub(in crate::store) async fn repeated(
    write: &mut Write,
    kind: ObjectKind,
    document: &str,
    change: &Change,
) -> Result<Option<String>, ControlError> {
    let Some(idempotency_key) = &change.idempotency_key else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT object, fingerprint FROM idempotency_keys WHERE actor = $1 AND key = $2 AND created_at > $3",
    )
    .bind(change.actor.as_str())
    .bind(idempotency_key)
    .bind(change.at.plus_micros(-IDEMPOTENCY_MICROS).0)
    .fetch_optional(&mut **write)
    .await
    .map_err(failed("read an idempotency key"))?;
    let Some(row) = row else { return Ok(None) };
    let before: Vec<u8> = row
        .try_get("fingerprint")
        .map_err(failed("read an idempotency key"))?;
    if before != fingerprint(kind, document) {
        let idempotency_key = idempotency_key.clone();
        return Err(ControlError::IdempotencyMismatch { idempotency_key });
    }
    row.try_get("object")
        .map(Some)
        .map_err(failed("read an idempotency key"))
}

/// Remembers what a request made, and forgets what is older than a day.
pub(in crate::store) async fn remember(
    write: &mut Write,
    kind: ObjectKind,
    object: &str,
    document: &str,
    change: &Change,
) -> Result<(), ControlError> {
    let Some(idempotency_key) = &change.idempotency_key else {
        return Ok(());
    };
    let oldest: Timestamp = change.at.plus_micros(-IDEMPOTENCY_MICROS);
    sqlx::query("DELETE FROM idempotency_keys WHERE created_at <= $1")
        .bind(oldest.0)
        .execute(&mut **write)
        .await
        .map_err(failed("forget idempotency keys"))?;
    sqlx::query(
        "INSERT INTO idempotency_keys (key, actor, kind, object, fingerprint, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(idempotency_key)
    .bind(change.actor.as_str())
    .bind(kind.as_str())
    .bind(object)
    .bind(fingerprint(kind, document))
    .bind(change.at.0)
    .execute(&mut **write)
    .await
    .map(drop)
    .map_err(failed("remember an idempotency key"))
}
