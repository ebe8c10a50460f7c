//! Erasing a user: afterwards the folder is that of a lake which never had the user, and a receipt stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::Timestamp;
use fixtures::GenerateSettings;
use serde_json::Value;

use crate::server::{Server, post};
use crate::support::{
    Tables, fail, faulty_traffic, program, replay, rows, settle, succeed, succeed_json, text, verified,
    write_lines, write_traffic,
};

fn export(user: &str, data: &Path) -> Result<Vec<Value>> {
    let printed = succeed(program(&["export-user", user, "--data"]).arg(data))?;
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

fn forget(arguments: &[&str], data: &Path) -> Command {
    let mut command = program(&["forget", "--data"]);
    command.arg(data).args(arguments);
    command
}

/// The Parquet files of the tables that tell of single users.
fn files(data: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for table in ["events", "first_exposures", "dead_letters"] {
        for day in std::fs::read_dir(data.join("lake").join(table))? {
            let day = day?.path();
            if day.file_name().is_some_and(|name| name != "_delta_log") {
                for file in std::fs::read_dir(day)? {
                    found.insert(file?.path());
                }
            }
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

#[test]
fn a_forgotten_user_was_never_there() -> Result<()> {
    // What must never change: after forgetting, nothing tells of the user, and everything else is as without the user.
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let (input, data) = (path("events.ndjson"), path("data"));
    let (mut lines, _) = write_traffic(faulty_traffic(20_000, 31), &input)?;
    succeed(&mut replay(&[&input], &data))?;
    let busiest = "select e.user_id, count(*) as n from events e join first_exposures f on e.user_id = f.user_id \
                   group by e.user_id order by n desc, e.user_id limit 1";
    let user = text(&rows(&data, busiest)?[0], "user_id")?.to_owned();
    let broken = format!(r#"{{"event_id": "broken-1", "user_id": "{user}", "type": "tra"#).into_bytes();
    lines.push(broken.clone());
    let (more, data) = (path("more.ndjson"), path("again"));
    write_lines(&[broken], &more)?;
    let often = ["--commit-records", "4000", "--snapshot-events", "6000"];
    succeed(replay(&[&input, &more], &data).args(often))?;
    copy(&data, &path("backup"))?;

    let held = export(&user, &data)?;
    for table in ["events", "first_exposures", "dead_letters"] {
        ensure!(
            held.iter().any(|line| line["table"] == table),
            "{table} is not exported"
        );
    }
    let of_events = held.iter().filter(|line| line["table"] == "events");
    let epochs: BTreeSet<u64> = of_events
        .filter_map(|line| line["row"]["epoch"].as_u64())
        .collect();
    let (before, snapshots) = (files(&data)?, data.join("state/snapshots"));
    let receipt = succeed_json(&mut forget(&[&user], &data))?;
    ensure!(
        receipt["events"].as_u64() > Some(1) && receipt["dead_letters"] == 1,
        "{receipt}"
    );
    ensure!(
        !receipt.to_string().contains(&user),
        "the receipt names the user: {receipt}"
    );
    ensure!(
        export(&user, &data)?.is_empty(),
        "something is still held of {user}"
    );
    ensure_gone(&data, &before, &epochs)?;
    for snapshot in std::fs::read_dir(&snapshots)? {
        let bytes = std::fs::read(snapshot?.path())?;
        let found = bytes.windows(user.len()).any(|window| window == user.as_bytes());
        ensure!(!found, "a snapshot still holds the user");
    }
    verified(&data)?;

    let others: Vec<Vec<u8>> = lines.iter().filter(|line| !names(line, &user)).cloned().collect();
    write_lines(&others, &path("others.ndjson"))?;
    succeed(&mut replay(&[&path("others.ndjson")], &path("without")))?;
    let without = Tables::of(&path("without"))?;
    Tables::of(&data)?.ensure_equal(&without)?;

    // A backup brings the user back; the receipts take it away again.
    let backup = path("backup");
    let refused = fail(&mut forget(&["--again"], &backup), 1)?;
    ensure!(refused.contains("receipts"), "{refused}");
    std::fs::copy(data.join("erasures.ndjson"), backup.join("erasures.ndjson"))?;
    succeed(&mut forget(&["--again"], &backup))?;
    Tables::of(&backup)?.ensure_equal(&without)?;
    verified(&backup)?;
    Ok(())
}

/// How long a server may take to erase a user from little.
const ERASURE_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_erases_a_user_and_goes_on_with_the_others() -> Result<()> {
    // What must never change: nothing of the others is lost or counted twice, what came before and after alike.
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    let start = Timestamp(jiff::Timestamp::now().as_microsecond()).plus_micros(-3_600 * 1_000_000);
    let settings = GenerateSettings {
        span_seconds: 3_600,
        start,
        malformed_share: 0.0,
        ..faulty_traffic(6_000, 77)
    };
    let (lines, _) = write_traffic(settings, &path("events.ndjson"))?;
    let first: Value = serde_json::from_slice(&lines[0])?;
    let user = text(&first, "user_id")?.to_owned();
    let others: Vec<Vec<u8>> = lines.iter().filter(|line| !names(line, &user)).cloned().collect();
    let (before, after) = lines.split_at(lines.len() / 2);
    let after: Vec<Vec<u8>> = after.iter().filter(|line| !names(line, &user)).cloned().collect();

    let server = Server::start(&data, &[])?;
    let client = reqwest::Client::new();
    let send = async |path: &str, media: &str, body: Vec<u8>| {
        let answer = post(&client, &server.url(path), Some(media), body).await?;
        ensure!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    };
    send("/api/v1/events", "application/x-ndjson", before.join(&b'\n')).await?;
    let who = serde_json::json!({"user_id": user}).to_string().into_bytes();
    let asked = send("/api/v1/user-data/erasures", "application/json", who.clone()).await?;
    // Others go on meanwhile.
    for batch in after.chunks(200) {
        send("/api/v1/events", "application/x-ndjson", batch.join(&b'\n')).await?;
    }
    let place = server.url(&format!(
        "/api/v1/user-data/erasures/{}",
        text(&asked, "receipt")?
    ));
    let deadline = Instant::now() + ERASURE_TIMEOUT;
    let done = loop {
        let found: Value = serde_json::from_str(&client.get(&place).send().await?.text().await?)?;
        if found["done_at"].is_string() {
            break found;
        }
        ensure!(Instant::now() < deadline, "not erased yet: {}", server.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    ensure!(done["erased"]["events"].as_u64() >= Some(1), "{done}");
    let exported = client
        .post(server.url("/api/v1/user-data/export"))
        .header("content-type", "application/json")
        .body(who)
        .send()
        .await?;
    ensure!(
        exported.status() == 200 && exported.text().await?.is_empty(),
        "something is still held of {user}"
    );
    server.stop()?;
    // What the server did not commit before it was stopped is committed by the next one.
    let mut server = Server::start(&data, &[])?;
    let distinct: BTreeSet<_> = others.iter().filter_map(|line| event_id(line)).collect();
    server.wait_for_events(&data, distinct.len())?;
    server.stop()?;
    settle(&data)?;
    verified(&data)?;
    ensure!(export(&user, &data)?.is_empty(), "the log brought {user} back");

    write_lines(&others, &path("others.ndjson"))?;
    succeed(&mut replay(&[&path("others.ndjson")], &path("without")))?;
    Tables::of(&data)?.ensure_equal(&Tables::of(&path("without"))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_one_store_each_erase_a_user_and_so_does_a_folder_from_a_backup() -> Result<()> {
    // What must never change: no tables keep a user because others were asked, or because they are older than the wish.
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let store = format!("sqlite:{}", path("control.db").display());
    let folders = [path("left"), path("right")];
    let start = |data: &Path| Server::start(data, &["--store", &store]);
    let servers = [start(&folders[0])?, start(&folders[1])?];
    let client = reqwest::Client::new();
    let now = jiff::Timestamp::now();
    for server in &servers {
        let event = |user: &str| {
            serde_json::json!({"event_id": format!("{user}-1"), "type": "exposure", "ts": now.to_string(), "user_id": user,
                "experiment": "checkout", "variant": "a"})
        };
        let lines = serde_json::json!([event("ann"), event("bob")]).to_string();
        let url = server.url("/api/v1/events");
        let sent = post(&client, &url, Some("application/json"), lines.into_bytes()).await?;
        ensure!(sent.status == 202, "{}", sent.body);
    }
    let [mut left, mut right] = servers;
    left.wait_for_events(&folders[0], 2)?;
    right.wait_for_events(&folders[1], 2)?;
    right.stop()?;
    copy(&folders[1], &path("backup"))?;
    let who = serde_json::json!({"user_id": "ann"}).to_string().into_bytes();
    let url = left.url("/api/v1/user-data/erasures");
    let asked = post(&client, &url, Some("application/json"), who).await?;
    ensure!(asked.status == 202, "{}", asked.body);
    // One was asked, one was not running, and one comes from a backup.
    let right = start(&folders[1])?;
    let restored = start(&path("backup"))?;
    for data in [&folders[0], &folders[1], &path("backup")] {
        let deadline = Instant::now() + ERASURE_TIMEOUT;
        while !data.join("erasures.ndjson").is_file() {
            ensure!(
                Instant::now() < deadline,
                "{} was not erased from",
                data.display()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for server in [left, right, restored] {
        server.stop()?;
    }
    for data in [&folders[0], &folders[1], &path("backup")] {
        ensure!(export("ann", data)?.is_empty() && !export("bob", data)?.is_empty());
        verified(data)?;
    }
    Ok(())
}

fn event_id(line: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(line).ok()?;
    event["event_id"].as_str().map(str::to_owned)
}

/// Fails unless the event files of these epochs are gone: what held the user is not only left out of the tables.
fn ensure_gone(data: &Path, before: &BTreeSet<PathBuf>, epochs: &BTreeSet<u64>) -> Result<()> {
    // A file is named by its epoch.
    let events = data.join("lake/events");
    let of_user = |file: &&PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&events)
            && epochs
                .iter()
                .any(|epoch| name.starts_with(&format!("{epoch:012}-")))
    };
    ensure!(
        before.iter().filter(of_user).count() == epochs.len(),
        "files are not named by their epochs"
    );
    let kept = files(data)?.intersection(before).filter(of_user).count();
    ensure!(kept == 0, "{kept} files that held the user are still there");
    Ok(())
}

/// Whether a line names a user, in quotes.
fn names(line: &[u8], user: &str) -> bool {
    let quoted = format!("\"{user}\"");
    line.windows(quoted.len())
        .any(|window| window == quoted.as_bytes())
}
