//! A process that is killed while it writes: what it acknowledged is there, and nothing is half there.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// Writes that must be acknowledged before the process is killed.
const ACKNOWLEDGED: i64 = 60;

#[tokio::test]
async fn a_killed_process_leaves_every_acknowledged_write_and_no_half_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::tests::kill::writes_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, version)) = line.split_once("acknowledged ") {
            acknowledged = version.parse::<i64>().unwrap();
        }
        if acknowledged == ACKNOWLEDGED {
            // Killed at once, while the next write is under way.
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    assert_eq!(acknowledged, ACKNOWLEDGED);

    let store = Store::open(&folder.path().join("control.db")).await.unwrap();
    let check: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(store.readers())
        .await
        .unwrap();
    assert_eq!(check, "ok");
    let version = store.get::<FlagDefinition>(&flag_key()).await.unwrap().version;
    assert!(version >= ACKNOWLEDGED);
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM audit")
        .fetch_one(store.readers())
        .await
        .unwrap();
    assert_eq!(records, version, "each version has its audit record");
}

#[tokio::test]
#[ignore = "runs until it is killed; started by the test above in a process of its own"]
async fn writes_until_it_is_killed() {
    let store = Store::open(Path::new("control.db")).await.unwrap();
    let mut version = store.create(&flag(), &anna(0)).await.unwrap().version;
    loop {
        version = store
            .update(&flag(), version, &anna(version))
            .await
            .unwrap()
            .version;
        println!("acknowledged {version}");
        std::io::stdout().flush().unwrap();
    }
}
