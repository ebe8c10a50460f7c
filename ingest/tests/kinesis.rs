//! The Kinesis source against servers that others wrote, fed by another implementation of the producer's side.
//!
//! The servers are started by the tests and killed with them. Without them the tests say that they are skipped; see
//! `tests/emulators/setup.sh`.
#![cfg(feature = "kinesis")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Position, Positions, Timestamp};
use fixtures::emulators::{EmulatorKind, KinesisEmulator};
use ingest::sources::kinesis::{Clock, KinesisCredentials, KinesisSettings, KinesisSource};
use ingest::{DecodeLimits, EventBatch, Source, SourceEvent, decode};

/// The time of every clock here: later than all that the servers say, so that theirs counts.
const NOW: Timestamp = Timestamp(4_000_000_000_000_000);

/// How long records may take to come before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

fn settings(emulator: &KinesisEmulator) -> KinesisSettings {
    let clock: Clock = Arc::new(|| NOW);
    let mut settings = KinesisSettings::new("events", "us-east-1", clock);
    settings.endpoint_url = Some(emulator.endpoint().to_owned());
    settings.credentials = KinesisCredentials::Fixed {
        access_key_id: "test".into(),
        secret_access_key: "test".into(),
    };
    settings.pace.call_interval = Duration::from_millis(5);
    settings.pace.idle_interval = Duration::from_millis(20);
    settings.pace.backoff_min = Duration::from_millis(50);
    settings.pace.list_interval = Duration::from_millis(500);
    settings.pace.read_bytes_per_second = u64::MAX;
    settings
}

/// Events of a few users, numbered from 0 for each; `value` is the number.
fn write_events(count: usize, users: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for number in 0..count {
        let (user, value) = (number % users, number / users);
        writeln!(
            file,
            r#"{{"event_id":"e{number}","type":"track","ts":"2026-01-01T00:00:00Z","user_id":"user-{user}","event":"click","value":{value}}}"#
        )
        .unwrap();
    }
    file.flush().unwrap();
    file
}

/// Takes batches until this many records came; then sees that nothing more comes.
async fn read(settings: KinesisSettings, positions: &Positions, count: u64) -> Vec<EventBatch> {
    let mut source = KinesisSource::new(settings);
    source.start(positions).await.unwrap();
    let (mut batches, mut received, mut idle_count) = (Vec::new(), 0, 0);
    let deadline = Instant::now() + PATIENCE;
    while received < count || idle_count < 5 {
        assert!(Instant::now() < deadline, "{received} of {count} records came");
        match source.next().await.unwrap() {
            SourceEvent::Batch(raw) => {
                let batch = decode(raw, &DecodeLimits::default());
                assert_eq!(batch.rejections, []);
                received += batch.received_count();
                batches.push(batch);
                idle_count = 0;
            }
            SourceEvent::Idle => idle_count += 1,
            SourceEvent::Finished => panic!("a stream does not finish"),
        }
    }
    source.close().await;
    assert_eq!(received, count);
    batches
}

/// The numbers of each user's events, in the order given.
fn by_user<'a>(batches: impl IntoIterator<Item = &'a EventBatch>) -> BTreeMap<String, Vec<u32>> {
    let mut users: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for batch in batches {
        for event in &batch.events {
            users
                .entry(batch.text(event.user_id).to_owned())
                .or_default()
                .push(event.value as u32);
        }
    }
    users
}

fn ends<'a>(batches: impl IntoIterator<Item = &'a EventBatch>) -> Positions {
    batches
        .into_iter()
        .map(|batch| (batch.partition.clone(), batch.end.clone()))
        .collect()
}

fn assert_whole(batches: &[EventBatch], count: usize, users: usize) {
    let by_user = by_user(batches);
    assert_eq!(by_user.len(), users);
    for (user, numbers) in by_user {
        let expected: Vec<u32> = (0..(count / users) as u32).collect();
        assert_eq!(numbers, expected, "{user}");
    }
}

