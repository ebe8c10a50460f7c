//! Guardrails, rollbacks and webhooks.

use serde_json::{Value, json};

use crate::stores::on_both_stores;
use crate::support::{Server, problem};

on_both_stores! {
    a_guardrail_is_put_on_read_and_retired,
    the_settings_are_those_that_guardrails_get,
    a_rollback_by_hand_turns_the_flag_for_everybody_at_once,
    a_receiver_of_webhooks_shows_its_secret_once,
}

fn flag() -> Value {
    json!({"key": "new-checkout", "type": "boolean", "enabled": true, "off_variation": "off",
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}], "default": {"variation": "on"}})
}

fn guardrail() -> Value {
    json!({"flag": "new-checkout", "event": "error", "control": "off", "treatment": "on"})
}

async fn a_guardrail_is_put_on_read_and_retired() {
    let server = Server::start().await;
    problem(
        &server.post("/api/v1/guardrails", &guardrail()).await,
        404,
        "not_found",
    );
    server.post("/api/v1/feature-flags", &flag()).await;
    let made = server.post("/api/v1/guardrails", &guardrail()).await;
    assert_eq!(
        (made.status, &made.json()["armed"]),
        (201, &json!(true)),
        "{}",
        made.text
    );
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(server.get(&path).await.json()["definition"]["margin"], 0.1);
    let listed = server.get("/api/v1/guardrails?flag=new-checkout").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    problem(
        &server.get("/api/v1/guardrails?flag=").await,
        400,
        "invalid_query",
    );
    problem(
        &server.post("/api/v1/guardrails", &guardrail()).await,
        409,
        "already_exists",
    );
    let mut same = guardrail();
    same["treatment"] = json!("off");
    problem(
        &server.post("/api/v1/guardrails", &same).await,
        422,
        "invalid_definition",
    );
    let mut unknown = guardrail();
    unknown["treatment"] = json!("blue");
    problem(
        &server.post("/api/v1/guardrails", &unknown).await,
        422,
        "invalid_definition",
    );
    problem(
        &server
            .delete("/api/v1/feature-flags/new-checkout", Some("\"v1\""))
            .await,
        409,
        "conflict",
    );
    assert_eq!(server.delete(&path, None).await.status, 204);
    problem(&server.delete(&path, None).await, 404, "not_found");
    problem(&server.get("/api/v1/guardrails/grd_0").await, 404, "not_found");
    server.stop().await;
}

async fn the_settings_are_those_that_guardrails_get() {
    let server = Server::start().await;
    server.post("/api/v1/feature-flags", &flag()).await;
    let made = server.post("/api/v1/guardrails", &guardrail()).await.json();
    let settings = server.get("/api/v1/safety/settings").await.json();
    assert_eq!(settings["default_margin"], made["definition"]["margin"]);
    assert_eq!(settings["default_alpha"], made["definition"]["alpha"]);
    let path = "/api/v1/safety/settings";
    let mut stricter = settings;
    stricter["default_margin"] = json!(0.5);
    let set = server.put(path, Some("\"v0\""), &stricter).await;
    assert_eq!(
        (set.status, set.header("etag")),
        (200, Some("\"v1\"")),
        "{}",
        set.text
    );
    problem(
        &server.put(path, Some("\"v0\""), &stricter).await,
        412,
        "version_mismatch",
    );
    stricter["default_alpha"] = json!(1.0);
    problem(
        &server.put(path, None, &stricter).await,
        422,
        "invalid_definition",
    );
    let mut other = guardrail();
    other["event"] = json!("crash");
    other.as_object_mut().unwrap().remove("margin");
    assert_eq!(
        server.post("/api/v1/guardrails", &other).await.json()["definition"]["margin"],
        0.5
    );
    let log = server.get("/api/v1/audit-logs?kind=settings").await.json();
    assert_eq!(
        log["items"][0]["changes"],
        json!([{"path": "/default_margin", "before": 0.1, "after": 0.5}])
    );
    server.stop().await;
}

async fn a_rollback_by_hand_turns_the_flag_for_everybody_at_once() {
    let server = Server::start().await;
    let rollback = "/api/v1/safety/rollback/new-checkout";
    let why = json!({"reason": "support reports failed payments"});
    problem(&server.post(rollback, &why).await, 404, "not_found");
    server.post("/api/v1/feature-flags", &flag()).await;
    problem(
        &server.post(rollback, &json!({"reason": " "})).await,
        400,
        "invalid_body",
    );
    problem(&server.post(rollback, &json!({})).await, 400, "invalid_body");

    let done = server.post(rollback, &why).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let record = done.json();
    assert_eq!(
        (&record["safe_variation"], &record["automatic"]),
        (&json!("off"), &json!(false))
    );
    assert_eq!(record["reason"], "support reports failed payments");
    let evaluate = "/api/v1/feature-flags/new-checkout/evaluate";
    let served = server.post(evaluate, &json!({"user_id": "u1"})).await.json();
    assert_eq!(
        (&served["value"], &served["reason"]),
        (&json!(false), &json!("DISABLED"))
    );
    problem(&server.post(rollback, &why).await, 409, "conflict");

    let listed = server
        .get("/api/v1/safety/rollbacks?flag=new-checkout")
        .await
        .json();
    assert_eq!(listed["items"], json!([record]));
    let path = format!("/api/v1/safety/rollbacks/{}", record["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.json(), record);
    problem(
        &server.get("/api/v1/safety/rollbacks/rbk_0").await,
        404,
        "not_found",
    );
    problem(
        &server.get("/api/v1/safety/rollbacks?limit=0").await,
        400,
        "invalid_query",
    );
    server.stop().await;
}

async fn a_receiver_of_webhooks_shows_its_secret_once() {
    // What must never change: a secret is in the answer that makes it and in no other.
    let server = Server::start().await;
    let endpoints = "/api/v1/webhook-endpoints";
    let made = server
        .post(endpoints, &json!({"url": "http://127.0.0.1:9/hook"}))
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(server.get(&path).await.json()["enabled"], true);

    server.post("/api/v1/feature-flags", &flag()).await;
    server
        .post("/api/v1/safety/rollback/new-checkout", &json!({"reason": "test"}))
        .await;
    let deliveries = server.get(&format!("{path}/deliveries")).await;
    let first = &deliveries.json()["items"][0];
    assert_eq!(
        (deliveries.status, &first["state"]),
        (200, &json!("pending")),
        "{}",
        deliveries.text
    );

    let rotated = server.request("POST", &format!("{path}/rotate-secret"));
    let rotated = server.send(rotated).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let second = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, second);
    let off = server.patch(&path, None, &json!({"enabled": false})).await;
    assert_eq!((off.status, &off.json()["enabled"]), (200, &json!(false)));
    for shown in [
        endpoints,
        &path,
        &format!("{path}/deliveries"),
        "/api/v1/audit-logs",
    ] {
        let text = server.get(shown).await.text;
        assert!(
            !text.contains("whsec_") && !text.contains(&secret[6..]),
            "{shown}"
        );
    }
    assert_eq!(server.delete(&path, None).await.status, 204);
    problem(&server.get(&path).await, 404, "not_found");
    problem(&server.get(&format!("{path}/deliveries")).await, 404, "not_found");
    problem(
        &server.post(endpoints, &json!({"url": "not a url"})).await,
        422,
        "invalid_definition",
    );
    problem(
        &server.post(endpoints, &json!({"url": 7})).await,
        400,
        "invalid_body",
    );
    server.stop().await;
}
