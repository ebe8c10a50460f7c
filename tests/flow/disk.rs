//! A full disk: work stops with a sentence, nothing acknowledged is lost, and with more space it goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use domain::Timestamp;
use fixtures::Generator;

use crate::server::{Server, post};
use crate::support::{Tables, fail, faulty_traffic, replay, rows, succeed, verified, write_traffic};

/// A small file system in memory; unmounted when dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one, or says why this machine lets nobody do that and gives none.
    fn mount(folder: &Path, size: &str) -> Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Some(Self {
                folder: folder.to_owned(),
            })),
            _ => {
                eprintln!("skipped: a small disk can only be mounted by root");
                Ok(None)
            }
        }
    }

    fn enlarge(&self, size: &str) -> Result<()> {
        let option = format!("remount,size={size}");
        let status = Command::new("mount")
            .args(["-o", &option])
            .arg(&self.folder)
            .status()?;
        ensure!(status.success(), "the small disk cannot be enlarged");
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(&self.folder).status());
    }
}

#[test]
fn a_replay_that_meets_a_full_disk_goes_on_when_there_is_space() -> Result<()> {
    // What must never change: a full disk costs time, never records, at whichever write it strikes.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(40_000, 61), &file)?;
    let undisturbed = folder.path().join("undisturbed");
    let small = ["--commit-records", "3000"];
    succeed(replay(&[&file], &undisturbed).args(small))?;
    let expected = Tables::of(&undisturbed)?;
    for size in ["64k", "500k", "1100k", "1700k"] {
        let Some(disk) = SmallDisk::mount(&folder.path().join(format!("disk-{size}")), size)? else {
            return Ok(());
        };
        let data = disk.folder.join("data");
        let sentence =
            fail(replay(&[&file], &data).args(small), 1).with_context(|| format!("a disk of {size}"))?;
        ensure!(
            sentence.contains("space"),
            "the sentence does not say what is missing: {sentence}"
        );
        disk.enlarge("64m")?;
        succeed(replay(&[&file], &data).args(small)).with_context(|| format!("after a disk of {size}"))?;
        Tables::of(&data)?
            .ensure_equal(&expected)
            .with_context(|| format!("a disk of {size}"))?;
        verified(&data)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_full_disk_refuses_and_goes_on_when_there_is_space() -> Result<()> {
    // What must never change: an event is never acknowledged that is not on disk; who is refused is told when to come again.
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), "6m")? else {
        return Ok(());
    };
    let data = disk.folder.join("data");
    let server = Server::start(&data, &[])?;
    let start = Timestamp(jiff::Timestamp::now().as_microsecond()).plus_micros(-3_600 * 1_000_000);
    let mut settings = faulty_traffic(400_000, 62);
    (settings.start, settings.span_seconds, settings.malformed_share) = (start, 3_600, 0.0);
    let mut lines = Generator::new(settings)?;
    let client = reqwest::Client::new();
    let mut acknowledged = BTreeSet::new();
    let mut send = async |server: &Server| -> Result<(u16, Option<String>)> {
        let batch: Vec<Vec<u8>> = lines.by_ref().take(400).collect();
        let answer = post(
            &client,
            &server.url("/api/v1/events"),
            Some("application/x-ndjson"),
            batch.join(&b'\n'),
        )
        .await?;
        if answer.status == 202 {
            acknowledged.extend(batch);
        }
        Ok((answer.status, answer.retry_after))
    };
    let mut refusal = None;
    for _ in 0..800 {
        let (status, retry_after) = send(&server).await.with_context(|| server.said())?;
        if status != 202 {
            refusal = Some((status, retry_after));
            break;
        }
    }
    let (status, retry_after) = refusal.context("the disk never became full")?;
    ensure!(
        [429, 503, 507].contains(&status),
        "the server answered {status}: {}",
        server.said()
    );
    ensure!(
        retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()),
        "the refusal has no Retry-After"
    );
    disk.enlarge("200m")?;
    let mut server = go_on(server, &data)?;
    let mut recovered = false;
    for _ in 0..600 {
        recovered = send(&server).await.is_ok_and(|(status, _)| status == 202);
        if recovered {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(
        recovered,
        "the server does not go on with more space: {}",
        server.said()
    );
    server.wait_for_events(&data, acknowledged.len())?;
    server.stop()?;
    verified(&data)?;
    check_kept(&data, &acknowledged)
}

/// Every acknowledged event is in the table once.
fn check_kept(data: &Path, acknowledged: &BTreeSet<Vec<u8>>) -> Result<()> {
    let found = rows(data, "select event_id from events")?;
    let kept: BTreeSet<&str> = found.iter().filter_map(|row| row["event_id"].as_str()).collect();
    ensure!(
        kept.len() == found.len(),
        "events are in the table more than once"
    );
    for line in acknowledged {
        let event: serde_json::Value = serde_json::from_slice(line)?;
        ensure!(
            event["event_id"].as_str().is_some_and(|id| kept.contains(id)),
            "an acknowledged event is lost: {event}"
        );
    }
    Ok(())
}

/// The same server where it is still there; a new one where it has given up, as a supervisor would start it.
fn go_on(mut server: Server, data: &Path) -> Result<Server> {
    if server.is_running() {
        return Ok(server);
    }
    eprintln!("the server gave up on a full disk: {}", server.said());
    Server::start(data, &[])
}
