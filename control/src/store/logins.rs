//! Coming in: one-time links, failed attempts and their delay, sessions. Links and sessions are kept by digest only.

use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use sqlx::Row;

use super::accounts::{AccountName, account_in};
use super::{Account, Entry, ObjectKind, Store, Write, failed};
use crate::access::secret::{SECRET_CHARS, digest, random_text};
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::permission::Role;

/// How long a one-time link can be used: a day, so that it survives a night.
const LINK_LIFETIME_MICROS: i64 = domain::timestamp::MICROS_PER_DAY;
/// Attempts that cost nothing: people mistype.
const FREE_ATTEMPTS: u32 = 5;
/// The first delay, which doubles with each failure from then on.
const FIRST_DELAY_MICROS: i64 = 30 * MICROS_PER_SECOND;
/// The longest delay: guessing four times an hour never gets anywhere, and nobody is locked out for a day by a stranger.
const LONGEST_DELAY_MICROS: i64 = 15 * 60 * MICROS_PER_SECOND;
/// Failures are forgotten after a day without another.
const FAILURES_KEPT_MICROS: i64 = domain::timestamp::MICROS_PER_DAY;
/// A session ends when nothing was asked in it for this long.
const SESSION_IDLE_MICROS: i64 = 30 * 60 * MICROS_PER_SECOND;
/// A session ends this long after the login, whatever happened in it.
const SESSION_LIFETIME_MICROS: i64 = 12 * 3_600 * MICROS_PER_SECOND;
/// A session in use is noted this often, so that reading does not write each time.
const SESSION_NOTE_MICROS: i64 = 60 * MICROS_PER_SECOND;

/// What a login is checked against.
pub(crate) struct LoginFacts {
    pub(crate) password_hash: Option<String>,
    pub(crate) locked_until: Option<Timestamp>,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionFacts {
    /// The local account, when it is one.
    pub(crate) account: Option<AccountName>,
    pub(crate) actor: Actor,
    /// The role that the identity provider's groups gave, when it was it who vouched.
    pub(crate) role: Option<Role>,
}

impl Store {
    /// Makes the secret of a one-time link with which the holder of an account chooses a password. Earlier links end. Whoever
    /// has it can come in under that account, so making it leaves an audit record.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn create_link(&self, name: &AccountName, change: &Change) -> Result<String, ControlError> {
        let mut write = self.begin().await?;
        account_in(&mut write, name).await?;
        Self::end_links_of(&mut write, name).await?;
        let secret = insert_link(&mut write, Some(name), change.at).await?;
        let entry = Entry {
            action: "create_link",
            kind: ObjectKind::Account,
            key: name.as_str(),
            before: None,
            after: None,
        };
        Self::record(&mut write, entry, change).await?;
        self.commit_quietly(write).await?;
        Ok(secret)
    }

    /// Makes the secret of the one-time link that makes the first administrator; nothing when there are accounts.
    ///
    /// # Errors
    /// [`ControlError::Database`].
    pub async fn create_first_link(&self, at: Timestamp) -> Result<Option<String>, ControlError> {
        let mut write = self.begin().await?;
        if count_accounts(&mut write).await? > 0 {
            return Ok(None);
        }
        sqlx::query("DELETE FROM one_time_links WHERE account IS NULL")
            .execute(&mut *write)
            .await
            .map_err(failed("end links"))?;
        let secret = insert_link(&mut write, None, at).await?;
        self.commit_quietly(write).await?;
        Ok(Some(secret))
    }

    /// Uses a one-time link: sets the password of its account, or makes the first administrator under `name`.
    ///
    /// # Errors
    /// [`ControlError::InvalidLink`] when there is no such link, it has ended or was used; a link for the first
    /// administrator also ends with the first account.
    pub(crate) async fn redeem_link(
        &self,
        secret: &str,
        (name, hash): (Option<&AccountName>, &str),
        at: Timestamp,
    ) -> Result<Account, ControlError> {
        let mut write = self.begin().await?;
        let row = sqlx::query("SELECT account FROM one_time_links WHERE digest = $1 AND expires_at > $2")
            .bind(digest(secret).to_vec())
            .bind(at.0)
            .fetch_optional(&mut *write)
            .await
            .map_err(failed("read a link"))?;
        let account: Option<String> = row
            .ok_or(ControlError::InvalidLink)?
            .try_get("account")
            .map_err(failed("read a link"))?;
        let (name, is_first) = match (account, name) {
            (Some(account), _) => (AccountName::from_stored(&account), false),
            (None, Some(name)) => (name.clone(), true),
            (None, None) => return Err(ControlError::NameMissing),
        };
        let change = Change::new(name.actor(), at).because("by a one-time link");
        if is_first {
            if count_accounts(&mut write).await? > 0 {
                return Err(ControlError::InvalidLink);
            }
            Self::insert_account(&mut write, &name, Role::Admin, &change).await?;
        }
        sqlx::query("DELETE FROM one_time_links WHERE digest = $1")
            .bind(digest(secret).to_vec())
            .execute(&mut *write)
            .await
            .map_err(failed("end a link"))?;
        let account = Self::set_password(&mut write, &name, hash, &change).await?;
        self.commit_quietly(write).await?;
        Ok(account)
    }

