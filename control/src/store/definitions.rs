//! Experiments, metrics, flags and what they refer to: documents that people change one version at a time.

mod catalog;
mod experiments;
mod idempotency;
mod kinds;
mod labels;
mod references;
mod rows;
mod write;

use std::borrow::Borrow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Document, ObjectKind, Page, PageRequest, Store, Write, corrupt, failed, page, page_size};
use crate::change::Change;
use crate::error::ControlError;
use crate::metrics;
pub(super) use idempotency::{remember, repeated};
pub(super) use kinds::Table;
pub use labels::ListFilter;
pub(super) use labels::complete as complete_labels;
pub(super) use rows::{Stored, insert, replace, replace_as, stored};

/// A document of the store, such as an experiment, a metric, a flag or a segment.
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

    /// Completes what a person wrote with what only the platform writes, and refuses what may not change now.
    ///
    /// # Errors
    /// The variant of [`ControlError`] for what is refused.
    fn prepare(&mut self, _previous: Option<&Self>) -> Result<(), ControlError> {
        Ok(())
    }
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
        let mut write = self.begin().await?;
        let document = to_text(definition)?;
        if let Some(object) = repeated(&mut write, D::KIND, &document, change).await? {
            let stored = stored::<D>(&mut write, &object).await?;
            return stored.ok_or_else(|| missing(D::KIND, &object))?.into_document();
        }
        let made = self.create_in(&mut write, definition, change).await?;
        remember(&mut write, D::KIND, &made.stored.key, &document, change).await?;
        self.finish(write).await?;
        made.stored.into_document()
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
        let found = Stored::read(&row.ok_or_else(|| missing(D::KIND, key))?)?;
        let document = found.into_document::<D>()?;
        if document.deleted_at.is_some() {
            return Err(missing(D::KIND, key));
        }
        Ok(document)
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
        let mut write = self.begin().await?;
        let key: &str = definition.key().borrow();
        let before = at_version::<D>(&mut write, key, expected_version).await?;
        let made = self.update_in(&mut write, definition, &before, change).await?;
        self.finish(write).await?;
        made.stored.into_document()
    }

    /// Deletes a definition when it is at `expected_version`. It can be restored.
    ///
    /// What is still seen in the stream is discovered again; archive an experiment to put it out of sight.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::VersionConflict`], [`ControlError::NotADraft`] for an experiment that
    /// has started, or [`ControlError::InUse`] when another definition needs it.
    pub async fn delete<D: Definition>(
        &self,
        key: &D::Key,
        expected_version: i64,
        change: &Change,
    ) -> Result<(), ControlError> {
        let key = key.borrow();
        let mut write = self.begin().await?;
        let before = at_version::<D>(&mut write, key, expected_version).await?;
        Self::delete_in::<D>(&mut write, &before, change).await?;
        self.finish(write).await?;
        self.forget_known();
        Ok(())
    }

    /// Brings a deleted definition back as it was.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when there is no deleted one of this key, or the variant for what no longer fits the
    /// other definitions.
    pub async fn restore<D: Definition>(
        &self,
        key: &D::Key,
        change: &Change,
    ) -> Result<Document<D>, ControlError> {
        let mut write = self.begin().await?;
        let made = self.restore_in::<D>(&mut write, key.borrow(), change).await?;
        self.finish(write).await?;
        made.stored.into_document()
    }

    /// A page of definitions in order of key.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn list<D: Definition>(
        &self,
        request: &PageRequest,
    ) -> Result<Page<Document<D>>, ControlError> {
        self.find(&ListFilter::default(), request).await
    }

    /// A page of the definitions that fit a filter, in order of key.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn find<D: Definition>(
        &self,
        filter: &ListFilter,
        request: &PageRequest,
    ) -> Result<Page<Document<D>>, ControlError> {
        let size = page_size(request.limit)?;
        let rows = labels::find::<D>(self, filter, request.after.as_deref(), size).await?;
        let documents: Result<Vec<Document<D>>, ControlError> = rows
            .iter()
            .map(|row| Stored::read(row)?.into_document())
            .collect();
        Ok(page(documents?, request.limit, |document: &Document<D>| {
            let key: &str = document.definition.key().borrow();
            key.to_owned()
        }))
    }

    /// All definitions of a kind in order of key, for compiling them.
    ///
    /// # Errors
    /// [`ControlError::Corrupt`] names the first that does not read.
    pub async fn all<D: Definition>(&self) -> Result<Vec<Document<D>>, ControlError> {
        let rows = sqlx::query(D::STATEMENTS.all)
            .fetch_all(self.readers())
            .await
            .map_err(failed("list definitions"))?;
        rows.iter()
            .map(|row| Stored::read(row)?.into_document())
            .collect()
    }
}

/// All definitions of a kind as a write sees them.
pub(super) async fn all_in<D: Definition>(write: &mut Write) -> Result<Vec<Stored>, ControlError> {
    let rows = sqlx::query(D::STATEMENTS.all)
        .fetch_all(&mut **write)
        .await
        .map_err(failed("list definitions"))?;
    rows.iter().map(Stored::read).collect()
}

/// The JSON that is stored.
pub(super) fn to_text<D: Definition>(definition: &D) -> Result<String, ControlError> {
    let key: &str = definition.key().borrow();
    serde_json::to_string(definition).map_err(corrupt(D::KIND, key))
}

/// What is stored under a key, when it is at the version that the writer has seen.
pub(super) async fn at_version<D: Definition>(
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
