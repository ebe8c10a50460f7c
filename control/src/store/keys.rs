//! API keys: made, listed, rotated, revoked. Only the digest of a key is kept.

use domain::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::definitions::missing;
use super::{Entry, ObjectKind, Page, PageRequest, Store, Write, corrupt, failed, page, page_size};
use crate::access::{KeyEnvironment, KeyKind, KeyText};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::permission::Scope;

/// The longest name of a key, in bytes.
const NAME_MAX_BYTES: usize = 128;

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is for, in a few words.
    pub name: String,
    /// Who uses it.
    pub kind: KeyKind,
    /// What it may; all that its kind can have when empty.
    pub scopes: Vec<Scope>,
    /// The one environment that it may see; all when absent.
    pub environment: Option<KeyEnvironment>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its public part, by which it is found.
    pub selector: String,
    /// The selector of the first key of the row of rotations that it stands in.
    pub slot: String,
    /// What it is for.
    pub name: String,
    /// Who uses it.
    pub kind: KeyKind,
    /// What it may.
    pub scopes: Vec<Scope>,
    /// The one environment that it may see; all when absent.
    pub environment: Option<KeyEnvironment>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, as of half a minute ago.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it opens anything at an instant.
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| at < end)
    }
}

/// A key just made: the only time that it is shown whole.
#[derive(Debug, Clone)]
pub struct FreshKey {
    /// The key without its secret.
    pub key: ApiKey,
    /// The whole key.
    pub text: KeyText,
}

/// A key with the digest that it is checked against.
pub(crate) struct CheckedKey {
    pub(crate) key: ApiKey,
    pub(crate) digest: Vec<u8>,
}

