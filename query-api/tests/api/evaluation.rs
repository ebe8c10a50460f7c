//! Evaluations: what is served, why, and what is refused.

use control::{Actor, Change};
use domain::Timestamp;
use domain::rules::definition::FlagDefinition;
use serde_json::{Value, json};

use crate::support::{Server, problem};

fn flag() -> Value {
    json!({"key": "new/checkout", "type": "string", "enabled": true, "off_variation": "old", "measured": true,
        "variations": [{"key": "new", "value": "one page"}, {"key": "old", "value": "three pages"}],
        "rules": [{"id": "pro", "condition": {"attribute": "plan", "operator": "in", "value": ["pro"]},
            "serve": {"variation": "new"}}],
        "default": {"rollout": [{"variation": "new", "percent": 50.0}, {"variation": "old", "percent": 50.0}]}})
}

const PATH: &str = "/api/v1/feature-flags/new%2Fcheckout";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gets_what_the_rules_say_as_soon_as_they_are_saved() {
    // What must never change: whoever has saved a flag is served by it from then on.
    let server = Server::start().await;
    let evaluate = format!("{PATH}/evaluate");
    problem(
        &server.post(&evaluate, &json!({"user_id": "u1"})).await,
        404,
        "not_found",
    );
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);

    let targeted = server
        .post(&evaluate, &json!({"user_id": "u1", "context": {"plan": "pro"}}))
        .await;
    assert_eq!(targeted.status, 200, "{}", targeted.text);
    let body = targeted.json();
    assert_eq!(
        (&body["value"], &body["variation"]),
        (&json!("one page"), &json!("new"))
    );
    assert_eq!(
        (&body["reason"], &body["rule_id"]),
        (&json!("TARGETING_MATCH"), &json!("pro"))
    );
    let version = body["ruleset_version"].as_u64().unwrap();
    assert!(version > 0);

    let split = server.post(&evaluate, &json!({"user_id": "u1"})).await.json();
    assert_eq!(
        (&split["reason"], &split["exposure"]),
        (&json!("SPLIT"), &json!("new/checkout"))
    );
    assert!(split["bucket"].as_u64().unwrap() < 100_000);
    let again = server.post(&evaluate, &json!({"user_id": "u1"})).await.json();
    assert_eq!(split, again);

    assert_eq!(
        server
            .patch(PATH, Some("\"v1\""), &json!({"enabled": false}))
            .await
            .status,
        200
    );
    let off = server
        .post(&evaluate, &json!({"user_id": "u1", "context": {"plan": "pro"}}))
        .await
        .json();
    assert_eq!(
        (&off["value"], &off["reason"]),
        (&json!("three pages"), &json!("DISABLED"))
    );
    assert!(off["ruleset_version"].as_u64().unwrap() > version);

    assert_eq!(server.delete(PATH, Some("\"v2\"")).await.status, 204);
    problem(
        &server.post(&evaluate, &json!({"user_id": "u1"})).await,
        404,
        "not_found",
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_evaluated_is_told_why() {
    let server = Server::start().await;
    server.post("/api/v1/feature-flags", &flag()).await;
    let evaluate = format!("{PATH}/evaluate");
    for body in [
        json!({}),
        json!({"user_id": ""}),
        json!({"user_id": 7}),
        json!({"user_id": "x".repeat(257)}),
        json!({"user_id": "u", "context": []}),
        json!({"user_id": "u", "contexts": {}}),
        json!([]),
    ] {
        problem(&server.post(&evaluate, &body).await, 400, "invalid_body");
    }
    let large = json!({"user_id": "u", "context": {"text": "x".repeat(64 * 1024)}});
    problem(&server.post(&evaluate, &large).await, 413, "body_too_large");
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    problem(
        &server
            .post(&evaluate, &json!({"user_id": "u", "context": {"deep": deep}}))
            .await,
        400,
        "invalid_json",
    );
    problem(&server.get(&evaluate).await, 405, "method_not_allowed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_could_not_be_served_is_not_saved() {
    let server = Server::start().await;
    let mut broken = flag();
    broken["rules"][0]["condition"] = json!({"attribute": "email", "operator": "matches", "value": "("});
    let refused = server.post("/api/v1/feature-flags", &broken).await;
    problem(&refused, 422, "invalid_definition");
    let pointer = refused.json()["errors"][0]["pointer"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(pointer.starts_with("/rules/0/condition"), "{pointer}");
    let mut unknown = flag();
    unknown["default"] = json!({"variation": "blue"});
    problem(
        &server.post("/api/v1/feature-flags", &unknown).await,
        422,
        "invalid_definition",
    );

    let mut first = flag();
    first["key"] = json!("first");
    assert_eq!(server.post("/api/v1/feature-flags", &first).await.status, 201);
    let mut second = flag();
    second["key"] = json!("second");
    second["prerequisites"] = json!([{"flag": "first", "variations": ["new"]}]);
    assert_eq!(server.post("/api/v1/feature-flags", &second).await.status, 201);
    let circle = json!({"prerequisites": [{"flag": "second", "variations": ["new"]}]});
    let refused = server
        .patch("/api/v1/feature-flags/first", Some("\"v1\""), &circle)
        .await;
    problem(&refused, 422, "invalid_definition");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_go_on_without_the_store() {
    // What must never change: an evaluation needs nothing that can be away.
    let server = Server::start().await;
    server.post("/api/v1/feature-flags", &flag()).await;
    server.store.close().await;
    let evaluate = format!("{PATH}/evaluate");
    let served = server
        .post(&evaluate, &json!({"user_id": "u1", "context": {"plan": "pro"}}))
        .await;
    assert_eq!(
        (served.status, &served.json()["value"]),
        (200, &json!("one page"))
    );
    let read = server.get(PATH).await;
    problem(&read, 503, "unavailable");
    assert!(read.header("retry-after").is_some());
    assert_eq!(server.get("/readyz").await.status, 200);
    let health = server.get("/healthz").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("degraded"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_elsewhere_are_followed() {
    // What must never change: a rollback by a guardrail, which goes past the API, reaches evaluations.
    let server = Server::start().await;
    let follower = server.follow();
    let mut versions = server.ruleset.versions();
    let definition: FlagDefinition = serde_json::from_value(flag()).unwrap();
    let change = Change::new(Actor::system("test"), Timestamp(0));
    server.store.create(&definition, &change).await.unwrap();
    let created = *versions.wait_for(|version| *version > 0).await.unwrap();
    let evaluate = format!("{PATH}/evaluate");
    let served = server
        .post(&evaluate, &json!({"user_id": "u1", "context": {"plan": "pro"}}))
        .await;
    assert_eq!(served.json()["value"], "one page");

    server
        .store
        .rollback_by_hand(&definition.key, &change.because("test"))
        .await
        .unwrap();
    versions.wait_for(|version| *version > created).await.unwrap();
    let served = server
        .post(&evaluate, &json!({"user_id": "u1", "context": {"plan": "pro"}}))
        .await;
    assert_eq!(served.json()["value"], "three pages");
    server.stop().await;
    follower.await.unwrap();
}