/// Puts events with two splits and a merge among them, reads them, and reads again from every position.
async fn check_lineage(aggregated: bool) {
    let Some(emulator) = KinesisEmulator::start(EmulatorKind::KinesisMock) else {
        return;
    };
    let (count, users) = (48, 6);
    let file = write_events(count, users);
    let changes = "--shards 2 --split-after 12 --merge-after 24 --split-after 36";
    let packing = if aggregated { " --aggregate --gzip" } else { "" };
    let options = format!("{changes}{packing}");
    let options: Vec<&str> = options.split(' ').collect();
    emulator.put_events("events", file.path(), &options);

    let mut settings = settings(&emulator);
    settings.limits.batch_bytes = 1;
    let all = read(settings.clone(), &Positions::new(), count as u64).await;
    assert_whole(&all, count, users);
    let ended: BTreeSet<String> = ends(&all)
        .into_iter()
        .filter_map(|(partition, position)| (position == Position::End).then_some(partition.0))
        .collect();
    assert_eq!(ended.len(), 4, "split twice and merged once: {ended:?}");
    // Aggregates are gone through in the middle.
    let inside = all.iter().any(|batch| {
        matches!(
            &batch.end,
            Position::Sequence {
                sub_sequence: 1..,
                ..
            }
        )
    });
    assert_eq!(inside, aggregated);

    for committed in 0..=all.len() {
        let rest_count: u64 = all[committed..].iter().map(EventBatch::received_count).sum();
        let rest = read(settings.clone(), &ends(&all[..committed]), rest_count).await;
        assert_eq!(
            by_user(&rest),
            by_user(&all[committed..]),
            "after {committed} batches"
        );
        assert_eq!(ends(&rest), ends(&all[committed..]), "after {committed} batches");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_records_are_read_whole_over_splits_and_merges() {
    // What must never change: what was put is read once, in the order of each user, from every position.
    check_lineage(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_are_read_whole_over_splits_and_merges() {
    // What must never change: the same, for records that a producer packed together and compressed.
    check_lineage(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_is_followed_while_reading() {
    // What must never change: new shards are found and read without a restart.
    let Some(emulator) = KinesisEmulator::start(EmulatorKind::KinesisMock) else {
        return;
    };
    let (count, users) = (120, 6);
    let file = write_events(count, users);
    emulator.put_events("events", write_events(0, 1).path(), &["--shards", "1"]);
    let settings = settings(&emulator);
    let reading = tokio::spawn(async move { read(settings, &Positions::new(), count as u64).await });
    let put = move || {
        emulator.put_events(
            "events",
            file.path(),
            &["--split-after", "40", "--split-after", "80"],
        );
        emulator
    };
    let _emulator = tokio::task::spawn_blocking(put).await.unwrap();
    assert_whole(&reading.await.unwrap(), count, users);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_stream_is_read_whole() {
    // What must never change: nothing is lost where answers are full and the queue of batches is the limit.
    let Some(emulator) = KinesisEmulator::start(EmulatorKind::MiniStack) else {
        return;
    };
    let (count, users) = (25_000, 500);
    let file = write_events(count, users);
    for (stream, options) in [
        ("events", ["--shards", "2"].as_slice()),
        ("packed", &["--shards", "2", "--aggregate"]),
    ] {
        let put = emulator.put_events(stream, file.path(), options);
        let mut settings = settings(&emulator);
        settings.stream = stream.into();
        let started = Instant::now();
        let mut batches = read(settings.clone(), &Positions::new(), count as u64).await;
        eprintln!(
            "{stream}: {put}; read in {:.2} s, 5 idle waits of 20 ms among them",
            started.elapsed().as_secs_f64()
        );
        assert_whole(&batches, count, users);
        // And from the middle on.
        let rest = batches.split_off(batches.len() / 2);
        let rest_count = rest.iter().map(EventBatch::received_count).sum();
        assert_eq!(
            by_user(&read(settings, &ends(&batches), rest_count).await),
            by_user(&rest)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_exist_is_named() {
    let Some(emulator) = KinesisEmulator::start(EmulatorKind::MiniStack) else {
        return;
    };
    let mut source = KinesisSource::new(settings(&emulator));
    let error = source.start(&Positions::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "list_shards on stream events failed");
    assert!(!error.is_transient());
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("ResourceNotFoundException"), "{cause}");
}