/// The columns of a key, by name: one that a newer version adds must not disturb this one.
macro_rules! selected {
    () => {
        "SELECT selector, slot, name, kind, scopes, environment, digest, created_at, created_by, expires_at, revoked_at,
           last_used_at
         FROM api_keys WHERE "
    };
}

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// [`ControlError::InvalidKey`] when its name is empty or long, or it asks for a scope that its kind cannot have.
    pub async fn create_key(&self, new: &NewKey, change: &Change) -> Result<FreshKey, ControlError> {
        check(new, change.at)?;
        let (text, selector) = KeyText::generate(new.kind, new.environment.as_ref());
        let scopes = if new.scopes.is_empty() {
            new.kind.scopes()
        } else {
            &new.scopes
        };
        let key = ApiKey {
            slot: selector.clone(),
            selector,
            name: new.name.trim().to_owned(),
            kind: new.kind,
            scopes: sorted(scopes),
            environment: new.environment.clone(),
            created_at: change.at,
            created_by: change.actor.clone(),
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let mut write = self.begin().await?;
        insert(&mut write, &key, &text).await?;
        audited(&mut write, "create", (None, &key), change).await?;
        self.commit_quietly(write).await?;
        Ok(FreshKey { key, text })
    }

    /// Makes another key of the same name, scopes and environment; the present one ends at `old_ends_at`.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::InvalidKey`] when the key is no longer live, or its slot has two live
    /// keys already.
    pub async fn rotate_key(
        &self,
        selector: &str,
        old_ends_at: Timestamp,
        change: &Change,
    ) -> Result<FreshKey, ControlError> {
        let mut write = self.begin().await?;
        let before = key_in(&mut write, selector).await?;
        let live = live_in_slot(&mut write, &before.slot, change.at).await?;
        if !before.is_live(change.at) || live > 1 {
            let problem = if live > 1 {
                "two keys of this slot are live; revoke one first"
            } else {
                "the key has ended; make a new one"
            };
            return Err(ControlError::InvalidKey { problem });
        }
        let (text, fresh) = KeyText::generate(before.kind, before.environment.as_ref());
        let key = ApiKey {
            selector: fresh,
            created_at: change.at,
            created_by: change.actor.clone(),
            last_used_at: None,
            ..before.clone()
        };
        let ends_at = before.expires_at.map_or(old_ends_at, |end| end.min(old_ends_at));
        let ended = ApiKey {
            expires_at: Some(ends_at),
            ..before.clone()
        };
        sqlx::query("UPDATE api_keys SET expires_at = $2 WHERE selector = $1")
            .bind(selector)
            .bind(ends_at.0)
            .execute(&mut *write)
            .await
            .map_err(failed("end a key"))?;
        insert(&mut write, &key, &text).await?;
        audited(&mut write, "rotate", (Some(&before), &ended), change).await?;
        audited(&mut write, "create", (None, &key), change).await?;
        self.commit_quietly(write).await?;
        Ok(FreshKey { key, text })
    }

    /// Ends a key at once. Ending one that has been revoked changes nothing.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn revoke_key(&self, selector: &str, change: &Change) -> Result<ApiKey, ControlError> {
        let mut write = self.begin().await?;
        let before = key_in(&mut write, selector).await?;
        if before.revoked_at.is_some() {
            return Ok(before);
        }
        let after = ApiKey {
            revoked_at: Some(change.at),
            ..before.clone()
        };
        sqlx::query("UPDATE api_keys SET revoked_at = $2 WHERE selector = $1")
            .bind(selector)
            .bind(change.at.0)
            .execute(&mut *write)
            .await
            .map_err(failed("revoke a key"))?;
        audited(&mut write, "revoke", (Some(&before), &after), change).await?;
        self.commit_quietly(write).await?;
        Ok(after)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn key(&self, selector: &str) -> Result<ApiKey, ControlError> {
        let row = sqlx::query(concat!(selected!(), "selector = $1"))
            .bind(selector)
            .fetch_optional(self.readers())
            .await
            .map_err(failed("read a key"))?;
        read(&row.ok_or_else(|| missing(ObjectKind::ApiKey, selector))?)
    }

    /// A page of keys in order of selector, ended ones too.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn keys(&self, request: &PageRequest) -> Result<Page<ApiKey>, ControlError> {
        let size = page_size(request.limit)?;
        let rows = sqlx::query(concat!(selected!(), "selector > $1 ORDER BY selector LIMIT $2"))
            .bind(request.after.as_deref().unwrap_or(""))
            .bind(size)
            .fetch_all(self.readers())
            .await
            .map_err(failed("list keys"))?;
        let keys = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page(keys, request.limit, |key: &ApiKey| key.selector.clone()))
    }

    /// Every key that was not revoked, with its digest.
    pub(crate) async fn checked_keys(&self) -> Result<Vec<CheckedKey>, ControlError> {
        let rows = sqlx::query(concat!(selected!(), "revoked_at IS NULL"))
            .fetch_all(self.readers())
            .await
            .map_err(failed("read keys"))?;
        rows.iter()
            .map(|row| {
                Ok(CheckedKey {
                    key: read(row)?,
                    digest: row.try_get("digest").map_err(failed("read a key"))?,
                })
            })
            .collect()
    }

    /// Notes when keys were last used. That changes nothing that anybody decided, so it leaves no audit record.
    pub(crate) async fn touch_keys(&self, used: &[(String, Timestamp)]) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        for (selector, at) in used {
            sqlx::query(
                "UPDATE api_keys SET last_used_at = $2
                 WHERE selector = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
            )
            .bind(selector)
            .bind(at.0)
            .execute(&mut *write)
            .await
            .map_err(failed("note the use of a key"))?;
        }
        self.commit_quietly(write).await
    }
}

fn check(new: &NewKey, now: Timestamp) -> Result<(), ControlError> {
    let name = new.name.trim();
    let problem = if name.is_empty() || name.len() > NAME_MAX_BYTES || name.chars().any(char::is_control) {
        "its name has 1 to 128 bytes and no control characters"
    } else if new.scopes.iter().any(|scope| !new.kind.scopes().contains(scope)) {
        "its kind cannot have one of the scopes: a client key only evaluates and sends events, an ingest key only sends \
         events, a server key also reads"
    } else if new.expires_at.is_some_and(|end| end <= now) {
        "it would end before it begins"
    } else {
        return Ok(());
    };
    Err(ControlError::InvalidKey { problem })
}

