//! What the collector takes, reports and refuses.

use std::io::Write;

use domain::Positions;

use super::*;
use crate::decode::decode;
use crate::log::LogSettings;
use crate::source::{Source, SourceEvent};
use crate::sources::log::LogSource;

struct Setup {
    _folder: tempfile::TempDir,
    log: EmbeddedLog,
    collector: Collector,
}

fn setup_with(log_settings: LogSettings) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = EmbeddedLog::open(folder.path(), log_settings).unwrap();
    let limits = DecodeLimits {
        retention_micros: Some(86_400_000_000),
    };
    let collector = Collector::new(log.clone(), CollectorSettings { limits });
    Setup {
        _folder: folder,
        log,
        collector,
    }
}

fn setup() -> Setup {
    setup_with(LogSettings::default())
}

impl Setup {
    async fn send(
        &self,
        kind: &str,
        encoding: &str,
        body: impl Into<Bytes>,
    ) -> Result<CollectReport, CollectError> {
        let received_at = Timestamp::parse("2026-01-01T12:00:00.123456Z").unwrap();
        let request = CollectRequest {
            content_type: Some(kind).filter(|kind| !kind.is_empty()),
            content_encoding: Some(encoding).filter(|encoding| !encoding.is_empty()),
            body: body.into(),
            received_at,
        };
        self.collector.collect(request).await
    }

    /// Ids of the events, and reasons of the rejections, that come out of the log.
    async fn logged(&self) -> (Vec<String>, Vec<RejectReason>) {
        let mut source = LogSource::new(self.log.clone());
        source.start(&Positions::new()).await.unwrap();
        let (mut ids, mut reasons) = (Vec::new(), Vec::new());
        while let SourceEvent::Batch(raw) = source.next().await.unwrap() {
            let batch = decode(
                raw,
                &DecodeLimits {
                    retention_micros: Some(86_400_000_000),
                },
            );
            ids.extend(
                batch
                    .events
                    .iter()
                    .map(|event| batch.text(event.event_id).to_owned()),
            );
            reasons.extend(batch.rejections.iter().map(|rejection| rejection.reason));
        }
        (ids, reasons)
    }
}

