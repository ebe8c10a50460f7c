//! The server under load, killed again and again: what was acknowledged is in the tables once, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::Timestamp;
use fixtures::random::Draws;
use fixtures::{GenerateSettings, Generator};

use crate::server::{Server, post};
use crate::support::{Tables, faulty_traffic, replay, rows, settle, succeed, verified, write_lines};

/// Fixes what is sent and when the server is killed, as far as a machine's speed lets it.
const SEED: u64 = 20_260_102;
/// How many times the server is killed.
const KILLS: u64 = 30;
/// Clients that send at the same time.
const CLIENTS: usize = 4;
/// Lines in one request.
const BATCH_LINES: usize = 40;
/// A server is killed at most this long after it began to listen.
const LIFE_MAX: Duration = Duration::from_millis(600);

/// What the clients know of the lines that they sent.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeSet<Vec<u8>>,
    unanswered: BTreeSet<Vec<u8>>,
    refused: Vec<String>,
}

/// The lines of all clients; a repeated event may be sent by another client than its original.
type Lines = Arc<Mutex<Generator>>;

fn traffic() -> Result<Generator> {
    // A live source takes events that happened just now; the test has to ask the clock what that is.
    let start = Timestamp(jiff::Timestamp::now().as_microsecond()).plus_micros(-3_600 * 1_000_000);
    let settings = GenerateSettings {
        malformed_share: 0.0,
        span_seconds: 3_600,
        start,
        ..faulty_traffic(400_000, SEED)
    };
    Ok(Generator::new(settings)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_acknowledged_by_a_server_that_is_killed_thirty_times_are_counted_once() -> Result<()> {
    // What must never change: an event answered with 202 is in the tables exactly once, whenever the server dies; one that
    // was sent and not answered is there at most once; there are no others.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (lines, ledger) = (
        Arc::new(Mutex::new(traffic()?)),
        Arc::new(Mutex::new(Ledger::default())),
    );
    let mut draws = Draws::new(SEED, 1);
    for kill in 0..KILLS {
        let server =
            Server::start(&data, &[]).with_context(|| format!("seed {SEED}, start after {kill} kills"))?;
        let clients = start_clients(&server, &lines, &ledger);
        tokio::time::sleep(LIFE_MAX.mul_f64(draws.unit())).await;
        server.kill()?;
        for client in clients {
            client.await??;
        }
        if kill % 3 == 0 {
            tear(&data, &mut draws)?;
        }
    }
    let mut server = Server::start(&data, &[])?;
    let clients = start_clients(&server, &lines, &ledger);
    tokio::time::sleep(LIFE_MAX).await;
    for client in clients {
        client.abort();
        drop(client.await);
    }
    let acknowledged = ledger
        .lock()
        .map(|ledger| ledger.acknowledged.len())
        .unwrap_or_default();
    server.wait_for_events(&data, acknowledged)?;
    server.stop()?;
    let ledger = ledger.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?;
    ensure!(
        ledger.refused.is_empty(),
        "seed {SEED}: the server refused sound events: {:?}",
        ledger.refused
    );
    ensure!(
        ledger.acknowledged.len() > 1_000,
        "only {} lines were acknowledged",
        ledger.acknowledged.len()
    );
    verified(&data)?;
    check_events(&data, &ledger)?;
    settle(&data)?;
    verified(&data)?;
    check_against_replay(folder.path(), &data, &ledger)
}

/// Leaves behind what a power cut in the middle of a write leaves: the beginning of a record that nobody was told of.
fn tear(data: &Path, draws: &mut Draws) -> Result<()> {
    let mut folders = vec![data.to_owned()];
    let mut segments = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                segments.push(path);
            }
        }
    }
    let newest = segments
        .iter()
        .max_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
    let newest = newest.context("the embedded log has no segment")?;
    let torn: Vec<u8> = (0..=draws.below(200)).map(|_| draws.bits() as u8).collect();
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(newest)?, &torn)?;
    Ok(())
}

