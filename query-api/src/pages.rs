//! The pages that the server itself gives: the front page and the documentation, both without scripts.

use std::fmt::Write as _;

use serde_json::Value;

/// The style of all pages.
pub const STYLE: &str = include_str!("pages/style.css");

/// The deepest reference that an example is followed to; conditions contain conditions.
const EXAMPLE_DEPTH_MAX: usize = 6;

/// The order in which a path's methods are shown.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The front page: what this is and where to go.
pub fn home() -> String {
    let body = "<h1>Experimently</h1>\
        <p>Experiments and feature flags on streaming statistics. This server is running.</p>\
        <h2>Where to go</h2><ul>\
        <li><a href=\"/docs\">The API, route by route</a>, and as <a href=\"/api/v1/openapi.json\">OpenAPI 3.1</a></li>\
        <li><a href=\"/api/v1/experiments\">Experiments</a>, <a href=\"/api/v1/feature-flags\">feature flags</a>, \
        <a href=\"/api/v1/metrics\">metrics</a>, <a href=\"/api/v1/safety/rollbacks\">rollbacks</a>, \
        <a href=\"/api/v1/audit-logs\">the audit trail</a></li>\
        <li><a href=\"/healthz\">Health</a> and <a href=\"/metrics\">metrics of the process</a></li></ul>\
        <h2>How to log in</h2>\
        <p>Until an account or a key has been made, the server answers this machine alone, and whoever sits at it may do \
        everything. From then on people <a href=\"/login\">log in</a> and programs send a key.</p>\
        <h2>A first event</h2>\
        <pre>curl -i http://127.0.0.1:8080/api/v1/events -H 'content-type: application/x-ndjson' --data-binary @- &lt;&lt;'END'\n\
        {\"event_id\":\"1\",\"type\":\"exposure\",\"ts\":\"2026-01-31T12:00:00Z\",\"user_id\":\"u1\",\"experiment\":\"checkout\",\"variant\":\"one-page\"}\n\
        {\"event_id\":\"2\",\"type\":\"track\",\"ts\":\"2026-01-31T12:01:00Z\",\"user_id\":\"u1\",\"event\":\"purchase\",\"value\":19.9}\n\
        END</pre>";
    page("Experimently", body)
}

/// The page on which somebody with a one-time link chooses a password.
pub fn setup() -> String {
    let body = "<h1>Welcome</h1>\
        <p id=\"first\" hidden>This makes the first administrator. From then on everybody has to log in.</p>\
        <form id=\"setup\"><p id=\"naming\"><label>Name <input name=\"name\" autocomplete=\"username\" maxlength=\"128\"></label></p>\
        <p><label>New password, at least 12 characters <input name=\"password\" type=\"password\" autocomplete=\"new-password\" \
        minlength=\"12\" maxlength=\"128\" required></label></p>\
        <p><button>Set the password</button></p></form><p id=\"answer\" role=\"status\"></p>\
        <script src=\"/access.js\"></script>";
    page("Welcome", body)
}

/// The page on which people log in: by name and password, and by the identity provider where there is one.
pub fn login(has_provider: bool) -> String {
    let provider = match has_provider {
        true => "<p><a href=\"/api/v1/auth/oidc/login\">Log in with your organisation's account</a></p>",
        false => "",
    };
    let form = "<form id=\"login\">\
        <p><label>Name <input name=\"name\" autocomplete=\"username\" maxlength=\"128\" required></label></p>\
        <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label></p>\
        <p><button>Log in</button></p></form><p id=\"answer\" role=\"status\"></p>\
        <script src=\"/access.js\"></script>";
    page("Log in", &format!("<h1>Log in</h1>{provider}{form}"))
}

/// The script of both.
pub const ACCESS_SCRIPT: &str = include_str!("pages/access.js");

/// The documentation page of an OpenAPI document.
pub fn docs(document: &Value) -> String {
    let mut body = format!("<h1>{} API</h1>", escape(text(&document["info"]["title"])));
    for paragraph in text(&document["info"]["description"]).split("\n\n") {
        let _ = write!(body, "<p>{}</p>", prose(paragraph));
    }
    let tags: Vec<&Value> = document["tags"].as_array().into_iter().flatten().collect();
    body.push_str("<nav>");
    for tag in &tags {
        let name = escape(text(&tag["name"]));
        let _ = write!(body, "<a href=\"#{name}\">{name}</a>");
    }
    body.push_str("</nav>");
    for tag in tags {
        let name = text(&tag["name"]);
        let _ = write!(body, "<h2 id=\"{0}\">{0}</h2>", escape(name));
        let _ = write!(body, "<p>{}</p>", prose(text(&tag["description"])));
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                let operation = &item[method];
                if operation["tags"][0].as_str() == Some(name) {
                    write_operation(&mut body, document, (method, path), operation);
                }
            }
        }
    }
    page("Experimently API", &body)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <link rel=\"stylesheet\" href=\"/style.css\"></head><body><main>{body}</main></body></html>\n"
    )
}

