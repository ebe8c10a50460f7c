//! Guardrails: what must not get worse on a flag.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use control::{Guardrail, GuardrailId, PageRequest};
use domain::FlagKey;
use domain::guardrail::GuardrailDefinition;
use serde::Deserialize;
use utoipa::IntoParams;

use super::definitions::{PageBody, Writer};
use super::rollouts::MembersOnOwnFlag;
use crate::extract::{ApiQuery, PathKey, encode_segment, parse_json};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;
use crate::wire;

/// Which guardrails are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GuardrailQuery {
    /// Only those on this flag.
    #[param(value_type = Option<wire::Key>)]
    flag: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// A flag's key out of a query parameter.
pub fn flag_parameter(flag: Option<&str>) -> ApiResult<Option<FlagKey>> {
    let key = flag.map(FlagKey::new).transpose();
    key.map_err(|error| Problem::new(Code::InvalidQuery, error.to_string()))
}

/// List guardrails
///
/// Those that are not retired, in order of id.
#[utoipa::path(get, path = "/api/v1/guardrails", tag = "safety", operation_id = "list_guardrails", params(GuardrailQuery),
    responses((status = 200, body = wire::GuardrailPage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<GuardrailQuery>,
) -> ApiResult<Json<PageBody<Guardrail>>> {
    let flag = flag_parameter(query.flag.as_deref())?;
    let request = PageRequest {
        after: query.cursor,
        limit: query.limit.unwrap_or(PageRequest::default().limit),
    };
    let page = state.store.guardrails(flag.as_ref(), &request).await?;
    Ok(Json(page.into()))
}

/// Put a guardrail on a flag
///
/// It is armed at once: when users of `treatment` are proven to be affected more often than the margin allows, the flag
/// is turned to `control`. For whoever may change the flag.
#[utoipa::path(post, path = "/api/v1/guardrails", tag = "safety", operation_id = "create_guardrail",
    request_body = wire::GuardrailDocument,
    responses((status = 201, body = wire::Guardrail, description = "Armed.")))]
pub async fn create(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    MembersOnOwnFlag(mut members): MembersOnOwnFlag,
) -> ApiResult<impl IntoResponse> {
    let settings = state.store.safety_settings().await?.settings;
    members.entry("margin").or_insert(settings.default_margin.into());
    members.entry("alpha").or_insert(settings.default_alpha.into());
    let bytes = serde_json::to_vec(&members).map_err(Problem::internal)?;
    let definition: GuardrailDefinition = parse_json(&bytes)?;
    let guardrail = state.store.create_guardrail(&definition, &change).await?;
    let place = format!("/api/v1/guardrails/{}", encode_segment(&guardrail.id.0));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(guardrail)))
}

/// Read a guardrail and its evidence
#[utoipa::path(get, path = "/api/v1/guardrails/{key}", tag = "safety", operation_id = "get_guardrail",
    responses((status = 200, body = wire::Guardrail, description = "As it stands.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
) -> ApiResult<Json<Guardrail>> {
    Ok(Json(state.store.guardrail(&GuardrailId(id)).await?))
}

/// Retire a guardrail
///
/// It counts no more; what it recorded stays.
#[utoipa::path(delete, path = "/api/v1/guardrails/{key}", tag = "safety", operation_id = "retire_guardrail",
    responses((status = 204, description = "Retired.")))]
pub async fn retire(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
    Writer(change): Writer,
) -> ApiResult<StatusCode> {
    state.store.retire_guardrail(&GuardrailId(id), &change).await?;
    Ok(StatusCode::NO_CONTENT)
}
