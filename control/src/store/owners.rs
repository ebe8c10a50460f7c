//! Who owns what, and who else may change it.
//!
//! Ownership follows the audit record: whoever makes an object owns it, unless they are the platform itself or whoever
//! sits at the machine. What is deleted and can be restored keeps its owner until its key is used anew.

use sqlx::Row;

use super::{Entry, ObjectKind, Store, Write, failed};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::permission;

/// The most people that one object can be shared with.
pub const EDITORS_MAX: usize = 100;

/// Who may change an object, beside administrators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Who made it or was given it; nobody when absent, and then every developer may change it.
    pub owner: Option<Actor>,
    /// Who else.
    pub editors: Vec<Actor>,
}

impl Store {
    /// Who may change an object. An object that does not exist belongs to nobody.
    ///
    /// # Errors
    /// [`ControlError::Database`].
    pub async fn ownership(&self, kind: ObjectKind, key: &str) -> Result<Ownership, ControlError> {
        let rows = sqlx::query(
            "SELECT owner AS actor, 1 AS owns FROM owners WHERE kind = $1 AND key = $2
             UNION ALL SELECT grantee, 0 FROM grants WHERE kind = $1 AND key = $2 ORDER BY 2 DESC, 1",
        )
        .bind(kind.as_str())
        .bind(key)
        .fetch_all(self.readers())
        .await
        .map_err(failed("read who owns what"))?;
        let mut ownership = Ownership::default();
        for row in rows {
            let actor: String = row.try_get("actor").map_err(failed("read who owns what"))?;
            let owns: i64 = row.try_get("owns").map_err(failed("read who owns what"))?;
            match owns {
                1 => ownership.owner = Some(Actor::from_stored(&actor)),
                _ => ownership.editors.push(Actor::from_stored(&actor)),
            }
        }
        Ok(ownership)
    }

    /// Says who may change an object.
    ///
    /// # Errors
    /// [`ControlError::TooManyEditors`].
    pub async fn share(
        &self,
        (kind, key): (ObjectKind, &str),
        ownership: &Ownership,
        change: &Change,
    ) -> Result<(), ControlError> {
        if ownership.editors.len() > EDITORS_MAX {
            return Err(ControlError::TooManyEditors { max: EDITORS_MAX });
        }
        let before = self.ownership(kind, key).await?;
        let mut write = self.begin().await?;
        forget(&mut write, kind, key).await?;
        if let Some(owner) = &ownership.owner {
            insert_owner(&mut write, (kind, key), owner).await?;
        }
        for editor in &ownership.editors {
            sqlx::query("INSERT INTO grants (kind, key, grantee) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(kind.as_str())
                .bind(key)
                .bind(editor.as_str())
                .execute(&mut *write)
                .await
                .map_err(failed("share an object"))?;
        }
        let (before, after) = (text(&before), text(ownership));
        let entry = Entry {
            action: "share",
            kind,
            key,
            before: Some(&before),
            after: Some(&after),
        };
        Self::record(&mut write, entry, change).await?;
        self.commit_quietly(write).await
    }

    /// Lets ownership follow what an audit record says.
    pub(super) async fn follow_ownership(
        write: &mut Write,
        entry: &Entry<'_>,
        change: &Change,
    ) -> Result<(), ControlError> {
        let has_owners = permission::TABLE.iter().any(|row| row.owned == Some(entry.kind));
        match entry.action {
            "create" if has_owners => {
                // The key may have been another object's, which was deleted.
                forget(write, entry.kind, entry.key).await?;
                if change.actor.is_principal() {
                    insert_owner(write, (entry.kind, entry.key), &change.actor).await?;
                }
                Ok(())
            }
            // Every other kind can be restored, which is then for its owner.
            "delete" if entry.kind == ObjectKind::Guardrail => forget(write, entry.kind, entry.key).await,
            _ => Ok(()),
        }
    }
}

async fn insert_owner(
    write: &mut Write,
    (kind, key): (ObjectKind, &str),
    owner: &Actor,
) -> Result<(), ControlError> {
    sqlx::query(
        "INSERT INTO owners (kind, key, owner) VALUES ($1, $2, $3)
         ON CONFLICT (kind, key) DO UPDATE SET owner = excluded.owner",
    )
    .bind(kind.as_str())
    .bind(key)
    .bind(owner.as_str())
    .execute(&mut **write)
    .await
    .map(drop)
    .map_err(failed("write who owns what"))
}

async fn forget(write: &mut Write, kind: ObjectKind, key: &str) -> Result<(), ControlError> {
    for sql in [
        "DELETE FROM owners WHERE kind = $1 AND key = $2",
        "DELETE FROM grants WHERE kind = $1 AND key = $2",
    ] {
        sqlx::query(sql)
            .bind(kind.as_str())
            .bind(key)
            .execute(&mut **write)
            .await
            .map_err(failed("forget who owns what"))?;
    }
    Ok(())
}

fn text(ownership: &Ownership) -> String {
    let editors: Vec<&str> = ownership.editors.iter().map(Actor::as_str).collect();
    serde_json::json!({"owner": ownership.owner.as_ref().map(Actor::as_str), "editors": editors}).to_string()
}
