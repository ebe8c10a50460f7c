//! Experiments, metrics and flags: creation, versions, pages, idempotency.

use serde_json::{Value, json};

use crate::stores::on_both_stores;
use crate::support::{Server, problem};

on_both_stores! {
    a_document_lives_through_its_versions,
    a_wrong_body_is_told_where_it_is_wrong,
    lists_come_in_pages,
    a_creation_sent_twice_is_done_once,
    what_is_used_cannot_be_deleted,
    every_write_leaves_one_record_that_says_why,
}

fn metric(key: &str) -> Value {
    json!({"key": key, "name": "Revenue", "kind": "sum", "event": "purchase"})
}

fn experiment(key: &str) -> Value {
    json!({"key": key, "control": "old", "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}]})
}

fn flag(key: &str) -> Value {
    json!({"key": key, "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "on"},
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}]})
}

async fn a_document_lives_through_its_versions() {
    // What must never change: nobody overwrites what they have not seen.
    let server = Server::start().await;
    let cases = [
        ("/api/v1/metrics", metric("a/b ü")),
        ("/api/v1/experiments", experiment("a/b ü")),
        ("/api/v1/feature-flags", flag("a/b ü")),
    ];
    for (collection, body) in cases {
        let (path, read) = create_and_read(&server, collection, &body).await;
        change_it(&server, &path, read).await;
        delete_it(&server, &path).await;
    }
    server.stop().await;
}

async fn create_and_read(server: &Server, collection: &str, body: &Value) -> (String, Value) {
    let made = server.post(collection, body).await;
    assert_eq!(
        (made.status, made.header("etag")),
        (201, Some("\"v1\"")),
        "{}",
        made.text
    );
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(path, format!("{collection}/a%2Fb%20%C3%BC"));
    problem(&server.post(collection, body).await, 409, "already_exists");

    let read = server.get(&path).await;
    assert_eq!((read.status, read.header("etag")), (200, Some("\"v1\"")));
    let known = server.request("GET", &path).header("if-none-match", "\"v1\"");
    assert_eq!(server.send(known).await.status, 304);
    let read = read.json();
    assert_eq!((&read["key"], &read["version"]), (&json!("a/b ü"), &json!(1)));
    (path, read)
}

async fn change_it(server: &Server, path: &str, read: Value) {
    let (first, second, third) = (Some("\"v1\""), Some("\"v2\""), Some("\"v3\""));
    let mut changed = read;
    changed["name"] = json!("Better");
    problem(&server.put(path, None, &changed).await, 428, "version_required");
    problem(
        &server.put(path, Some("\"v01\""), &changed).await,
        400,
        "invalid_header",
    );
    let replaced = server.put(path, first, &changed).await;
    assert_eq!(
        (replaced.status, replaced.header("etag")),
        (200, second),
        "{}",
        replaced.text
    );
    let stale = server.put(path, first, &changed).await;
    problem(&stale, 412, "version_mismatch");
    assert_eq!(stale.json()["current_version"], 2);

    let better = json!({"name": "Best"});
    problem(&server.patch(path, first, &better).await, 412, "version_mismatch");
    let patched = server.patch(path, second, &better).await;
    assert_eq!(
        (patched.status, &patched.json()["name"]),
        (200, &json!("Best")),
        "{}",
        patched.text
    );
    problem(
        &server.patch(path, third, &json!({"key": "other"})).await,
        422,
        "invalid_definition",
    );
}

async fn delete_it(server: &Server, path: &str) {
    problem(&server.delete(path, None).await, 428, "version_required");
    problem(
        &server.delete(path, Some("\"v2\"")).await,
        412,
        "version_mismatch",
    );
    assert_eq!(server.delete(path, Some("\"v3\"")).await.status, 204);
    problem(&server.get(path).await, 404, "not_found");
    problem(&server.delete(path, Some("\"v3\"")).await, 404, "not_found");
}

async fn a_wrong_body_is_told_where_it_is_wrong() {
    let server = Server::start().await;
    let mut wrong = experiment("x");
    wrong["variants"][1]["weight"] = json!("1");
    let told = server.post("/api/v1/experiments", &wrong).await;
    problem(&told, 400, "invalid_body");
    assert_eq!(told.json()["errors"][0]["pointer"], "/variants/1/weight");
    let mut smuggled = metric("x");
    smuggled["tenant_id"] = json!(1);
    problem(
        &server.post("/api/v1/metrics", &smuggled).await,
        400,
        "invalid_body",
    );
    let mut contradicts = experiment("x");
    contradicts["control"] = json!("blue");
    problem(
        &server.post("/api/v1/experiments", &contradicts).await,
        422,
        "invalid_definition",
    );
    let mut unknown_metric = experiment("x");
    unknown_metric["metrics"] = json!([{"metric": "nothing"}]);
    problem(
        &server.post("/api/v1/experiments", &unknown_metric).await,
        422,
        "invalid_definition",
    );
    problem(
        &server.post("/api/v1/metrics", &metric("")).await,
        400,
        "invalid_body",
    );
    problem(&server.get("/api/v1/metrics/%ff").await, 400, "invalid_key");
    problem(
        &server.get(&format!("/api/v1/metrics/{}", "x".repeat(257))).await,
        400,
        "invalid_key",
    );

    let raw = |text: &str| server.request("POST", "/api/v1/metrics").body(text.to_owned());
    let json_type = ("content-type", "application/json");
    for text in ["", "{", "{}{}", "\u{feff}{}", &"[".repeat(100_000)] {
        let told = server.send(raw(text).header(json_type.0, json_type.1)).await;
        problem(&told, 400, "invalid_json");
    }
    problem(
        &server.send(raw("[]").header(json_type.0, json_type.1)).await,
        400,
        "invalid_body",
    );
    problem(&server.send(raw("{}")).await, 415, "unsupported_media_type");
    problem(
        &server
            .send(raw("a=b").header("content-type", "application/x-www-form-urlencoded"))
            .await,
        415,
        "unsupported_media_type",
    );
    let large = server
        .post("/api/v1/metrics", &metric(&"x".repeat(1024 * 1024)))
        .await;
    problem(&large, 413, "body_too_large");
    server.stop().await;
}