    /// What a login under a name is checked against; also for names that no account has.
    pub(crate) async fn login_facts(&self, name: &AccountName) -> Result<LoginFacts, ControlError> {
        let row = sqlx::query(
            "SELECT (SELECT password_hash FROM accounts WHERE name = $1 AND disabled_at IS NULL) AS password_hash,
                    (SELECT locked_until FROM login_failures WHERE name = $1) AS locked_until",
        )
        .bind(name.as_str())
        .fetch_one(self.readers())
        .await
        .map_err(failed("read an account"))?;
        let read = || -> Result<LoginFacts, sqlx::Error> {
            let locked_until: Option<i64> = row.try_get("locked_until")?;
            Ok(LoginFacts {
                password_hash: row.try_get("password_hash")?,
                locked_until: locked_until.map(Timestamp),
            })
        };
        read().map_err(failed("read an account"))
    }

    /// Notes a failed attempt; from the sixth in a row on, the name waits before it is heard again.
    pub(crate) async fn login_failed(&self, name: &AccountName, at: Timestamp) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        sqlx::query("DELETE FROM login_failures WHERE at <= $1")
            .bind(at.plus_micros(-FAILURES_KEPT_MICROS).0)
            .execute(&mut *write)
            .await
            .map_err(failed("forget failed logins"))?;
        let failures: Option<i64> = sqlx::query_scalar("SELECT failures FROM login_failures WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&mut *write)
            .await
            .map_err(failed("read failed logins"))?;
        let failures = failures.map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX));
        let failures = failures.saturating_add(1);
        sqlx::query(
            "INSERT INTO login_failures (name, failures, locked_until, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET failures = excluded.failures, locked_until = excluded.locked_until,
               at = excluded.at",
        )
        .bind(name.as_str())
        .bind(i64::from(failures))
        .bind(delay_micros(failures).map(|delay| at.plus_micros(delay).0))
        .bind(at.0)
        .execute(&mut *write)
        .await
        .map_err(failed("note a failed login"))?;
        self.commit_quietly(write).await
    }

    /// Writes a session into a transaction and gives its secret. Sessions that have ended go.
    pub(super) async fn insert_session(
        write: &mut Write,
        facts: &SessionFacts,
        at: Timestamp,
    ) -> Result<String, ControlError> {
        let secret = random_text(SECRET_CHARS);
        sqlx::query("DELETE FROM sessions WHERE created_at <= $1 OR seen_at <= $2")
            .bind(at.plus_micros(-SESSION_LIFETIME_MICROS).0)
            .bind(at.plus_micros(-SESSION_IDLE_MICROS).0)
            .execute(&mut **write)
            .await
            .map_err(failed("end sessions"))?;
        if let Some(name) = &facts.account {
            Self::forget_failures(write, name).await?;
        }
        sqlx::query(
            "INSERT INTO sessions (digest, account, actor, role, created_at, seen_at) VALUES ($1, $2, $3, $4, $5, $5)",
        )
        .bind(digest(&secret).to_vec())
        .bind(facts.account.as_ref().map(AccountName::as_str))
        .bind(facts.actor.as_str())
        .bind(facts.role.map(Role::as_str))
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map_err(failed("open a session"))?;
        Ok(secret)
    }

    /// Whose session a secret opens, when it has not ended; its use is noted once a minute.
    pub(crate) async fn session(
        &self,
        secret: &str,
        at: Timestamp,
    ) -> Result<Option<SessionFacts>, ControlError> {
        let row = sqlx::query(
            "SELECT account, actor, role, seen_at FROM sessions WHERE digest = $1 AND created_at > $2 AND seen_at > $3",
        )
        .bind(digest(secret).to_vec())
        .bind(at.plus_micros(-SESSION_LIFETIME_MICROS).0)
        .bind(at.plus_micros(-SESSION_IDLE_MICROS).0)
        .fetch_optional(self.readers())
        .await
        .map_err(failed("read a session"))?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<(SessionFacts, i64), sqlx::Error> {
            let account: Option<String> = row.try_get("account")?;
            let role: Option<String> = row.try_get("role")?;
            let actor: String = row.try_get("actor")?;
            let facts = SessionFacts {
                account: account.map(|name| AccountName::from_stored(&name)),
                actor: Actor::from_stored(&actor),
                role: role.and_then(|word| Role::from_word(&word)),
            };
            Ok((facts, row.try_get("seen_at")?))
        };
        let (facts, seen_at) = read().map_err(failed("read a session"))?;
        if at.0 - seen_at >= SESSION_NOTE_MICROS {
            let mut write = self.begin().await?;
            sqlx::query("UPDATE sessions SET seen_at = $2 WHERE digest = $1")
                .bind(digest(secret).to_vec())
                .bind(at.0)
                .execute(&mut *write)
                .await
                .map_err(failed("note the use of a session"))?;
            self.commit_quietly(write).await?;
        }
        Ok(Some(facts))
    }

    /// Ends a session.
    pub(crate) async fn close_session(&self, secret: &str) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        sqlx::query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest(secret).to_vec())
            .execute(&mut *write)
            .await
            .map_err(failed("end a session"))?;
        self.commit_quietly(write).await
    }

    /// The number that grows with every change of who may come in.
    pub(crate) async fn access_version(&self) -> Result<i64, ControlError> {
        sqlx::query_scalar("SELECT version FROM access_version")
            .fetch_one(self.readers())
            .await
            .map_err(failed("read the version of access"))
    }

    /// Whether any account or key has ever been made.
    pub(crate) async fn has_accounts_or_keys(&self) -> Result<bool, ControlError> {
        let count: i64 =
            sqlx::query_scalar("SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM api_keys)")
                .fetch_one(self.readers())
                .await
                .map_err(failed("look for accounts"))?;
        Ok(count > 0)
    }

    pub(super) async fn forget_failures(write: &mut Write, name: &AccountName) -> Result<(), ControlError> {
        sqlx::query("DELETE FROM login_failures WHERE name = $1")
            .bind(name.as_str())
            .execute(&mut **write)
            .await
            .map(drop)
            .map_err(failed("forget failed logins"))
    }

    pub(super) async fn end_sessions_of(write: &mut Write, name: &AccountName) -> Result<(), ControlError> {
        sqlx::query("DELETE FROM sessions WHERE account = $1")
            .bind(name.as_str())
            .execute(&mut **write)
            .await
            .map(drop)
            .map_err(failed("end sessions"))
    }

    pub(super) async fn end_links_of(write: &mut Write, name: &AccountName) -> Result<(), ControlError> {
        sqlx::query("DELETE FROM one_time_links WHERE account = $1")
            .bind(name.as_str())
            .execute(&mut **write)
            .await
            .map(drop)
            .map_err(failed("end links"))
    }
}

