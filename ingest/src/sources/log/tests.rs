//! The log as a source: its promises, and how frames become batches.

use std::path::Path;

use super::*;
use crate::conformance::check_source;
use crate::log::{Frame, LogSettings};

const SMALL: LogSettings = LogSettings {
    segment_bytes: 1_500,
    max_held_bytes: 100_000_000,
    queue_length: 16,
};

fn event(id: usize) -> String {
    format!(
        r#"{{"event_id":"e{id}","type":"track","ts":"2026-01-01T00:00:00Z","user_id":"u","event":"buy"}}"#
    )
}

fn frame(received_at: i64, records: &str) -> Frame {
    Frame {
        received_at: Timestamp(received_at),
        records: records.as_bytes().to_vec(),
        record_count: records.lines().count() as u32,
    }
}

fn copy_of(folder: &Path) -> EmbeddedLog {
    let copy = tempfile::tempdir().unwrap().keep();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    EmbeddedLog::open(&copy, SMALL).unwrap().0
}

/// The time of events in the tests, so that they are neither too old nor too far ahead.
fn arrival() -> i64 {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap().0
}

#[tokio::test]
async fn the_log_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = EmbeddedLog::open(folder.path(), SMALL).unwrap();
    let mut expected = Vec::new();
    for number in 0..24 {
        let records = format!("{}\n{}\n", event(2 * number), event(2 * number + 1));
        log.append(frame(arrival() + number as i64 / 3, &records))
            .await
            .unwrap();
        expected.extend([format!("e{}", 2 * number), format!("e{}", 2 * number + 1)]);
    }
    drop(log);
    check_source(|| LogSource::new(copy_of(folder.path())), &[expected]).await;
}

#[tokio::test]
async fn frames_of_one_instant_are_one_batch_and_large_frames_are_several() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = EmbeddedLog::open(folder.path(), SMALL).unwrap();
    for received_at in [1, 1, 1, 2, 2, 1] {
        log.append(frame(received_at, "{}")).await.unwrap();
    }
    let line = format!("{}\n", "x".repeat(700_000));
    log.append(frame(3, &line.repeat(3))).await.unwrap();
    let mut source = LogSource::new(log);
    source.start(&Positions::new()).await.unwrap();
    let mut seen = Vec::new();
    while let SourceEvent::Batch(batch) = source.next().await.unwrap() {
        let RecordLayout::Lines { first_offset } = batch.records else {
            panic!("the log gives lines")
        };
        assert_eq!(
            batch.end,
            Position::Offset(first_offset + batch.bytes.len() as u64)
        );
        seen.push((batch.received_at.0, first_offset, batch.bytes.len()));
    }
    let long = line.len();
    let first = 18 + long as u64;
    assert_eq!(
        seen,
        [
            (1, 0, 9),
            (2, 9, 6),
            (1, 15, 3),
            (3, 18, long),
            (3, first, long),
            (3, first + long as u64, long)
        ]
    );
}

#[tokio::test]
async fn a_source_waits_for_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = EmbeddedLog::open(folder.path(), SMALL).unwrap();
    let mut source = LogSource::new(log.clone());
    source.start(&Positions::new()).await.unwrap();
    assert!(matches!(source.next().await.unwrap(), SourceEvent::Idle));
    let (appended, next) = tokio::join!(log.append(frame(1, "{}")), source.next());
    appended.unwrap();
    assert!(matches!(next.unwrap(), SourceEvent::Batch(batch) if batch.bytes == b"{}\n"));
}
