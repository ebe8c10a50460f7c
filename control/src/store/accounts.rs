//! Local accounts: people with a name, a role and, once they have chosen one, a password.

use std::fmt;

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::definitions::{exists, missing};
use super::{Entry, ObjectKind, Page, PageRequest, Store, Write, corrupt, failed, page, page_size};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::permission::Role;

/// The longest name of an account: an address of mail fits.
const NAME_MAX_BYTES: usize = 128;

/// Under which a person logs in: 1 to 128 lowercase letters, digits and `.`, `_`, `-`, `+`, `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(Box<str>);

impl AccountName {
    /// The name, in lower case: nobody is two people by a capital letter.
    ///
    /// # Errors
    /// [`InvalidName`] when it holds anything else.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let name = text.to_ascii_lowercase();
        let fits = |byte: u8| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'@')
        };
        if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(fits) {
            return Err(InvalidName);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who acts under the name.
    pub fn actor(&self) -> Actor {
        Actor::person(&self.0)
    }

    pub(super) fn from_stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl TryFrom<String> for AccountName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The text cannot be the name of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of an account has 1 to 128 letters, digits, dots, hyphens, underscores, + and @")]
pub struct InvalidName;

/// An account, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its name.
    pub name: AccountName,
    /// What its holder may do.
    pub role: Role,
    /// Whether its holder may come in.
    pub enabled: bool,
    /// Whether its holder has chosen a password.
    pub has_password: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Store {
    /// Makes an account that has no password yet.
    ///
    /// # Errors
    /// [`ControlError::AlreadyExists`].
    pub async fn create_account(
        &self,
        name: &AccountName,
        role: Role,
        change: &Change,
    ) -> Result<Account, ControlError> {
        let mut write = self.begin().await?;
        let account = Self::insert_account(&mut write, name, role, change).await?;
        self.commit_quietly(write).await?;
        Ok(account)
    }

    /// Reads an account.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn account(&self, name: &AccountName) -> Result<Account, ControlError> {
        let row = sqlx::query(
            "SELECT name, role, password_hash, disabled_at, created_at FROM accounts WHERE name = $1",
        )
        .bind(name.as_str())
        .fetch_optional(self.readers())
        .await
        .map_err(failed("read an account"))?;
        read(&row.ok_or_else(|| missing(ObjectKind::Account, name.as_str()))?)
    }

    /// A page of accounts in order of name, disabled ones too.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn accounts(&self, request: &PageRequest) -> Result<Page<Account>, ControlError> {
        let size = page_size(request.limit)?;
        let rows = sqlx::query("SELECT name, role, password_hash, disabled_at, created_at FROM accounts WHERE name > $1 ORDER BY name LIMIT $2")
            .bind(request.after.as_deref().unwrap_or(""))
            .bind(size)
            .fetch_all(self.readers())
            .await
            .map_err(failed("list accounts"))?;
        let accounts = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page(accounts, request.limit, |account: &Account| {
            account.name.to_string()
        }))
    }

    /// Every account.
    pub(crate) async fn all_accounts(&self) -> Result<Vec<Account>, ControlError> {
        let rows = sqlx::query("SELECT name, role, password_hash, disabled_at, created_at FROM accounts")
            .fetch_all(self.readers())
            .await
            .map_err(failed("read accounts"))?;
        rows.iter().map(read).collect()
    }

    /// Gives an account another role, or lets its holder in or out; out also ends all sessions and links.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::LastAdmin`] when nobody who can log in would be left to manage.
    pub async fn change_account(
        &self,
        name: &AccountName,
        (role, enabled): (Option<Role>, Option<bool>),
        change: &Change,
    ) -> Result<Account, ControlError> {
        let mut write = self.begin().await?;
        let before = account_in(&mut write, name).await?;
        let after = Account {
            role: role.unwrap_or(before.role),
            enabled: enabled.unwrap_or(before.enabled),
            ..before.clone()
        };
        if after == before {
            return Ok(after);
        }
        let admins_before = admins(&mut write).await?;
        sqlx::query(
            "UPDATE accounts SET role = $2, disabled_at = CASE WHEN $3 = 1 THEN NULL ELSE coalesce(disabled_at, $4) END
             WHERE name = $1",
        )
        .bind(name.as_str())
        .bind(after.role.as_str())
        .bind(i64::from(after.enabled))
        .bind(change.at.0)
        .execute(&mut *write)
        .await
        .map_err(failed("write an account"))?;
        if admins_before > 0 && admins(&mut write).await? == 0 {
            return Err(ControlError::LastAdmin { name: name.clone() });
        }
        if !after.enabled {
            Self::end_sessions_of(&mut write, name).await?;
            Self::end_links_of(&mut write, name).await?;
        }
        audited(&mut write, "update", (Some(&before), &after), change).await?;
        self.commit_quietly(write).await?;
        Ok(after)
    }

    /// Writes an account into a transaction.
    pub(super) async fn insert_account(
        write: &mut Write,
        name: &AccountName,
        role: Role,
        change: &Change,
    ) -> Result<Account, ControlError> {
        let taken = sqlx::query("SELECT 1 FROM accounts WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&mut **write)
            .await
            .map_err(failed("read an account"))?;
        if taken.is_some() {
            return Err(exists(ObjectKind::Account, name.as_str()));
        }
        sqlx::query("INSERT INTO accounts (name, role, created_at) VALUES ($1, $2, $3)")
            .bind(name.as_str())
            .bind(role.as_str())
            .bind(change.at.0)
            .execute(&mut **write)
            .await
            .map_err(failed("write an account"))?;
        let account = Account {
            name: name.clone(),
            role,
            enabled: true,
            has_password: false,
            created_at: change.at,
        };
        audited(write, "create", (None, &account), change).await?;
        Ok(account)
    }

    /// Sets the password of an account, and lets it begin anew: no failures, no sessions, no links.
    pub(super) async fn set_password(
        write: &mut Write,
        name: &AccountName,
        hash: &str,
        change: &Change,
    ) -> Result<Account, ControlError> {
        let before = account_in(write, name).await?;
        sqlx::query("UPDATE accounts SET password_hash = $2 WHERE name = $1")
            .bind(name.as_str())
            .bind(hash)
            .execute(&mut **write)
            .await
            .map_err(failed("write a password"))?;
        Self::forget_failures(write, name).await?;
        Self::end_sessions_of(write, name).await?;
        Self::end_links_of(write, name).await?;
        let after = Account {
            has_password: true,
            ..before.clone()
        };
        audited(write, "set_password", (Some(&before), &after), change).await?;
        Ok(after)
    }
}

