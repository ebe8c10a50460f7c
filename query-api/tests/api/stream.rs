//! The event stream: what it says first, what it says later, and how it ends.

use std::collections::BTreeMap;

use domain::results::ExperimentSummary;
use domain::{ExperimentKey, Timestamp};
use serde_json::json;

use crate::support::Server;

struct Events {
    response: reqwest::Response,
    buffer: String,
}

impl Events {
    async fn open(server: &Server, last_event_id: Option<&str>) -> Self {
        Self::open_at(server, "/api/v1/stream", last_event_id).await
    }

    async fn open_at(server: &Server, path: &str, last_event_id: Option<&str>) -> Self {
        let mut request = server.request("GET", path);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The fields of the next event; nothing at the end of the stream.
    async fn next(&mut self) -> Option<BTreeMap<String, String>> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let fields = event.lines().filter_map(|line| line.split_once(": "));
                let fields = fields
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                self.buffer = rest.to_owned();
                return Some(fields);
            }
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn summary(epoch: i64) -> ExperimentSummary {
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").unwrap(),
        as_of: Timestamp::parse("2026-01-31T12:00:00Z").unwrap(),
        epoch,
        arms: Vec::new(),
        crossover_users: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_the_state_then_each_change_then_ends_with_the_server() {
    let server = Server::start().await;
    let mut events = Events::open(&server, None).await;
    let retry: u64 = events.next().await.unwrap()["retry"].parse().unwrap();
    assert!((1_000..11_000).contains(&retry));
    let first = events.next().await.unwrap();
    assert_eq!(
        (first["event"].as_str(), first["data"].as_str()),
        ("ruleset", "{\"version\":0}")
    );
    let second = events.next().await.unwrap();
    assert_eq!(
        (second["event"].as_str(), second["id"].as_str()),
        ("results", "r0.e0")
    );

    let flag = json!({"key": "f", "type": "boolean", "off_variation": "off", "default": {"variation": "off"},
        "variations": [{"key": "off", "value": false}]});
    assert_eq!(server.post("/api/v1/feature-flags", &flag).await.status, 201);
    let changed = events.next().await.unwrap();
    assert_eq!(changed["event"], "ruleset");
    server.commit(summary(7));
    let committed = events.next().await.unwrap();
    assert_eq!(committed["event"], "results");
    assert_eq!(
        committed["data"],
        "{\"epoch\":7,\"as_of\":\"2026-01-31T12:00:00Z\"}"
    );
    let last_id = committed["id"].clone();

    // What must never change: who comes back is told what is new and nothing else.
    server.commit(summary(8));
    let mut back = Events::open(&server, Some(&last_id)).await;
    back.next().await.unwrap();
    assert_eq!(
        back.next().await.unwrap()["data"],
        "{\"epoch\":8,\"as_of\":\"2026-01-31T12:00:00Z\"}"
    );

    server.begin_stop();
    while events.next().await.is_some() {}
    while back.next().await.is_some() {}
    server.stop().await;
}

fn flag() -> serde_json::Value {
    json!({"key": "f", "type": "boolean", "off_variation": "off", "default": {"variation": "off"},
        "variations": [{"key": "off", "value": false}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn openfeature_clients_are_told_to_ask_again() {
    // What must never change: the events are messages without a name, or no published client hears them.
    let server = Server::start().await;
    let mut events = Events::open_at(&server, "/ofrep/v1/stream", None).await;
    assert!(events.next().await.unwrap().contains_key("retry"));
    let first = events.next().await.unwrap();
    assert_eq!(first.get("event"), None);
    assert_eq!(first["data"], "{\"type\":\"refetchEvaluation\",\"etag\":\"r0\"}");
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);
    let changed = events.next().await.unwrap();
    let version = server.ruleset.version();
    assert_eq!(changed["id"], format!("r{version}"));
    assert!(changed["data"].contains(&format!("\"etag\":\"r{version}\"")));

    // Who comes back with its last id hears nothing until there is news.
    let mut back = Events::open_at(&server, "/ofrep/v1/stream", Some(&changed["id"])).await;
    back.next().await.unwrap();
    let change = json!({"name": "other"});
    assert_eq!(
        server
            .patch("/api/v1/feature-flags/f", Some("\"v1\""), &change)
            .await
            .status,
        200
    );
    assert_eq!(
        back.next().await.unwrap()["id"],
        format!("r{}", server.ruleset.version())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_end_with_the_server_and_come_back_at_different_times() {
    // What must never change: no open stream keeps a server from stopping, and its clients do not return as one.
    let server = Server::start().await;
    let mut streams = Vec::new();
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut events = Events::open(&server, None).await;
        waits.insert(events.next().await.unwrap()["retry"].parse::<u64>().unwrap());
        streams.push(events);
    }
    assert!(waits.len() > 50, "{waits:?}");
    let spread = waits.last().unwrap() - waits.first().unwrap();
    assert!(spread > 5_000, "{waits:?}");
    server.stop().await;
    for mut events in streams {
        while events.next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_learns_the_newest_state_in_the_end() {
    let server = Server::start().await;
    let mut slow = Events::open(&server, None).await;
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);
    for version in 1..30 {
        let tag = format!("\"v{version}\"");
        let change = json!({"name": version.to_string()});
        assert_eq!(
            server
                .patch("/api/v1/feature-flags/f", Some(&tag), &change)
                .await
                .status,
            200
        );
    }
    let newest = format!("{{\"version\":{}}}", server.ruleset.version());
    let mut events = 0;
    while slow.next().await.unwrap().get("data") != Some(&newest) {
        events += 1;
    }
    assert!(events < 40, "no more events than changes");
    server.stop().await;
}
