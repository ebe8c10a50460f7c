//! The OpenAPI 3.1 document: the handlers' annotations, completed with what the route table and the layers know.
//!
//! Problems, common headers, permissions and operators are added here from the code that enforces them, so that no
//! annotation can forget them.

use std::collections::BTreeMap;

use axum::http::Method;
use domain::rules::definition::Operator;
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::{Code, PROBLEM_JSON, ProblemBody};
use crate::routes::{self, Documented, RouteFacts};

mod parameters;
mod strict;

/// The documentation of every route as JSON.
pub fn document() -> Value {
    document_of(routes::assemble(routes::table()).documented)
}

/// The documentation of some routes.
pub fn document_of(documented: Vec<Documented>) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut own_schemas = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut own_schemas);
    insert_schemas(&mut schemas, own_schemas);
    for entry in documented {
        insert_schemas(&mut schemas, entry.schemas);
        let described = to_value(&entry.paths);
        for (path, item) in described.as_object().into_iter().flatten() {
            let methods = paths.entry(path.clone()).or_insert_with(|| json!({}));
            for (method, operation) in item.as_object().into_iter().flatten() {
                methods[method] = complete(operation.clone(), &entry.route);
            }
        }
    }
    name_operators(&mut schemas);
    strict::complete(&mut paths, &mut schemas);
    parameters::complete(&mut paths, &schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Experimently",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": INTRODUCTION,
        },
        "servers": [{"url": "/"}],
        "tags": tags(),
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": security_schemes()},
    })
}

const INTRODUCTION: &str = "Send events, define experiments and feature flags, read decisions.\n\n\
    Times are RFC 3339 in UTC. Lists come in pages: ask again with `cursor` set to `next_cursor` until there is none. \
    A definition carries its version as `ETag`; a change sends it back as `If-Match` and is refused when somebody was \
    faster. A creation with an `Idempotency-Key` is done once, however often it is sent. \
    Every error is a problem (RFC 9457) with a stable `code`; its `instance` is the request's id, also in the header \
    `x-request-id`.";

fn security_schemes() -> Value {
    json!({
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, or an access token of the identity provider."},
        "key_header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-sid",
            "description": "A session of a browser; on plain HTTP the cookie is named `sid`."},
    })
}

fn tags() -> Value {
    json!([
        {"name": "events", "description": "What happened in your product."},
        {"name": "experiments", "description": "What is compared with what."},
        {"name": "rollout-schedules", "description": "How a variation reaches more and more users."},
        {"name": "segments", "description": "Groups of users: segments, layers, holdouts."},
        {"name": "catalog", "description": "What definitions are sorted by: environments, dimensions, projects, tags."},
        {"name": "metrics", "description": "What is measured."},
        {"name": "results", "description": "What came out, and whether it can be trusted."},
        {"name": "feature-flags", "description": "Who gets what."},
        {"name": "ofrep", "description": "The same for every OpenFeature SDK: OpenFeature Remote Evaluation Protocol 0.3."},
        {"name": "safety", "description": "Guardrails and rollbacks."},
        {"name": "webhooks", "description": "Who is told."},
        {"name": "access", "description": "Who comes in, and who may change what."},
        {"name": "user data", "description": "What is held of single users: export and erasure."},
        {"name": "audit", "description": "Who changed what, when and why."},
        {"name": "stream", "description": "Changes as they happen."},
        {"name": "operation", "description": "Health, metrics, documentation."},
    ])
}

fn to_value(serializable: &impl serde::Serialize) -> Value {
    serde_json::to_value(serializable)
        .unwrap_or_else(|_| unreachable!("OpenAPI objects are JSON by construction"))
}

fn insert_schemas<S: serde::Serialize>(schemas: &mut Map<String, Value>, found: Vec<(String, S)>) {
    for (name, schema) in found {
        schemas.insert(name, to_value(&schema));
    }
}

/// The operators that conditions may use, out of the engine's own list.
fn name_operators(schemas: &mut Map<String, Value>) {
    let operators = to_value(&Operator::ALL.as_slice());
    if let Some(operator) = schemas
        .get_mut("Clause")
        .and_then(|schema| schema.pointer_mut("/properties/operator"))
    {
        operator["type"] = json!("string");
        operator["enum"] = operators;
    }
}

