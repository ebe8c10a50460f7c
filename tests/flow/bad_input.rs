//! Rubbish on every way in: each record gets its reason, nothing crashes, and what is sound beside it still counts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::server::{Server, post};
use crate::support::{Tables, number, replay, rows, settle, succeed, succeed_json, verified, write_lines};

/// A size that no record may have, and a body may.
const MEBIBYTE: usize = 1024 * 1024;

/// A sound track with fields replaced or added.
fn track(id: &str, ts: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let id = format!("{id:?}");
    let ts = format!("{ts:?}");
    let mut all: Vec<(&str, &str)> = vec![
        ("event_id", &id),
        ("type", "\"track\""),
        ("ts", &ts),
        ("user_id", "\"u1\""),
        ("event", "\"purchase\""),
        ("value", "2.5"),
    ];
    for (name, value) in fields {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    let fields: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

fn exposure(id: &str, ts: &str) -> Vec<u8> {
    format!(
        r#"{{"event_id":"{id}","type":"exposure","ts":"{ts}","user_id":"u1","experiment":"checkout","variant":"control"}}"#
    )
    .into_bytes()
}

/// Records that must be turned away wherever they come from, with the reason.
fn rubbish(ts: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bad = |fields: &[(&str, &str)]| track("bad", ts, fields);
    let whole = bad(&[]);
    let long = format!("\"{}\"", "x".repeat(300));
    let huge = format!("\"{}\"", "x".repeat(MEBIBYTE));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(20_000));
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let bomb = format!("{}{}", "[".repeat(25_000), "]".repeat(25_000));
    let mut not_text = whole.clone();
    not_text[20] = 0xff;
    let mut all = vec![
        ("invalid_json", whole[..whole.len() / 2].to_vec()),
        ("invalid_json", whole[..whole.len() - 1].to_vec()),
        ("invalid_json", b"events, please".to_vec()),
        ("invalid_json", b"\0\0\0\0".to_vec()),
        ("invalid_json", [whole.clone(), whole.clone()].concat()),
        ("invalid_json", b"[".repeat(60_000)),
        ("invalid_json", bad(&[("more", &bomb)])),
        ("invalid_utf8", not_text),
        ("record_too_large", bad(&[("user_id", &huge)])),
        ("record_too_large", b"a".repeat(MEBIBYTE)),
        ("properties_too_large", bad(&[("properties", &large)])),
        ("properties_too_deep", bad(&[("properties", &nested(9))])),
        ("properties_too_deep", bad(&[("properties", &nested(8_000))])),
        ("undecodable", b"\x1f\x8b\x08\x00\xff\xff".to_vec()),
        (
            "duplicate_field",
            [&whole[..whole.len() - 1], b",\"event\":\"y\"}".as_slice()].concat(),
        ),
    ];
    all.extend(
        ["null", "17", "\"text\"", "[]", "true"].map(|text| ("not_an_object", text.as_bytes().to_vec())),
    );
    let faults: [(&str, &str, &str); 24] = [
        ("wrong_type", "user_id", "17"),
        ("wrong_type", "event_id", "{}"),
        ("wrong_type", "ts", "1767225600"),
        ("wrong_type", "value", "\"NaN\""),
        ("wrong_type", "value", "[1]"),
        ("wrong_type", "properties", "[]"),
        ("missing_field", "event_id", "null"),
        ("missing_field", "user_id", "null"),
        ("empty_field", "event", "\"\""),
        ("invalid_field", "event", &long),
        ("invalid_field", "event_id", &long),
        ("invalid_field", "user_id", r#""a\u0000b""#),
        ("unknown_type", "type", "\"exposed\""),
        ("invalid_json", "value", "NaN"),
        ("invalid_json", "value", "-Infinity"),
        ("value_not_finite", "value", "1e999"),
        ("value_not_finite", "value", "-1e999"),
        ("invalid_timestamp", "ts", "\"0000-01-01T00:00:00Z\""),
        ("invalid_timestamp", "ts", "\"10000-01-01T00:00:00Z\""),
        ("invalid_timestamp", "ts", "\"2026-02-30T00:00:00Z\""),
        ("invalid_timestamp", "ts", "\"2026-01-01T00:00:00\""),
        ("invalid_timestamp", "ts", "\"0001-01-01T00:00:00+14:00\""),
        ("invalid_timestamp", "ts", "\"9999-12-31T23:59:59-14:00\""),
        ("invalid_timestamp", "ts", "\"yesterday\""),
    ];
    all.extend(faults.map(|(reason, field, value)| (reason, bad(&[(field, value)]))));
    all
}

fn expected_reasons(rubbish: &[(&'static str, Vec<u8>)]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (reason, _) in rubbish {
        *counts.entry((*reason).to_owned()).or_default() += 1;
    }
    counts
}

fn found_reasons(data: &Path) -> Result<BTreeMap<String, u64>> {
    let found = rows(
        data,
        "select reason, count(*) as n from dead_letters group by reason",
    )?;
    let reason = |row: &Value| {
        Ok((
            row["reason"].as_str().unwrap_or_default().to_owned(),
            number(row, "n")? as u64,
        ))
    };
    found.iter().map(reason).collect()
}

/// Sum and users of the only arm.
fn purchases(data: &Path) -> Result<(f64, f64)> {
    let tables = Tables::of(data)?;
    let row = tables
        .rows("summaries")
        .iter()
        .find(|row| row["metric"] == "purchase")
        .cloned()
        .unwrap_or_default();
    Ok((
        number(&row, "mean")? * number(&row, "exposed")?,
        number(&row, "units")?,
    ))
}

#[test]
fn a_replay_of_rubbish_gives_each_record_its_reason() -> Result<()> {
    // What must never change: a bad record is kept with its reason and bytes, and costs nothing but itself.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    let ts = "2026-01-01T12:00:00Z";
    let rubbish = rubbish(ts);
    let mut lines = vec![exposure("e0", "2026-01-01T11:00:00Z")];
    for (number, (_, record)) in rubbish.iter().enumerate() {
        lines.push(record.clone());
        lines.push(track(&format!("good-{number}"), ts, &[]));
        lines.push(b"  ".to_vec());
    }
    write_lines(&lines, &file)?;
    let report = succeed_json(&mut replay(&[&file], &data))?;
    let count = rubbish.len() as u64;
    ensure!(report["counters"]["invalid"] == count, "{report}");
    ensure!(report["counters"]["accepted"] == count + 1, "{report}");
    ensure!(
        found_reasons(&data)? == expected_reasons(&rubbish),
        "{:?}",
        found_reasons(&data)?
    );
    let (sum, users) = purchases(&data)?;
    ensure!(
        (sum - 2.5 * count as f64).abs() < 1e-9 && (users - 1.0).abs() < 1e-9,
        "{sum} by {users} users"
    );
    let kept = rows(
        &data,
        "select payload from dead_letters where reason = 'invalid_utf8'",
    )?;
    ensure!(
        kept[0]["payload"].as_str().is_some_and(|hex| hex.contains("ff")),
        "{kept:?}"
    );
    let all = rows(&data, "select payload from dead_letters")?;
    let largest = all
        .iter()
        .filter_map(|row| row["payload"].as_str())
        .map(|hex| hex.len() / 2)
        .max();
    ensure!(
        largest == Some(domain::event::RECORD_MAX_BYTES),
        "{largest:?} bytes are kept of a record"
    );
    let mut listed = crate::support::program(&["dead-letters", "list", "--format", "json", "--data"]);
    let listed = succeed(listed.arg(&data))?;
    ensure!(
        listed.lines().count() as u64 == count.min(50),
        "{} dead letters are listed",
        listed.lines().count()
    );
    verified(&data)?;
    Ok(())
}

#[test]
fn history_is_taken_as_it_is_from_the_first_year_to_the_last() -> Result<()> {
    // What must never change: a wrong clock in one event neither stops a replay nor moves what the other events count.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    let absurd = [
        "0001-01-01T00:00:00Z",
        "1582-10-10T00:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "2262-04-12T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    let mut lines = vec![exposure("e0", "2026-01-01T11:00:00Z")];
    for (number, ts) in absurd.iter().enumerate() {
        lines.push(track(&format!("absurd-{number}"), ts, &[("value", "1000")]));
        lines.push(track(&format!("good-{number}"), "2026-01-01T12:00:00Z", &[]));
        lines.push(track(
            &format!("early-{number}"),
            "2026-01-01T10:00:00Z",
            &[("value", "7")],
        ));
    }
    write_lines(&lines, &file)?;
    let report = succeed_json(&mut replay(&[&file], &data))?;
    ensure!(
        report["counters"]["accepted"] == lines.len() && report["counters"]["invalid"] == 0,
        "{report}"
    );
    verified(&data)?;
    // The two after the exposure count, however far after; the three before it do not.
    let (sum, _) = purchases(&data)?;
    ensure!((sum - (5.0 * 2.5 + 2.0 * 1000.0)).abs() < 1e-6, "{sum}");
    let more = folder.path().join("more.ndjson");
    write_lines(&[track("later", "2026-01-01T12:30:00Z", &[])], &more)?;
    succeed(&mut replay(&[&more], &data))?;
    verified(&data)?;
    let (after, _) = purchases(&data)?;
    ensure!((after - sum - 2.5).abs() < 1e-6, "{after} after {sum}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_answers_rubbish_and_goes_on() -> Result<()> {
    // What must never change: whatever is posted is answered; bad records are reported and kept, good ones count.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let now = jiff::Timestamp::now();
    let ts = format!("{:.3}", now - jiff::SignedDuration::from_secs(60));
    let mut server = Server::start(&data, &[])?;
    let (client, url) = (reqwest::Client::new(), server.url("/api/v1/events"));
    let ndjson = Some("application/x-ndjson");
    let bodies: [(u16, Option<&str>, Vec<u8>); 9] = [
        (400, ndjson, Vec::new()),
        (400, ndjson, b"\n \n\n".to_vec()),
        (400, Some("application/json"), Vec::new()),
        (400, Some("application/json"), b"[{\"event_id\":".to_vec()),
        (400, Some("application/json"), b"[".repeat(100_000)),
        (415, Some("image/png"), b"\x89PNG".to_vec()),
        (415, Some("text/html; charset=utf-8"), b"<p>".to_vec()),
        (413, ndjson, b"x".repeat(11 * MEBIBYTE)),
        (413, ndjson, b"1\n".repeat(20_000)),
    ];
    for (status, content_type, body) in bodies {
        let answer = post(&client, &url, content_type, body).await;
        // A body beyond the limit may be cut off before it is read to its end; that is an answer, too.
        match answer {
            Ok(answer) => ensure!(
                answer.status == status,
                "{} instead of {status}: {}",
                answer.status,
                answer.body
            ),
            Err(error) => ensure!(status == 413, "{error}"),
        }
    }
    let mut rubbish = rubbish(&ts);
    rubbish.push(("too_far_ahead", track("bad", "9999-01-01T00:00:00Z", &[])));
    let ahead = format!("{:.3}", now + jiff::SignedDuration::from_hours(25));
    rubbish.push(("too_far_ahead", track("bad", &ahead, &[])));
    let shown = post(&client, &url, ndjson, exposure("e0", &ts)).await?;
    ensure!(shown.status == 202, "{}", shown.body);
    for (number, (reason, record)) in rubbish.iter().enumerate() {
        let good = track(&format!("good-{number}"), &ts, &[]);
        let answer = post(&client, &url, ndjson, [record.clone(), good].join(&b'\n')).await?;
        let rejected = &answer.body["rejected"][0];
        let is_told =
            answer.status == 202 && answer.body["accepted"] == 1 && answer.body["rejected_count"] == 1;
        ensure!(
            is_told && rejected["index"] == 0 && rejected["reason"] == *reason,
            "{reason}: {}",
            answer.body
        );
    }
    server.wait_for_events(&data, rubbish.len() + 1)?;
    server.stop()?;
    settle(&data)?;
    ensure!(
        found_reasons(&data)? == expected_reasons(&rubbish),
        "{:?}",
        found_reasons(&data)?
    );
    let (sum, users) = purchases(&data)?;
    ensure!(
        (sum - 2.5 * rubbish.len() as f64).abs() < 1e-9 && (users - 1.0).abs() < 1e-9,
        "{sum} by {users} users"
    );
    verified(&data)?;
    Ok(())
}
