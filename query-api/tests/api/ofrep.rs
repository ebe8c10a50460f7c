//! OFREP by its letter: codes, bodies, types, tags, and what browsers need.

use control::{Actor, Change};
use domain::Timestamp;
use domain::rules::definition::FlagDefinition;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const ALL: &str = "/ofrep/v1/evaluate/flags";

fn flag(key: &str, kind: &str, values: &[Value]) -> Value {
    let variations: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(at, value)| json!({"key": format!("v{at}"), "value": value}))
        .collect();
    json!({"key": key, "type": kind, "enabled": true, "off_variation": "v0", "variations": variations,
        "default": {"variation": "v0"},
        "rules": [{"id": "premium", "condition": {"attribute": "plan", "operator": "equals", "value": "premium"},
            "serve": {"variation": "v1"}}]})
}

fn split(key: &str) -> Value {
    let mut split = flag(key, "boolean", &[json!(false), json!(true)]);
    split["default"] = json!({"rollout": [{"variation": "v1", "percent": 50.0}]});
    split
}

async fn server() -> Server {
    let server = Server::start().await;
    for flag in [
        flag("team/checkout/v2", "boolean", &[json!(false), json!(true)]),
        flag("integer", "number", &[json!(5), json!(7)]),
        flag("float", "number", &[json!(5), json!(7.5)]),
        flag("object", "json", &[json!({"a": [1, 2.0]}), json!([])]),
        split("split"),
    ] {
        let saved = server.post("/api/v1/feature-flags", &flag).await;
        assert_eq!(saved.status, 201, "{}", saved.text);
    }
    server
}

/// Puts a flag past the checks, as an older program may have written it.
async fn break_one(server: &Server) {
    let mut broken = flag("broken", "boolean", &[json!(false), json!(true)]);
    broken["rules"][0]["condition"] = json!({"attribute": "email", "operator": "matches", "value": "("});
    let definition: FlagDefinition = serde_json::from_value(broken).unwrap();
    let change = Change::new(Actor::system("test"), Timestamp(0));
    server.store.create(&definition, &change).await.unwrap();
    server.ruleset.refresh(&server.store).await.unwrap();
}

fn single(key: &str) -> String {
    format!("{ALL}/{key}")
}

