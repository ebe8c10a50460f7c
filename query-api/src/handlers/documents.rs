//! The routes of documents that have nothing but what all documents have: feature flags, metrics, segments, layers,
//! holdouts, environments, dimensions, projects, tags and, but for what people do to them, rollout schedules.
//!
//! Each kind is a module of seven handlers. A macro writes them, because the documentation of a route is an attribute and
//! an attribute cannot be passed to a function.

use serde_json::{Map, Value};

use crate::extract::ApiJson;

/// The members of a definition, out of a body.
type Members = ApiJson<Map<String, Value>>;

/// The seven handlers of a kind of document. `body` is what takes the members out of a body, and may refuse them.
macro_rules! document_routes {
    (
        $(#[doc = $doc:literal])+
        $module:ident: $definition:ty, $key:ty, $document:ty, $page:ty,
        body $body:ty, tag $tag:literal, collection $collection:literal, one $one:literal, restore $restore:literal,
        called $one_called:literal, $many_called:literal,
        ids $list:literal $create:literal $get:literal $replace:literal $patch:literal $delete:literal $bring:literal
    ) => {
        $(#[doc = $doc])+
        pub mod $module {
            use std::sync::Arc;

            use axum::extract::State;
            use axum::http::{HeaderMap, StatusCode};
            use axum::response::Response;

            use super::super::definitions::{self, FindQuery, Writer};
            use crate::extract::{ApiQuery, IfMatch, PathKey};
            use crate::problem::ApiResult;
            use crate::state::ApiState;

            /// List them
            ///
            /// In order of key, a page at a time.
            #[utoipa::path(get, path = $collection, tag = $tag, summary = concat!("List ", $many_called), operation_id = $list, params(FindQuery),
                responses((status = 200, body = $page, description = "A page.")))]
            pub async fn list(
                State(state): State<Arc<ApiState>>,
                ApiQuery(query): ApiQuery<FindQuery>,
            ) -> ApiResult<Response> {
                definitions::list::<$definition>(&state, query).await
            }

            /// Create one
            #[utoipa::path(post, path = $collection, tag = $tag, summary = concat!("Create ", $one_called), operation_id = $create, request_body = $document,
                responses((status = 201, body = $document, description = "Created, at version 1.")))]
            pub async fn create(
                State(state): State<Arc<ApiState>>,
                Writer(change): Writer,
                body: $body,
            ) -> ApiResult<Response> {
                definitions::create::<$definition>(&state, $collection, body.0, &change).await
            }

            /// Read one
            #[utoipa::path(get, path = $one, tag = $tag, summary = concat!("Read ", $one_called), operation_id = $get,
                responses((status = 200, body = $document, description = "As it is now."),
                    (status = 304, description = "Still at the version that If-None-Match names.")))]
            pub async fn get(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<$key>,
                headers: HeaderMap,
            ) -> ApiResult<Response> {
                definitions::get::<$definition>(&state, &key, &headers).await
            }

            /// Replace one
            #[utoipa::path(put, path = $one, tag = $tag, summary = concat!("Replace ", $one_called), operation_id = $replace, request_body = $document,
                responses((status = 200, body = $document, description = "Replaced.")))]
            pub async fn replace(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<$key>,
                expected: IfMatch,
                Writer(change): Writer,
                body: $body,
            ) -> ApiResult<Response> {
                definitions::replace::<$definition>(&state, &key, expected, (body.0, &change)).await
            }

            /// Change some members of one
            ///
            /// JSON merge patch (RFC 7396): members given replace, members given as null go.
            #[utoipa::path(patch, path = $one, tag = $tag, summary = concat!("Change some members of ", $one_called), operation_id = $patch,
                request_body(content = Object, description = "The members to change.", example = json!({"name": "A better name"})),
                responses((status = 200, body = $document, description = "Changed.")))]
            pub async fn patch(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<$key>,
                expected: IfMatch,
                Writer(change): Writer,
                body: $body,
            ) -> ApiResult<Response> {
                definitions::patch::<$definition>(&state, &key, expected, (body.0, &change)).await
            }

            /// Delete one
            ///
            /// It can be restored.
            #[utoipa::path(delete, path = $one, tag = $tag, summary = concat!("Delete ", $one_called), operation_id = $delete,
                responses((status = 204, description = "Deleted.")))]
            pub async fn delete(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<$key>,
                expected: IfMatch,
                Writer(change): Writer,
            ) -> ApiResult<StatusCode> {
                definitions::delete::<$definition>(&state, &key, expected, &change).await
            }

            /// Bring a deleted one back
            #[utoipa::path(post, path = $restore, tag = $tag, summary = concat!("Bring back ", $one_called), operation_id = $bring,
                responses((status = 200, body = $document, description = "As it was, at a new version.")))]
            pub async fn restore(
                State(state): State<Arc<ApiState>>,
                PathKey(key): PathKey<$key>,
                Writer(change): Writer,
            ) -> ApiResult<Response> {
                definitions::restore::<$definition>(&state, &key, &change).await
            }
        }
    };
}

document_routes!(
    /// Segments: named groups of users.
    segments: domain::rules::definition::SegmentDefinition, domain::SegmentKey, crate::wire::SegmentDocument, crate::wire::SegmentDocumentPage,
    body super::Members, tag "segments", collection "/api/v1/segments", one "/api/v1/segments/{key}", restore "/api/v1/segments/{key}/restore",
    called "a segment", "segments",
    ids "list_segments" "create_segment" "get_segment" "replace_segment" "patch_segment" "delete_segment" "restore_segment"
);

