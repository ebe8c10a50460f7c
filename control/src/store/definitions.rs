//! Experiments, metrics and flags: documents that people change one version at a time.

mod kinds;
mod rows;

use std::borrow::Borrow;

use domain::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use sqlx::Row;

use super::{Document, Entry, ObjectKind, Page, PageRequest, Store, Write, corrupt, failed, page, page_size};
use crate::change::Change;
use crate::error::ControlError;
use crate::metrics;
pub(super) use kinds::Table;
pub(super) use rows::{Stored, insert, replace, replace_as, stored};

/// How long a creation is remembered by its idempotency key: a day covers the retries of any client.
const IDEMPOTENCY_MICROS: i64 = domain::timestamp::MICROS_PER_DAY;

/// A document of the store: an experiment, a metric or a flag.
#[expect(
    private_bounds,
    reason = "the kinds of documents and their tables go together, so nobody else adds one"
)]
pub trait Definition: Table + Serialize + DeserializeOwned + Clone + Send + Sync + Unpin + 'static {
    /// The type of its key.
    type Key: Borrow<str> + Send + Sync;
    /// What it is.
    const KIND: ObjectKind;

    /// Its key.
    fn key(&self) -> &Self::Key;

    /// Checks what its types cannot say and what needs no other document.
    ///
    /// # Errors
    /// The variant of [`ControlError`] for what is invalid.
    fn check(&self) -> Result<(), ControlError>;
}

impl Store {
    /// Writes a new definition, version 1.
    ///
    /// One that was only discovered is replaced, and its version goes on. With an idempotency key in `change`, a
    /// repetition of the same creation by the same actor within a day gives the document of the first one, as it is now.
    ///
    /// # Errors
    /// [`ControlError::AlreadyExists`]; the variant for an invalid definition, also one that names a metric that does not
    /// exist; [`ControlError::IdempotencyMismatch`].
    pub async fn create<D: Definition>(
        &self,
        definition: &D,
        change: &Change,
    ) -> Result<Document<D>, ControlError> {
        let mut definition = definition.clone();
        // Before the check, which is milder with what was discovered.
        definition.set_discovered(false);
        definition.check()?;
        let key: &str = definition.key().borrow();
        let document = to_text(&definition)?;
        let mut write = self.begin().await?;
        if let Some(object) = repeated(&mut write, D::KIND, &document, change).await? {
            let stored = stored::<D>(&mut write, &object).await?;
            return stored.ok_or_else(|| missing(D::KIND, &object))?.into_document();
        }
        kinds::check_references(&mut write, &definition).await?;
        let before = stored::<D>(&mut write, key).await?;
        let made = match &before {
            None => insert::<D>(&mut write, key, &document, false, change.at).await?,
            Some(found) if found.discovered => replace::<D>(&mut write, found, &document, change.at).await?,
            Some(_) => return Err(exists(D::KIND, key)),
        };
        let entry = Entry {
            action: if before.is_some() { "update" } else { "create" },
            kind: D::KIND,
            key,
            before: before.as_ref().map(|found| found.document.as_str()),
            after: Some(&document),
        };
        Self::record(&mut write, entry, change).await?;
        remember(&mut write, D::KIND, key, &document, change).await?;
        self.commit(write).await?;
        made.into_document()
    }

