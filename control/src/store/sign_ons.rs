//! Logins by the identity provider: those that were begun, and the records of how they ended.

use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use serde_json::json;
use sqlx::Row;

use super::logins::SessionFacts;
use super::{Entry, ObjectKind, Store, Write, failed};
use crate::access::secret::digest;
use crate::change::Change;
use crate::error::ControlError;
use crate::permission::Role;

/// How long a login can be finished: long enough for a second factor.
const BEGUN_LIFETIME_MICROS: i64 = 600 * MICROS_PER_SECOND;
/// Logins that are on their way at once. Anybody can begin one, so beyond that the oldest go.
const BEGUN_MAX: i64 = 10_000;

impl Store {
    /// Keeps a login that a browser has begun.
    pub(crate) async fn begin_sign_on(
        &self,
        secret: &str,
        return_to: &str,
        at: Timestamp,
    ) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        end_begun(&mut write, at).await?;
        sqlx::query(
            "DELETE FROM begun_sign_ons WHERE digest IN
             (SELECT digest FROM begun_sign_ons ORDER BY expires_at DESC LIMIT $1 OFFSET $2)",
        )
        .bind(BEGUN_MAX)
        .bind(BEGUN_MAX - 1)
        .execute(&mut *write)
        .await
        .map_err(failed("end the oldest logins"))?;
        sqlx::query("INSERT INTO begun_sign_ons (digest, return_to, expires_at) VALUES ($1, $2, $3)")
            .bind(digest(secret).to_vec())
            .bind(return_to)
            .bind(at.plus_micros(BEGUN_LIFETIME_MICROS).0)
            .execute(&mut *write)
            .await
            .map_err(failed("begin a login"))?;
        self.commit_quietly(write).await
    }

    /// Uses up a login that was begun, and gives the path that it ends at; none when there is no such login, it was used, or
    /// it took too long.
    pub(crate) async fn take_sign_on(
        &self,
        secret: &str,
        at: Timestamp,
    ) -> Result<Option<String>, ControlError> {
        let mut write = self.begin().await?;
        end_begun(&mut write, at).await?;
        let row = sqlx::query("SELECT return_to FROM begun_sign_ons WHERE digest = $1")
            .bind(digest(secret).to_vec())
            .fetch_optional(&mut *write)
            .await
            .map_err(failed("read a login"))?;
        sqlx::query("DELETE FROM begun_sign_ons WHERE digest = $1")
            .bind(digest(secret).to_vec())
            .execute(&mut *write)
            .await
            .map_err(failed("finish a login"))?;
        self.commit_quietly(write).await?;
        let return_to = row.map(|row| row.try_get("return_to"));
        return_to.transpose().map_err(failed("read a login"))
    }

    /// Opens a session with an audit record, and gives its secret.
    pub(crate) async fn open_session(
        &self,
        facts: &SessionFacts,
        change: &Change,
    ) -> Result<String, ControlError> {
        let mut write = self.begin().await?;
        let secret = Self::insert_session(&mut write, facts, change.at).await?;
        let after = json!({"role": facts.role.map(Role::as_str)}).to_string();
        record(&mut write, ("login", change.actor.as_str(), Some(&after)), change).await?;
        self.commit_quietly(write).await?;
        Ok(secret)
    }

    /// Leaves the record of a login under a name that was refused; the change says why. `left_out` counts those before it
    /// that left none.
    pub(crate) async fn record_refused_login(
        &self,
        named: &str,
        left_out: u64,
        change: &Change,
    ) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        let after = (left_out > 0).then(|| json!({"left_out": left_out}).to_string());
        record(&mut write, ("refuse_login", named, after.as_deref()), change).await?;
        self.commit_quietly(write).await
    }
}

async fn end_begun(write: &mut Write, at: Timestamp) -> Result<(), ControlError> {
    sqlx::query("DELETE FROM begun_sign_ons WHERE expires_at <= $1")
        .bind(at.0)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("end logins that took too long"))
}

async fn record(
    write: &mut Write,
    (action, key, after): (&'static str, &str, Option<&str>),
    change: &Change,
) -> Result<(), ControlError> {
    let entry = Entry {
        action,
        kind: ObjectKind::Session,
        key,
        before: None,
        after,
    };
    Store::record(write, entry, change).await
}
