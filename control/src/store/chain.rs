//! The chain of audit records: `hash(n) = SHA-256(hash(n-1) ‖ canonical JSON of record n)`, from 32 zero bytes on.
//!
//! The canonical JSON of a record is the array of its columns in the order of the table, documents as the text that is
//! stored. It does not depend on how any program orders or spaces the members of an object.

use domain::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{AuditRecord, record};
use super::{ObjectKind, Store, Write, corrupt, failed};
use crate::error::ControlError;

/// A place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLink {
    /// The record's place in the order of all writes; 0 before the first.
    pub seq: i64,
    /// The hash of everything up to it.
    pub hash: [u8; 32],
}

impl ChainLink {
    /// Before the first record.
    pub const START: Self = Self {
        seq: 0,
        hash: [0; 32],
    };

    /// The link after this one, of a record's canonical JSON.
    pub(crate) fn then(&self, seq: i64, canonical: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(canonical);
        Self {
            seq,
            hash: hash.finalize().into(),
        }
    }

    /// The hash in hexadecimal.
    pub fn hex(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An audit record with the link that is stored beside it.
#[derive(Debug, Clone)]
pub struct ChainedRecord {
    /// The record.
    pub record: AuditRecord,
    /// What is stored as its hash, in hexadecimal.
    pub hash: String,
}

/// What verification reads of a record.
pub(crate) struct StoredLink {
    pub(crate) seq: i64,
    pub(crate) canonical: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

/// What stands in a record, as it is hashed.
pub(super) struct Content<'c> {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) actor: &'c str,
    pub(super) action: &'c str,
    pub(super) kind: &'c str,
    pub(super) key: &'c str,
    pub(super) before: Option<&'c str>,
    pub(super) after: Option<&'c str>,
    pub(super) reason: Option<&'c str>,
    pub(super) origin: Option<&'c str>,
}

impl Content<'_> {
    pub(super) fn canonical(&self) -> Result<Vec<u8>, ControlError> {
        let head = (self.seq, self.at, self.actor, self.action, self.kind, self.key);
        let (seq, at, actor, action, kind, key) = head;
        let tail = (self.before, self.after, self.reason, self.origin);
        let (before, after, reason, origin) = tail;
        serde_json::to_vec(&(seq, at, actor, action, kind, key, before, after, reason, origin))
            .map_err(corrupt(ObjectKind::AuditRecord, &seq.to_string()))
    }
}

impl Store {
    /// The newest link of the chain.
    ///
    /// # Errors
    /// [`ControlError::Database`].
    pub async fn audit_head(&self) -> Result<ChainLink, ControlError> {
        head(self.readers()).await
    }

    /// Audit records after `seq`, the oldest first, with their hashes: for an export.
    ///
    /// # Errors
    /// [`ControlError::Corrupt`] names the first that does not read.
    pub async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<ChainedRecord>, ControlError> {
        let rows = self.rows_after(seq, limit).await?;
        rows.iter()
            .map(|row| {
                let hash: Vec<u8> = row.try_get("hash").map_err(failed("read the audit chain"))?;
                Ok(ChainedRecord {
                    record: record(row)?,
                    hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
                })
            })
            .collect()
    }

    /// What verification needs of the records after `seq`, the oldest first.
    pub(crate) async fn links_after(&self, seq: i64, limit: u32) -> Result<Vec<StoredLink>, ControlError> {
        self.rows_after(seq, limit)
            .await?
            .iter()
            .map(stored_link)
            .collect()
    }

    async fn rows_after(&self, seq: i64, limit: u32) -> Result<Vec<AnyRow>, ControlError> {
        sqlx::query(
            "SELECT seq, at, actor, action, kind, key, before, after, reason, origin, hash FROM audit
             WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(seq)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(failed("read the audit chain"))
    }

    /// The last of the records that are all older than `before`, so that it and those in front of it may go.
    pub(crate) async fn oldest_kept_after(
        &self,
        before: Timestamp,
    ) -> Result<Option<ChainLink>, ControlError> {
        // The newest record always stays, so that the chain goes on from it.
        let row = sqlx::query(
            "SELECT seq, hash FROM audit
             WHERE seq < (SELECT coalesce(min(seq), (SELECT max(seq) FROM audit)) FROM audit WHERE at >= $1)
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(before.0)
        .fetch_optional(self.readers())
        .await
        .map_err(failed("look for old audit records"))?;
        row.as_ref().map(link).transpose()
    }

    /// Takes out the records up to a link.
    pub(crate) async fn prune_audit(&self, last: ChainLink) -> Result<u64, ControlError> {
        let mut write = self.begin().await?;
        let gone = sqlx::query("DELETE FROM audit WHERE seq <= $1")
            .bind(last.seq)
            .execute(&mut *write)
            .await
            .map_err(failed("take out old audit records"))?;
        self.commit_quietly(write).await?;
        Ok(gone.rows_affected())
    }
}

/// The newest link as a connection sees it.
pub(super) async fn head<'e, E>(executor: E) -> Result<ChainLink, ControlError>
where
    E: sqlx::Executor<'e, Database = sqlx::Any>,
{
    let row = sqlx::query("SELECT seq, hash FROM audit WHERE hash IS NOT NULL ORDER BY seq DESC LIMIT 1")
        .fetch_optional(executor)
        .await
        .map_err(failed("read the audit chain"))?;
    row.as_ref().map_or(Ok(ChainLink::START), link)
}

/// Gives records from before there was a chain their places in it.
pub(super) async fn chain_older(write: &mut Write) -> Result<(), ControlError> {
    let mut last = head(&mut **write).await?;
    loop {
        let row = sqlx::query(
            "SELECT seq, at, actor, action, kind, key, before, after, reason, origin FROM audit
             WHERE hash IS NULL ORDER BY seq LIMIT 1",
        )
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read the audit chain"))?;
        let Some(row) = row else { return Ok(()) };
        let (seq, canonical) = canonical(&row)?;
        last = last.then(seq, &canonical);
        sqlx::query("UPDATE audit SET hash = $2 WHERE seq = $1")
            .bind(seq)
            .bind(last.hash.to_vec())
            .execute(&mut **write)
            .await
            .map_err(failed("write the audit chain"))?;
    }
}

fn link(row: &AnyRow) -> Result<ChainLink, ControlError> {
    let seq: i64 = row.try_get("seq").map_err(failed("read the audit chain"))?;
    let hash: Vec<u8> = row.try_get("hash").map_err(failed("read the audit chain"))?;
    let hash = hash.try_into().map_err(|_| ControlError::BrokenChain { seq })?;
    Ok(ChainLink { seq, hash })
}

fn stored_link(row: &AnyRow) -> Result<StoredLink, ControlError> {
    let (seq, canonical) = canonical(row)?;
    // A record without a hash is as bad as one with a wrong hash.
    let hash: Option<Vec<u8>> = row.try_get("hash").map_err(failed("read the audit chain"))?;
    Ok(StoredLink {
        seq,
        canonical,
        hash: hash.unwrap_or_default(),
    })
}

fn canonical(row: &AnyRow) -> Result<(i64, Vec<u8>), ControlError> {
    let read = || -> Result<_, sqlx::Error> {
        let content = Content {
            seq: row.try_get("seq")?,
            at: row.try_get("at")?,
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            kind: row.try_get("kind")?,
            key: row.try_get("key")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
            reason: row.try_get("reason")?,
            origin: row.try_get("origin")?,
        };
        Ok(content)
    };
    let content = read().map_err(failed("read the audit chain"))?;
    Ok((content.seq, content.canonical()?))
}