fn write_operation(out: &mut String, document: &Value, (method, path): (&str, &str), operation: &Value) {
    let _ = write!(
        out,
        "<details id=\"{}\"><summary><span class=\"method\">{}</span><code>{}</code> <span class=\"what\">{}</span></summary><div>",
        escape(text(&operation["operationId"])),
        method.to_uppercase(),
        escape(path),
        escape(text(&operation["summary"])),
    );
    if let Some(description) = operation["description"].as_str() {
        let _ = write!(out, "<p>{}</p>", prose(description));
    }
    write_parameters(out, operation);
    if let Some((media, content)) = first_content(&operation["requestBody"]) {
        write_example(out, document, "Body", (media, content));
    }
    out.push_str("<table><tr><th>Status</th><th>Meaning</th></tr>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let meaning = prose(text(&response["description"]));
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{meaning}</td></tr>",
            escape(status)
        );
    }
    out.push_str("</table>");
    let success = operation["responses"].as_object().into_iter().flatten();
    let success = success
        .filter(|(status, _)| status.starts_with('2'))
        .map(|(_, response)| response);
    for content in success.filter_map(first_content) {
        write_example(out, document, "Answer", content);
    }
    out.push_str("</div></details>");
}

fn write_parameters(out: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array() else {
        return;
    };
    out.push_str("<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>");
    for parameter in parameters {
        let required = if parameter["required"] == true {
            " Required."
        } else {
            ""
        };
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}{required}</td></tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            prose(text(&parameter["description"])),
        );
    }
    out.push_str("</table>");
}

fn write_example(out: &mut String, document: &Value, title: &str, (media, content): (&String, &Value)) {
    let example = example_of_content(document, content);
    let shown = match &example {
        Some(Value::String(lines)) => lines.clone(),
        Some(example) => serde_json::to_string_pretty(example).unwrap_or_default(),
        None => return,
    };
    let _ = write!(
        out,
        "<p>{title}, <code>{}</code>:</p><pre>{}</pre>",
        escape(media),
        escape(&shown)
    );
}

fn first_content(holder: &Value) -> Option<(&String, &Value)> {
    holder["content"].as_object()?.iter().next()
}

fn example_of_content(document: &Value, content: &Value) -> Option<Value> {
    let given = content.get("example").filter(|example| !example.is_null());
    given
        .cloned()
        .or_else(|| example_of_schema(document, content.get("schema")?, 0))
}

/// An example of a schema: its own, or one put together from its members' examples.
fn example_of_schema(document: &Value, schema: &Value, depth: usize) -> Option<Value> {
    if depth > EXAMPLE_DEPTH_MAX {
        return None;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#')?)?;
        return example_of_schema(document, target, depth + 1);
    }
    let own = [
        schema.get("example"),
        schema.get("default"),
        schema.pointer("/enum/0"),
    ];
    if let Some(own) = own.into_iter().flatten().next() {
        return Some(own.clone());
    }
    for alternatives in ["oneOf", "anyOf"] {
        let mut parts = schema[alternatives].as_array().into_iter().flatten();
        if let Some(example) = parts.find_map(|part| example_of_schema(document, part, depth + 1)) {
            return Some(example);
        }
    }
    let mut members = serde_json::Map::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if let Some(Value::Object(found)) = example_of_schema(document, part, depth + 1) {
            members.extend(found);
        }
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(example) = example_of_schema(document, member, depth + 1) {
            members.insert(name.clone(), example);
        }
    }
    if !members.is_empty() {
        return Some(Value::Object(members));
    }
    example_of_type(document, schema, depth)
}

fn example_of_type(document: &Value, schema: &Value, depth: usize) -> Option<Value> {
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str())?;
    match kind {
        "array" => Some(Value::Array(
            example_of_schema(document, &schema["items"], depth + 1)
                .into_iter()
                .collect(),
        )),
        "integer" | "number" => Some(1.into()),
        "boolean" => Some(true.into()),
        "string" if schema["format"] == "date-time" => Some("2026-01-31T12:00:00Z".into()),
        _ => None,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Text with its `code` marked up.
fn prose(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len());
    for (index, part) in plain.split('`').enumerate() {
        let part = escape(part);
        if index % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}

/// Text as it may stand in an element or in a quoted attribute.
pub fn escape(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_place_on_the_page() {
        // What must never change: what can be called can be read about.
        let document = crate::openapi::document();
        let html = docs(&document);
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(html.contains(&format!("<details id=\"{id}\">")), "{id}");
            }
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            prose("a `<b>` & \"c\""),
            "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;"
        );
    }

    #[test]
    fn pages_load_and_run_nothing() {
        for html in [home(), docs(&crate::openapi::document())] {
            for forbidden in ["<script", "style=", "src=", "onclick", "<form"] {
                assert!(!html.contains(forbidden), "{forbidden}");
            }
        }
    }
}
