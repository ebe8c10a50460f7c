//! Retention: events go when they are old, experiments in motion keep theirs, and no number changes by it.
//!
//! The server's clock is set ahead by days, so that what came a moment ago is old for it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::server::{Server, post};
use crate::support::{
    Tables, fail, finish, program, replay, rows, settle, succeed, succeed_json, verified, write_lines,
};

/// How long a server may take to look for what is old and to delete it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(120);
/// The signal by which a process aborts itself.
const SIGABRT: i32 = 6;
/// Longer than events are kept.
const LATER: [&str; 2] = ["--clock-ahead-days", "100"];

fn event(id: &str, user: &str, ts: &str, more: &str) -> Vec<u8> {
    format!(r#"{{"event_id":"{id}","ts":"{ts}","user_id":"{user}",{more}}}"#).into_bytes()
}

fn exposure(user: &str, experiment: &str, ts: &str) -> Vec<u8> {
    let variant = if user.ends_with(['0', '2', '4']) { "a" } else { "b" };
    let what = format!(r#""type":"exposure","experiment":"{experiment}","variant":"{variant}""#);
    event(&format!("x-{experiment}-{user}"), user, ts, &what)
}

/// Six users of an experiment on a day, four of whom buy.
fn visits(experiment: &str, day: &str) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for number in 0..6 {
        let user = format!("{experiment}-{day}-{number}");
        lines.push(exposure(&user, experiment, &format!("{day}T10:00:00Z")));
        if number > 1 {
            let what = format!(r#""type":"track","event":"purchase","value":{number}.5"#);
            lines.push(event(
                &format!("t-{user}"),
                &user,
                &format!("{day}T1{number}:30:00Z"),
                &what,
            ));
        }
    }
    lines
}

/// A folder in which `running` is declared and two days of it stand behind two days of an experiment that is over.
async fn made(folder: &Path) -> Result<std::path::PathBuf> {
    let data = folder.join("data");
    let server = Server::start(&data, &[])?;
    let declared = json!({"key": "running", "control": "a",
        "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]});
    let url = server.url("/api/v1/experiments");
    let body = declared.to_string().into_bytes();
    let answer = post(&reqwest::Client::new(), &url, Some("application/json"), body).await?;
    ensure!(answer.status == 201, "{}", answer.body);
    server.stop()?;
    let mut lines = visits("over", "2026-01-01");
    lines.extend(visits("over", "2026-01-02"));
    lines.push(b"no event".to_vec());
    lines.extend(visits("running", "2026-01-05"));
    lines.extend(visits("running", "2026-01-06"));
    let file = folder.join("events.ndjson");
    write_lines(&lines, &file)?;
    succeed(&mut replay(&[&file], &data))?;
    Ok(data)
}

/// The results of an experiment, whichever commit they are of.
fn results(experiment: &str, data: &Path) -> Result<Value> {
    let mut command = program(&["results", experiment, "--format", "json", "--data"]);
    let mut found = succeed_json(command.arg(data))?;
    found.as_object_mut().context("no object")?.remove("epoch");
    Ok(found)
}

/// What the health says of retention, once something was looked for.
async fn looked(server: &Server) -> Result<String> {
    let deadline = Instant::now() + LOOK_TIMEOUT;
    loop {
        let health = reqwest::get(server.url("/healthz")).await?.text().await?;
        let health: Value = serde_json::from_str(&health)?;
        let checks = health["checks"].as_array().context("there are no checks")?;
        let check = checks.iter().find(|check| check["name"] == "retention");
        let said = check
            .and_then(|check| check["detail"].as_str())
            .unwrap_or_default();
        if said.starts_with("events are kept") {
            return Ok(said.to_owned());
        }
        ensure!(Instant::now() < deadline, "it says {said:?}: {}", server.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Serves once until what is old was looked for, and gives what the health said.
async fn serve_once(data: &Path, arguments: &[&str]) -> Result<(String, String)> {
    let mut command = Server::command(data, arguments);
    let server = Server::from_command(command.env("EXPERIMENTLY_LOG", "info"))?;
    let kept = looked(&server).await?;
    let said = server.said();
    server.stop()?;
    Ok((kept, said))
}

fn days(table: &str, data: &Path) -> Result<Vec<String>> {
    let found = rows(
        data,
        &format!("select distinct event_date as day from {table} order by day"),
    )?;
    let day = |row: &Value| row["day"].as_str().map(str::to_owned);
    found.iter().map(|row| day(row).context("no day")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_what_is_over_go_and_those_of_what_runs_stay() -> Result<()> {
    // What must never change: deleting what is old changes no number, and a number that stands still says so.
    let folder = tempfile::tempdir()?;
    let data = made(folder.path()).await?;
    let (before, over, running) = (
        Tables::of(&data)?,
        results("over", &data)?,
        results("running", &data)?,
    );
    // History is as young as the day on which it was read in.
    let (kept, _) = serve_once(&data, &[]).await?;
    ensure!(kept == "events are kept for 90 days", "{kept}");
    let (kept, _) = serve_once(&data, &["--events-days", "off", LATER[0], LATER[1]]).await?;
    ensure!(kept == "events are kept for ever", "{kept}");
    Tables::of(&data)?.ensure_equal(&before)?;

    let (kept, said) = serve_once(&data, &LATER).await?;
    ensure!(
        kept.contains("since 2026-01-05") && kept.contains("experiment running"),
        "{kept}"
    );
    ensure!(
        said.contains("deleted what is older") && said.contains("2026-01-01 2026-01-02"),
        "{said}"
    );
    for table in ["events", "first_exposures"] {
        ensure!(
            days(table, &data)? == ["2026-01-05", "2026-01-06"],
            "{table}: {:?}",
            days(table, &data)?
        );
    }
    ensure!(
        days("dead_letters", &data)?.is_empty(),
        "rejected records are kept"
    );
    let after = Tables::of(&data)?;
    for table in ["windows", "summaries"] {
        ensure!(
            after.rows(table).len() == before.rows(table).len(),
            "{table} changed"
        );
    }
    ensure!(verified(&data)?["sealed"] == 1, "{}", verified(&data)?);
    let (mut sealed, warning) = (
        results("over", &data)?,
        "sealed: its events are older than the retention",
    );
    let first = sealed["warnings"][0].as_str().unwrap_or_default().to_owned();
    ensure!(
        first.starts_with(warning) && first.ends_with(over["as_of"].as_str().unwrap_or("?")),
        "{first}"
    );
    sealed["warnings"]
        .as_array_mut()
        .context("no warnings")?
        .remove(0);
    ensure!(sealed == over, "{sealed} after {over}");
    ensure!(results("running", &data)? == running, "{running} changed");
    let mut earlier = program(&["results", "over", "--as-of", "2026-01-02T00:00:00Z", "--data"]);
    ensure!(fail(earlier.arg(&data), 1)?.contains("is sealed as of"));
    let exported = succeed(program(&["export-user", "over-2026-01-01-0", "--data"]).arg(&data))?;
    ensure!(exported.is_empty(), "{exported}");
    goes_on(&data).await
}

/// A server goes on with the lake: what is sealed stays, what is new is counted, what is too old is turned away.
async fn goes_on(data: &Path) -> Result<()> {
    let mut server = Server::start(data, &LATER)?;
    looked(&server).await?;
    let client = reqwest::Client::new();
    let served = reqwest::get(server.url("/api/v1/experiments/over/results")).await?;
    let served: Value = serde_json::from_str(&served.text().await?)?;
    let warning = served["warnings"][0].as_str().unwrap_or_default();
    ensure!(
        warning.starts_with("sealed: ") && served["arms"][0]["exposed"] == 6,
        "{served}"
    );
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 100);
    let old = now - jiff::SignedDuration::from_hours(24 * 91);
    let lines = [
        exposure("new-1", "over", &now.to_string()),
        exposure("new-2", "running", &now.to_string()),
        exposure("new-3", "running", &old.to_string()),
    ];
    let url = server.url("/api/v1/events");
    let answer = post(&client, &url, Some("application/x-ndjson"), lines.join(&b'\n')).await?;
    ensure!(
        answer.body["rejected"][0]["reason"] == "too_old",
        "{}",
        answer.body
    );
    server.wait_for_events(data, 22)?;
    let said = server.said();
    server.stop()?;
    ensure!(said.contains("measure nothing"), "{said}");
    settle(data)?;
    ensure!(verified(data)?["sealed"] == 1, "{}", verified(data)?);
    let exposed = |experiment| -> Result<u64> {
        let arms = results(experiment, data)?["arms"].clone();
        let arms = arms.as_array().context("no arms")?;
        Ok(arms.iter().filter_map(|arm| arm["exposed"].as_u64()).sum())
    };
    ensure!((exposed("over")?, exposed("running")?) == (12, 13));
    let metrics = succeed(program(&["forget", "over-2026-01-02-3", "--data"]).arg(data))?;
    ensure!(metrics.contains("\"events\":0"), "{metrics}");
    ensure!(exposed("over")? == 12 && verified(data)?["sealed"] == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_while_it_deletes_goes_on() -> Result<()> {
    // What must never change: there is no step after which a crash loses or changes a number that is not to go.
    let folder = tempfile::tempdir()?;
    let data = made(folder.path()).await?;
    let copy = |name: &str| -> Result<std::path::PathBuf> {
        let to = folder.path().join(name);
        succeed(Command::new("cp").arg("-a").arg(&data).arg(&to))?;
        Ok(to)
    };
    let undisturbed = copy("undisturbed")?;
    serve_once(&undisturbed, &LATER).await?;
    let expected = Tables::of(&undisturbed)?;
    let over = results("over", &undisturbed)?;
    for step in [
        "seals_written",
        "events_deleted",
        "others_deleted",
        "state_renewed",
    ] {
        let data = copy(step)?;
        abort_at(&data, step, &LATER)?;
        let report = verified(&data).context(step)?;
        ensure!(report["sealed"] == 1, "{step}: {report}");
        let at_once = results("over", &data)?;
        ensure!(at_once["metrics"] == over["metrics"], "{step}: {at_once}");
        serve_once(&data, &LATER).await.context(step)?;
        settle(&data)?;
        Tables::of(&data)?.ensure_equal(&expected).context(step)?;
        verified(&data).context(step)?;
    }
    // What was computed goes two years later, and a crash in between changes nothing for the others.
    let data = copy("aggregates")?;
    let mut server = Server::start(&data, &LATER)?;
    looked(&server).await?;
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 100);
    let line = exposure("new-2", "running", &now.to_string());
    let (client, url) = (reqwest::Client::new(), server.url("/api/v1/events"));
    let answer = post(&client, &url, Some("application/x-ndjson"), line).await?;
    ensure!(answer.status == 202, "{}", answer.body);
    server.wait_for_events(&data, 21)?;
    server.stop()?;
    let later = ["--clock-ahead-days", "731", "--aggregates-days", "725"];
    abort_at(&data, "aggregates_deleted", &later)?;
    verified(&data)?;
    serve_once(&data, &later).await?;
    verified(&data)?;
    let left = rows(&data, "select distinct experiment from windows")?;
    ensure!(left == [json!({"experiment": "running"})], "{left:?}");
    let gone = fail(program(&["results", "over", "--data"]).arg(&data), 1)?;
    ensure!(gone.contains("older than the retention, too"), "{gone}");
    Ok(())
}

fn abort_at(data: &Path, step: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Server::command(data, arguments);
    command.args(["--fail-at", step]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let deadline = Instant::now() + LOOK_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    ensure!(
        status.signal() == Some(SIGABRT),
        "the server ended with {status} and never came to {step}"
    );
    Ok(())
}

#[test]
fn a_time_that_is_none_is_refused() -> Result<()> {
    // What must never change: nothing is deleted by a mistyped time.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    for wrong in ["soon", "-5", "90d", "99999"] {
        let finished = finish(Server::command(&data, &[]).arg(format!("--events-days={wrong}")))?;
        ensure!(finished.code == Some(2), "{wrong}: {}", finished.stderr);
        ensure!(finished.stderr.contains("off"), "{wrong}: {}", finished.stderr);
    }
    let shorter = fail(&mut Server::command(&data, &["--aggregates-days", "30"]), 1)?;
    ensure!(shorter.contains("at least events_days, which is 90"), "{shorter}");
    ensure!(!data.exists(), "a command that was refused made a folder");
    Ok(())
}
