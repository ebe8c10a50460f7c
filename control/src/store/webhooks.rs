//! Receivers of webhooks.

use std::fmt;

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::definitions::missing;
use super::{Entry, ObjectKind, Page, PageRequest, Store, Write, corrupt, failed, fresh_id, page, page_size};
use crate::change::Change;
use crate::error::ControlError;
use crate::webhook::{WebhookSecret, WebhookSettings, check_target};

/// The id of a receiver: `whe_…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointId(pub String);

impl fmt::Display for EndpointId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A receiver of webhooks, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where messages go.
    pub url: String,
    /// Whether messages are sent; off after the receiver answered 410 or failed for five days.
    pub enabled: bool,
    /// Since when every attempt failed; absent when the last one worked.
    pub failing_since: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A receiver just made: the only time that its secret is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEndpoint {
    /// The receiver.
    pub endpoint: Endpoint,
    /// The secret that its messages are signed with; show [`WebhookSecret::reveal`] once.
    pub secret: WebhookSecret,
}

/// How long messages are signed with the old secret too: a day for the receiver to take the new one.
const ROTATION_OVERLAP_MICROS: i64 = domain::timestamp::MICROS_PER_DAY;

impl Store {
    /// Makes a receiver with a fresh secret. It gets what is queued from now on.
    ///
    /// # Errors
    /// [`ControlError::BlockedTarget`] when `settings` forbid the address.
    pub async fn create_endpoint(
        &self,
        url: &str,
        settings: &WebhookSettings,
        change: &Change,
    ) -> Result<NewEndpoint, ControlError> {
        let url = check_target(url, settings)?;
        let endpoint = Endpoint {
            id: EndpointId(fresh_id("whe", change.at)),
            url: url.into(),
            enabled: true,
            failing_since: None,
            created_at: change.at,
        };
        let secret = WebhookSecret::generate();
        let mut write = self.begin().await?;
        sqlx::query(
            "INSERT INTO webhook_endpoints (id, url, secret, enabled, created_at) VALUES ($1, $2, $3, 1, $4)",
        )
        .bind(&endpoint.id.0)
        .bind(&endpoint.url)
        .bind(secret.bytes())
        .bind(change.at.0)
        .execute(&mut *write)
        .await
        .map_err(failed("write a webhook receiver"))?;
        audited(&mut write, "create", None, Some(&endpoint), change).await?;
        self.commit_quietly(write).await?;
        Ok(NewEndpoint { endpoint, secret })
    }

