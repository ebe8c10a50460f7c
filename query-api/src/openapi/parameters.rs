//! The parameters that come from the layers and not from a handler: the key in the path and the headers. Each says
//! exactly what is taken, and its example is the one that the examples of bodies create.

use axum::http::Method;
use control::ObjectKind;
use serde_json::{Map, Value, json};

use super::{is_document, leaves_a_record};
use crate::extract::IDEMPOTENCY_KEY_PATTERN;
use crate::handlers::definitions::REASON_MAX_BYTES;
use crate::problem::Code;
use crate::routes::RouteFacts;

/// What an ETag of a version looks like.
const ETAG_PATTERN: &str = r#"^"v(0|[1-9][0-9]{0,17})"$"#;
/// What a key is, as the domain says: no control characters.
const KEY_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";
/// What any other text of a query is: nothing that is stored holds U+0000.
const TEXT_PATTERN: &str = r"^[^\x00]*$";
/// What the name of an account is.
const ACCOUNT_PATTERN: &str = "^[A-Za-z0-9._@+-]+$";

/// The parameters that the layers in front of the handler read.
pub fn common(route: &RouteFacts) -> Vec<Value> {
    let mut parameters = Vec::new();
    if route.has_key {
        parameters.push(key(route.path));
    }
    let is_versioned = route.problems.contains(&Code::VersionRequired);
    if is_versioned || route.problems.contains(&Code::VersionMismatch) {
        let what = match is_versioned {
            true => "The ETag that was read: the version that is changed.",
            false => "The ETag that was read, when nothing else may have changed meanwhile.",
        };
        let schema = json!({"type": "string", "format": "etag", "pattern": ETAG_PATTERN});
        let mut parameter = header("If-Match", what, &schema, "\"v1\"");
        parameter["required"] = json!(is_versioned);
        parameters.push(parameter);
    }
    if is_document(route) && route.method == Method::GET {
        let what = "ETags that the caller has; 304 when one is still right.";
        parameters.push(header(
            "If-None-Match",
            what,
            &json!({"type": "string"}),
            "\"v3\"",
        ));
    }
    if route.problems.contains(&Code::IdempotencyKeyReused) {
        let what = "Sent again with the same key, the creation is not done again.";
        let schema = json!({"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN});
        let example = format!("{}-4711", last_word(route.path));
        parameters.push(header("Idempotency-Key", what, &schema, &example));
    }
    if leaves_a_record(route) {
        let what = "Why, for the audit record.";
        let schema = json!({"type": "string", "maxLength": REASON_MAX_BYTES});
        parameters.push(header("X-Change-Reason", what, &schema, "asked for by support"));
    }
    parameters
}

/// Gives the keys in paths the examples of what the bodies of creations make, and says what texts of queries are and which
/// of them hold JSON.
pub fn complete(paths: &mut Map<String, Value>, schemas: &Map<String, Value>) {
    let whole = paths.clone();
    for (path, item) in paths {
        let example = path.split_once("/{key}").and_then(|(collection, _)| {
            let body = whole
                .get(collection)?
                .pointer("/post/requestBody/content/application~1json/schema/$ref")?;
            let schema = schemas.get(body.as_str()?.rsplit('/').next()?)?;
            let example = &schema["example"];
            example.get("key").or_else(|| example.get("name")).cloned()
        });
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                match (parameter["in"].as_str(), parameter["name"].as_str()) {
                    (Some("path"), Some("key")) => {
                        if let Some(example) = &example {
                            parameter["example"] = example.clone();
                        }
                    }
                    (Some("query"), Some("context")) => say_json(parameter),
                    (Some("query"), Some("kind")) if path == "/api/v1/audit-logs" => {
                        parameter["schema"]["enum"] =
                            ObjectKind::ALL.map(ObjectKind::as_str).as_slice().into();
                    }
                    // The protocol of OpenFeature passes over what it does not know.
                    (Some("query"), _) if path.starts_with("/api/") => say_text(parameter),
                    _ => {}
                }
            }
        }
    }
}

/// A parameter of which nothing else says what text it takes.
fn say_text(parameter: &mut Value) {
    let Some(schema) = parameter["schema"].as_object_mut() else {
        return;
    };
    let is_said = ["pattern", "enum", "format"]
        .iter()
        .any(|word| schema.contains_key(*word));
    if schema.get("type").is_some_and(|kind| kind == "string") && !is_said {
        schema.insert("pattern".to_owned(), TEXT_PATTERN.into());
    }
}

/// A parameter that holds a JSON object, which the text of a schema cannot say.
fn say_json(parameter: &mut Value) {
    let example = parameter["example"]
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(members) = parameter.as_object_mut() {
        members.remove("schema");
        members.remove("example");
        members.insert(
            "content".to_owned(),
            json!({"application/json": {"schema": {"type": "object"}, "example": example}}),
        );
    }
}

fn key(path: &str) -> Value {
    let schema = match path.starts_with("/api/v1/users/") {
        true => json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": ACCOUNT_PATTERN}),
        false => json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": KEY_PATTERN}),
    };
    json!({"name": "key", "in": "path", "required": true, "description": "The key or id, percent-encoded.",
        "schema": schema, "example": "new-checkout"})
}

fn header(name: &str, description: &str, schema: &Value, example: &str) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema,
        "example": example})
}

/// What a path ends with, but for a key.
fn last_word(path: &str) -> &str {
    let mut words = path.rsplit('/');
    words.find(|word| !word.starts_with('{')).unwrap_or("key")
}
