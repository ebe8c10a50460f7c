//! Events through a Kinesis stream end in the same tables as through a file, whatever happens to shards and processes.

use std::path::Path;

use anyhow::Result;
use domain::Timestamp;
use fixtures::GenerateSettings;
use fixtures::emulators::{EmulatorKind, KinesisEmulator};

use crate::server::Server;
use crate::support::{Tables, faulty_traffic, replay, settle, succeed, verified, write_lines, write_traffic};

/// Records of one run: the emulator with shard lineage is slow beyond some thousands.
const RECORDS: u64 = 2_400;

fn consumer(data: &Path, emulator: &KinesisEmulator, stream: &str) -> Result<Server> {
    let more = [
        "--kinesis-stream",
        stream,
        "--kinesis-endpoint",
        emulator.endpoint(),
    ];
    let mut command = Server::command(data, &more);
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1");
    Server::from_command(&mut command)
}

/// Writes the events to a file and gives its lines. A line that is an array is one bad record in a file, and an array of
/// events in a stream, so there is none.
fn write_events(seed: u64, file: &Path) -> Result<Vec<Vec<u8>>> {
    let (mut lines, _) = write_traffic(traffic(seed), file)?;
    lines.retain(|line| !line.starts_with(b"["));
    write_lines(&lines, file)?;
    Ok(lines)
}

fn traffic(seed: u64) -> GenerateSettings {
    // A live source takes events that happened just now; the test has to ask the clock what that is.
    let start = Timestamp(jiff::Timestamp::now().as_microsecond()).plus_micros(-7_200 * 1_000_000);
    GenerateSettings {
        start,
        span_seconds: 3_600,
        users: 300,
        ..faulty_traffic(RECORDS, seed)
    }
}

#[test]
fn a_stream_with_a_split_and_aggregated_records_gives_the_tables_of_the_file() -> Result<()> {
    // What must never change: the way in makes no difference: neither shards that split, nor records that are packed.
    let Some(emulator) = KinesisEmulator::start(EmulatorKind::KinesisMock) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let (file, replayed) = (
        folder.path().join("events.ndjson"),
        folder.path().join("replayed"),
    );
    let lines = write_events(71, &file)?;
    succeed(&mut replay(&[&file], &replayed))?;
    let expected = Tables::of(&replayed)?;
    let (plain, packed) = (
        folder.path().join("plain.ndjson"),
        folder.path().join("packed.ndjson"),
    );
    let half = lines.len() / 2;
    write_lines(&lines[..half], &plain)?;
    write_lines(&lines[half..], &packed)?;

    let data = folder.path().join("data");
    emulator.put_events(
        "events",
        &plain,
        &["--shards", "2", "--split-after", &(half / 2).to_string()],
    );
    let mut server = consumer(&data, &emulator, "events")?;
    let split = ((lines.len() - half) / 2).to_string();
    emulator.put_events("events", &packed, &["--aggregate", "--split-after", &split]);
    server.wait_for_events(&data, expected.rows("events").len())?;
    server.stop()?;
    verified(&data)?;
    settle(&data)?;
    verified(&data)?;
    Tables::of(&data)?.ensure_equal(&expected)
}

#[test]
fn a_consumer_that_is_killed_goes_on_where_its_commit_stands() -> Result<()> {
    // What must never change: positions are part of the commit, so a crash neither skips nor repeats a record.
    let Some(emulator) = KinesisEmulator::start(EmulatorKind::KinesisMock) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let (file, replayed) = (
        folder.path().join("events.ndjson"),
        folder.path().join("replayed"),
    );
    write_events(72, &file)?;
    succeed(&mut replay(&[&file], &replayed))?;
    let expected = Tables::of(&replayed)?;
    let all = expected.rows("events").len();

    let data = folder.path().join("data");
    emulator.put_events(
        "events",
        &file,
        &["--shards", "3", "--split-after", "700", "--merge-after", "1500"],
    );
    for share in [0, 1, 3] {
        let mut server = consumer(&data, &emulator, "events")?;
        server.wait_for_events(&data, all * share / 4)?;
        server.kill()?;
    }
    let mut server = consumer(&data, &emulator, "events")?;
    server.wait_for_events(&data, all)?;
    server.stop()?;
    settle(&data)?;
    verified(&data)?;
    Tables::of(&data)?.ensure_equal(&expected)
}
