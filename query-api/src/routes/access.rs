//! The rows of who comes in, and who may change what.

use utoipa_axum::routes;

use super::{Route, delete, get, patch, post, put};
use crate::handlers::{auth, keys, sharing, sign_on, user_data, users};
use crate::limits::{CREDENTIALS_BODY_MAX_BYTES, MANAGEMENT_BODY_MAX_BYTES};
use crate::problem::Code;

/// Logins, accounts, keys, and whom definitions are shared with.
#[rustfmt::skip]
pub(super) fn rows() -> Vec<Route> {
    vec![
        post("/api/v1/auth/login", "session:open", routes!(auth::login), CREDENTIALS_BODY_MAX_BYTES)
            .stored().may(&[Code::WrongCredentials]),
        post("/api/v1/auth/redeem", "session:open", routes!(auth::redeem), CREDENTIALS_BODY_MAX_BYTES)
            .stored().may(&[Code::InvalidLink]),
        get("/api/v1/auth/oidc/login", "session:open", routes!(sign_on::begin))
            .stored().may(&[Code::NotFound, Code::InvalidQuery]),
        get("/api/v1/auth/oidc/callback", "session:open", routes!(sign_on::finish))
            .stored().may(&[Code::NotFound, Code::InvalidQuery, Code::LoginRefused]),
        post("/api/v1/auth/logout", "session:open", routes!(auth::logout), 0).stored(),
        get("/api/v1/auth/session", "session:own", routes!(auth::session)),

        get("/api/v1/users", "users:read", routes!(users::list)).listing(),
        post("/api/v1/users", "users:write", routes!(users::create), MANAGEMENT_BODY_MAX_BYTES)
            .stored().may(&[Code::AlreadyExists]),
        get("/api/v1/users/{key}", "users:read", routes!(users::get)).stored(),
        patch("/api/v1/users/{key}", "users:write", routes!(users::patch)).stored().may(&[Code::Conflict]),
        post("/api/v1/users/{key}/link", "users:write", routes!(users::link), 0).stored(),

        get("/api/v1/api-keys", "keys:read", routes!(keys::list)).listing(),
        post("/api/v1/api-keys", "keys:write", routes!(keys::create), MANAGEMENT_BODY_MAX_BYTES)
            .stored().may(&[Code::InvalidDefinition]),
        get("/api/v1/api-keys/{key}", "keys:read", routes!(keys::get)).stored(),
        delete("/api/v1/api-keys/{key}", "keys:write", routes!(keys::revoke)).stored(),
        post("/api/v1/api-keys/{key}/rotate", "keys:write", routes!(keys::rotate), MANAGEMENT_BODY_MAX_BYTES)
            .stored().may(&[Code::InvalidDefinition]),

        post("/api/v1/user-data/export", "user-data:export", routes!(user_data::export), MANAGEMENT_BODY_MAX_BYTES),
        post("/api/v1/user-data/erasures", "user-data:erase", routes!(user_data::erase), MANAGEMENT_BODY_MAX_BYTES).stored(),
        get("/api/v1/user-data/erasures", "user-data:read", routes!(user_data::list)).listing(),
        get("/api/v1/user-data/erasures/{key}", "user-data:read", routes!(user_data::erasure)).stored(),

        get("/api/v1/experiments/{key}/sharing", "experiments:read", routes!(sharing::experiments::get)).stored(),
        put("/api/v1/experiments/{key}/sharing", "experiments:share", routes!(sharing::experiments::share)).stored(),
        get("/api/v1/metrics/{key}/sharing", "metrics:read", routes!(sharing::metrics::get)).stored(),
        put("/api/v1/metrics/{key}/sharing", "metrics:share", routes!(sharing::metrics::share)).stored(),
        get("/api/v1/feature-flags/{key}/sharing", "flags:read", routes!(sharing::flags::get)).stored(),
        put("/api/v1/feature-flags/{key}/sharing", "flags:share", routes!(sharing::flags::share)).stored(),
        get("/api/v1/segments/{key}/sharing", "segments:read", routes!(sharing::segments::get)).stored(),
        put("/api/v1/segments/{key}/sharing", "segments:share", routes!(sharing::segments::share)).stored(),
        get("/api/v1/layers/{key}/sharing", "layers:read", routes!(sharing::layers::get)).stored(),
        put("/api/v1/layers/{key}/sharing", "layers:share", routes!(sharing::layers::share)).stored(),
        get("/api/v1/holdouts/{key}/sharing", "holdouts:read", routes!(sharing::holdouts::get)).stored(),
        put("/api/v1/holdouts/{key}/sharing", "holdouts:share", routes!(sharing::holdouts::share)).stored(),
        get("/api/v1/environments/{key}/sharing", "environments:read", routes!(sharing::environments::get)).stored(),
        put("/api/v1/environments/{key}/sharing", "environments:share", routes!(sharing::environments::share)).stored(),
        get("/api/v1/dimensions/{key}/sharing", "dimensions:read", routes!(sharing::dimensions::get)).stored(),
        put("/api/v1/dimensions/{key}/sharing", "dimensions:share", routes!(sharing::dimensions::share)).stored(),
        get("/api/v1/projects/{key}/sharing", "projects:read", routes!(sharing::projects::get)).stored(),
        put("/api/v1/projects/{key}/sharing", "projects:share", routes!(sharing::projects::share)).stored(),
        get("/api/v1/tags/{key}/sharing", "tags:read", routes!(sharing::tags::get)).stored(),
        put("/api/v1/tags/{key}/sharing", "tags:share", routes!(sharing::tags::share)).stored(),
        get("/api/v1/rollout-schedules/{key}/sharing", "rollouts:read", routes!(sharing::rollout_schedules::get)).stored(),
        put("/api/v1/rollout-schedules/{key}/sharing", "rollouts:share", routes!(sharing::rollout_schedules::share)).stored(),
        get("/api/v1/guardrails/{key}/sharing", "safety:read", routes!(sharing::guardrails::get)).stored(),
        put("/api/v1/guardrails/{key}/sharing", "safety:share", routes!(sharing::guardrails::share)).stored(),
    ]
}
