//! Every route in one table: method, path, permission, handler, and what its callers must be ready for.
//!
//! To add a route: write its handler in `handlers/`, add a row here, and regenerate `openapi.json`. Permissions are named
//! here, stand in `control::permission` with the roles that have them, and are enforced before the handler runs.

mod access;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;
use control::permission::{Permission, permission};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::Schema;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use crate::enforce::Enforce;
use crate::handlers::documents::{
    dimensions, environments, flags, holdouts, layers, metrics, projects, rollout_schedules, segments, tags,
};
use crate::handlers::{
    assign, audit, docs, evaluate, evaluate_many, events, experiments, explain, guardrails, health,
    life_cycle, ofrep, results, rollouts, ruleset, safety, segment_ids, statistics, stream, webhooks,
};
use crate::limits::{
    EVALUATE_BODY_MAX_BYTES, EVALUATE_MANY_BODY_MAX_BYTES, EVENTS_BODY_MAX_BYTES, ID_LIST_BODY_MAX_BYTES,
    MANAGEMENT_BODY_MAX_BYTES, STATISTICS_BODY_MAX_BYTES,
};
use crate::problem::Code;
use crate::state::ApiState;

/// What a route is, beside its handler.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{key}` where a key stands.
    pub path: &'static str,
    /// The path as the router reads it, where it is another: keys that hold `/` and are not percent-encoded.
    pub pattern: &'static str,
    /// What a caller must be allowed; `public` is everybody.
    pub permission: &'static str,
    /// The largest body in bytes; 0 where none is taken.
    pub body_max_bytes: usize,
    /// The problems that are this route's own; those of every route are not repeated.
    pub problems: Vec<Code>,
    /// Schemas, description and service, as the macro gives them.
    pub handler: UtoipaMethodRouter<Arc<ApiState>>,
}

type Handler = UtoipaMethodRouter<Arc<ApiState>>;