document_routes!(
    /// Layers: whose experiments exclude each other.
    layers: domain::rules::definition::LayerDefinition, domain::LayerKey, crate::wire::LayerDocument, crate::wire::LayerDocumentPage,
    body super::Members, tag "segments", collection "/api/v1/layers", one "/api/v1/layers/{key}", restore "/api/v1/layers/{key}/restore",
    called "a layer", "layers",
    ids "list_layers" "create_layer" "get_layer" "replace_layer" "patch_layer" "delete_layer" "restore_layer"
);

document_routes!(
    /// Holdouts: who is kept out of every change.
    holdouts: domain::rules::definition::HoldoutDefinition, domain::HoldoutKey, crate::wire::HoldoutDocument, crate::wire::HoldoutDocumentPage,
    body super::Members, tag "segments", collection "/api/v1/holdouts", one "/api/v1/holdouts/{key}", restore "/api/v1/holdouts/{key}/restore",
    called "a holdout", "holdouts",
    ids "list_holdouts" "create_holdout" "get_holdout" "replace_holdout" "patch_holdout" "delete_holdout" "restore_holdout"
);

document_routes!(
    /// Environments: where flags have settings of their own.
    environments: domain::catalog::EnvironmentDefinition, domain::EnvironmentKey, crate::wire::EnvironmentDocument, crate::wire::EnvironmentDocumentPage,
    body super::Members, tag "catalog", collection "/api/v1/environments", one "/api/v1/environments/{key}", restore "/api/v1/environments/{key}/restore",
    called "an environment", "environments",
    ids "list_environments" "create_environment" "get_environment" "replace_environment" "patch_environment" "delete_environment" "restore_environment"
);

document_routes!(
    /// Dimensions: by what results are broken down.
    dimensions: domain::catalog::DimensionDefinition, domain::DimensionKey, crate::wire::DimensionDocument, crate::wire::DimensionDocumentPage,
    body super::Members, tag "catalog", collection "/api/v1/dimensions", one "/api/v1/dimensions/{key}", restore "/api/v1/dimensions/{key}/restore",
    called "a dimension", "dimensions",
    ids "list_dimensions" "create_dimension" "get_dimension" "replace_dimension" "patch_dimension" "delete_dimension" "restore_dimension"
);

document_routes!(
    /// Projects: what belongs together.
    projects: domain::catalog::ProjectDefinition, domain::ProjectKey, crate::wire::ProjectDocument, crate::wire::ProjectDocumentPage,
    body super::Members, tag "catalog", collection "/api/v1/projects", one "/api/v1/projects/{key}", restore "/api/v1/projects/{key}/restore",
    called "a project", "projects",
    ids "list_projects" "create_project" "get_project" "replace_project" "patch_project" "delete_project" "restore_project"
);

document_routes!(
    /// Tags: what definitions are marked with.
    tags: domain::catalog::TagDefinition, domain::TagKey, crate::wire::TagDocument, crate::wire::TagDocumentPage,
    body super::Members, tag "catalog", collection "/api/v1/tags", one "/api/v1/tags/{key}", restore "/api/v1/tags/{key}/restore",
    called "a tag", "tags",
    ids "list_tags" "create_tag" "get_tag" "replace_tag" "patch_tag" "delete_tag" "restore_tag"
);

document_routes!(
    /// Rollout schedules: how a variation reaches more and more users.
    rollout_schedules: domain::rollout::RolloutScheduleDefinition, domain::RolloutScheduleKey,
    crate::wire::RolloutScheduleDocument, crate::wire::RolloutScheduleDocumentPage,
    body crate::handlers::rollouts::MembersOnOwnFlag, tag "rollout-schedules", collection "/api/v1/rollout-schedules", one "/api/v1/rollout-schedules/{key}",
    restore "/api/v1/rollout-schedules/{key}/restore",
    called "a rollout schedule", "rollout schedules",
    ids "list_rollout_schedules" "create_rollout_schedule" "get_rollout_schedule" "replace_rollout_schedule"
        "patch_rollout_schedule" "delete_rollout_schedule" "restore_rollout_schedule"
);

document_routes!(
    /// Feature flags: what products ask for.
    flags: domain::rules::definition::FlagDefinition, domain::FlagKey, crate::wire::FlagDocument, crate::wire::FlagDocumentPage,
    body super::Members, tag "feature-flags", collection "/api/v1/feature-flags", one "/api/v1/feature-flags/{key}", restore "/api/v1/feature-flags/{key}/restore",
    called "a feature flag", "feature flags",
    ids "list_feature_flags" "create_feature_flag" "get_feature_flag" "replace_feature_flag" "patch_feature_flag" "delete_feature_flag" "restore_feature_flag"
);

document_routes!(
    /// Metrics: what is measured.
    metrics: domain::metric::MetricDefinition, domain::MetricKey, crate::wire::MetricDocument, crate::wire::MetricDocumentPage,
    body super::Members, tag "metrics", collection "/api/v1/metrics", one "/api/v1/metrics/{key}", restore "/api/v1/metrics/{key}/restore",
    called "a metric", "metrics",
    ids "list_metrics" "create_metric" "get_metric" "replace_metric" "patch_metric" "delete_metric" "restore_metric"
);