/// How many administrators can log in.
async fn admins(write: &mut Write) -> Result<i64, ControlError> {
    sqlx::query_scalar(
        "SELECT count(*) FROM accounts
         WHERE role = 'admin' AND disabled_at IS NULL AND password_hash IS NOT NULL",
    )
    .fetch_one(&mut **write)
    .await
    .map_err(failed("count administrators"))
}

pub(super) async fn account_in(write: &mut Write, name: &AccountName) -> Result<Account, ControlError> {
    let row = sqlx::query(
        "SELECT name, role, password_hash, disabled_at, created_at FROM accounts WHERE name = $1",
    )
    .bind(name.as_str())
    .fetch_optional(&mut **write)
    .await
    .map_err(failed("read an account"))?;
    read(&row.ok_or_else(|| missing(ObjectKind::Account, name.as_str()))?)
}

async fn audited(
    write: &mut Write,
    action: &'static str,
    (before, after): (Option<&Account>, &Account),
    change: &Change,
) -> Result<(), ControlError> {
    let text = |account: &Account| {
        serde_json::to_string(account).map_err(corrupt(ObjectKind::Account, account.name.as_str()))
    };
    let (before, after_text) = (before.map(text).transpose()?, text(after)?);
    let entry = Entry {
        action,
        kind: ObjectKind::Account,
        key: after.name.as_str(),
        before: before.as_deref(),
        after: Some(&after_text),
    };
    Store::record(write, entry, change).await
}

fn read(row: &AnyRow) -> Result<Account, ControlError> {
    let read = || -> Result<_, sqlx::Error> {
        let name: String = row.try_get("name")?;
        let role: String = row.try_get("role")?;
        let disabled_at: Option<i64> = row.try_get("disabled_at")?;
        let password: Option<String> = row.try_get("password_hash")?;
        let created_at: i64 = row.try_get("created_at")?;
        Ok((name, role, disabled_at, password, created_at))
    };
    let (name, role, disabled_at, password, created_at) = read().map_err(failed("read an account"))?;
    Ok(Account {
        // A word that this program does not know gives the least.
        role: Role::from_word(&role).unwrap_or(Role::Viewer),
        name: AccountName::from_stored(&name),
        enabled: disabled_at.is_none(),
        has_password: password.is_some(),
        created_at: Timestamp(created_at),
    })
}
