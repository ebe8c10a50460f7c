//! The rows that definitions are kept in.

use domain::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::super::{Document, Write, corrupt, failed};
use super::{Definition, labels};
use crate::error::ControlError;

/// A definition as its row has it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Stored {
    pub(in crate::store) key: String,
    pub(in crate::store) document: String,
    pub(in crate::store) version: i64,
    pub(in crate::store) discovered: bool,
    created_at: i64,
    updated_at: i64,
    deleted_at: Option<i64>,
}

impl Stored {
    pub(super) fn read(row: &AnyRow) -> Result<Self, ControlError> {
        let read = || -> Result<Self, sqlx::Error> {
            Ok(Self {
                key: row.try_get("key")?,
                document: row.try_get("document")?,
                version: row.try_get("version")?,
                discovered: row.try_get::<i64, _>("discovered")? != 0,
                created_at: row.try_get("created_at")?,
                updated_at: row.try_get("updated_at")?,
                deleted_at: row.try_get("deleted_at")?,
            })
        };
        read().map_err(failed("read a definition"))
    }

    pub(in crate::store) fn into_document<D: Definition>(self) -> Result<Document<D>, ControlError> {
        Ok(Document {
            definition: self.definition()?,
            version: self.version,
            discovered: self.discovered,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            deleted_at: self.deleted_at.map(Timestamp),
        })
    }

    /// What the row defines.
    pub(in crate::store) fn definition<D: Definition>(&self) -> Result<D, ControlError> {
        serde_json::from_str(&self.document).map_err(corrupt(D::KIND, &self.key))
    }
}

/// Reads a definition within a write.
pub(in crate::store) async fn stored<D: Definition>(
    write: &mut Write,
    key: &str,
) -> Result<Option<Stored>, ControlError> {
    let found = stored_or_deleted::<D>(write, key).await?;
    Ok(found.filter(|found| found.deleted_at.is_none()))
}

/// Reads a definition within a write, also a deleted one.
pub(super) async fn stored_or_deleted<D: Definition>(
    write: &mut Write,
    key: &str,
) -> Result<Option<Stored>, ControlError> {
    let row = sqlx::query(D::STATEMENTS.get)
        .bind(key)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read a definition"))?;
    row.as_ref().map(Stored::read).transpose()
}

/// Writes a row that is not there yet. Over a deleted one the versions go on, so that an old ETag never fits again.
pub(in crate::store) async fn insert<D: Definition>(
    write: &mut Write,
    definition: &D,
    document: &str,
    discovered: bool,
    at: Timestamp,
) -> Result<Stored, ControlError> {
    let key: &str = std::borrow::Borrow::borrow(definition.key());
    if let Some(deleted) = stored_or_deleted::<D>(write, key).await? {
        let restarted = Stored {
            created_at: at.0,
            ..deleted
        };
        return replace_as(write, (&restarted, definition), document, discovered, at).await;
    }
    let made = Stored {
        key: key.to_owned(),
        document: document.to_owned(),
        version: 1,
        discovered,
        created_at: at.0,
        updated_at: at.0,
        deleted_at: None,
    };
    sqlx::query(D::STATEMENTS.insert)
        .bind(key)
        .bind(document)
        .bind(i64::from(discovered))
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("write a definition"))?;
    labels::write(write, definition).await?;
    Ok(made)
}

/// Replaces a declared or discovered document by a declared one.
pub(in crate::store) async fn replace<D: Definition>(
    write: &mut Write,
    (before, definition): (&Stored, &D),
    document: &str,
    at: Timestamp,
) -> Result<Stored, ControlError> {
    replace_as(write, (before, definition), document, false, at).await
}

/// Replaces a document, and restores one that was deleted.
pub(in crate::store) async fn replace_as<D: Definition>(
    write: &mut Write,
    (before, definition): (&Stored, &D),
    document: &str,
    discovered: bool,
    at: Timestamp,
) -> Result<Stored, ControlError> {
    let made = Stored {
        key: before.key.clone(),
        document: document.to_owned(),
        version: before.version + 1,
        discovered,
        created_at: before.created_at,
        updated_at: at.0,
        deleted_at: None,
    };
    sqlx::query(D::STATEMENTS.update)
        .bind(&made.key)
        .bind(document)
        .bind(made.version)
        .bind(i64::from(discovered))
        .bind(made.created_at)
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("write a definition"))?;
    labels::write(write, definition).await?;
    Ok(made)
}

/// Marks a row as deleted; it can be restored.
pub(super) async fn mark_deleted<D: Definition>(
    write: &mut Write,
    before: &Stored,
    at: Timestamp,
) -> Result<(), ControlError> {
    sqlx::query(D::STATEMENTS.delete)
        .bind(&before.key)
        .bind(before.version + 1)
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("delete a definition"))?;
    labels::forget(write, D::KIND, &before.key).await
}
