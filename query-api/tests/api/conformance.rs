//! Holds every answer of every test against the committed OpenAPI document: its status, its media type, its members.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../openapi.json")).unwrap());

/// Asserts that the document announces an answer. Paths and methods that it does not name have only errors to give.
pub fn check(method: &str, path: &str, status: u16, media: Option<&str>, body: &str) {
    let Some(operation) = operation(method, path) else {
        assert!(
            [403, 404, 405, 421].contains(&status),
            "{method} {path} is not documented"
        );
        return;
    };
    let name = format!("{method} {path} {status}");
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{name}: the status is not documented");
    let Some(contents) = response["content"].as_object() else {
        assert!(body.is_empty(), "{name}: a body is not documented");
        return;
    };
    let media = media.unwrap_or("").split(';').next().unwrap_or("").trim();
    let content = contents.get(media);
    assert!(content.is_some(), "{name}: {media} is not documented");
    if media.ends_with("json") && !path.ends_with("openapi.json") {
        let body: Value = serde_json::from_str(body).unwrap();
        check_value(&name, &content.unwrap()["schema"], &body);
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or(path);
    let segments: Vec<_> = path.split('/').collect();
    let paths = DOCUMENT["paths"].as_object()?;
    let fits = |template: &str| {
        let template: Vec<_> = template.split('/').collect();
        // Keys of OFREP may hold `/` as it is.
        let is_open_ended = template.starts_with(&["", "ofrep"]) && template.last() == Some(&"{key}");
        let fits_length =
            template.len() == segments.len() || is_open_ended && template.len() < segments.len();
        let mut parts = template.iter().zip(&segments);
        fits_length && parts.all(|(part, segment)| part == segment || *part == "{key}")
    };
    let (_, item) = paths.iter().find(|(template, _)| fits(template))?;
    item.get(method.to_ascii_lowercase())
}

/// Every member of an object is documented, every required one is there, and lists hold what they say.
fn check_value(name: &str, schema: &Value, value: &Value) {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    let mut items = None;
    gather(schema, &mut properties, &mut required, &mut items);
    match value {
        Value::Object(members) if !properties.is_empty() => {
            for (member, value) in members {
                let documented = properties.get(member);
                assert!(
                    documented.is_some(),
                    "{name}: the member {member} is not documented"
                );
                check_value(&format!("{name}/{member}"), documented.unwrap(), value);
            }
            for member in required {
                assert!(
                    members.contains_key(&member),
                    "{name}: the member {member} is missing"
                );
            }
        }
        Value::Array(values) => {
            let Some(items) = items else { return };
            for value in values {
                check_value(&format!("{name}[]"), &items, value);
            }
        }
        _ => {}
    }
}

fn gather(
    schema: &Value,
    properties: &mut serde_json::Map<String, Value>,
    required: &mut Vec<String>,
    items: &mut Option<Value>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap();
        gather(target, properties, required, items);
    }
    for parts in ["allOf", "oneOf"] {
        // Alternatives are a shape or null, or shapes with one member each; none of their members is required.
        let mut of_parts = Vec::new();
        for part in schema[parts].as_array().into_iter().flatten() {
            gather(part, properties, &mut of_parts, items);
        }
        if parts == "allOf" {
            required.extend(of_parts);
        }
    }
    properties.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    let named = schema["required"].as_array().into_iter().flatten();
    required.extend(named.map(|name| name.as_str().unwrap().to_owned()));
    if let Some(found) = schema.get("items") {
        *items = Some(found.clone());
    }
}

#[test]
#[should_panic(expected = "the member x is not documented")]
fn a_member_that_is_not_documented_is_found() {
    check(
        "GET",
        "/livez",
        200,
        Some("application/json"),
        r#"{"status": "alive", "x": 1}"#,
    );
}

#[test]
#[should_panic(expected = "the member status is missing")]
fn a_member_that_is_missing_is_found() {
    check("GET", "/livez", 200, Some("application/json"), "{}");
}

#[test]
#[should_panic(expected = "the status is not documented")]
fn a_status_that_is_not_documented_is_found() {
    check("GET", "/livez", 503, Some("application/json"), "{}");
}
