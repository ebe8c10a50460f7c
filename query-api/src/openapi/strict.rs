//! Makes the schemas of requests say what is refused: members that nobody knows, and keys that a replacement need not
//! repeat.
//!
//! The annotations cannot: a document is put together out of two parts, neither of which may be closed by itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The schemas of requests that take members which they do not name: whatever a producer of events or an OpenFeature
/// SDK of a later version may add.
const OPEN: [&str; 2] = ["Event", "OfrepRequest"];

/// The end of the name of a document's schema in a replacement, where the key of the path is enough.
const REPLACEMENT: &str = "Replacement";

const REFERENCE: &str = "#/components/schemas/";

/// Completes the schemas of a document's paths.
pub fn complete(paths: &mut Map<String, Value>, schemas: &mut Map<String, Value>) {
    join_parts(schemas);
    for item in paths.values_mut() {
        if let Some(body) = item.pointer_mut("/put/requestBody/content/application~1json/schema") {
            name_replacement(body, schemas);
        }
    }
    for name in named_by_requests(paths, schemas) {
        if !OPEN.contains(&name.as_str())
            && let Some(schema) = schemas.get_mut(&name)
        {
            close(schema);
        }
    }
}

/// Puts the members of `allOf` into one object, wherever all its parts are objects.
fn join_parts(schemas: &mut Map<String, Value>) {
    let whole = schemas.clone();
    for schema in schemas.values_mut() {
        let Some(Value::Array(parts)) = schema.get("allOf").cloned() else {
            continue;
        };
        let parts: Vec<&Value> = parts.iter().map(|part| target(part, &whole)).collect();
        if !parts.iter().all(|part| part["properties"].is_object()) {
            continue;
        }
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in parts {
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        schema["type"] = json!("object");
        schema["properties"] = Value::Object(properties);
        schema["required"] = Value::Array(required);
        if let Some(members) = schema.as_object_mut() {
            members.remove("allOf");
        }
    }
}

/// The schema that a reference names, or the schema itself.
fn target<'s>(schema: &'s Value, schemas: &'s Map<String, Value>) -> &'s Value {
    let name = schema["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix(REFERENCE));
    name.and_then(|name| schemas.get(name)).unwrap_or(schema)
}

/// Turns the body of a replacement into a schema of its own, in which the key may be left out.
fn name_replacement(body: &mut Value, schemas: &mut Map<String, Value>) {
    let name = body["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix(REFERENCE));
    let Some(name) = name.map(str::to_owned) else {
        return;
    };
    let Some(mut schema) = schemas.get(&name).cloned() else {
        return;
    };
    let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) else {
        return;
    };
    let before = required.len();
    required.retain(|member| member != "key");
    if required.len() < before {
        let replacement = format!("{name}{REPLACEMENT}");
        body["$ref"] = json!(format!("{REFERENCE}{replacement}"));
        schemas.insert(replacement, schema);
    }
}

/// The names of all schemas that a request body leads to.
fn named_by_requests(paths: &Map<String, Value>, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let operations = paths.values().filter_map(Value::as_object).flat_map(Map::values);
    let mut open: Vec<&Value> = operations.map(|operation| &operation["requestBody"]).collect();
    let mut names = BTreeSet::new();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                let reference = members.get("$ref").and_then(Value::as_str);
                if let Some(name) = reference.and_then(|text| text.strip_prefix(REFERENCE))
                    && names.insert(name.to_owned())
                {
                    open.extend(schemas.get(name));
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    names
}

/// Lets an object and the alternatives of a schema have no members but those that it names.
fn close(schema: &mut Value) {
    if schema["properties"].is_object() && schema.get("additionalProperties").is_none() {
        schema["additionalProperties"] = json!(false);
    }
    let alternatives = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for alternative in alternatives.into_iter().flatten() {
        close(alternative);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_every_member_that_it_may_have() {
        // What must never change: a member that the server refuses is not allowed by the document.
        let mut paths = json!({"/a/{key}": {"put": {"requestBody": {"content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/A"}}}}}}});
        let mut schemas = json!({
            "A": {"allOf": [{"$ref": "#/components/schemas/B"},
                {"type": "object", "required": ["key", "c"], "properties": {"key": {}, "c": {"$ref": "#/components/schemas/C"}}}]},
            "B": {"type": "object", "properties": {"version": {}}},
            "C": {"oneOf": [{"type": "object", "properties": {"x": {}}}, {"type": "null"}]},
            "Answer": {"type": "object", "properties": {"y": {}}},
        });
        complete(paths.as_object_mut().unwrap(), schemas.as_object_mut().unwrap());
        let body = &paths["/a/{key}"]["put"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["$ref"], "#/components/schemas/AReplacement");
        let replacement = &schemas["AReplacement"];
        assert_eq!(replacement["required"], json!(["c"]));
        assert_eq!(schemas["A"]["required"], json!(["key", "c"]));
        let members: Vec<_> = replacement["properties"].as_object().unwrap().keys().collect();
        assert_eq!(members, ["c", "key", "version"]);
        assert_eq!(replacement["additionalProperties"], false);
        assert_eq!(schemas["C"]["oneOf"][0]["additionalProperties"], false);
        assert!(schemas["Answer"].get("additionalProperties").is_none());
    }
}
