//! What is held of single users: read whole, and erased. Ids stand in bodies, because addresses are logged on the way.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use control::{Erasure, ErasureState, PageRequest, Receipt};
use domain::UnitId;
use futures::stream;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::definitions::{PageBody, Writer};
use crate::extract::{ApiJson, ApiQuery, PathKey, encode_segment};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;
use crate::wire;

/// Who is meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserDataRequest, example = json!({"user_id": "u-4711"}))]
pub struct UserDataRequest {
    /// The id, as events carry it.
    #[schema(value_type = wire::Key)]
    user_id: UnitId,
}

/// Which erasures are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ErasureQuery {
    /// Only those that are `waiting`, or those that the first server on the store has `done`.
    #[param(pattern = "^(waiting|done)$", example = "waiting")]
    state: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many entries at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// Export everything that is held of a user
///
/// Every row of events, first exposures and rejected records that names the user, one JSON object a line. What came in the
/// last seconds may be missing.
#[utoipa::path(post, path = "/api/v1/user-data/export", tag = "user data", operation_id = "export_user_data",
    request_body = UserDataRequest,
    responses((status = 200, body = wire::UserDataLine, content_type = "application/x-ndjson", description = "The rows.")))]
pub async fn export(
    State(state): State<Arc<ApiState>>,
    ApiJson(request): ApiJson<UserDataRequest>,
) -> Response {
    let lines = state.user_data.export(request.user_id);
    let pieces = stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)));
    let media = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (media, Body::from_stream(pieces)).into_response()
}

/// Erase a user
///
/// Rows are taken out of the tables, the state and the log as soon as all that has come by now is committed. The answer is
/// the receipt, which tells by a salted hash whom it is for; `done_at` is set when it is done.
#[utoipa::path(post, path = "/api/v1/user-data/erasures", tag = "user data", operation_id = "erase_user_data",
    request_body = UserDataRequest,
    responses((status = 202, body = wire::ErasureDocument, description = "It will be done.")))]
pub async fn erase(
    State(state): State<Arc<ApiState>>,
    Writer(change): Writer,
    ApiJson(request): ApiJson<UserDataRequest>,
) -> ApiResult<impl IntoResponse> {
    let receipt = Receipt::of(request.user_id.as_str(), change.at);
    let erasure = state.store.ask_for_erasure(receipt, &change).await?;
    let place = encode_segment(&erasure.receipt.receipt);
    let place = format!("/api/v1/user-data/erasures/{place}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(erasure)))
}

/// List erasures
///
/// Receipts of users that were erased or are to be, in the order in which that was asked for.
#[utoipa::path(get, path = "/api/v1/user-data/erasures", tag = "user data", operation_id = "list_erasures",
    params(ErasureQuery), responses((status = 200, body = wire::ErasurePage, description = "A page.")))]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    ApiQuery(query): ApiQuery<ErasureQuery>,
) -> ApiResult<Json<PageBody<Erasure>>> {
    let word = query.state.as_deref();
    let wanted = word.map(|word| {
        ErasureState::from_word(word).ok_or_else(|| {
            let detail = format!("there is no state {word}; there are waiting and done");
            Problem::new(Code::InvalidQuery, detail)
        })
    });
    let request = PageRequest {
        after: query.cursor,
        limit: query.limit.unwrap_or(PageRequest::default().limit),
    };
    let page = state.store.erasure_page(wanted.transpose()?, &request).await?;
    Ok(Json(page.into()))
}

/// Read whether an erasure is done
#[utoipa::path(get, path = "/api/v1/user-data/erasures/{key}", tag = "user data", operation_id = "get_erasure",
    responses((status = 200, body = wire::ErasureDocument, description = "As it is now.")))]
pub async fn erasure(
    State(state): State<Arc<ApiState>>,
    PathKey(id): PathKey<String>,
) -> ApiResult<Json<Erasure>> {
    Ok(Json(state.store.erasure(&id).await?))
}
