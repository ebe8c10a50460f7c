//! What the program refuses: one sentence on standard error, and the exit code that says whose fault it is.

use anyhow::{Result, ensure};

use crate::server::Server;
use crate::support::{fail, faulty_traffic, finish, program, replay, succeed, write_traffic};

#[test]
fn a_second_process_on_the_same_data_folder_is_refused() -> Result<()> {
    // What must never change: two processes never write to one folder, and the first one is not disturbed.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    write_traffic(faulty_traffic(500, 51), &file)?;
    let server = Server::start(&data, &[])?;
    let sentence = fail(&mut replay(&[&file], &data), 1)?;
    ensure!(sentence.contains("in use by another process"), "{sentence}");
    let second = finish(&mut Server::command(&data, &[]))?;
    ensure!(
        second.code == Some(1),
        "the second server ended with {:?}",
        second.code
    );
    ensure!(
        second.stderr.contains("in use by another process"),
        "{}",
        second.stderr
    );
    server.stop()?;
    succeed(&mut replay(&[&file], &data))?;
    Ok(())
}

#[test]
fn failed_work_ends_with_one_and_a_sentence() -> Result<()> {
    // What must never change: scripts tell failed work (1) from wrong usage (2), and people are told what to do.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let sound = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(200, 52), &sound)?;
    let missing = fail(&mut replay(&[&folder.path().join("missing.ndjson")], &data), 1)?;
    ensure!(missing.contains("missing.ndjson"), "{missing}");
    let not_a_file = fail(&mut replay(&[folder.path()], &data), 1)?;
    ensure!(
        not_a_file.contains(&folder.path().display().to_string()),
        "{not_a_file}"
    );
    let step = fail(replay(&[&sound], &data).args(["--fail-at", "nowhere"]), 1)?;
    ensure!(
        step.contains("nowhere") && step.contains("events_committed"),
        "{step}"
    );
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, b"a file stands where the folder should be")?;
    fail(&mut replay(&[&sound], &blocked), 1)?;
    for command in ["verify", "sql"] {
        let more: &[&str] = if command == "sql" { &["select 1"] } else { &[] };
        let mut nothing = program(&[command, "--data"]);
        let sentence = fail(nothing.arg(folder.path().join("nothing")).args(more), 1)?;
        ensure!(
            sentence.contains("replay"),
            "{command} does not say how a lake is made: {sentence}"
        );
    }
    Ok(())
}

#[test]
fn a_damaged_archive_is_named_and_nothing_is_made_up() -> Result<()> {
    // What must never change: a torn download fails with a sentence; the whole file, put in its place, is read to its end.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson.gz"), folder.path().join("data"));
    let plain = folder.path().join("plain.ndjson");
    write_traffic(faulty_traffic(3_000, 53), &plain)?;
    let packed = std::process::Command::new("gzip")
        .arg("-c")
        .arg(&plain)
        .output()?;
    ensure!(packed.status.success(), "gzip is not installed");
    std::fs::write(&file, &packed.stdout[..packed.stdout.len() / 2])?;
    let sentence = fail(&mut replay(&[&file], &data), 1)?;
    ensure!(
        sentence.contains("gzip") && sentence.contains("events.ndjson.gz"),
        "{sentence}"
    );
    std::fs::write(&file, &packed.stdout)?;
    succeed(&mut replay(&[&file], &data))?;
    let other = folder.path().join("other");
    succeed(&mut replay(&[&plain], &other))?;
    crate::support::Tables::of(&data)?.ensure_equal(&crate::support::Tables::of(&other)?)
}

#[test]
fn wrong_usage_ends_with_two() -> Result<()> {
    // What must never change: what clap refuses is the caller's mistake, and nothing was begun.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(10, 54), &file)?;
    let mut unknown_format = program(&["replay", "--format", "yaml", "--data"]);
    let mut no_data = program(&["replay"]);
    let mut no_such_command = program(&["reply"]);
    let mut no_number = program(&["replay", "--commit-records", "many", "--data"]);
    let commands = [
        unknown_format.arg(&data).arg(&file),
        no_data.arg(&file),
        &mut no_such_command,
        no_number.arg(&data).arg(&file),
    ];
    for command in commands {
        let finished = finish(command)?;
        ensure!(
            finished.code == Some(2),
            "{command:?} ended with {:?}: {}",
            finished.code,
            finished.stderr
        );
        ensure!(
            !finished.stderr.is_empty() && finished.stdout.is_empty(),
            "{command:?} said it in the wrong place"
        );
    }
    ensure!(!data.exists(), "a command that was refused made a folder");
    Ok(())
}