fn sorted(scopes: &[Scope]) -> Vec<Scope> {
    let mut scopes = scopes.to_vec();
    scopes.sort();
    scopes.dedup();
    scopes
}

async fn insert(write: &mut Write, key: &ApiKey, text: &KeyText) -> Result<(), ControlError> {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query(
        "INSERT INTO api_keys (selector, slot, name, kind, scopes, environment, digest, created_at, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&key.selector)
    .bind(&key.slot)
    .bind(&key.name)
    .bind(key.kind.as_str())
    .bind(scopes.join(" "))
    .bind(key.environment.as_ref().map(KeyEnvironment::as_str))
    .bind(text.digest().to_vec())
    .bind(key.created_at.0)
    .bind(key.created_by.as_str())
    .bind(key.expires_at.map(|end| end.0))
    .execute(&mut **write)
    .await
    .map(drop)
    .map_err(failed("write a key"))
}

async fn key_in(write: &mut Write, selector: &str) -> Result<ApiKey, ControlError> {
    let row = sqlx::query(concat!(selected!(), "selector = $1"))
        .bind(selector)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read a key"))?;
    read(&row.ok_or_else(|| missing(ObjectKind::ApiKey, selector))?)
}

async fn live_in_slot(write: &mut Write, slot: &str, at: Timestamp) -> Result<i64, ControlError> {
    sqlx::query_scalar(
        "SELECT count(*) FROM api_keys
         WHERE slot = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
    )
    .bind(slot)
    .bind(at.0)
    .fetch_one(&mut **write)
    .await
    .map_err(failed("count the keys of a slot"))
}

async fn audited(
    write: &mut Write,
    action: &'static str,
    (before, after): (Option<&ApiKey>, &ApiKey),
    change: &Change,
) -> Result<(), ControlError> {
    let text = |key: &ApiKey| serde_json::to_string(key).map_err(corrupt(ObjectKind::ApiKey, &key.selector));
    let (before, after_text) = (before.map(text).transpose()?, text(after)?);
    let entry = Entry {
        action,
        kind: ObjectKind::ApiKey,
        key: &after.selector,
        before: before.as_deref(),
        after: Some(&after_text),
    };
    Store::record(write, entry, change).await
}

fn read(row: &AnyRow) -> Result<ApiKey, ControlError> {
    let text = |column: &'static str| -> Result<String, ControlError> {
        row.try_get(column).map_err(failed("read a key"))
    };
    let optional_text = |column: &'static str| -> Result<Option<String>, ControlError> {
        row.try_get(column).map_err(failed("read a key"))
    };
    let instant = |column: &'static str| -> Result<Option<Timestamp>, ControlError> {
        let micros: Option<i64> = row.try_get(column).map_err(failed("read a key"))?;
        Ok(micros.map(Timestamp))
    };
    let selector = text("selector")?;
    // A word that this program does not know gives nothing: an unknown kind or scope must not open anything.
    let kind = KeyKind::from_word(&text("kind")?).unwrap_or(KeyKind::Ingest);
    let scopes = text("scopes")?;
    let scopes = scopes.split(' ').filter_map(Scope::from_word);
    Ok(ApiKey {
        slot: text("slot")?,
        name: text("name")?,
        scopes: scopes.filter(|scope| kind.scopes().contains(scope)).collect(),
        kind,
        environment: optional_text("environment")?.map(|name| KeyEnvironment::from_stored(&name)),
        created_at: Timestamp(row.try_get("created_at").map_err(failed("read a key"))?),
        created_by: Actor::from_stored(&text("created_by")?),
        expires_at: instant("expires_at")?,
        revoked_at: instant("revoked_at")?,
        last_used_at: instant("last_used_at")?,
        selector,
    })
}
