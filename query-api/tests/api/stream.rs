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
        let mut request = server.request("GET", "/api/v1/stream");
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
