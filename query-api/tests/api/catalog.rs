//! What flags and experiments refer to: documents of every kind, id lists, filters, restoration.

use serde_json::{Value, json};

use crate::stores::on_both_stores;
use crate::support::{Server, problem};

on_both_stores! {
    every_kind_is_created_read_changed_listed_deleted_and_restored,
    lists_are_filtered_and_searched,
    a_segment_is_uploaded_as_a_file_and_served_at_once,
    a_list_that_is_none_changes_nothing_and_a_used_segment_stays,
    segments_layers_and_holdouts_reach_evaluations_and_wrong_ones_are_refused,
}

fn flag(key: &str) -> Value {
    json!({"key": key, "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "off"},
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}]})
}

/// A definition of each kind under the key `k`, with its collection.
fn kinds() -> [(&'static str, Value); 11] {
    let stages = json!([{"percent": 1.0, "trigger": {"type": "manual"}}]);
    [
        ("/api/v1/segments", json!({"key": "k", "included": ["u1"]})),
        ("/api/v1/layers", json!({"key": "k"})),
        ("/api/v1/holdouts", json!({"key": "k", "percent": 2.5})),
        ("/api/v1/environments", json!({"key": "k", "production": true})),
        ("/api/v1/dimensions", json!({"key": "k", "property": "/country"})),
        ("/api/v1/projects", json!({"key": "k", "owner": "ada"})),
        ("/api/v1/tags", json!({"key": "k", "description": "d"})),
        (
            "/api/v1/rollout-schedules",
            json!({"key": "k", "flag": "f", "variation": "on", "control": "off", "stages": stages}),
        ),
        (
            "/api/v1/metrics",
            json!({"key": "k", "kind": "sum", "event": "e"}),
        ),
        (
            "/api/v1/experiments",
            json!({"key": "k", "control": "a",
            "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]}),
        ),
        ("/api/v1/feature-flags", flag("k")),
    ]
}

async fn every_kind_is_created_read_changed_listed_deleted_and_restored() {
    // What must never change: all kinds of documents have the same habits.
    let server = Server::start().await;
    assert_eq!(server.post("/api/v1/feature-flags", &flag("f")).await.status, 201);
    for (collection, body) in kinds() {
        let made = server.post(collection, &body).await;
        assert_eq!(
            (made.status, made.header("etag")),
            (201, Some("\"v1\"")),
            "{}",
            made.text
        );
        let one = format!("{collection}/k");
        let named = server
            .patch(&one, Some("\"v1\""), &json!({"name": "A name"}))
            .await;
        assert_eq!(named.status, 200, "{}", named.text);
        let read = server.get(&one).await;
        assert_eq!(server.put(&one, Some("\"v2\""), &read.json()).await.status, 200);
        let found = server.get(&format!("{collection}?search=nam")).await.json();
        assert_eq!(found["items"][0]["name"], "A name", "{collection}");
        problem(
            &server
                .send(server.request("POST", &format!("{one}/restore")))
                .await,
            409,
            "already_exists",
        );

        assert_eq!(
            server.delete(&one, Some("\"v3\"")).await.status,
            204,
            "{collection}"
        );
        problem(&server.get(&one).await, 404, "not_found");
        let deleted = server.get(&format!("{collection}?deleted=true")).await.json();
        assert_eq!(
            deleted["items"][0]["deleted_at"], "2026-01-31T12:00:00Z",
            "{collection}"
        );
        let back = server
            .send(server.request("POST", &format!("{one}/restore")))
            .await;
        assert_eq!(
            (back.status, back.header("etag")),
            (200, Some("\"v5\"")),
            "{}",
            back.text
        );
        assert_eq!(server.get(&one).await.json()["name"], "A name");
    }
    server.stop().await;
}

async fn lists_are_filtered_and_searched() {
    let server = Server::start().await;
    server.post("/api/v1/projects", &json!({"key": "shop"})).await;
    let unknown = json!({"key": "x", "project": "nothing", "control": "a",
        "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]});
    problem(
        &server.post("/api/v1/experiments", &unknown).await,
        422,
        "invalid_definition",
    );
    for (key, name, tags, owner, kind) in [
        ("a", "Checkout page", json!(["mobile"]), "ada", "ab"),
        ("b", "Search page", json!(["mobile", "core"]), "bob", "bandit"),
        ("c", "Checkout button", json!(["core"]), "ada", "ab"),
    ] {
        let body = json!({"key": key, "name": name, "tags": tags, "owner": owner, "type": kind, "project": "shop",
            "control": "a", "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]});
        let made = server.post("/api/v1/experiments", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let cases = [
        ("", vec!["a", "b", "c"]),
        ("tag=mobile", vec!["a", "b"]),
        ("tag=mobile&owner=ada", vec!["a"]),
        ("owner=ada&cursor=a", vec!["c"]),
        ("type=bandit", vec!["b"]),
        ("status=draft&project=shop", vec!["a", "b", "c"]),
        ("status=running", vec![]),
        ("search=CHECK", vec!["a", "c"]),
        ("search=page%20check", vec!["a"]),
        ("search=core", vec!["b", "c"]),
        ("search=page&tag=core", vec!["b"]),
    ];
    for (query, expected) in cases {
        let page = server.get(&format!("/api/v1/experiments?{query}")).await.json();
        let keys: Vec<&str> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["key"].as_str().unwrap())
            .collect();
        assert_eq!(keys, expected, "{query}");
    }
    let first = server.get("/api/v1/experiments?owner=ada&limit=1").await.json();
    assert_eq!(
        (&first["items"][0]["key"], &first["next_cursor"]),
        (&json!("a"), &json!("a"))
    );
    problem(
        &server.delete("/api/v1/projects/shop", Some("\"v1\"")).await,
        409,
        "conflict",
    );
    server.stop().await;
}

async fn a_segment_is_uploaded_as_a_file_and_served_at_once() {
    let server = Server::start().await;
    assert_eq!(
        server
            .post("/api/v1/segments", &json!({"key": "beta"}))
            .await
            .status,
        201
    );
    let mut by_segment = flag("f");
    by_segment["rules"] = json!([{"id": "beta", "condition": {"operator": "in_segment", "value": "beta"},
        "serve": {"variation": "on"}}]);
    let made = server.post("/api/v1/feature-flags", &by_segment).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let serves = async |user: &str| {
        let body = json!({"user_id": user, "context": {}});
        server
            .post("/api/v1/feature-flags/f/evaluate", &body)
            .await
            .json()["value"]
            .clone()
    };
    let send = |method: &str, path: &str, media: &str, body: String| {
        let request = server.request(method, &format!("/api/v1/segments/beta/ids{path}"));
        server.send(request.header("content-type", media.to_owned()).body(body))
    };
    assert_eq!(serves("u7").await, false);
    let many: String = (0..20_000).map(|number| format!("u{number}\n")).collect();
    let list = send("PUT", "", "text/plain", many).await;
    assert_eq!(
        (&list.json()["ids"], &list.json()["generation"]),
        (&json!(20_000), &json!(1)),
        "{}",
        list.text
    );
    assert_eq!(
        (serves("u7").await, serves("v7").await),
        (json!(true), json!(false))
    );

    let more = "\"v7\"\n{\"user_id\": \"v8\"}\n\"u7\"".to_owned();
    assert_eq!(
        send("POST", "", "application/x-ndjson", more).await.json()["ids"],
        20_002
    );
    assert_eq!(
        send("POST", "/remove", "text/plain", "u7\r\nnobody".to_owned())
            .await
            .json()["ids"],
        20_001
    );
    assert_eq!(
        (serves("v8").await, serves("u7").await),
        (json!(true), json!(false))
    );
    let asked = server.get("/api/v1/segments/beta/ids?contains=v8").await.json();
    assert_eq!(
        (&asked["contains"], &asked["generation"]),
        (&json!(true), &json!(3))
    );

    server.stop().await;
}

async fn a_list_that_is_none_changes_nothing_and_a_used_segment_stays() {
    let server = Server::start().await;
    server.post("/api/v1/segments", &json!({"key": "beta"})).await;
    let mut by_segment = flag("f");
    by_segment["rules"] = json!([{"id": "beta", "condition": {"operator": "in_segment", "value": "beta"},
        "serve": {"variation": "on"}}]);
    assert_eq!(
        server.post("/api/v1/feature-flags", &by_segment).await.status,
        201
    );
    let send = |method: &str, path: &str, media: &str, body: String| {
        let request = server.request(method, &format!("/api/v1/segments/beta/ids{path}"));
        server.send(request.header("content-type", media.to_owned()).body(body))
    };
    problem(
        &send("PUT", "", "text/plain", "a\u{1}b".to_owned()).await,
        400,
        "invalid_body",
    );
    problem(
        &send("PUT", "", "text/csv", "a".to_owned()).await,
        415,
        "unsupported_media_type",
    );
    problem(
        &server.get("/api/v1/segments/nothing/ids").await,
        404,
        "not_found",
    );
    problem(
        &server.delete("/api/v1/segments/beta", Some("\"v1\"")).await,
        409,
        "conflict",
    );
    assert_eq!(
        server.get("/api/v1/segments/beta/ids").await.json()["generation"],
        0
    );
    server.stop().await;
}

async fn segments_layers_and_holdouts_reach_evaluations_and_wrong_ones_are_refused() {
    let server = Server::start().await;
    let wrong = json!({"key": "s", "condition": {"attribute": "plan", "operator": "matches", "value": "("}});
    problem(
        &server.post("/api/v1/segments", &wrong).await,
        422,
        "invalid_definition",
    );
    problem(
        &server
            .post("/api/v1/holdouts", &json!({"key": "h", "percent": 101.0}))
            .await,
        422,
        "invalid_definition",
    );
    server
        .post("/api/v1/segments", &json!({"key": "s", "included": ["u1"]}))
        .await;
    server
        .post("/api/v1/holdouts", &json!({"key": "h", "percent": 100.0}))
        .await;
    server.post("/api/v1/layers", &json!({"key": "l"})).await;
    let mut made = flag("f");
    made["rules"] = json!([{"id": "s", "condition": {"operator": "in_segment", "value": "s"}, "serve": {"variation": "on"}}]);
    made["layer"] = json!({"layer": "l", "from_percent": 0.0, "to_percent": 100.0});
    assert_eq!(server.post("/api/v1/feature-flags", &made).await.status, 201);
    let user = json!({"user_id": "u1", "context": {}});
    let evaluate = "/api/v1/feature-flags/f/evaluate";
    assert_eq!(server.post(evaluate, &user).await.json()["value"], true);
    let mut overlapping = flag("g");
    overlapping["layer"] = made["layer"].clone();
    problem(
        &server.post("/api/v1/feature-flags", &overlapping).await,
        422,
        "invalid_definition",
    );
    let held = server
        .patch(
            "/api/v1/feature-flags/f",
            Some("\"v1\""),
            &json!({"holdout": "h"}),
        )
        .await;
    assert_eq!(held.status, 200, "{}", held.text);
    assert_eq!(server.post(evaluate, &user).await.json()["value"], false);
    server.stop().await;
}
