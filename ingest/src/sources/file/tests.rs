//! Files as sources: formats, positions, damage, and lines without end.

use std::io::Write;
use std::path::Path;

use domain::RejectReason;
use domain::event::RECORD_MAX_BYTES;

use super::*;
use crate::conformance::check_source;
use crate::decode::{DecodeLimits, decode};
use crate::source::{RAW_BATCH_MAX_BYTES, RecordLayout};

fn event(id: usize, padding: usize) -> String {
    let pad = "x".repeat(padding);
    format!(
        r#"{{"event_id":"e{id}","type":"track","ts":"2026-01-01T00:00:00Z","user_id":"u{}","event":"buy","properties":{{"pad":"{pad}"}}}}"#,
        id % 7
    )
}

/// About three batches of events, the last line without its newline.
fn content(first: usize, count: usize) -> (String, Vec<String>) {
    let lines: Vec<String> = (first..first + count).map(|id| event(id, 900)).collect();
    (
        lines.join("\n"),
        (first..first + count).map(|id| format!("e{id}")).collect(),
    )
}

fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    out
}

fn zstd_frames(parts: &[&[u8]]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|part| zstd::encode_all(*part, 1).unwrap())
        .collect()
}

fn source(paths: &[&Path]) -> FileSource {
    FileSource::new(
        paths.iter().map(|path| path.to_path_buf()).collect(),
        Timestamp(0),
    )
}

/// Everything a source gives: raw batches, and the error that ended it.
async fn read_all_from(source: &mut FileSource, positions: &Positions) -> (Vec<RawBatch>, Vec<IngestError>) {
    source.start(positions).await.unwrap();
    let (mut batches, mut errors) = (Vec::new(), Vec::new());
    loop {
        match source.next().await {
            Ok(SourceEvent::Batch(batch)) => batches.push(batch),
            Ok(SourceEvent::Finished) => return (batches, errors),
            Ok(SourceEvent::Idle) => {}
            Err(error) => errors.push(error),
        }
    }
}