/// Every route.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "a table of routes is read row by row")]
pub fn table() -> Vec<Route> {
    let mut table = vec![
        post("/api/v1/events", "events:write", routes!(events::collect), EVENTS_BODY_MAX_BYTES)
            .may(&[Code::InvalidEncoding, Code::Overloaded, Code::Unavailable]),

        get("/api/v1/experiments", "experiments:read", routes!(experiments::list)).listing(),
        post("/api/v1/experiments", "experiments:write", routes!(experiments::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/experiments/{key}", "experiments:read", routes!(experiments::get)).stored(),
        put("/api/v1/experiments/{key}", "experiments:write", routes!(experiments::replace)).versioned(),
        patch("/api/v1/experiments/{key}", "experiments:write", routes!(experiments::patch)).versioned(),
        delete("/api/v1/experiments/{key}", "experiments:write", routes!(experiments::delete)).versioned(),
        post("/api/v1/experiments/{key}/restore", "experiments:write", routes!(experiments::restore), 0).restoring(),
        get("/api/v1/experiments/{key}/start-checks", "experiments:read", routes!(life_cycle::start_checks)).stored(),
        post("/api/v1/experiments/{key}/start", "experiments:write", routes!(life_cycle::start), 0).acting(),
        post("/api/v1/experiments/{key}/pause", "experiments:write", routes!(life_cycle::pause), 0).acting(),
        post("/api/v1/experiments/{key}/resume", "experiments:write", routes!(life_cycle::resume), 0).acting(),
        post("/api/v1/experiments/{key}/complete", "experiments:write", routes!(life_cycle::complete), MANAGEMENT_BODY_MAX_BYTES)
            .acting().may(&[Code::InvalidDefinition]),
        post("/api/v1/experiments/{key}/archive", "experiments:write", routes!(life_cycle::archive), 0).acting(),
        post("/api/v1/experiments/{key}/clone", "experiments:clone", routes!(life_cycle::clone), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/experiments/{key}/schedule", "experiments:read", routes!(life_cycle::schedule)).stored(),
        put("/api/v1/experiments/{key}/schedule", "experiments:write", routes!(life_cycle::set_schedule))
            .acting().may(&[Code::InvalidDefinition]),
        get("/api/v1/experiments/{key}/phases", "experiments:read", routes!(life_cycle::phases)).stored(),
        get("/api/v1/experiments/{key}/results", "results:read", routes!(results::results)).stored().may(&[Code::InvalidQuery]),

        post("/api/v1/experiments/{key}/assign", "flags:evaluate", routes!(assign::assign), EVALUATE_BODY_MAX_BYTES).serving(),
        get("/api/v1/experiments/{key}/explain", "experiments:read", routes!(explain::experiment)).serving().may(&[Code::InvalidQuery]),
        post("/api/v1/experiments/{key}/explain", "experiments:read", routes!(explain::experiment_for), EVALUATE_BODY_MAX_BYTES).serving(),

        get("/api/v1/metrics", "metrics:read", routes!(metrics::list)).listing(),
        post("/api/v1/metrics", "metrics:write", routes!(metrics::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/metrics/{key}", "metrics:read", routes!(metrics::get)).stored(),
        put("/api/v1/metrics/{key}", "metrics:write", routes!(metrics::replace)).versioned(),
        patch("/api/v1/metrics/{key}", "metrics:write", routes!(metrics::patch)).versioned(),
        delete("/api/v1/metrics/{key}", "metrics:write", routes!(metrics::delete)).versioned(),
        post("/api/v1/metrics/{key}/restore", "metrics:write", routes!(metrics::restore), 0).restoring(),

        get("/api/v1/feature-flags", "flags:read", routes!(flags::list)).listing(),
        post("/api/v1/feature-flags", "flags:write", routes!(flags::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/feature-flags/{key}", "flags:read", routes!(flags::get)).stored(),
        put("/api/v1/feature-flags/{key}", "flags:write", routes!(flags::replace)).versioned(),
        patch("/api/v1/feature-flags/{key}", "flags:write", routes!(flags::patch)).versioned(),
        delete("/api/v1/feature-flags/{key}", "flags:write", routes!(flags::delete)).versioned(),
        post("/api/v1/feature-flags/{key}/restore", "flags:write", routes!(flags::restore), 0).restoring(),
        post("/api/v1/feature-flags/{key}/evaluate", "flags:evaluate", routes!(evaluate::evaluate), EVALUATE_BODY_MAX_BYTES).serving(),
        post("/api/v1/feature-flags/evaluate", "flags:evaluate", routes!(evaluate_many::evaluate_many), EVALUATE_MANY_BODY_MAX_BYTES).serving(),
        get("/api/v1/feature-flags/{key}/explain", "flags:read", routes!(explain::flag)).serving().may(&[Code::InvalidQuery]),
        post("/api/v1/feature-flags/{key}/explain", "flags:read", routes!(explain::flag_for), EVALUATE_BODY_MAX_BYTES).serving(),
        get("/api/v1/ruleset", "ruleset:read", routes!(ruleset::ruleset)).serving(),

        post("/ofrep/v1/evaluate/flags/{key}", "flags:evaluate", routes!(ofrep::evaluate), EVALUATE_BODY_MAX_BYTES)
            .matching("/ofrep/v1/evaluate/flags/{*key}"),
        post("/ofrep/v1/evaluate/flags", "flags:evaluate", routes!(ofrep::evaluate_all), EVALUATE_BODY_MAX_BYTES),
        get("/ofrep/v1/stream", "flags:evaluate", routes!(stream::ofrep_stream)),

        get("/api/v1/segments", "segments:read", routes!(segments::list)).listing(),
        post("/api/v1/segments", "segments:write", routes!(segments::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/segments/{key}", "segments:read", routes!(segments::get)).stored(),
        put("/api/v1/segments/{key}", "segments:write", routes!(segments::replace)).versioned(),
        patch("/api/v1/segments/{key}", "segments:write", routes!(segments::patch)).versioned(),
        delete("/api/v1/segments/{key}", "segments:write", routes!(segments::delete)).versioned(),
        post("/api/v1/segments/{key}/restore", "segments:write", routes!(segments::restore), 0).restoring(),
        get("/api/v1/segments/{key}/ids", "segments:read", routes!(segment_ids::get)).stored().may(&[Code::InvalidQuery]),
        put("/api/v1/segments/{key}/ids", "segments:write", routes!(segment_ids::replace)).taking_ids(),
        post("/api/v1/segments/{key}/ids", "segments:write", routes!(segment_ids::add), 0).taking_ids(),
        post("/api/v1/segments/{key}/ids/remove", "segments:write", routes!(segment_ids::remove), 0).taking_ids(),

        get("/api/v1/layers", "layers:read", routes!(layers::list)).listing(),
        post("/api/v1/layers", "layers:write", routes!(layers::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/layers/{key}", "layers:read", routes!(layers::get)).stored(),
        put("/api/v1/layers/{key}", "layers:write", routes!(layers::replace)).versioned(),
        patch("/api/v1/layers/{key}", "layers:write", routes!(layers::patch)).versioned(),
        delete("/api/v1/layers/{key}", "layers:write", routes!(layers::delete)).versioned(),
        post("/api/v1/layers/{key}/restore", "layers:write", routes!(layers::restore), 0).restoring(),

        get("/api/v1/holdouts", "holdouts:read", routes!(holdouts::list)).listing(),
        post("/api/v1/holdouts", "holdouts:write", routes!(holdouts::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/holdouts/{key}", "holdouts:read", routes!(holdouts::get)).stored(),
        put("/api/v1/holdouts/{key}", "holdouts:write", routes!(holdouts::replace)).versioned(),
        patch("/api/v1/holdouts/{key}", "holdouts:write", routes!(holdouts::patch)).versioned(),
        delete("/api/v1/holdouts/{key}", "holdouts:write", routes!(holdouts::delete)).versioned(),
        post("/api/v1/holdouts/{key}/restore", "holdouts:write", routes!(holdouts::restore), 0).restoring(),

        get("/api/v1/environments", "environments:read", routes!(environments::list)).listing(),
        post("/api/v1/environments", "environments:write", routes!(environments::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/environments/{key}", "environments:read", routes!(environments::get)).stored(),
        put("/api/v1/environments/{key}", "environments:write", routes!(environments::replace)).versioned(),
        patch("/api/v1/environments/{key}", "environments:write", routes!(environments::patch)).versioned(),
        delete("/api/v1/environments/{key}", "environments:write", routes!(environments::delete)).versioned(),
        post("/api/v1/environments/{key}/restore", "environments:write", routes!(environments::restore), 0).restoring(),

        get("/api/v1/dimensions", "dimensions:read", routes!(dimensions::list)).listing(),
        post("/api/v1/dimensions", "dimensions:write", routes!(dimensions::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/dimensions/{key}", "dimensions:read", routes!(dimensions::get)).stored(),
        put("/api/v1/dimensions/{key}", "dimensions:write", routes!(dimensions::replace)).versioned(),
        patch("/api/v1/dimensions/{key}", "dimensions:write", routes!(dimensions::patch)).versioned(),
        delete("/api/v1/dimensions/{key}", "dimensions:write", routes!(dimensions::delete)).versioned(),
        post("/api/v1/dimensions/{key}/restore", "dimensions:write", routes!(dimensions::restore), 0).restoring(),

        get("/api/v1/projects", "projects:read", routes!(projects::list)).listing(),
        post("/api/v1/projects", "projects:write", routes!(projects::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/projects/{key}", "projects:read", routes!(projects::get)).stored(),
        put("/api/v1/projects/{key}", "projects:write", routes!(projects::replace)).versioned(),
        patch("/api/v1/projects/{key}", "projects:write", routes!(projects::patch)).versioned(),
        delete("/api/v1/projects/{key}", "projects:write", routes!(projects::delete)).versioned(),
        post("/api/v1/projects/{key}/restore", "projects:write", routes!(projects::restore), 0).restoring(),

        get("/api/v1/tags", "tags:read", routes!(tags::list)).listing(),
        post("/api/v1/tags", "tags:write", routes!(tags::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/tags/{key}", "tags:read", routes!(tags::get)).stored(),
        put("/api/v1/tags/{key}", "tags:write", routes!(tags::replace)).versioned(),
        patch("/api/v1/tags/{key}", "tags:write", routes!(tags::patch)).versioned(),
        delete("/api/v1/tags/{key}", "tags:write", routes!(tags::delete)).versioned(),
        post("/api/v1/tags/{key}/restore", "tags:write", routes!(tags::restore), 0).restoring(),

        get("/api/v1/rollout-schedules", "rollouts:read", routes!(rollout_schedules::list)).listing(),
        post("/api/v1/rollout-schedules", "rollouts:write", routes!(rollout_schedules::create), MANAGEMENT_BODY_MAX_BYTES).creating().may(&[Code::NotFound]),
        get("/api/v1/rollout-schedules/{key}", "rollouts:read", routes!(rollout_schedules::get)).stored(),
        put("/api/v1/rollout-schedules/{key}", "rollouts:write", routes!(rollout_schedules::replace)).versioned(),
        patch("/api/v1/rollout-schedules/{key}", "rollouts:write", routes!(rollout_schedules::patch)).versioned(),
        delete("/api/v1/rollout-schedules/{key}", "rollouts:write", routes!(rollout_schedules::delete)).versioned(),
        post("/api/v1/rollout-schedules/{key}/restore", "rollouts:write", routes!(rollout_schedules::restore), 0).restoring(),
        post("/api/v1/rollout-schedules/{key}/start", "rollouts:write", routes!(rollouts::start), 0).acting(),
        post("/api/v1/rollout-schedules/{key}/pause", "rollouts:write", routes!(rollouts::pause), 0).acting(),
        post("/api/v1/rollout-schedules/{key}/resume", "rollouts:write", routes!(rollouts::resume), 0).acting(),
        post("/api/v1/rollout-schedules/{key}/advance", "rollouts:write", routes!(rollouts::advance), 0).acting(),
        post("/api/v1/rollout-schedules/{key}/rollback", "rollouts:write", routes!(rollouts::roll_back), 0).acting(),

        get("/api/v1/guardrails", "safety:read", routes!(guardrails::list)).listing(),
        post("/api/v1/guardrails", "safety:write", routes!(guardrails::create), MANAGEMENT_BODY_MAX_BYTES)
            .creating().may(&[Code::NotFound]),
        get("/api/v1/guardrails/{key}", "safety:read", routes!(guardrails::get)).stored(),
        delete("/api/v1/guardrails/{key}", "safety:write", routes!(guardrails::retire)).stored(),
        post("/api/v1/safety/rollback/{key}", "safety:rollback", routes!(safety::rollback), MANAGEMENT_BODY_MAX_BYTES)
            .stored().may(&[Code::Conflict]),
        get("/api/v1/safety/settings", "safety:read", routes!(safety::settings)).stored(),
        put("/api/v1/safety/settings", "safety:configure", routes!(safety::set_settings))
            .stored().may(&[Code::VersionMismatch, Code::InvalidDefinition]),
        get("/api/v1/safety/rollbacks", "safety:read", routes!(safety::list)).listing(),
        get("/api/v1/safety/rollbacks/{key}", "safety:read", routes!(safety::get)).stored(),

        get("/api/v1/webhook-endpoints", "webhooks:read", routes!(webhooks::list)).listing(),
        post("/api/v1/webhook-endpoints", "webhooks:write", routes!(webhooks::create), MANAGEMENT_BODY_MAX_BYTES).creating(),
        get("/api/v1/webhook-endpoints/{key}", "webhooks:read", routes!(webhooks::get)).stored(),
        patch("/api/v1/webhook-endpoints/{key}", "webhooks:write", routes!(webhooks::patch)).stored(),
        delete("/api/v1/webhook-endpoints/{key}", "webhooks:write", routes!(webhooks::delete)).stored(),
        post("/api/v1/webhook-endpoints/{key}/rotate-secret", "webhooks:write", routes!(webhooks::rotate_secret), 0).stored(),
        get("/api/v1/webhook-endpoints/{key}/deliveries", "webhooks:read", routes!(webhooks::deliveries)).listing(),

        get("/api/v1/audit-logs", "audit:read", routes!(audit::list)).listing(),
        post("/api/v1/stats", "results:read", routes!(statistics::call), STATISTICS_BODY_MAX_BYTES),
        get("/api/v1/stream", "ruleset:read", routes!(stream::stream)),

        get("/livez", "public", routes!(health::livez)),
        get("/readyz", "public", routes!(health::readyz)).may(&[Code::Unavailable]),
        get("/healthz", "public", routes!(health::healthz)),
        get("/health", "public", routes!(health::health)),
        get("/metrics", "public", routes!(health::prometheus)),
        get("/api/v1/openapi.json", "public", routes!(docs::openapi)),
        get("/docs", "public", routes!(docs::docs)),
        get("/", "public", routes!(docs::home)),
        get("/setup", "public", routes!(docs::setup)),
        get("/login", "public", routes!(docs::login)),
        get("/access.js", "public", routes!(docs::access_script)),
        get("/style.css", "public", routes!(docs::style)),
    ];
    table.extend(access::rows());
    table
}

fn row(method: Method, path: &'static str, permission: &'static str, handler: Handler) -> Route {
    Route {
        method,
        path,
        pattern: path,
        permission,
        body_max_bytes: 0,
        problems: Vec::new(),
        handler,
    }
}

fn get(path: &'static str, permission: &'static str, handler: Handler) -> Route {
    row(Method::GET, path, permission, handler)
}

fn post(path: &'static str, permission: &'static str, handler: Handler, body_max_bytes: usize) -> Route {
    let mut route = row(Method::POST, path, permission, handler);
    route.body_max_bytes = body_max_bytes;
    route
}

fn put(path: &'static str, permission: &'static str, handler: Handler) -> Route {
    let mut route = row(Method::PUT, path, permission, handler);
    route.body_max_bytes = MANAGEMENT_BODY_MAX_BYTES;
    route
}

fn patch(path: &'static str, permission: &'static str, handler: Handler) -> Route {
    let mut route = row(Method::PATCH, path, permission, handler);
    route.body_max_bytes = MANAGEMENT_BODY_MAX_BYTES;
    route
}

fn delete(path: &'static str, permission: &'static str, handler: Handler) -> Route {
    row(Method::DELETE, path, permission, handler)
}

impl Route {
    /// Adds problems of its own.
    fn may(mut self, problems: &[Code]) -> Self {
        self.problems.extend(problems);
        self
    }

    /// Matches another pattern than its path.
    fn matching(mut self, pattern: &'static str) -> Self {
        self.pattern = pattern;
        self
    }

    /// Needs a ruleset, which every server has but one that has just been started for the first time.
    fn serving(self) -> Self {
        self.may(&[Code::Unavailable])
    }

    /// Needs the store.
    fn stored(self) -> Self {
        self.may(&[Code::Unavailable])
    }

    /// Gives a page out of the store.
    fn listing(self) -> Self {
        self.stored().may(&[Code::InvalidQuery])
    }

    /// Makes something, once per idempotency key.
    fn creating(self) -> Self {
        let own = [
            Code::AlreadyExists,
            Code::InvalidDefinition,
            Code::IdempotencyKeyReused,
        ];
        self.stored().may(&own)
    }

    /// Changes something from a version that the caller has seen.
    fn versioned(self) -> Self {
        let own = [
            Code::VersionMismatch,
            Code::VersionRequired,
            Code::Conflict,
            Code::InvalidDefinition,
        ];
        self.stored().may(&own)
    }

    /// Does something that the present state may not allow, to the version that the caller may name.
    fn acting(self) -> Self {
        self.stored().may(&[Code::Conflict, Code::VersionMismatch])
    }

    /// Brings something back that was deleted.
    fn restoring(self) -> Self {
        self.stored().may(&[Code::AlreadyExists, Code::InvalidDefinition])
    }

    /// Takes a file of ids.
    fn taking_ids(mut self) -> Self {
        self.body_max_bytes = ID_LIST_BODY_MAX_BYTES;
        self.stored().may(&[Code::InvalidDefinition])
    }

    /// Whether a key stands in the path.
    pub fn has_key(&self) -> bool {
        self.path.contains("{key}")
    }

    /// Whether the route takes a body.
    pub fn takes_body(&self) -> bool {
        self.body_max_bytes > 0
    }
}

/// What a route asks of a request before its handler runs.
#[derive(Debug, Clone, Copy)]
pub struct Passage {
    /// The path as the router matches it.
    pub pattern: &'static str,
    /// What the caller must be allowed; absent when the word stands in no row of the table, and then nobody is.
    pub permission: Option<&'static Permission>,
    /// The largest body.
    pub body_max_bytes: usize,
}

/// What a table of routes comes apart into.
pub struct Parts {
    /// The service, without layers.
    pub router: Router<Arc<ApiState>>,
    /// What documentation needs of each route.
    pub documented: Vec<Documented>,
}

/// What documentation needs of a route.
pub struct Documented {
    /// The route without its handler.
    pub route: RouteFacts,
    /// The schemas that its description names.
    pub schemas: Vec<(String, RefOr<Schema>)>,
    /// Its description, under the path that the annotation says.
    pub paths: Paths,
}

/// A route without its handler.
#[derive(Debug, Clone)]
pub struct RouteFacts {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
    /// What a caller must be allowed.
    pub permission: &'static str,
    /// Whether a key stands in the path.
    pub has_key: bool,
    /// Whether the route takes a body.
    pub takes_body: bool,
    /// The problems that are this route's own.
    pub problems: Vec<Code>,
}

/// Takes the table apart.
pub fn assemble(table: Vec<Route>) -> Parts {
    let mut router = Router::new();
    let mut documented = Vec::with_capacity(table.len());
    for route in table {
        let facts = RouteFacts {
            method: route.method.clone(),
            path: route.path,
            permission: route.permission,
            has_key: route.has_key(),
            takes_body: route.takes_body(),
            problems: route.problems,
        };
        let (schemas, paths, service): (_, _, MethodRouter<Arc<ApiState>>) = route.handler;
        let passage = Passage {
            pattern: route.pattern,
            permission: permission(route.permission),
            body_max_bytes: route.body_max_bytes,
        };
        router = router.route(route.pattern, service.layer(Enforce(passage)));
        documented.push(Documented {
            route: facts,
            schemas,
            paths,
        });
    }
    Parts { router, documented }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_says_what_its_handler_says() {
        // What must never change: the table, the service and the documentation name the same routes.
        for documented in assemble(table()).documented {
            let facts = documented.route;
            let described = serde_json::to_value(&documented.paths).unwrap();
            let paths: Vec<_> = described.as_object().unwrap().keys().cloned().collect();
            assert_eq!(paths, [facts.path]);
            let methods: Vec<_> = described[facts.path]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            assert_eq!(
                methods,
                [facts.method.as_str().to_ascii_lowercase()],
                "{}",
                facts.path
            );
        }
    }

    #[test]
    fn every_write_needs_a_permission() {
        for route in table() {
            let public = route.permission == "public";
            assert!(
                !public || route.method == Method::GET,
                "{} {}",
                route.method,
                route.path
            );
        }
    }

    #[test]
    fn every_permission_stands_in_the_table_and_every_row_is_used() {
        // What must never change: a route whose permission nobody decided on does not land.
        let used: std::collections::BTreeSet<_> = table().iter().map(|route| route.permission).collect();
        for word in &used {
            assert!(
                control::permission::permission(word).is_some(),
                "{word} stands in no row"
            );
        }
        for row in control::permission::TABLE {
            assert!(used.contains(row.word), "no route needs {}", row.word);
        }
    }
}