#[track_caller]
fn failure(answer: &Answer, status: u16, key: Option<&str>, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(
        (body.get("key").and_then(Value::as_str), &body["errorCode"]),
        (key, &json!(code)),
        "{body}"
    );
    let details = body["errorDetails"].as_str().unwrap();
    assert!(details.ends_with('.') && details.len() > 10, "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_has_every_member_that_clients_read() {
    let server = server().await;
    let context = json!({"context": {"targetingKey": "u1", "plan": "premium"}});
    let answer = server.post(&single("float"), &context).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["key"], &body["value"]), (&json!("float"), &json!(7.5)));
    assert_eq!(
        (&body["reason"], &body["variant"]),
        (&json!("TARGETING_MATCH"), &json!("v1"))
    );
    assert_eq!(
        (&body["metadata"]["rule_id"], &body["metadata"]["cause"]),
        (&json!("premium"), &json!("rule"))
    );
    for value in body["metadata"].as_object().unwrap().values() {
        assert!(
            value.is_string() || value.is_number() || value.is_boolean(),
            "{value}"
        );
    }
    // What must never change: a flag's type decides how its numbers are written, not the number.
    for (key, text) in [("float", "\"value\":5.0,"), ("integer", "\"value\":5,")] {
        let answer = server
            .post(&single(key), &json!({"context": {"targetingKey": "u1"}}))
            .await;
        assert!(answer.text.contains(text), "{}", answer.text);
    }
    // Keys with slashes come encoded from some clients and as they are from others.
    for key in ["team/checkout/v2", "team%2Fcheckout%2Fv2", "team%2fcheckout/v2"] {
        let answer = server.post(&single(key), &json!({})).await;
        assert_eq!(
            (answer.status, &answer.json()["key"]),
            (200, &json!("team/checkout/v2")),
            "{key}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_evaluated_gets_the_protocols_code() {
    let server = server().await;
    break_one(&server).await;
    failure(
        &server.post(&single("none/such"), &json!({})).await,
        404,
        Some("none/such"),
        "FLAG_NOT_FOUND",
    );
    failure(
        &server.post(&single("broken"), &json!({})).await,
        400,
        Some("broken"),
        "GENERAL",
    );
    for context in [
        json!({}),
        json!({"context": {}}),
        json!({"context": null}),
        json!({"context": {"targetingKey": ""}}),
    ] {
        failure(
            &server.post(&single("split"), &context).await,
            400,
            Some("split"),
            "TARGETING_KEY_MISSING",
        );
        // What needs no bucket needs no key.
        assert_eq!(server.post(&single("integer"), &context).await.status, 200);
    }
    for context in [
        json!(7),
        json!([]),
        json!("u"),
        json!({"targetingKey": 7}),
        json!({"targetingKey": "x".repeat(257)}),
    ] {
        let body = json!({"context": context});
        failure(
            &server.post(&single("split"), &body).await,
            400,
            Some("split"),
            "INVALID_CONTEXT",
        );
        failure(&server.post(ALL, &body).await, 400, None, "INVALID_CONTEXT");
    }
    for body in ["", "{", "nul", "[]", "7", "\"context\""] {
        for (path, key) in [(single("split"), Some("split")), (ALL.to_owned(), None)] {
            let request = server
                .request("POST", &path)
                .header("content-type", "application/json");
            failure(&server.send(request.body(body)).await, 400, key, "PARSE_ERROR");
        }
    }
    for (path, key) in [(single("split"), Some("split")), (ALL.to_owned(), None)] {
        let request = server
            .request("POST", &path)
            .header("content-type", "text/plain")
            .body("{}");
        failure(&server.send(request).await, 415, key, "PARSE_ERROR");
        let large = json!({"context": {"text": "x".repeat(64 * 1024)}});
        failure(&server.post(&path, &large).await, 413, key, "INVALID_CONTEXT");
    }
    assert_eq!(server.get(ALL).await.status, 405);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_flag_does_not_touch_the_others() {
    // What must never change: whatever is wrong with one flag, every other is served.
    let server = server().await;
    break_one(&server).await;
    let answer = server.post(ALL, &json!({"context": {"plan": "premium"}})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let flags = body["flags"].as_array().unwrap();
    let of = |key: &str| flags.iter().find(|flag| flag["key"] == key).unwrap();
    assert_eq!(flags.len(), 6);
    assert_eq!(of("broken")["errorCode"], "GENERAL");
    assert_eq!(of("split")["value"], true, "a rule of the flag needs no key");
    assert_eq!(
        (&of("integer")["value"], &of("object")["value"]),
        (&json!(7), &json!([]))
    );
    let stream = &body["eventStreams"][0];
    assert_eq!(
        (&stream["type"], &stream["endpoint"]["requestUri"]),
        (&json!("sse"), &json!("/ofrep/v1/stream"))
    );
    let anonymous = server.post(ALL, &json!({})).await.json();
    let split = anonymous["flags"]
        .as_array()
        .unwrap()
        .iter()
        .find(|flag| flag["key"] == "split")
        .unwrap()
        .clone();
    assert_eq!(split["errorCode"], "TARGETING_KEY_MISSING");
    let many =
        json!({"users": [{"user_id": "u", "context": {"plan": "premium"}}], "flags": ["broken", "integer"]});
    let request = server
        .request("POST", "/api/v1/feature-flags/evaluate")
        .json(&many);
    let line: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(line["evaluations"][0]["error"]["code"], "INVALID_DEFINITION");
    assert_eq!(line["evaluations"][1]["value"], 7);
    server.stop().await;
}

async fn ask(server: &Server, path: &str, context: &Value, tag: &str) -> Answer {
    let request = server.request("POST", path).header("if-none-match", tag);
    server.send(request.json(&json!({"context": context}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_has_changed_only_for_the_same_flags_and_the_same_context() {
    // What must never change: a client whose context has changed never keeps values of the old one.
    let server = server().await;
    let free = json!({"targetingKey": "u1", "plan": "free"});
    let first = server.post(ALL, &json!({"context": free})).await;
    let tag = first.header("etag").unwrap().to_owned();
    let known = ask(&server, ALL, &free, &tag).await;
    assert_eq!(
        (known.status, known.text.as_str(), known.header("etag")),
        (304, "", Some(tag.as_str()))
    );
    let reordered: Value = serde_json::from_str(r#"{"plan": "free", "targetingKey": "u1"}"#).unwrap();
    assert_eq!(
        ask(&server, ALL, &reordered, &format!("\"x\", W/{tag}"))
            .await
            .status,
        304
    );
    for other in [
        json!({"targetingKey": "u1", "plan": "premium"}),
        json!({"targetingKey": "u2", "plan": "free"}),
        json!({}),
    ] {
        let answer = ask(&server, ALL, &other, &tag).await;
        assert_eq!(answer.status, 200);
        assert_ne!(answer.header("etag"), Some(tag.as_str()), "{other}");
    }

    let version = first.json()["metadata"]["ruleset_version"].as_u64().unwrap();
    let announced = |version: u64| format!("{ALL}?flagConfigEtag=r{version}");
    assert_eq!(ask(&server, &announced(version), &free, &tag).await.status, 304);
    // What an event spoke of and is not here must not be taken for unchanged.
    assert_eq!(
        ask(&server, &announced(version + 1), &free, &tag).await.status,
        200
    );

    let change = json!({"default": {"variation": "v1"}});
    assert_eq!(
        server
            .patch("/api/v1/feature-flags/integer", Some("\"v1\""), &change)
            .await
            .status,
        200
    );
    let changed = ask(&server, ALL, &free, &tag).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_may_evaluate_and_nothing_else() {
    let server = server().await;
    let from_page = |method: &str, path: &str| {
        server
            .request(method, path)
            .header("origin", "https://shop.example")
            .header("sec-fetch-site", "cross-site")
    };
    for path in [ALL.to_owned(), single("a/b"), "/ofrep/v1/stream".to_owned()] {
        let asked = from_page("OPTIONS", &path)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,if-none-match");
        let allowed = asked.send().await.unwrap();
        assert_eq!(allowed.status().as_u16(), 204);
        let header = |name: &str| allowed.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "*");
        assert!(header("access-control-allow-methods").contains("POST"));
        for name in ["content-type", "authorization", "x-api-key", "if-none-match"] {
            assert!(header("access-control-allow-headers").contains(name), "{name}");
        }
        assert!(allowed.headers().contains_key("access-control-max-age"));
    }
    for path in [ALL.to_owned(), single("integer"), single("none")] {
        let answer = server.send(from_page("POST", &path).json(&json!({}))).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{path} {}",
            answer.status
        );
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("etag") && exposed.contains("retry-after"));
    }
    // What must never change: everything that is not evaluation stays closed to other sites.
    for path in ["/api/v1/feature-flags", "/api/v1/feature-flags/integer/evaluate"] {
        let refused = server
            .send(from_page("POST", path).json(&json!({"user_id": "u"})))
            .await;
        assert_eq!(
            (refused.status, refused.header("access-control-allow-origin")),
            (403, None)
        );
    }
    server.stop().await;
}
