//! A replay that is killed at any moment and started again ends as if nothing had happened.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fixtures::random::Draws;

use crate::support::{
    Tables, fail, faulty_traffic, finish, program, replay, succeed, verified, write_traffic,
};

/// Fixes when processes are killed, as far as a machine's speed lets it.
const SEED: u64 = 20_260_101;
/// How many times a replay is killed.
const KILLS: u32 = 30;
/// The signal that `kill -9` sends.
const SIGKILL: i32 = 9;
/// The signal by which a process aborts itself.
const SIGABRT: i32 = 6;

/// A commit after every batch that is read, and a full snapshot after every few.
const SMALL: [&str; 6] = [
    "--commit-records",
    "3000",
    "--snapshot-events",
    "6000",
    "--compact-files",
    "2",
];

#[test]
fn a_replay_killed_thirty_times_ends_as_if_undisturbed() -> Result<()> {
    // What must never change: whenever the process dies, the same command goes on, and no record is lost or counted twice.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(40_000, 21), &file)?;
    let undisturbed = folder.path().join("undisturbed");
    let started = Instant::now();
    succeed(replay(&[&file], &undisturbed).args(SMALL))?;
    let duration = started.elapsed();
    let expected = Tables::of(&undisturbed)?;

    let mut draws = Draws::new(SEED, 1);
    let (mut kills, mut round) = (0, 0);
    while kills < KILLS {
        round += 1;
        let data = folder.path().join(format!("killed-{round}"));
        let context = || format!("seed {SEED}, round {round}");
        while kills < KILLS
            && kill_after(&file, &data, duration.mul_f64(draws.unit())).with_context(context)?
        {
            kills += 1;
        }
        succeed(replay(&[&file], &data).args(SMALL)).with_context(context)?;
        Tables::of(&data)?.ensure_equal(&expected).with_context(context)?;
        verified(&data).with_context(context)?;
    }
    Ok(())
}

/// Runs the replay for so long; whether it was killed before it had finished.
fn kill_after(file: &Path, data: &Path, moment: Duration) -> Result<bool> {
    let mut command = replay(&[file], data);
    let mut child = command
        .args(SMALL)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // This is no wait for something to happen: the moment itself is the test's input.
    std::thread::sleep(moment);
    child.kill()?;
    let status = child.wait()?;
    let killed = status.signal() == Some(SIGKILL);
    ensure!(killed || status.success(), "the replay ended with {status}");
    Ok(killed)
}

#[test]
fn a_replay_that_dies_at_any_step_of_a_commit_goes_on() -> Result<()> {
    // What must never change: there is no step of a commit after which a crash loses or repeats anything.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(28_000, 22), &file)?;
    let undisturbed = folder.path().join("undisturbed");
    succeed(replay(&[&file], &undisturbed).args(SMALL))?;
    let expected = Tables::of(&undisturbed)?;
    for step in STEPS {
        for passes in [0, 2] {
            let context = || format!("{step} after {passes} passes");
            let data = folder.path().join(context());
            abort_at(&file, &data, &format!("{step}:{passes}")).with_context(context)?;
            succeed(replay(&[&file], &data).args(SMALL)).with_context(context)?;
            Tables::of(&data)?.ensure_equal(&expected).with_context(context)?;
            verified(&data).with_context(context)?;
        }
    }
    Ok(())
}

/// Every step of a commit, in order.
const STEPS: [&str; 7] = [
    "event_files_written",
    "derived_files_written",
    "manifest_written",
    "events_committed",
    "derived_committed",
    "observer_told",
    "snapshot_written",
];

