//! Receivers of webhooks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use control::store::{Delivery, EndpointId};
use control::{Endpoint, NewEndpoint, PageRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::{ListQuery, PageBody, Writer};
use crate::extract::{ApiJson, ApiQuery, PathKey, encode_segment};
use crate::problem::ApiResult;
use crate::state::ApiState;
use crate::wire;

/// A receiver to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhookEndpoint)]
pub struct EndpointRequest {
    /// Where messages go.
    #[schema(example = "https://example.com/hooks/experimently")]
    url: String,
}

/// What to change of a receiver.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookEndpointChange)]
pub struct EndpointChange {
    /// Whether messages are sent.
    enabled: bool,
}

/// A receiver with its secret: the only time that it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpointWithSecret)]
pub struct EndpointWithSecret {
    /// The receiver.
    #[schema(value_type = wire::WebhookEndpoint)]
    endpoint: Endpoint,
    /// What its messages are signed with, as Standard Webhooks says.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

impl From<NewEndpoint> for EndpointWithSecret {
    fn from(new: NewEndpoint) -> Self {
        Self {
            secret: new.secret.reveal(),
            endpoint: new.endpoint,
        }
    }
}

/// A message on its way to one receiver.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryDocument {
    /// The receiver.
    pub endpoint: String,
    /// The message's id, the same at every attempt.
    #[schema(example = "msg_0198c5de7a307c3e9d5b6f6f0c9e1a11")]
    pub message: String,
    /// The type of the message.
    #[schema(example = "flag.rolled_back")]
    pub event_type: String,
    /// `pending`, `delivered` or `exhausted`.
    #[schema(example = "delivered")]
    pub state: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the next attempt is due; null unless pending.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// The status that the last attempt was answered with; null when there was no answer.
    #[schema(example = 200)]
    pub last_status: Option<u16>,
    /// What went wrong at the last attempt; null when nothing did.
    pub last_error: Option<String>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDeliveryPage)]
pub struct DeliveryPage {
    /// The entries.
    pub items: Vec<DeliveryDocument>,
    /// The `cursor` of the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// List receivers of webhooks
#[utoipa::path(get, path = "/api/v1/webhook-endpoints", tag = "webhooks", operation_id = "list_webhook_endpoints",
    params(ListQuery), responses((status = 200, body = wire::WebhookEndpointPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Json<PageBody<Endpoint>>> {
    Ok(Json(state.store.endpoints(&query.page()).await?.into()))
}

/// Add a receiver of webhooks
///
/// It gets what happens from now on. The answer holds its secret, which is never shown again.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints", tag = "webhooks", operation_id = "create_webhook_endpoint",
    request_body = EndpointRequest,
    responses((status = 201, body = EndpointWithSecret, description = "Added.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<EndpointRequest>,
) -> ApiResult<impl IntoResponse> {
    let new = state
        .store
        .create_endpoint(&request.url, &state.webhooks, &change)
        .await?;
    let place = format!("/api/v1/webhook-endpoints/{}", encode_segment(&new.endpoint.id.0));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, place)],
        Json(EndpointWithSecret::from(new)),
    ))
}

/// Read a receiver of webhooks
#[utoipa::path(get, path = "/api/v1/webhook-endpoints/{key}", tag = "webhooks", operation_id = "get_webhook_endpoint",
    responses((status = 200, body = wire::WebhookEndpoint, description = "As it is now, without its secret.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
) -> ApiResult<Json<Endpoint>> {
    Ok(Json(state.store.endpoint(&EndpointId(id)).await?))
}

/// Turn a receiver of webhooks on or off
#[utoipa::path(patch, path = "/api/v1/webhook-endpoints/{key}", tag = "webhooks", operation_id = "patch_webhook_endpoint",
    request_body = EndpointChange,
    responses((status = 200, body = wire::WebhookEndpoint, description = "As it is since.")))]
pub async fn patch(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<EndpointChange>,
) -> ApiResult<Json<Endpoint>> {
    let id = EndpointId(id);
    let endpoint = state
        .store
        .set_endpoint_enabled(&id, request.enabled, &change)
        .await?;
    Ok(Json(endpoint))
}

/// Remove a receiver of webhooks
///
/// With what is queued for it.
#[utoipa::path(delete, path = "/api/v1/webhook-endpoints/{key}", tag = "webhooks", operation_id = "delete_webhook_endpoint",
    responses((status = 204, description = "Removed.")))]
pub async fn delete(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
    Writer(change): Writer,
) -> ApiResult<StatusCode> {
    state.store.delete_endpoint(&EndpointId(id), &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a receiver of webhooks a new secret
///
/// Messages are signed with both secrets for a day.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints/{key}/rotate-secret", tag = "webhooks",
    operation_id = "rotate_webhook_secret",
    responses((status = 200, body = EndpointWithSecret, description = "With the new secret.")))]
pub async fn rotate_secret(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
    Writer(change): Writer,
) -> ApiResult<Json<EndpointWithSecret>> {
    let new = state
        .store
        .rotate_endpoint_secret(&EndpointId(id), &change)
        .await?;
    Ok(Json(new.into()))
}

/// List what was sent to a receiver of webhooks
///
/// The newest message first.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints/{key}/deliveries", tag = "webhooks",
    operation_id = "list_webhook_deliveries", params(ListQuery),
    responses((status = 200, body = DeliveryPage, description = "A page.")))]
pub async fn deliveries(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Json<PageBody<Delivery>>> {
    let id = EndpointId(id);
    state.store.endpoint(&id).await?;
    let PageRequest { after, limit } = query.page();
    let page = state.store.deliveries(&id, after.as_deref(), limit).await?;
    Ok(Json(page.into()))
}