async fn lists_come_in_pages() {
    let server = Server::start().await;
    for key in ["a", "b", "c/d"] {
        assert_eq!(server.post("/api/v1/metrics", &metric(key)).await.status, 201);
    }
    let mut keys = Vec::new();
    let mut path = "/api/v1/metrics?limit=1".to_owned();
    loop {
        let page = server.get(&path).await.json();
        keys.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["key"].clone()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/metrics?limit=1&cursor={}", cursor.replace('/', "%2F"));
    }
    assert_eq!(keys, ["a", "b", "c/d"]);
    for bad in ["limit=0", "limit=201", "limit=x", "offset=1"] {
        problem(
            &server.get(&format!("/api/v1/metrics?{bad}")).await,
            400,
            "invalid_query",
        );
    }
    for path in [
        "/api/v1/experiments",
        "/api/v1/feature-flags",
        "/api/v1/webhook-endpoints",
        "/api/v1/guardrails",
    ] {
        assert_eq!(server.get(path).await.json(), json!({"items": []}), "{path}");
    }
    server.stop().await;
}

async fn a_creation_sent_twice_is_done_once() {
    // What must never change: a client that got no answer may ask again.
    let server = Server::start().await;
    let send = |body: Value| {
        let request = server.request("POST", "/api/v1/metrics").json(&body);
        server.send(request.header("idempotency-key", "k-1"))
    };
    let first = send(metric("once")).await;
    let second = send(metric("once")).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json(), second.json());
    problem(&send(metric("other")).await, 422, "idempotency_key_reused");
    assert_eq!(
        server.get("/api/v1/metrics").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let long = server.request("POST", "/api/v1/metrics").json(&metric("z"));
    let long = long.header("idempotency-key", "x".repeat(256));
    problem(&server.send(long).await, 400, "invalid_header");
    server.stop().await;
}

async fn what_is_used_cannot_be_deleted() {
    let server = Server::start().await;
    server.post("/api/v1/metrics", &metric("revenue")).await;
    let mut uses = experiment("checkout");
    uses["metrics"] = json!([{"metric": "revenue"}]);
    assert_eq!(server.post("/api/v1/experiments", &uses).await.status, 201);
    problem(
        &server.delete("/api/v1/metrics/revenue", Some("\"v1\"")).await,
        409,
        "conflict",
    );
    server.stop().await;
}

async fn every_write_leaves_one_record_that_says_why() {
    let server = Server::start().await;
    let request = server.request("POST", "/api/v1/metrics").json(&metric("revenue"));
    let made = server
        .send(request.header("x-change-reason", "asked for by sales"))
        .await;
    let id = made.header("x-request-id").unwrap().to_owned();
    server
        .patch("/api/v1/metrics/revenue", Some("\"v1\""), &json!({"cap": 10.0}))
        .await;
    problem(
        &server.post("/api/v1/metrics", &metric("revenue")).await,
        409,
        "already_exists",
    );
    let log = server
        .get("/api/v1/audit-logs?kind=metric&key=revenue")
        .await
        .json();
    let actions: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["action"].clone())
        .collect();
    assert_eq!(actions, ["update", "create"]);
    let first = &log["items"][1];
    assert_eq!(first["reason"], "asked for by sales");
    assert_eq!(first["origin"], format!("address 127.0.0.1, request {id}"));
    assert_eq!(
        (&first["actor"], &first["before"]),
        (&json!("local"), &Value::Null)
    );
    assert_eq!(log["items"][0]["after"]["cap"], 10.0);
    let page = server.get("/api/v1/audit-logs?limit=1").await.json();
    let next = server
        .get(&format!(
            "/api/v1/audit-logs?limit=1&cursor={}",
            page["next_cursor"].as_str().unwrap()
        ))
        .await;
    assert_eq!(next.json()["items"][0]["action"], "create");
    problem(
        &server.get("/api/v1/audit-logs?kind=cat").await,
        400,
        "invalid_query",
    );
    problem(
        &server.get("/api/v1/audit-logs?cursor=x").await,
        400,
        "invalid_query",
    );
    server.stop().await;
}