fn event(id: &str) -> String {
    format!(r#"{{"event_id":"{id}","type":"track","ts":"2026-01-01T12:00:00Z","user_id":"u","event":"buy"}}"#)
}

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

#[tokio::test]
async fn every_form_of_a_body_is_the_same_records() {
    let lines = format!("{}\r\n\n{}\n", event("a"), event("b"));
    let array = format!(
        "\u{feff} [\n{} ,\n{}]\n",
        event("a").replace(',', ",\n\t"),
        event("b")
    );
    let object = event("a").replace(',', ",\r\n");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(array.as_bytes(), 1).unwrap();
    let forms: [(&str, &str, Vec<u8>, usize); 9] = [
        (NDJSON, "", lines.clone().into(), 2),
        (
            "Application/NDJSON; charset=utf-8",
            "identity",
            lines.clone().into(),
            2,
        ),
        ("text/plain", "", lines.into(), 2),
        ("", "", array.clone().into(), 2),
        ("", "", event("a").into(), 1),
        (JSON, "", array.into(), 2),
        (JSON, "", object.into(), 1),
        (NDJSON, "GZip", gzip, 2),
        (JSON, "zstd", zstd, 2),
    ];
    for (kind, encoding, body, count) in forms {
        let setup = setup();
        let report = setup.send(kind, encoding, body).await.unwrap();
        assert_eq!(
            (report.received, report.accepted, report.rejected_count),
            (count as u64, count as u64, 0)
        );
        assert_eq!(
            setup.logged().await,
            (["a".into(), "b".into()][..count].to_vec(), vec![]),
            "{kind} {encoding}"
        );
    }
}

#[tokio::test]
async fn bad_records_are_reported_and_kept_and_stop_nobody() {
    // What must never change: what the report says is what the pipeline will find.
    let setup = setup();
    let old = event("old").replace("2026", "2025");
    let huge = event(&"x".repeat(100_000));
    let mut body = format!("{}\nnonsense\n{old}\n{huge}\n", event("a")).into_bytes();
    body.extend_from_slice(b"\xff\xfe\n");
    body.extend_from_slice(event("b").as_bytes());
    let report = setup.send(NDJSON, "", body).await.unwrap();
    assert_eq!(
        (report.received, report.accepted, report.rejected_count),
        (6, 2, 4)
    );
    let listed: Vec<_> = report
        .rejected
        .iter()
        .map(|rejected| (rejected.index, rejected.reason))
        .collect();
    let expected = [
        (1, RejectReason::InvalidJson),
        (2, RejectReason::TooOld),
        (3, RejectReason::RecordTooLarge),
        (4, RejectReason::InvalidUtf8),
    ];
    assert_eq!(listed, expected);
    let (ids, reasons) = setup.logged().await;
    assert_eq!(
        (ids, reasons),
        (
            vec!["a".into(), "b".into()],
            expected.map(|(_, reason)| reason).to_vec()
        )
    );
    assert!(
        setup.log.held_bytes() < 70_000,
        "only the head of a huge record is kept"
    );
}

#[tokio::test]
async fn the_list_of_bad_records_is_short_and_their_number_exact() {
    let setup = setup();
    let report = setup
        .send(JSON, "", format!("[{}1]", "1,".repeat(999)))
        .await
        .unwrap();
    assert_eq!(
        (report.received, report.rejected_count, report.rejected.len()),
        (1_000, 1_000, REJECTED_LISTED_MAX)
    );
    assert_eq!(setup.logged().await.1, vec![RejectReason::NotAnObject; 1_000]);
}

#[tokio::test]
async fn what_is_no_body_of_events_is_refused_whole() {
    let setup = setup();
    for (kind, body) in [
        (NDJSON, ""),
        (NDJSON, "\n \r\n"),
        (JSON, ""),
        (JSON, " "),
        (JSON, "[]"),
        ("", ""),
    ] {
        assert!(
            matches!(setup.send(kind, "", body).await, Err(CollectError::Empty)),
            "{kind} {body}"
        );
    }
    let deep = format!("[{}]", "[".repeat(100_000));
    for body in [
        "1",
        "[1",
        "[1,]",
        "[1 2]",
        "{} {}",
        "[{}]x",
        "{\"a\":}",
        "\"x\"",
        deep.as_str(),
    ] {
        let refused = setup.send(JSON, "", body.to_owned()).await;
        assert!(
            matches!(refused, Err(CollectError::NotRecords { .. })),
            "{:.20} {refused:?}",
            body
        );
    }
    for kind in [
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "image/png",
        "json",
    ] {
        assert!(matches!(
            setup.send(kind, "", "{}").await,
            Err(CollectError::UnsupportedMediaType { .. })
        ));
    }
    for encoding in ["br", "deflate", "gzip, gzip"] {
        assert!(matches!(
            setup.send(NDJSON, encoding, "{}").await,
            Err(CollectError::UnsupportedEncoding { .. })
        ));
    }
    for encoding in ["gzip", "zstd"] {
        assert!(matches!(
            setup.send(NDJSON, encoding, "{}").await,
            Err(CollectError::BadCompression { .. })
        ));
    }
    assert_eq!(
        setup.logged().await,
        (vec![], vec![]),
        "nothing of a refused body is kept"
    );
}

#[tokio::test]
async fn limits_hold_for_bodies_bombs_and_numbers() {
    let setup = setup();
    let large = vec![b' '; BODY_MAX_BYTES + 1];
    assert!(matches!(
        setup.send(NDJSON, "", large).await,
        Err(CollectError::TooLarge {
            limit: BODY_MAX_BYTES,
            ..
        })
    ));
    let many = "1\n".repeat(RECORD_MAX_COUNT + 1);
    assert!(matches!(
        setup.send(NDJSON, "", many.clone()).await,
        Err(CollectError::TooLarge { .. })
    ));
    let array = format!("[{}]", many.trim().replace('\n', ","));
    assert!(matches!(
        setup.send(JSON, "", array).await,
        Err(CollectError::TooLarge {
            limit: RECORD_MAX_COUNT,
            ..
        })
    ));
    // A gigabyte of blanks in about a megabyte, written without ever being held.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let blanks = vec![b' '; 1024 * 1024];
    for _ in 0..64 {
        encoder.write_all(&blanks).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let refused = setup.send(NDJSON, "gzip", bomb).await;
    assert!(
        matches!(
            refused,
            Err(CollectError::TooLarge {
                limit: DECOMPRESSED_MAX_BYTES,
                ..
            })
        ),
        "{refused:?}"
    );
    let bomb = zstd::encode_all(&vec![b' '; DECOMPRESSED_MAX_BYTES + 1][..], 1).unwrap();
    assert!(matches!(
        setup.send(NDJSON, "zstd", bomb).await,
        Err(CollectError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_full_log_says_when_to_come_again() {
    let setup = setup_with(LogSettings {
        max_held_bytes: 150,
        ..LogSettings::default()
    });
    setup.send(NDJSON, "", event("a")).await.unwrap();
    match setup.send(NDJSON, "", event("b")).await {
        Err(CollectError::Busy {
            retry_after_seconds, ..
        }) => assert!(retry_after_seconds > 0),
        other => panic!("{other:?}"),
    }
    setup.log.release(setup.log.durable_offset()).unwrap();
    setup.send(NDJSON, "", event("b")).await.unwrap();
}