fn ids(batches: &[RawBatch]) -> Vec<String> {
    let decoded = batches
        .iter()
        .map(|raw| decode(raw.clone(), &DecodeLimits::default()));
    decoded
        .flat_map(|batch| {
            batch
                .events
                .iter()
                .map(|event| batch.text(event.event_id).to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn every_format_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let (text, expected) = content(0, 2_500);
    let (left, right) = text.as_bytes().split_at(text.len() / 3);
    let (other_text, other_expected) = content(5_000, 10);
    let forms = [
        ("plain.ndjson", text.as_bytes().to_vec()),
        ("members.ndjson.gz", gzip(&[left, right])),
        ("frames.ndjson.zst", zstd_frames(&[left, right])),
    ];
    for (name, bytes) in forms {
        let (path, other) = (folder.path().join(name), folder.path().join("other.ndjson"));
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(&other, &other_text).unwrap();
        check_source(
            || source(&[&path, &other]),
            &[expected.clone(), other_expected.clone()],
        )
        .await;
    }
}

#[tokio::test]
async fn a_finished_file_is_not_read_again_and_progress_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson.gz");
    std::fs::write(&path, gzip(&[content(0, 2_500).0.as_bytes()])).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    let mut first = source(&[&path]);
    let (batches, _) = read_all_from(&mut first, &Positions::new()).await;
    assert_eq!(first.progress(), Some((size, size)));
    let last = batches.last().unwrap();
    assert_eq!(last.end, Position::End);
    let finished = Positions::from([(last.partition.clone(), Position::End)]);
    let mut second = source(&[&path]);
    assert_eq!(read_all_from(&mut second, &finished).await.0, []);
    assert_eq!(second.progress(), Some((size, size)));
}

#[tokio::test]
async fn a_partition_is_a_name_and_a_first_line() {
    // What must never change: a replaced file is read from its start, a moved one goes on.
    let folder = tempfile::tempdir().unwrap();
    let partition = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        Input::open(&path, Arc::default()).unwrap().partition().unwrap()
    };
    let original = partition("a/events.ndjson", "first\nsecond\n");
    assert_eq!(partition("b/events.ndjson", "first\nsecond\nthird\n"), original);
    assert_ne!(partition("a/events.ndjson", "other\nsecond\n"), original);
    assert_ne!(partition("a/renamed.ndjson", "first\nsecond\n"), original);
    assert!(original.0.starts_with("file:events.ndjson#"), "{original}");
    let long = "x".repeat(10_000);
    assert_eq!(partition("long", &long), partition("long", &format!("{long}y\n")));
    let (first, second) = (
        folder.path().join("a/renamed.ndjson"),
        folder.path().join("c/renamed.ndjson"),
    );
    partition("c/renamed.ndjson", "first\n");
    let refused = source(&[&first, &second])
        .start(&Positions::new())
        .await
        .unwrap_err();
    assert!(matches!(refused, IngestError::SameInput { .. }), "{refused}");
}

#[tokio::test]
async fn a_truncated_archive_gives_what_is_readable_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (text, expected) = content(0, 2_500);
    for (name, whole) in [
        ("a.gz", gzip(&[text.as_bytes()])),
        ("a.zst", zstd_frames(&[text.as_bytes()])),
    ] {
        let (path, after) = (folder.path().join(name), folder.path().join("after.ndjson"));
        std::fs::write(&path, &whole[..whole.len() * 4 / 5]).unwrap();
        std::fs::write(&after, event(9_999, 0)).unwrap();
        let (batches, errors) = read_all_from(&mut source(&[&path, &after]), &Positions::new()).await;
        let [IngestError::Damaged { offset_bytes, .. }] = errors.as_slice() else {
            panic!("{errors:?}")
        };
        assert!(*offset_bytes > 0);
        let mut got = ids(&batches);
        assert_eq!(got.pop().unwrap(), "e9999", "the next file is read all the same");
        assert!(
            !got.is_empty() && expected.starts_with(&got),
            "{name}: {} records",
            got.len()
        );
        assert!(batches.iter().all(|batch| {
            decode(batch.clone(), &DecodeLimits::default())
                .rejections
                .is_empty()
        }));
        // Mended, the file goes on where it was.
        std::fs::write(&path, &whole).unwrap();
        let positions = batches
            .iter()
            .map(|batch| (batch.partition.clone(), batch.end.clone()))
            .collect();
        let (rest, errors) = read_all_from(&mut source(&[&path]), &positions).await;
        assert!(errors.is_empty());
        assert_eq!([got, ids(&rest)].concat(), expected);
    }
    let path = folder.path().join("wrong.gz");
    std::fs::write(&path, "no gzip at all").unwrap();
    let (batches, errors) = read_all_from(&mut source(&[&path]), &Positions::new()).await;
    assert!(
        batches.is_empty() && matches!(errors.as_slice(), [IngestError::Damaged { .. }]),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_line_without_end_is_one_rejection_and_bounded_memory() {
    // What must never change: positions stay right around a line that is not kept whole.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.ndjson");
    for newline_after in [true, false] {
        let long = "y".repeat(3 * RAW_BATCH_MAX_BYTES + 17);
        let tail = if newline_after {
            format!("\n{}\n", event(2, 0))
        } else {
            String::new()
        };
        let text = format!("{}\n{long}{tail}", event(1, 0));
        std::fs::write(&path, &text).unwrap();
        let (batches, errors) = read_all_from(&mut source(&[&path]), &Positions::new()).await;
        assert!(errors.is_empty());
        assert!(
            batches
                .iter()
                .all(|batch| batch.bytes.len() <= RAW_BATCH_MAX_BYTES)
        );
        let expected: &[&str] = if newline_after { &["e1", "e2"] } else { &["e1"] };
        assert_eq!(ids(&batches), expected);
        let decoded: Vec<_> = batches
            .iter()
            .map(|raw| decode(raw.clone(), &DecodeLimits::default()))
            .collect();
        let rejections: Vec<_> = decoded.iter().flat_map(|batch| &batch.rejections).collect();
        assert_eq!(rejections.len(), 1);
        assert_eq!(rejections[0].reason, RejectReason::RecordTooLarge);
        assert_eq!(rejections[0].payload.len(), RECORD_MAX_BYTES);
        assert_eq!(rejections[0].position, (event(1, 0).len() + 1).to_string());
        for batch in &batches {
            if let (RecordLayout::Lines { first_offset }, Position::Offset(end)) =
                (&batch.records, &batch.end)
            {
                assert!(first_offset <= end && text.as_bytes()[*end as usize - 1] == b'\n');
                assert!(text.as_bytes()[*first_offset as usize..].starts_with(&batch.bytes));
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.ndjson");
    let error = source(&[&missing]).start(&Positions::new()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}", missing.display()));
    let path = folder.path().join("short.ndjson");
    std::fs::write(&path, "a\n").unwrap();
    let partition = Input::open(&path, Arc::default()).unwrap().partition().unwrap();
    let sequence = Position::Sequence {
        sequence: "1".into(),
        sub_sequence: 0,
    };
    let wrong = Positions::from([(partition.clone(), sequence)]);
    assert!(matches!(
        source(&[&path]).start(&wrong).await,
        Err(IngestError::BadPosition { .. })
    ));
    // The file has shrunk since.
    let beyond = Positions::from([(partition, Position::Offset(100))]);
    let (batches, errors) = read_all_from(&mut source(&[&path]), &beyond).await;
    assert!(batches.is_empty() && matches!(errors.as_slice(), [IngestError::BadPosition { .. }]));
    let empty = folder.path().join("empty.ndjson");
    std::fs::write(&empty, "").unwrap();
    let (batches, _) = read_all_from(&mut source(&[&empty]), &Positions::new()).await;
    assert_eq!((batches.len(), &batches[0].end), (1, &Position::End));
}
