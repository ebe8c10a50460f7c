//! Lives of experiments and rollouts over HTTP: actions, checks, schedules, phases.

use serde_json::{Value, json};

use crate::stores::on_both_stores;
use crate::support::{Answer, Server, problem};

on_both_stores! {
    an_experiment_is_started_paused_resumed_decided_and_archived,
    a_start_tells_everything_that_is_missing,
    the_status_is_not_a_member_to_be_written,
    a_schedule_is_set_and_read,
    a_copy_is_a_draft_under_another_key,
    a_rollout_goes_by_hand_from_stage_to_stage_and_back,
}

const ONE: &str = "/api/v1/experiments/checkout";

fn experiment() -> Value {
    json!({"key": "checkout", "control": "old", "metrics": [{"metric": "revenue"}],
        "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}],
        "analysis": {"planned_units": 10_000, "minimum_effect": 0.02}})
}

async fn with_experiment() -> Server {
    let server = Server::start().await;
    let metric = json!({"key": "revenue", "kind": "sum", "event": "purchase"});
    assert_eq!(server.post("/api/v1/metrics", &metric).await.status, 201);
    let made = server.post("/api/v1/experiments", &experiment()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    server
}

async fn act(server: &Server, path: &str) -> Answer {
    server.send(server.request("POST", path)).await
}

async fn an_experiment_is_started_paused_resumed_decided_and_archived() {
    let server = with_experiment().await;
    assert_eq!(
        server.get(&format!("{ONE}/start-checks")).await.json(),
        json!({"can_start": true, "failures": []})
    );
    for (action, status) in [("start", "running"), ("pause", "paused"), ("resume", "running")] {
        let done = act(&server, &format!("{ONE}/{action}")).await;
        assert_eq!(
            (done.status, &done.json()["status"]),
            (200, &json!(status)),
            "{}",
            done.text
        );
    }
    let again = act(&server, &format!("{ONE}/start")).await;
    problem(&again, 409, "conflict");
    let detail = "Experiment checkout is running; start is not allowed, only pause or complete.";
    assert_eq!(again.json()["detail"], detail);
    problem(&server.delete(ONE, Some("\"v4\"")).await, 409, "conflict");

    let complete = format!("{ONE}/complete");
    problem(
        &server.post(&complete, &json!({"decision": "ship"})).await,
        400,
        "invalid_body",
    );
    let unnamed = json!({"decision": "ship", "reason": "better"});
    problem(&server.post(&complete, &unnamed).await, 422, "invalid_definition");
    let stale = server.request("POST", &complete).header("if-match", "\"v1\"");
    let decision = json!({"decision": "ship", "variant": "new", "reason": "two per cent more"});
    problem(&server.send(stale.json(&decision)).await, 412, "version_mismatch");
    let done = server.post(&complete, &decision).await;
    assert_eq!(
        done.json()["decision"]["reason"],
        "two per cent more",
        "{}",
        done.text
    );
    assert_eq!(
        act(&server, &format!("{ONE}/archive")).await.json()["status"],
        "archived"
    );

    let phases = server.get(&format!("{ONE}/phases")).await.json();
    let causes: Vec<&Value> = phases["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| &phase["cause"])
        .collect();
    assert_eq!(causes, ["start", "resume"]);
    problem(
        &act(&server, "/api/v1/experiments/nothing/start").await,
        404,
        "not_found",
    );
    server.stop().await;
}

async fn a_start_tells_everything_that_is_missing() {
    let server = with_experiment().await;
    let patch = json!({"analysis": null, "metrics": []});
    assert_eq!(server.patch(ONE, Some("\"v1\""), &patch).await.status, 200);
    let refused = act(&server, &format!("{ONE}/start")).await;
    problem(&refused, 409, "conflict");
    let pointers: Vec<Value> = refused.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].clone())
        .collect();
    assert_eq!(pointers, ["/metrics", "/analysis"]);
    let checks = server.get(&format!("{ONE}/start-checks")).await.json();
    assert_eq!(
        (&checks["can_start"], &checks["failures"][1]["check"]),
        (&json!(false), &json!("power_stated"))
    );
    server.stop().await;
}

