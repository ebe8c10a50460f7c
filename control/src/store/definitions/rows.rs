//! The rows that definitions are kept in.

use std::borrow::Borrow;

use domain::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::super::{Document, Write, corrupt, failed};
use super::Definition;
use crate::error::ControlError;

/// A definition as its row has it.
pub(in crate::store) struct Stored {
    pub(in crate::store) key: String,
    pub(in crate::store) document: String,
    pub(in crate::store) version: i64,
    pub(in crate::store) discovered: bool,
    created_at: i64,
    updated_at: i64,
}

impl Stored {
    pub(super) fn read(row: &SqliteRow) -> Result<Self, ControlError> {
        let read = || -> Result<Self, sqlx::Error> {
            Ok(Self {
                key: row.try_get("key")?,
                document: row.try_get("document")?,
                version: row.try_get("version")?,
                discovered: row.try_get("discovered")?,
                created_at: row.try_get("created_at")?,
                updated_at: row.try_get("updated_at")?,
            })
        };
        read().map_err(failed("read a definition"))
    }

    pub(in crate::store) fn into_document<D: Definition>(self) -> Result<Document<D>, ControlError> {
        Ok(Document {
            definition: serde_json::from_str(&self.document).map_err(corrupt(D::KIND, &self.key))?,
            version: self.version,
            discovered: self.discovered,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

/// Reads a definition within a write.
pub(in crate::store) async fn stored<D: Definition>(
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

/// Writes a row that is not there yet.
pub(in crate::store) async fn insert<D: Definition>(
    write: &mut Write,
    key: &str,
    document: &str,
    discovered: bool,
    at: Timestamp,
) -> Result<Stored, ControlError> {
    let made = Stored {
        key: key.to_owned(),
        document: document.to_owned(),
        version: 1,
        discovered,
        created_at: at.0,
        updated_at: at.0,
    };
    sqlx::query(D::STATEMENTS.insert)
        .bind(key)
        .bind(document)
        .bind(discovered)
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("write a definition"))?;
    Ok(made)
}

/// Replaces a declared or discovered document by a declared one.
pub(in crate::store) async fn replace<D: Definition>(
    write: &mut Write,
    before: &Stored,
    document: &str,
    at: Timestamp,
) -> Result<Stored, ControlError> {
    replace_as::<D>(write, before, document, false, at).await
}

/// Replaces a document.
pub(in crate::store) async fn replace_as<D: Definition>(
    write: &mut Write,
    before: &Stored,
    document: &str,
    discovered: bool,
    at: Timestamp,
) -> Result<Stored, ControlError> {
    let key: &str = before.key.borrow();
    let made = Stored {
        key: key.to_owned(),
        document: document.to_owned(),
        version: before.version + 1,
        discovered,
        created_at: before.created_at,
        updated_at: at.0,
    };
    sqlx::query(D::STATEMENTS.update)
        .bind(key)
        .bind(document)
        .bind(made.version)
        .bind(discovered)
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("write a definition"))?;
    Ok(made)
}