/// An operation with its headers, problems and permission.
fn complete(mut operation: Value, route: &RouteFacts) -> Value {
    operation["x-permission"] = json!(route.permission);
    let is_open = matches!(route.permission, "public" | "session:open");
    operation["security"] = match is_open {
        true => json!([]),
        // The last: while nobody has to log in, nothing is needed.
        false => json!([{"key": []}, {"key_header": []}, {"session": []}, {}]),
    };
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    parameters.splice(0..0, parameters::common(route));
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, response) in problem_responses(route) {
            responses.entry(status).or_insert(response);
        }
        for (status, response) in responses.iter_mut() {
            if let Some(headers) = success_headers(route, status) {
                response["headers"] = headers;
            }
        }
    }
    operation
}

/// Whether the route is one of a document with versions, such as `/api/v1/metrics/{key}`.
fn is_document(route: &RouteFacts) -> bool {
    let collections = [
        "/api/v1/experiments",
        "/api/v1/metrics",
        "/api/v1/feature-flags",
        "/api/v1/segments",
        "/api/v1/layers",
        "/api/v1/holdouts",
        "/api/v1/environments",
        "/api/v1/dimensions",
        "/api/v1/projects",
        "/api/v1/tags",
        "/api/v1/rollout-schedules",
    ];
    let collection = route.path.strip_suffix("/{key}").unwrap_or(route.path);
    collections.contains(&collection) && (route.has_key || route.method == Method::POST)
}

/// Whether the route writes to the store, with an audit record.
fn leaves_a_record(route: &RouteFacts) -> bool {
    let writes = !route.method.is_safe() && route.problems.contains(&Code::Unavailable);
    let reads = [":evaluate", ":read", ":export"]
        .iter()
        .any(|end| route.permission.ends_with(end));
    let opens = route.permission == "session:open";
    writes && !reads && !opens && route.path != "/api/v1/events"
}

/// Every problem that the route can answer with, by status.
fn problem_responses(route: &RouteFacts) -> BTreeMap<String, Value> {
    let mut codes = vec![Code::Timeout, Code::UnknownHost, Code::Internal];
    if route.permission != "public" {
        codes.push(Code::RateLimited);
    }
    if !matches!(route.permission, "public" | "session:open") {
        codes.extend([Code::Unauthenticated, Code::Forbidden, Code::Unavailable]);
    }
    codes.extend(&route.problems);
    if route.has_key {
        codes.extend([Code::InvalidKey, Code::NotFound]);
    }
    if route.takes_body {
        codes.extend([
            Code::InvalidJson,
            Code::InvalidBody,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
        ]);
    }
    if !route.method.is_safe() {
        codes.push(Code::CrossSite);
    }
    if leaves_a_record(route) || route.path == "/api/v1/events" {
        codes.push(Code::InvalidHeader);
    }
    let mut by_status: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let same_status = by_status.entry(code.status().as_str().to_owned()).or_default();
        if !same_status.contains(&code) {
            same_status.push(code);
        }
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status, problem_response(&codes)))
        .collect()
}

fn problem_response(codes: &[Code]) -> Value {
    let lines: Vec<_> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
        .collect();
    let mut response = json!({
        "description": lines.join(" "),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let waits = codes
        .iter()
        .any(|code| matches!(code, Code::Overloaded | Code::RateLimited | Code::Unavailable));
    if waits {
        response["headers"] = json!({"Retry-After": {"description": "Seconds to wait before the next try.",
            "schema": {"type": "integer", "minimum": 1}}});
    }
    response
}

fn success_headers(route: &RouteFacts, status: &str) -> Option<Value> {
    let tag = json!({"description": "The version.", "schema": {"type": "string"}, "example": "\"v3\""});
    let place = json!({"description": "Where it stands.", "schema": {"type": "string"}});
    match status {
        "201" if is_document(route) => Some(json!({"ETag": tag, "Location": place})),
        "201" => Some(json!({"Location": place})),
        "200" | "304" if is_document(route) => Some(json!({"ETag": tag})),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    open.extend(members.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }

    #[test]
    fn every_operation_says_what_it_does_and_how_it_fails() {
        let document = document();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = format!("{method} {path}");
                assert!(
                    operation["summary"]
                        .as_str()
                        .is_some_and(|text| !text.ends_with('.')),
                    "{name}"
                );
                assert!(
                    ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                    "{name}"
                );
                assert!(operation["responses"]["500"].is_object(), "{name}");
                assert!(
                    operation["tags"].as_array().is_some_and(|tags| tags.len() == 1),
                    "{name}"
                );
            }
        }
    }
}
