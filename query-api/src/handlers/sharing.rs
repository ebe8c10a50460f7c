//! Who owns a definition, and who else may change it.

use std::borrow::Borrow;

use axum::Json;
use control::store::{Definition, Ownership};
use control::{Actor, Change};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// The two handlers of a kind of definition that has owners. A macro writes them, because the documentation of a route is an
/// attribute and an attribute cannot be passed to a function.
macro_rules! sharing_routes {
    ($(#[doc = $doc:literal])+ $module:ident: $definition:ty, path $path:literal, ids $get:literal $share:literal) => {
        $(#[doc = $doc])+
        pub mod $module {
            use std::sync::Arc;

            use axum::Json;
            use axum::extract::State;
            use control::Definition;

            use super::super::definitions::Writer;
            use super::Sharing;
            use crate::extract::{ApiJson, PathKey};
            use crate::problem::ApiResult;
            use crate::state::ApiState;

            type Key = <$definition as Definition>::Key;

            /// Who may change one
            #[utoipa::path(get, path = $path, tag = "access", operation_id = $get,
                responses((status = 200, body = Sharing, description = "Its owner and those it is shared with.")))]
            pub async fn get(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<Key>,
            ) -> ApiResult<Json<Sharing>> {
                super::read::<$definition>(&state, &key).await
            }

            /// Give one away or share it
            ///
            /// For its owner, those it is shared with, and administrators.
            #[utoipa::path(put, path = $path, tag = "access", operation_id = $share, request_body = Sharing,
                responses((status = 200, body = Sharing, description = "As it is since.")))]
            pub async fn share(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<Key>,
                Writer(change): Writer,
                ApiJson(sharing): ApiJson<Sharing>,
            ) -> ApiResult<Json<Sharing>> {
                super::write::<$definition>(&state, &key, &sharing, &change).await
            }
        }
    };
}

sharing_routes!(
    /// Experiments.
    experiments: domain::experiment::ExperimentDefinition,
    path "/api/v1/experiments/{key}/sharing", ids "get_experiment_sharing" "share_experiment"
);
sharing_routes!(
    /// Metrics.
    metrics: domain::metric::MetricDefinition,
    path "/api/v1/metrics/{key}/sharing", ids "get_metric_sharing" "share_metric"
);
sharing_routes!(
    /// Feature flags.
    flags: domain::rules::definition::FlagDefinition,
    path "/api/v1/feature-flags/{key}/sharing", ids "get_feature_flag_sharing" "share_feature_flag"
);
sharing_routes!(
    /// Segments.
    segments: domain::rules::definition::SegmentDefinition,
    path "/api/v1/segments/{key}/sharing", ids "get_segment_sharing" "share_segment"
);
sharing_routes!(
    /// Layers.
    layers: domain::rules::definition::LayerDefinition,
    path "/api/v1/layers/{key}/sharing", ids "get_layer_sharing" "share_layer"
);
sharing_routes!(
    /// Holdouts.
    holdouts: domain::rules::definition::HoldoutDefinition,
    path "/api/v1/holdouts/{key}/sharing", ids "get_holdout_sharing" "share_holdout"
);
sharing_routes!(
    /// Environments.
    environments: domain::catalog::EnvironmentDefinition,
    path "/api/v1/environments/{key}/sharing", ids "get_environment_sharing" "share_environment"
);
sharing_routes!(
    /// Dimensions.
    dimensions: domain::catalog::DimensionDefinition,
    path "/api/v1/dimensions/{key}/sharing", ids "get_dimension_sharing" "share_dimension"
);
sharing_routes!(
    /// Projects.
    projects: domain::catalog::ProjectDefinition,
    path "/api/v1/projects/{key}/sharing", ids "get_project_sharing" "share_project"
);
sharing_routes!(
    /// Tags.
    tags: domain::catalog::TagDefinition,
    path "/api/v1/tags/{key}/sharing", ids "get_tag_sharing" "share_tag"
);
sharing_routes!(
    /// Rollout schedules.
    rollout_schedules: domain::rollout::RolloutScheduleDefinition,
    path "/api/v1/rollout-schedules/{key}/sharing", ids "get_rollout_schedule_sharing" "share_rollout_schedule"
);

/// Guardrails, which are known by ids and go for good when they are retired.
pub mod guardrails {
    use std::sync::Arc;

    use axum::Json;
    use axum::extract::State;
    use control::{ControlError, GuardrailId, ObjectKind};

    use super::super::definitions::Writer;
    use super::Sharing;
    use crate::extract::{ApiJson, PathKey};
    use crate::problem::ApiResult;
    use crate::state::ApiState;

    /// Who may change one
    #[utoipa::path(get, path = "/api/v1/guardrails/{key}/sharing", tag = "access", operation_id = "get_guardrail_sharing",
        responses((status = 200, body = Sharing, description = "Its owner and those it is shared with.")))]
    pub async fn get(
        State(state): State<Arc<ApiState>>,
        PathKey(id): PathKey<String>,
    ) -> ApiResult<Json<Sharing>> {
        let id = known(&state, id).await?;
        Ok(Json(
            state.store.ownership(ObjectKind::Guardrail, &id.0).await?.into(),
        ))
    }

    /// Give one away or share it
    ///
    /// For its owner, those it is shared with, and administrators.
    #[utoipa::path(put, path = "/api/v1/guardrails/{key}/sharing", tag = "access", operation_id = "share_guardrail",
        request_body = Sharing, responses((status = 200, body = Sharing, description = "As it is since.")))]
    pub async fn share(
        State(state): State<Arc<ApiState>>,
        PathKey(id): PathKey<String>,
        Writer(change): Writer,
        ApiJson(sharing): ApiJson<Sharing>,
    ) -> ApiResult<Json<Sharing>> {
        let id = known(&state, id).await?;
        let object = (ObjectKind::Guardrail, id.0.as_str());
        state.store.share(object, &sharing.ownership()?, &change).await?;
        Ok(Json(state.store.ownership(object.0, object.1).await?.into()))
    }

    /// A guardrail that is not retired.
    async fn known(state: &ApiState, id: String) -> ApiResult<GuardrailId> {
        let guardrail = state.store.guardrail(&GuardrailId(id)).await?;
        if guardrail.retired_at.is_some() {
            let (kind, key) = (ObjectKind::Guardrail, guardrail.id.0);
            return Err(ControlError::NotFound { kind, key }.into());
        }
        Ok(guardrail.id)
    }
}

async fn read<D: Definition>(state: &ApiState, key: &D::Key) -> ApiResult<Json<Sharing>> {
    state.store.get::<D>(key).await?;
    let ownership = state.store.ownership(D::KIND, Borrow::borrow(key)).await?;
    Ok(Json(ownership.into()))
}

async fn write<D: Definition>(
    state: &ApiState,
    key: &D::Key,
    sharing: &Sharing,
    change: &Change,
) -> ApiResult<Json<Sharing>> {
    state.store.get::<D>(key).await?;
    let object = (D::KIND, Borrow::<str>::borrow(key));
    state.store.share(object, &sharing.ownership()?, change).await?;
    read::<D>(state, key).await
}