async fn the_status_is_not_a_member_to_be_written() {
    // What must never change: no way around the life cycle, and what was read can be sent back.
    let server = with_experiment().await;
    problem(
        &server
            .patch(ONE, Some("\"v1\""), &json!({"status": "running"}))
            .await,
        409,
        "conflict",
    );
    assert_eq!(act(&server, &format!("{ONE}/start")).await.status, 200);
    let mut read = server.get(ONE).await.json();
    read["variants"][0]["weight"] = json!(3.0);
    let heavier = server.put(ONE, Some("\"v2\""), &read).await;
    assert_eq!(
        (heavier.status, &heavier.json()["status"]),
        (200, &json!("running")),
        "{}",
        heavier.text
    );
    assert_eq!(
        heavier.json()["variants"][1]["buckets"],
        json!([{"from": 50_000, "to": 75_000}])
    );
    let frozen = server
        .patch(
            ONE,
            Some("\"v3\""),
            &json!({"audience": {"operator": "in_segment", "value": "x"}}),
        )
        .await;
    problem(&frozen, 422, "invalid_definition");
    let frozen = server.patch(ONE, Some("\"v3\""), &json!({"sticky": true})).await;
    problem(&frozen, 409, "conflict");
    assert!(
        frozen.json()["detail"]
            .as_str()
            .unwrap()
            .contains("sticky cannot change")
    );
    let back = server
        .patch(ONE, Some("\"v3\""), &json!({"status": "draft"}))
        .await;
    problem(&back, 409, "conflict");
    server.stop().await;
}

async fn a_schedule_is_set_and_read() {
    let server = with_experiment().await;
    let path = format!("{ONE}/schedule");
    assert_eq!(server.get(&path).await.json(), json!({}));
    let times = json!({"start_at": "2026-02-01T08:00:00Z", "end_at": "2026-02-15T08:00:00Z"});
    let set = server.put(&path, None, &times).await;
    assert_eq!(
        (set.status, set.json(), set.header("etag")),
        (200, times.clone(), Some("\"v2\""))
    );
    assert_eq!(server.get(&path).await.json(), times);
    problem(
        &server.put(&path, Some("\"v1\""), &times).await,
        412,
        "version_mismatch",
    );
    let past = json!({"start_at": "2026-01-01T08:00:00Z"});
    problem(&server.put(&path, None, &past).await, 422, "invalid_definition");
    assert_eq!(server.put(&path, None, &json!({})).await.json(), json!({}));
    act(&server, &format!("{ONE}/start")).await;
    problem(&server.put(&path, None, &times).await, 409, "conflict");
    server.stop().await;
}

async fn a_copy_is_a_draft_under_another_key() {
    let server = with_experiment().await;
    act(&server, &format!("{ONE}/start")).await;
    let path = format!("{ONE}/clone");
    let copy = server
        .post(&path, &json!({"key": "checkout/2", "name": "Again"}))
        .await;
    assert_eq!(copy.status, 201, "{}", copy.text);
    assert_eq!(copy.header("location"), Some("/api/v1/experiments/checkout%2F2"));
    assert_eq!(
        (&copy.json()["status"], &copy.json()["name"]),
        (&json!("draft"), &json!("Again"))
    );
    problem(
        &server.post(&path, &json!({"key": "checkout"})).await,
        409,
        "already_exists",
    );
    server.stop().await;
}

async fn a_rollout_goes_by_hand_from_stage_to_stage_and_back() {
    let server = Server::start().await;
    let flag = json!({"key": "checkout", "type": "boolean", "enabled": true, "off_variation": "off",
        "default": {"variation": "off"}, "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}]});
    let schedule = json!({"key": "r", "flag": "checkout", "variation": "on", "control": "off",
        "stages": [{"percent": 0.0, "trigger": {"type": "after", "seconds": 0}},
            {"percent": 100.0, "trigger": {"type": "manual"}}]});
    problem(
        &server.post("/api/v1/rollout-schedules", &schedule).await,
        404,
        "not_found",
    );
    assert_eq!(server.post("/api/v1/feature-flags", &flag).await.status, 201);
    let made = server.post("/api/v1/rollout-schedules", &schedule).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = "/api/v1/rollout-schedules/r";
    problem(&act(&server, &format!("{path}/pause")).await, 409, "conflict");
    let started = act(&server, &format!("{path}/start")).await;
    assert_eq!(started.json()["progress"]["stages_begun"], 1, "{}", started.text);

    let evaluate = "/api/v1/feature-flags/checkout/evaluate";
    let user = json!({"user_id": "u1", "context": {}});
    assert_eq!(server.post(evaluate, &user).await.json()["value"], false);
    assert_eq!(
        act(&server, &format!("{path}/pause")).await.json()["progress"]["status"],
        "paused"
    );
    assert_eq!(
        act(&server, &format!("{path}/resume")).await.json()["progress"]["status"],
        "running"
    );
    let done = act(&server, &format!("{path}/advance")).await.json();
    assert_eq!(done["progress"]["status"], "completed", "{done}");
    assert_eq!(server.post(evaluate, &user).await.json()["value"], true);
    let back = act(&server, &format!("{path}/rollback")).await.json();
    assert_eq!(back["progress"]["status"], "rolled_back", "{back}");
    assert_eq!(server.post(evaluate, &user).await.json()["value"], false);
    assert_eq!(
        server.get("/api/v1/safety/rollbacks").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.stop().await;
}