async fn count_accounts(write: &mut Write) -> Result<i64, ControlError> {
    sqlx::query_scalar("SELECT count(*) FROM accounts")
        .fetch_one(&mut **write)
        .await
        .map_err(failed("count accounts"))
}

async fn insert_link(
    write: &mut Write,
    name: Option<&AccountName>,
    at: Timestamp,
) -> Result<String, ControlError> {
    let secret = random_text(SECRET_CHARS);
    sqlx::query("INSERT INTO one_time_links (digest, account, expires_at) VALUES ($1, $2, $3)")
        .bind(digest(&secret).to_vec())
        .bind(name.map(AccountName::as_str))
        .bind(at.plus_micros(LINK_LIFETIME_MICROS).0)
        .execute(&mut **write)
        .await
        .map_err(failed("write a link"))?;
    Ok(secret)
}

/// How long an account waits after so many failures in a row.
fn delay_micros(failures: u32) -> Option<i64> {
    let beyond = failures.checked_sub(FREE_ATTEMPTS + 1)?;
    let doubled = FIRST_DELAY_MICROS.saturating_mul(1_i64.checked_shl(beyond.min(20)).unwrap_or(i64::MAX));
    Some(doubled.min(LONGEST_DELAY_MICROS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_quarter_of_an_hour() {
        let seconds = |failures| delay_micros(failures).map(|delay| delay / MICROS_PER_SECOND);
        let delays: Vec<_> = [1, 5, 6, 7, 8, 10, 11, 12, u32::MAX].map(seconds).to_vec();
        let expected = [
            None,
            None,
            Some(30),
            Some(60),
            Some(120),
            Some(480),
            Some(900),
            Some(900),
            Some(900),
        ];
        assert_eq!(delays, expected);
    }
}