    /// Reads a receiver.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn endpoint(&self, id: &EndpointId) -> Result<Endpoint, ControlError> {
        let row = sqlx::query(
            "SELECT id, url, enabled, failing_since, created_at FROM webhook_endpoints WHERE id = $1",
        )
        .bind(&id.0)
        .fetch_optional(self.readers())
        .await
        .map_err(failed("read a webhook receiver"))?;
        read_row(&row.ok_or_else(|| missing(ObjectKind::WebhookEndpoint, &id.0))?)
    }

    /// A page of receivers in order of creation.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`].
    pub async fn endpoints(&self, request: &PageRequest) -> Result<Page<Endpoint>, ControlError> {
        let size = page_size(request.limit)?;
        let rows = sqlx::query(
            "SELECT id, url, enabled, failing_since, created_at FROM webhook_endpoints
             WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(request.after.as_deref().unwrap_or(""))
        .bind(size)
        .fetch_all(self.readers())
        .await
        .map_err(failed("list webhook receivers"))?;
        let endpoints = rows.iter().map(read_row).collect::<Result<_, _>>()?;
        Ok(page(endpoints, request.limit, |endpoint: &Endpoint| {
            endpoint.id.0.clone()
        }))
    }

    /// Turns a receiver on or off. Turned on, it gets what is still pending, but not what was queued in between.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn set_endpoint_enabled(
        &self,
        id: &EndpointId,
        enabled: bool,
        change: &Change,
    ) -> Result<Endpoint, ControlError> {
        let mut write = self.begin().await?;
        let before = Self::endpoint_in(&mut write, id).await?;
        let after = Self::switch_endpoint(&mut write, before, enabled, change).await?;
        self.commit_quietly(write).await?;
        self.wake_worker();
        Ok(after)
    }

    /// Gives a receiver a fresh secret; messages are signed with the old one too for a day.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn rotate_endpoint_secret(
        &self,
        id: &EndpointId,
        change: &Change,
    ) -> Result<NewEndpoint, ControlError> {
        let secret = WebhookSecret::generate();
        let mut write = self.begin().await?;
        let endpoint = Self::endpoint_in(&mut write, id).await?;
        sqlx::query(
            "UPDATE webhook_endpoints SET previous_secret = secret, previous_secret_until = $3, secret = $2
             WHERE id = $1",
        )
        .bind(&id.0)
        .bind(secret.bytes())
        .bind(change.at.plus_micros(ROTATION_OVERLAP_MICROS).0)
        .execute(&mut *write)
        .await
        .map_err(failed("write a webhook receiver"))?;
        audited(
            &mut write,
            "rotate_secret",
            Some(&endpoint),
            Some(&endpoint),
            change,
        )
        .await?;
        self.commit_quietly(write).await?;
        Ok(NewEndpoint { endpoint, secret })
    }

    /// Takes a receiver away with what is queued for it.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn delete_endpoint(&self, id: &EndpointId, change: &Change) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        let before = Self::endpoint_in(&mut write, id).await?;
        sqlx::query("DELETE FROM webhook_endpoints WHERE id = $1")
            .bind(&id.0)
            .execute(&mut *write)
            .await
            .map_err(failed("delete a webhook receiver"))?;
        audited(&mut write, "delete", Some(&before), None, change).await?;
        self.commit_quietly(write).await
    }

    /// A receiver as a write sees it.
    pub(super) async fn endpoint_in(write: &mut Write, id: &EndpointId) -> Result<Endpoint, ControlError> {
        let row = sqlx::query(
            "SELECT id, url, enabled, failing_since, created_at FROM webhook_endpoints WHERE id = $1",
        )
        .bind(&id.0)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read a webhook receiver"))?;
        read_row(&row.ok_or_else(|| missing(ObjectKind::WebhookEndpoint, &id.0))?)
    }

    /// Turns a receiver on or off within a write. Its count of failing days starts anew.
    pub(super) async fn switch_endpoint(
        write: &mut Write,
        before: Endpoint,
        enabled: bool,
        change: &Change,
    ) -> Result<Endpoint, ControlError> {
        let after = Endpoint {
            enabled,
            failing_since: None,
            ..before.clone()
        };
        sqlx::query("UPDATE webhook_endpoints SET enabled = $2, failing_since = NULL WHERE id = $1")
            .bind(&after.id.0)
            .bind(i64::from(enabled))
            .execute(&mut **write)
            .await
            .map_err(failed("write a webhook receiver"))?;
        let action = if enabled { "enable" } else { "disable" };
        audited(write, action, Some(&before), Some(&after), change).await?;
        Ok(after)
    }
}

async fn audited(
    write: &mut Write,
    action: &'static str,
    before: Option<&Endpoint>,
    after: Option<&Endpoint>,
    change: &Change,
) -> Result<(), ControlError> {
    let key = before.or(after).map_or("", |endpoint| endpoint.id.0.as_str());
    let text = |endpoint: &Endpoint| {
        serde_json::to_string(endpoint).map_err(corrupt(ObjectKind::WebhookEndpoint, key))
    };
    let (before, after) = (before.map(text).transpose()?, after.map(text).transpose()?);
    let entry = Entry {
        action,
        kind: ObjectKind::WebhookEndpoint,
        key,
        before: before.as_deref(),
        after: after.as_deref(),
    };
    Store::record(write, entry, change).await
}

fn read_row(row: &AnyRow) -> Result<Endpoint, ControlError> {
    let read = || -> Result<Endpoint, sqlx::Error> {
        Ok(Endpoint {
            id: EndpointId(row.try_get("id")?),
            url: row.try_get("url")?,
            enabled: row.try_get::<i64, _>("enabled")? != 0,
            failing_since: row.try_get::<Option<i64>, _>("failing_since")?.map(Timestamp),
            created_at: Timestamp(row.try_get("created_at")?),
        })
    };
    read().map_err(failed("read a webhook receiver"))
}
