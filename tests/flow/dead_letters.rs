//! Rejected records can be read, mended and counted, once.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::support::{fail, finish, program, replay, rows, succeed_json, verified, write_lines};

const LINES: [&str; 4] = [
    r#"{"event_id":"a","type":"exposure","ts":"2026-01-01T00:00:00Z","user_id":"u1","experiment":"x","variant":"control"}"#,
    r#"{"event_id":"b","type":"track","ts":"2026-01-01T00:01:00Z","user_id":"u1","event":"purchase","value":NaN}"#,
    r#"{"event_id":"c","type":"track","ts":"2026-01-01T00:02:00Z","user_id":"u1","event":"purchase","value":2.5}"#,
    r#"{"event_id":"d","type":"track","user_id":"u1","event":"purchase","value":1}"#,
];

fn again(data: &Path, more: &[&str]) -> std::process::Command {
    let mut command = program(&["dead-letters", "replay", "--format", "json", "--data"]);
    command.arg(data).args(more);
    command
}

#[test]
fn rejected_records_are_mended_and_counted_once() -> Result<()> {
    // What must never change: a mended record counts once however often it is replayed, and nothing is rejected twice.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    let mut lines: Vec<Vec<u8>> = LINES.iter().map(|line| line.as_bytes().to_vec()).collect();
    lines.push(b"\xff\xfe not a text".to_vec());
    write_lines(&lines, &file)?;
    let report = succeed_json(&mut replay(&[&file], &data))?;
    ensure!(report["counters"]["invalid"] == 3, "{report}");

    let untouched = succeed_json(&mut again(&data, &[]))?;
    ensure!(
        untouched["dead_letters"] == 3 && untouched["valid"] == 0,
        "{untouched}"
    );
    let dry = succeed_json(&mut again(&data, &["--through", "sed s/NaN/7/", "--dry-run"]))?;
    ensure!(dry["valid"] == 1 && dry["accepted"] == 0, "{dry}");
    for (accepted, duplicate) in [(1, 0), (0, 1)] {
        let mended = succeed_json(&mut again(&data, &["--through", "sed s/NaN/7/"]))?;
        ensure!(mended["tried"] == 3 && mended["valid"] == 1, "{mended}");
        ensure!(
            mended["accepted"] == accepted && mended["duplicate"] == duplicate,
            "{mended}"
        );
    }
    let sums = rows(
        &data,
        "select count(*) as events, sum(value) as total from events where type = 'track'",
    )?;
    ensure!(sums[0]["events"] == 2 && sums[0]["total"] == 9.5, "{sums:?}");
    let letters = rows(&data, "select count(*) as letters from dead_letters")?;
    ensure!(letters[0]["letters"] == 3, "{letters:?}");
    verified(&data)?;
    Ok(())
}

#[test]
fn payloads_that_are_no_text_are_listed_as_digits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    write_lines(&[LINES[0].into(), b"\xff\xfe".to_vec()], &file)?;
    succeed_json(&mut replay(&[&file], &data))?;
    let mut list = program(&["dead-letters", "list", "--format", "json", "--data"]);
    let letter = succeed_json(list.arg(&data))?;
    ensure!(
        letter["payload"] == "0xfffe" && letter["reason"] == "invalid_utf8",
        "{letter}"
    );
    Ok(())
}

#[test]
fn a_mend_that_fails_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    write_lines(&[LINES[0].into(), LINES[1].into()], &file)?;
    succeed_json(&mut replay(&[&file], &data))?;
    let told = fail(&mut again(&data, &["--through", "exit 3"]), 1)?;
    ensure!(told.contains("nothing was replayed"), "{told}");
    let told = finish(&mut again(&data, &["--reason", "bad luck"]))?;
    ensure!(told.code == Some(2), "{}", told.stderr);
    ensure!(
        told.stderr.contains("the reasons are invalid_json"),
        "{}",
        told.stderr
    );
    let events = rows(&data, "select count(*) as events from events")?;
    ensure!(events[0]["events"] == 1, "{events:?}");
    Ok(())
}
