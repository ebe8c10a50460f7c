//! Exposures that the server logs: durable before the answer, one a day and user, and never in the way of a decision.

use serde_json::{Value, json};

use crate::support::Server;

async fn server() -> Server {
    let server = Server::start().await;
    let flag = json!({"key": "banner", "type": "boolean", "enabled": true, "measured": true, "off_variation": "off",
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "default": {"rollout": [{"variation": "on", "percent": 50}, {"variation": "off", "percent": 50}]}});
    let plain = json!({"key": "plain", "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "off"},
        "variations": [{"key": "off", "value": false}]});
    let experiment = json!({"key": "checkout", "status": "running", "control": "a",
        "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]});
    for (path, body) in [
        ("feature-flags", &flag),
        ("feature-flags", &plain),
        ("experiments", &experiment),
    ] {
        assert_eq!(server.post(&format!("/api/v1/{path}"), body).await.status, 201);
    }
    server
}

fn exposures(events: &[Value]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| {
            (
                event["experiment"].as_str().unwrap(),
                event["user_id"].as_str().unwrap(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposure_is_durable_when_the_answer_comes_and_is_written_once() {
    // What must never change: `tracked` is true only for what is on disk, and asking again writes nothing.
    let server = server().await;
    let before = server.log_offset();
    let user = json!({"user_id": "u1", "track": true});
    for _ in 0..3 {
        let assigned = server
            .post("/api/v1/experiments/checkout/assign", &user)
            .await
            .json();
        assert_eq!(assigned["tracked"], true, "{assigned}");
        assert!(server.log_offset() > before);
        let evaluated = server
            .post("/api/v1/feature-flags/banner/evaluate", &user)
            .await
            .json();
        assert_eq!(evaluated["tracked"], true, "{evaluated}");
    }
    let after = server.log_offset();
    let quiet = server
        .post("/api/v1/feature-flags/banner/evaluate", &json!({"user_id": "u2"}))
        .await
        .json();
    assert_eq!(quiet.get("tracked"), None);
    let nothing = server
        .post("/api/v1/feature-flags/plain/evaluate", &user)
        .await
        .json();
    assert_eq!(
        nothing.get("tracked"),
        None,
        "what is not measured is not tracked"
    );
    assert_eq!(server.log_offset(), after);

    let events = server.logged_events().await;
    assert_eq!(exposures(&events), [("checkout", "u1"), ("banner", "u1")]);
    let assigned = server
        .post("/api/v1/experiments/checkout/assign", &user)
        .await
        .json();
    let event = &events[0];
    assert_eq!(
        (&event["type"], &event["variant"]),
        (&json!("exposure"), &assigned["variant"])
    );
    assert_eq!(event["ts"], "2026-01-31T12:00:00Z");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_gives_the_same_exposure_the_same_id() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let server = server().await;
        let user = json!({"user_id": "u1", "track": true});
        server.post("/api/v1/experiments/checkout/assign", &user).await;
        ids.push(server.logged_events().await[0]["event_id"].clone());
        server.stop().await;
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_are_tracked_before_their_lines_are_sent() {
    let server = server().await;
    let users: Vec<_> = (0..300)
        .map(|number| json!({"user_id": format!("u{}", number % 200)}))
        .collect();
    let body = json!({"users": users, "flags": ["banner", "plain"], "track": true});
    let request = server
        .request("POST", "/api/v1/feature-flags/evaluate")
        .json(&body);
    let text = request.send().await.unwrap().text().await.unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["evaluations"][0]["tracked"], true);
        assert_eq!(line["evaluations"][1].get("tracked"), None);
    }
    // A user that is asked for twice is written once.
    assert_eq!(server.logged_events().await.len(), 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_full_does_not_stop_decisions() {
    // What must never change: an evaluation fails for nothing but its own reasons, and says what was not written.
    let server = server().await;
    // Ever smaller batches, until not even the smallest event fits.
    let event = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!(
            r#"{{"event_id":"1","type":"track","ts":"2026-01-31T11:00:00Z","user_id":"u","event":"e","properties":{{"t":"{text}"}}}}"#
        )
    };
    let mut bytes = 512 * 1024;
    while bytes > 0 {
        let batch = vec![event(bytes.min(15_000)); (bytes / 15_000).max(1)].join("\n");
        let request = server
            .request("POST", "/api/v1/events")
            .header("content-type", "application/x-ndjson");
        if server.send(request.body(batch)).await.status == 429 {
            bytes /= 2;
        }
    }
    let user = json!({"user_id": "u1", "track": true});
    let assigned = server.post("/api/v1/experiments/checkout/assign", &user).await;
    assert_eq!(
        (assigned.status, &assigned.json()["tracked"]),
        (200, &json!(false))
    );
    assert_eq!(assigned.json()["in_experiment"], true);
    // What was not written is not remembered as if it were.
    server.release_log();
    let assigned = server.post("/api/v1/experiments/checkout/assign", &user).await;
    assert_eq!(assigned.json()["tracked"], true);
    server.stop().await;
}