    /// Reads a definition.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn get<D: Definition>(&self, key: &D::Key) -> Result<Document<D>, ControlError> {
        let key = key.borrow();
        let row = sqlx::query(D::STATEMENTS.get)
            .bind(key)
            .fetch_optional(self.readers())
            .await
            .map_err(failed("read a definition"))?;
        let row = row.ok_or_else(|| missing(D::KIND, key))?;
        Stored::read(&row)?.into_document()
    }

    /// Replaces the definition of the same key when it is at `expected_version`.
    ///
    /// A discovered definition becomes a declared one. A flag that a person enables again re-arms its guardrails.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::VersionConflict`], [`ControlError::InUse`] when a guardrail needs a
    /// variation that the new definition lacks, or the variant for an invalid definition.
    pub async fn update<D: Definition>(
        &self,
        definition: &D,
        expected_version: i64,
        change: &Change,
    ) -> Result<Document<D>, ControlError> {
        let mut definition = definition.clone();
        // Before the check, which is milder with what was discovered.
        definition.set_discovered(false);
        definition.check()?;
        let key: &str = definition.key().borrow();
        let document = to_text(&definition)?;
        let mut write = self.begin().await?;
        let before = at_version::<D>(&mut write, key, expected_version).await?;
        kinds::check_references(&mut write, &definition).await?;
        let made = replace::<D>(&mut write, &before, &document, change.at).await?;
        let entry = Entry {
            action: "update",
            kind: D::KIND,
            key,
            before: Some(&before.document),
            after: Some(&document),
        };
        Self::record(&mut write, entry, change).await?;
        if let Some(flag) = definition.as_flag() {
            Self::rearm(&mut write, flag, change).await?;
        }
        self.commit(write).await?;
        made.into_document()
    }

    /// Deletes a definition when it is at `expected_version`. The audit record keeps what it was.
    ///
    /// What is still seen in the stream is discovered again; archive an experiment to put it out of sight.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::VersionConflict`], or [`ControlError::InUse`] when an experiment uses
    /// the metric or a guardrail watches the flag.
    pub async fn delete<D: Definition>(
        &self,
        key: &D::Key,
        expected_version: i64,
        change: &Change,
    ) -> Result<(), ControlError> {
        let key = key.borrow();
        let mut write = self.begin().await?;
        let before = at_version::<D>(&mut write, key, expected_version).await?;
        if let Some(used_by) = kinds::used_by(&mut write, D::KIND, key).await? {
            let (kind, key) = (D::KIND, key.to_owned());
            return Err(ControlError::InUse { kind, key, used_by });
        }
        sqlx::query(D::STATEMENTS.delete)
            .bind(key)
            .execute(&mut *write)
            .await
            .map_err(failed("delete a definition"))?;
        let entry = Entry {
            action: "delete",
            kind: D::KIND,
            key,
            before: Some(&before.document),
            after: None,
        };
        Self::record(&mut write, entry, change).await?;
        self.commit(write).await?;
        self.forget_known();
        Ok(())
    }

    /// A page of definitions in order of key.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn list<D: Definition>(
        &self,
        request: &PageRequest,
    ) -> Result<Page<Document<D>>, ControlError> {
        let size = page_size(request.limit)?;
        let documents = self.read_after::<D>(request.after.as_deref(), size).await?;
        Ok(page(documents, request.limit, |document: &Document<D>| {
            let key: &str = document.definition.key().borrow();
            key.to_owned()
        }))
    }

    /// All definitions of a kind in order of key, for compiling them.
    ///
    /// # Errors
    /// [`ControlError::Corrupt`] names the first that does not read.
    pub async fn all<D: Definition>(&self) -> Result<Vec<Document<D>>, ControlError> {
        self.read_after(None, i64::MAX).await
    }

    async fn read_after<D: Definition>(
        &self,
        after: Option<&str>,
        size: i64,
    ) -> Result<Vec<Document<D>>, ControlError> {
        let rows = sqlx::query(D::STATEMENTS.list)
            .bind(after.unwrap_or(""))
            .bind(size)
            .fetch_all(self.readers())
            .await
            .map_err(failed("list definitions"))?;
        rows.iter()
            .map(|row| Stored::read(row)?.into_document())
            .collect()
    }
}

/// The JSON that is stored.
pub(super) fn to_text<D: Definition>(definition: &D) -> Result<String, ControlError> {
    let key: &str = definition.key().borrow();
    serde_json::to_string(definition).map_err(corrupt(D::KIND, key))
}

/// What is stored under a key, when it is at the version that the writer has seen.
async fn at_version<D: Definition>(
    write: &mut Write,
    key: &str,
    expected: i64,
) -> Result<Stored, ControlError> {
    let found = stored::<D>(write, key)
        .await?
        .ok_or_else(|| missing(D::KIND, key))?;
    if found.version == expected {
        return Ok(found);
    }
    metrics::version_conflict();
    let (kind, key, current) = (D::KIND, key.to_owned(), found.version);
    Err(ControlError::VersionConflict {
        kind,
        key,
        expected,
        current,
    })
}

pub(super) fn missing(kind: ObjectKind, key: &str) -> ControlError {
    let key = key.to_owned();
    ControlError::NotFound { kind, key }
}

pub(super) fn exists(kind: ObjectKind, key: &str) -> ControlError {
    let key = key.to_owned();
    ControlError::AlreadyExists { kind, key }
}

fn fingerprint(kind: ObjectKind, document: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(kind.as_str());
    hash.update([0]);
    hash.update(document);
    hash.finalize().to_vec()
}

/// The key or id of what the same request made before, when it was made before.
pub(super) async fn repeated(
    write: &mut Write,
    kind: ObjectKind,
    document: &str,
    change: &Change,
) -> Result<Option<String>, ControlError> {
    let Some(idempotency_key) = &change.idempotency_key else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT object, fingerprint FROM idempotency_keys WHERE actor = ?1 AND key = ?2 AND created_at > ?3",
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
pub(super) async fn remember(
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
    sqlx::query("DELETE FROM idempotency_keys WHERE created_at <= ?1")
        .bind(oldest.0)
        .execute(&mut **write)
        .await
        .map_err(failed("forget idempotency keys"))?;
    sqlx::query(
        "INSERT INTO idempotency_keys (key, actor, kind, object, fingerprint, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
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
