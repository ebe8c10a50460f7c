//! Who owns a definition, and who else may change it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::store::Ownership;
use control::{Actor, Change, ObjectKind};
use domain::experiment::ExperimentDefinition;
use domain::rules::definition::FlagDefinition;
use domain::{ExperimentKey, FlagKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::definitions::Writer;
use crate::extract::{ApiJson, PathKey};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;

/// Who may change a definition, beside administrators.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"owner": "person:anna", "editors": ["person:ben", "key:3kTMd0pBvXuA5cE9qWzR1f"]}))]
pub struct Sharing {
    /// Whose it is; every developer may change it when null.
    #[schema(pattern = "^(person|key):[^\\x00-\\x1f\\x7f-\\x9f]{1,256}$")]
    owner: Option<String>,
    /// Who else may change it.
    #[serde(default)]
    #[schema(value_type = Vec<Editor>, max_items = 100)]
    editors: Vec<String>,
}

/// Somebody who may change a definition: a person or a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = String, pattern = "^(person|key):[^\\x00-\\x1f\\x7f-\\x9f]{1,256}$", example = "person:ben")]
pub struct Editor(pub String);

impl From<Ownership> for Sharing {
    fn from(ownership: Ownership) -> Self {
        Self {
            owner: ownership.owner.map(|owner| owner.to_string()),
            editors: ownership.editors.iter().map(Actor::to_string).collect(),
        }
    }
}

impl Sharing {
    fn ownership(&self) -> ApiResult<Ownership> {
        let actor = |text: &String| {
            Actor::principal(text).ok_or_else(|| {
                let detail = format!("{text:?} is neither person:<name> nor key:<selector>");
                Problem::new(Code::InvalidBody, detail)
            })
        };
        Ok(Ownership {
            owner: self.owner.as_ref().map(actor).transpose()?,
            editors: self.editors.iter().map(actor).collect::<ApiResult<_>>()?,
        })
    }
}

/// Who may change an experiment
#[utoipa::path(get, path = "/api/v1/experiments/{key}/sharing", tag = "access", operation_id = "get_experiment_sharing",
    responses((status = 200, body = Sharing, description = "Its owner and those it is shared with.")))]
pub async fn experiment(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<ExperimentKey>,
) -> ApiResult<Json<Sharing>> {
    state.store.get::<ExperimentDefinition>(&key).await?;
    read(&state, (ObjectKind::Experiment, key.as_str())).await
}

/// Give an experiment away or share it
///
/// For its owner, those it is shared with, and administrators.
#[utoipa::path(put, path = "/api/v1/experiments/{key}/sharing", tag = "access", operation_id = "share_experiment",
    request_body = Sharing, responses((status = 200, body = Sharing, description = "As it is since.")))]
pub async fn share_experiment(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<ExperimentKey>,
    Writer(change): Writer,
    ApiJson(sharing): ApiJson<Sharing>,
) -> ApiResult<Json<Sharing>> {
    state.store.get::<ExperimentDefinition>(&key).await?;
    write(&state, (ObjectKind::Experiment, key.as_str()), &sharing, &change).await
}

/// Who may change a feature flag
#[utoipa::path(get, path = "/api/v1/feature-flags/{key}/sharing", tag = "access", operation_id = "get_feature_flag_sharing",
    responses((status = 200, body = Sharing, description = "Its owner and those it is shared with.")))]
pub async fn flag(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<FlagKey>,
) -> ApiResult<Json<Sharing>> {
    state.store.get::<FlagDefinition>(&key).await?;
    read(&state, (ObjectKind::Flag, key.as_str())).await
}

/// Give a feature flag away or share it
///
/// For its owner, those it is shared with, and administrators.
#[utoipa::path(put, path = "/api/v1/feature-flags/{key}/sharing", tag = "access", operation_id = "share_feature_flag",
    request_body = Sharing, responses((status = 200, body = Sharing, description = "As it is since.")))]
pub async fn share_flag(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<FlagKey>,
    Writer(change): Writer,
    ApiJson(sharing): ApiJson<Sharing>,
) -> ApiResult<Json<Sharing>> {
    state.store.get::<FlagDefinition>(&key).await?;
    write(&state, (ObjectKind::Flag, key.as_str()), &sharing, &change).await
}

async fn read(state: &ApiState, (kind, key): (ObjectKind, &str)) -> ApiResult<Json<Sharing>> {
    Ok(Json(state.store.ownership(kind, key).await?.into()))
}

async fn write(
    state: &ApiState,
    object: (ObjectKind, &str),
    sharing: &Sharing,
    change: &Change,
) -> ApiResult<Json<Sharing>> {
    state.store.share(object, &sharing.ownership()?, change).await?;
    read(state, object).await
}
