//! Events over HTTP: what is taken, what is listed, what is refused.

use std::io::Write;

use serde_json::json;

use crate::support::{Server, problem};

const PATH: &str = "/api/v1/events";
const GOOD: &str = r#"{"event_id":"1","type":"exposure","ts":"2026-01-31T11:00:00Z","user_id":"u1","experiment":"e","variant":"a"}"#;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_on_disk_when_it_is_acknowledged() {
    // What must never change: after 202 the records are in the log, bad ones too.
    let server = Server::start().await;
    let body = format!("{GOOD}\nnot json\n\n{}\n", GOOD.replace("\"u1\"", "7"));
    let request = server
        .request("POST", PATH)
        .header("content-type", "application/x-ndjson");
    let answer = server.send(request.body(body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let report = answer.json();
    assert_eq!(
        (
            &report["received"],
            &report["accepted"],
            &report["rejected_count"]
        ),
        (&json!(3), &json!(1), &json!(2))
    );
    let reasons: Vec<_> = report["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["index"], &one["reason"]))
        .collect();
    assert_eq!(
        reasons,
        [
            (&json!(1), &json!("invalid_json")),
            (&json!(2), &json!("wrong_type"))
        ]
    );
    assert!(server.log_offset() > 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_and_compressed_bodies_are_taken() {
    let server = Server::start().await;
    let array = format!("[{GOOD},\n{GOOD}]");
    let zstd = zstd::encode_all(array.as_bytes(), 3).unwrap();
    let cases = [
        ("application/json", "identity", array.clone().into_bytes(), 2),
        ("application/json; charset=utf-8", "gzip", gzip(&array), 2),
        ("application/json", "zstd", zstd, 2),
        ("application/x-ndjson", "gzip", gzip(GOOD), 1),
        ("text/plain", "identity", GOOD.as_bytes().to_vec(), 1),
    ];
    for (media, encoding, body, received) in cases {
        let request = server.request("POST", PATH).header("content-type", media);
        let answer = server
            .send(request.header("content-encoding", encoding).body(body))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["received"]),
            (202, &json!(received)),
            "{media} {encoding}"
        );
        assert_eq!(answer.json()["accepted"], received);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_read_is_refused_whole() {
    let server = Server::start().await;
    let before = server.log_offset();
    let bomb = gzip(&" ".repeat(64 * 1024 * 1024));
    let cases = [
        (
            "application/x-ndjson",
            "identity",
            Vec::new(),
            400,
            "invalid_body",
        ),
        ("application/json", "identity", b"7".to_vec(), 400, "invalid_body"),
        (
            "application/json",
            "identity",
            b"[{]".to_vec(),
            400,
            "invalid_body",
        ),
        (
            "application/json",
            "gzip",
            b"[]".to_vec(),
            400,
            "invalid_encoding",
        ),
        ("application/x-ndjson", "gzip", bomb, 413, "body_too_large"),
        (
            "application/x-ndjson",
            "br",
            b"x".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            "text/html",
            "identity",
            b"<p>".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            "application/x-ndjson",
            "identity",
            vec![b'x'; 11 * 1024 * 1024],
            413,
            "body_too_large",
        ),
    ];
    for (media, encoding, body, status, code) in cases {
        let request = server.request("POST", PATH).header("content-type", media);
        let answer = server
            .send(request.header("content-encoding", encoding).body(body))
            .await;
        problem(&answer, status, code);
    }
    assert_eq!(server.log_offset(), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_asks_to_come_back_and_takes_nothing() {
    // What must never change: what cannot be kept is not acknowledged.
    let server = Server::start().await;
    let batch = format!("{GOOD}\n").repeat(8_000);
    let refused = loop {
        let request = server
            .request("POST", PATH)
            .header("content-type", "application/x-ndjson");
        let answer = server.send(request.body(batch.clone())).await;
        if answer.status != 202 {
            break answer;
        }
    };
    problem(&refused, 429, "overloaded");
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0))
    );
    server.release_log();
    let request = server
        .request("POST", PATH)
        .header("content-type", "application/x-ndjson");
    assert_eq!(server.send(request.body(batch)).await.status, 202);
    server.stop().await;
}