#[test]
fn a_replay_that_dies_again_while_it_recovers_goes_on() -> Result<()> {
    // What must never change: recovery may itself be interrupted, any number of times.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(20_000, 23), &file)?;
    let undisturbed = folder.path().join("undisturbed");
    succeed(replay(&[&file], &undisturbed).args(SMALL))?;
    let data = folder.path().join("aborted");
    for (first, second) in STEPS.iter().zip(STEPS.iter().skip(1)) {
        let data = folder.path().join(format!("{first} then {second}"));
        abort_at(&file, &data, first)?;
        abort_at(&file, &data, second)?;
        succeed(replay(&[&file], &data).args(SMALL))?;
        Tables::of(&data)?
            .ensure_equal(&Tables::of(&undisturbed)?)
            .with_context(|| format!("{first} then {second}"))?;
    }
    // The same step again and again on one folder, with a commit in between or without.
    for step in STEPS.iter().take(6) {
        abort_at(&file, &data, step)?;
    }
    succeed(replay(&[&file], &data).args(SMALL))?;
    Tables::of(&data)?.ensure_equal(&Tables::of(&undisturbed)?)?;
    verified(&data)?;
    Ok(())
}

fn abort_at(file: &Path, data: &Path, step: &str) -> Result<()> {
    let mut command = replay(&[file], data);
    command.args(SMALL).args(["--fail-at", step]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = child.wait()?;
    ensure!(
        status.signal() == Some(SIGABRT),
        "the replay ended with {status} and never came to {step}"
    );
    Ok(())
}

#[test]
fn verify_knows_a_commit_that_is_not_finished_from_a_wrong_number() -> Result<()> {
    // What must never change: between two steps of a commit nothing differs that anybody has to worry about.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(20_000, 25), &file)?;
    let plain = ["--commit-records", "3000"];
    for step in [
        "derived_files_written:2",
        "events_committed:2",
        "derived_committed:2",
    ] {
        let data = folder.path().join(step);
        abort_at(&file, &data, step)?;
        verified(&data).with_context(|| step.to_owned())?;
    }
    // All is read in one commit, whose events are true and whose windows are not there yet.
    let data = folder.path().join("unfinished");
    let mut command = replay(&[&file], &data);
    let status = command
        .args(["--fail-at", "derived_committed"])
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.signal() == Some(SIGABRT), "the replay ended with {status}");
    let sentence = fail(program(&["verify", "--data"]).arg(&data), 1)?;
    ensure!(sentence.contains("replay"), "{sentence}");
    succeed(replay(&[&file], &data).args(plain))?;
    verified(&data)?;
    // So many full snapshots that the beginning is forgotten, before any window was written.
    let data = folder.path().join("snapshots");
    let mut command = replay(&[&file], &data);
    command
        .args(plain)
        .args(["--snapshot-events", "3000", "--fail-at", "snapshot_written:3"]);
    ensure!(
        command.stderr(Stdio::null()).status()?.signal() == Some(SIGABRT),
        "the replay wrote too few snapshots"
    );
    verified(&data)?;
    Ok(())
}

#[test]
fn an_interrupted_replay_says_how_to_go_on() -> Result<()> {
    // What must never change: a polite signal is answered with a commit of what was read, not with a loss.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.ndjson");
    write_traffic(faulty_traffic(8_000, 24), &file)?;
    let data = folder.path().join("data");
    // A pipe that nobody closes keeps the replay waiting for more.
    let mut command = replay(&[Path::new("-")], &data);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("standard input is piped")?;
    std::io::Write::write_all(&mut input, &std::fs::read(&file)?)?;
    let told = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("kill -TERM {}", child.id()))
        .status()?;
    ensure!(told.success(), "the replay ended on its own");
    let output = child.wait_with_output()?;
    drop(input);
    ensure!(
        !output.status.success(),
        "an interrupted replay must not claim to have finished"
    );
    let again = finish(&mut replay(&[&file], &data))?;
    ensure!(again.code == Some(0), "{}", again.stderr);
    let (whole, whole_data) = (Tables::of(&data)?, folder.path().join("whole"));
    succeed(&mut replay(&[&file], &whole_data))?;
    let expected = Tables::of(&whole_data)?;
    ensure!(
        whole.rows("events").len() == expected.rows("events").len(),
        "events were lost or repeated"
    );
    Ok(())
}
