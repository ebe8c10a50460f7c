//! How long a change takes to reach other processes, for docs/performance.md: `cargo run -p control --example notice`.
//!
//! Other processes are stores of their own with connections of their own. What is timed begins when the change is
//! acknowledged to its writer, and ends when the last of them knows.

use std::time::{Duration, Instant};

use control::{Actor, Change, Store, StoreAddress};
use domain::Timestamp;
use domain::rules::definition::FlagDefinition;
use fixtures::postgres::PostgresServer;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Changes per measurement.
const CHANGES: i64 = 300;
/// The time between two of them, so that none shows together with the one before.
const PAUSE: Duration = Duration::from_millis(20);
/// How many others follow.
const FOLLOWERS: [usize; 2] = [1, 100];

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    for followers in FOLLOWERS {
        let file = folder.path().join(format!("{followers}.db"));
        measure("SQLite", &StoreAddress::File(file), followers).await?;
        let Some(server) = PostgresServer::start() else {
            continue;
        };
        measure("PostgreSQL", &StoreAddress::parse(&server.url())?, followers).await?;
    }
    Ok(())
}

async fn measure(name: &str, address: &StoreAddress, followers: usize) -> Result<(), Failed> {
    let store = Store::connect(address).await?;
    let flag: FlagDefinition = serde_json::from_value(json!({
        "key": "checkout", "type": "boolean", "enabled": true, "off_variation": "off",
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "default": {"variation": "on"}
    }))?;
    let change = Change::new(Actor::local(), Timestamp(0));
    store.create(&flag, &change).await?;
    let stop = CancellationToken::new();
    let mut heard = Vec::new();
    let mut following = Vec::new();
    for _ in 0..followers {
        let other = Store::connect(address).await?;
        heard.push(other.subscribe());
        following.push(tokio::spawn(other.follow_others(stop.clone())));
    }
    let mut micros = Vec::new();
    for version in 1..=CHANGES {
        tokio::time::sleep(PAUSE).await;
        heard.iter_mut().for_each(|follower| follower.mark_unchanged());
        store.update(&flag, version, &change).await?;
        let acknowledged = Instant::now();
        for follower in &mut heard {
            follower.changed().await?;
        }
        micros.push(acknowledged.elapsed().as_micros());
    }
    stop.cancel();
    for follower in following {
        follower.await?;
    }
    micros.sort_unstable();
    let at = |share: usize| micros[(micros.len() - 1) * share / 100] as f64 / 1_000.0;
    say(&format!(
        "{name}, {followers} others: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(50),
        at(99),
        at(100)
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example prints its figures")]
fn say(line: &str) {
    println!("{line}");
}
