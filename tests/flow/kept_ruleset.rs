//! Flags without the store: a server that cannot open its definitions serves those it kept, says so, and heals by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::server::{Answer, Server, post};

/// How long a server may take to notice that the store is there again.
const HEALING_TIMEOUT: Duration = Duration::from_secs(60);

/// The files of the store; the last two are there while it is open.
const STORE_FILES: [&str; 3] = ["control.db", "control.db-wal", "control.db-shm"];

fn flag(key: &str) -> Value {
    json!({"key": key, "type": "string", "enabled": true, "off_variation": "old",
        "variations": [{"key": "new", "value": "one page"}, {"key": "old", "value": "three pages"}],
        "default": {"rollout": [{"variation": "new", "percent": 50}, {"variation": "old", "percent": 50}]}})
}

async fn send(server: &Server, path: &str, body: &Value) -> Result<Answer> {
    let client = reqwest::Client::new();
    post(
        &client,
        &server.url(path),
        Some("application/json"),
        body.to_string().into_bytes(),
    )
    .await
}

async fn values(server: &Server) -> Result<Vec<(Value, Value)>> {
    let mut values = Vec::new();
    for user in 0..20 {
        let body = json!({"user_id": format!("u{user}")});
        let answer = send(server, "/api/v1/feature-flags/checkout/evaluate", &body).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        values.push((answer.body["value"].clone(), answer.body["stale"].clone()));
    }
    Ok(values)
}

/// Puts the store away, and something that is none in its place; or the other way round.
fn swap(data: &Path, away: bool) -> Result<()> {
    let place = data.join(STORE_FILES[0]);
    if !away {
        std::fs::remove_dir(&place)?;
    }
    for file in STORE_FILES {
        let (here, there) = (data.join(file), data.join(format!("{file}.away")));
        let (from, to) = if away { (here, there) } else { (there, here) };
        if from.exists() {
            std::fs::rename(from, to)?;
        }
    }
    if away {
        std::fs::create_dir(&place)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_store_serves_what_it_kept_and_heals() -> Result<()> {
    // What must never change: an evaluation never fails because the store did.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(&data, &[])?;
    let made = send(&server, "/api/v1/feature-flags", &flag("checkout")).await?;
    ensure!(made.status == 201, "{} {}", made.status, made.body);
    let before: Vec<Value> = values(&server)
        .await?
        .into_iter()
        .map(|(value, _)| value)
        .collect();
    ensure!(before.contains(&json!("one page")) && before.contains(&json!("three pages")));
    server.stop()?;

    swap(&data, true)?;
    let server = Server::start(&data, &[])?;
    for (value, (kept, stale)) in before.iter().zip(values(&server).await?) {
        ensure!(
            *value == kept && stale == json!(true),
            "{value} became {kept}, stale {stale}"
        );
    }
    let refused = send(&server, "/api/v1/feature-flags", &flag("another")).await?;
    ensure!(refused.status == 503, "{} {}", refused.status, refused.body);
    ensure!(
        refused.retry_after.is_some() && refused.body["code"] == "unavailable",
        "{}",
        refused.body
    );
    let health = reqwest::get(server.url("/healthz")).await?.text().await?;
    ensure!(
        health.contains("stale") && health.contains("age_seconds"),
        "{health}"
    );

    swap(&data, false)?;
    let deadline = Instant::now() + HEALING_TIMEOUT;
    while values(&server).await?.iter().any(|(_, stale)| !stale.is_null()) {
        ensure!(
            Instant::now() < deadline,
            "the server does not heal; it said: {}",
            server.said()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let made = send(&server, "/api/v1/feature-flags", &flag("another")).await?;
    ensure!(made.status == 201, "{} {}", made.status, made.body);
    server.stop().context("after it had healed")
}