fn start_clients(
    server: &Server,
    lines: &Lines,
    ledger: &Arc<Mutex<Ledger>>,
) -> Vec<tokio::task::JoinHandle<Result<()>>> {
    let url = server.url("/api/v1/events");
    let client = |_| {
        tokio::spawn(send_until_gone(
            url.clone(),
            Arc::clone(lines),
            Arc::clone(ledger),
        ))
    };
    (0..CLIENTS).map(client).collect()
}

/// Sends batch after batch until the server does not answer.
async fn send_until_gone(url: String, lines: Lines, ledger: Arc<Mutex<Ledger>>) -> Result<()> {
    let client = reqwest::Client::new();
    loop {
        let batch: Vec<Vec<u8>> = {
            let mut lines = lines.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            lines.by_ref().take(BATCH_LINES).collect()
        };
        ensure!(!batch.is_empty(), "there are too few lines");
        let note = |kept: fn(&mut Ledger) -> &mut BTreeSet<Vec<u8>>| {
            if let Ok(mut ledger) = ledger.lock() {
                kept(&mut ledger).extend(batch.iter().cloned());
            }
        };
        // Until there is an answer, nobody knows; also when this task is ended while it waits.
        note(|ledger| &mut ledger.unanswered);
        let Ok(answer) = post(&client, &url, Some("application/x-ndjson"), batch.join(&b'\n')).await else {
            return Ok(());
        };
        match answer.status {
            202 => note(|ledger| &mut ledger.acknowledged),
            429 => tokio::task::yield_now().await,
            status => {
                if let Ok(mut ledger) = ledger.lock() {
                    ledger.refused.push(format!("{status}: {}", answer.body));
                }
                return Ok(());
            }
        }
    }
}

fn ids<'a>(lines: impl IntoIterator<Item = &'a Vec<u8>>) -> Result<BTreeSet<String>> {
    let id = |line: &Vec<u8>| {
        let event: serde_json::Value = serde_json::from_slice(line)?;
        Ok(event["event_id"]
            .as_str()
            .context("a generated event has an id")?
            .to_owned())
    };
    lines.into_iter().map(id).collect()
}

fn check_events(data: &Path, ledger: &Ledger) -> Result<()> {
    let found = rows(data, "select event_id from events")?;
    let distinct: BTreeSet<String> = found
        .iter()
        .filter_map(|row| row["event_id"].as_str())
        .map(str::to_owned)
        .collect();
    ensure!(
        distinct.len() == found.len(),
        "{} events are in the table more than once",
        found.len() - distinct.len()
    );
    let (acknowledged, sent) = (ids(&ledger.acknowledged)?, ids(&ledger.unanswered)?);
    let lost: Vec<&String> = acknowledged.difference(&distinct).take(3).collect();
    ensure!(
        lost.is_empty(),
        "seed {SEED}: acknowledged events are lost, such as {lost:?}"
    );
    let strange: Vec<&String> = distinct.difference(&sent).take(3).collect();
    ensure!(
        strange.is_empty(),
        "seed {SEED}: there are events that nobody sent, such as {strange:?}"
    );
    Ok(())
}

/// The tables of the server equal those of a replay of the events that are in them.
fn check_against_replay(folder: &Path, data: &Path, ledger: &Ledger) -> Result<()> {
    let found = rows(data, "select event_id from events")?;
    let kept: BTreeSet<&str> = found.iter().filter_map(|row| row["event_id"].as_str()).collect();
    let mut lines = Vec::new();
    for line in &ledger.unanswered {
        let event: serde_json::Value = serde_json::from_slice(line)?;
        if event["event_id"].as_str().is_some_and(|id| kept.contains(id)) {
            lines.push(line.clone());
        }
    }
    let (file, other) = (folder.join("kept.ndjson"), folder.join("replayed"));
    write_lines(&lines, &file)?;
    succeed(&mut replay(&[&file], &other))?;
    Tables::of(data)?.ensure_equal(&Tables::of(&other)?)
}
