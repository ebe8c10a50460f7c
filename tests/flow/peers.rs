//! The windows of a replay against the same job done the slow and obvious way, on events of a generator that is not ours.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use domain::Timestamp;
use serde_json::Value;

use crate::support::{beside_the_repository, close, number, replay, rows, succeed_json, text, verified};

/// Experiment, variant, event name and the start of the minute.
type Key = (String, String, String, Timestamp);

/// How far sums may differ, relative to their size or to 1: both sides add the same values in different orders.
const TOLERANCE: f64 = 1e-9;

/// Users, their sum, and the sum of their squares.
#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    users: u64,
    sum: f64,
    squares: f64,
}

#[test]
fn the_windows_equal_those_of_a_brute_force_over_the_same_events() -> Result<()> {
    // What must never change: the definition of a window's row, which others compute with other engines.
    let Some(generator) = beside_the_repository("peers/gen_events.py") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    let mut python = Command::new("python3");
    python
        .arg(generator)
        .args([
            "--n", "60000", "--users", "6000", "--seed", "9", "--cross", "0.01", "--out",
        ])
        .arg(&file);
    match python.output() {
        Ok(output) => ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => {
            eprintln!("skipped: python3 cannot be run: {error}");
            return Ok(());
        }
    }
    let report = succeed_json(replay(&[&file], &data).args(["--commit-records", "20000"]))?;
    verified(&data)?;
    let events = unique_events(&file)?;
    let counters = &report["counters"];
    ensure!(
        counters["received"] == 60_000 && counters["invalid"] == 0,
        "{counters}"
    );
    ensure!(
        counters["accepted"] == events.len(),
        "{counters}, {} unique events",
        events.len()
    );
    compare(&actual(&data)?, &brute_force(&events)?)
}

/// The first copy of each event; copies are equal.
fn unique_events(file: &Path) -> Result<Vec<Value>> {
    let mut seen = HashSet::new();
    let mut events = Vec::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        if seen.insert(text(&event, "event_id")?.to_owned()) {
            events.push(event);
        }
    }
    Ok(events)
}

fn brute_force(events: &[Value]) -> Result<BTreeMap<Key, Cell>> {
    let mut first: HashMap<(&str, &str), (Timestamp, &str, &str)> = HashMap::new();
    for event in events.iter().filter(|event| event["type"] == "exposure") {
        let exposure = (time(event)?, text(event, "event_id")?, text(event, "variant")?);
        let place = first
            .entry((text(event, "user_id")?, text(event, "experiment")?))
            .or_insert(exposure);
        *place = (*place).min(exposure);
    }
    let mut of_user: HashMap<&str, Vec<(&str, Timestamp, &str)>> = HashMap::new();
    for ((user, experiment), (ts, _, variant)) in first {
        of_user.entry(user).or_default().push((experiment, ts, variant));
    }
    let mut sums: HashMap<(Key, &str), f64> = HashMap::new();
    for event in events.iter().filter(|event| event["type"] == "track") {
        let (ts, user) = (time(event)?, text(event, "user_id")?);
        for (experiment, exposed, variant) in of_user.get(user).into_iter().flatten() {
            if ts >= *exposed {
                let name = text(event, "event")?.to_owned();
                let key = (
                    (*experiment).to_owned(),
                    (*variant).to_owned(),
                    name,
                    ts.window_start(60),
                );
                *sums.entry((key, user)).or_default() += number(event, "value")?;
            }
        }
    }
    let mut cells: BTreeMap<Key, Cell> = BTreeMap::new();
    for ((key, _), sum) in sums {
        let cell = cells.entry(key).or_default();
        *cell = Cell {
            users: cell.users + 1,
            sum: cell.sum + sum,
            squares: cell.squares + sum * sum,
        };
    }
    Ok(cells)
}

fn time(event: &Value) -> Result<Timestamp> {
    Ok(Timestamp::parse(text(event, "ts")?)?)
}

fn actual(data: &Path) -> Result<BTreeMap<Key, Cell>> {
    let sql = "select window_start, experiment, variant, metric, units, mean, m2 from windows where window_seconds = 60 \
               and dimension is null and metric not like '%\\_conversion'";
    let mut cells = BTreeMap::new();
    for row in rows(data, sql)? {
        let start = text(&row, "window_start")?;
        let start = Timestamp::parse(start).with_context(|| format!("{start} is no time"))?;
        let (units, mean) = (number(&row, "units")?, number(&row, "mean")?);
        let cell = Cell {
            users: units as u64,
            sum: units * mean,
            squares: number(&row, "m2")? + units * mean * mean,
        };
        let key = (
            text(&row, "experiment")?.into(),
            text(&row, "variant")?.into(),
            text(&row, "metric")?.into(),
            start,
        );
        ensure!(cells.insert(key, cell).is_none(), "two rows for {row}");
    }
    Ok(cells)
}

fn compare(actual: &BTreeMap<Key, Cell>, expected: &BTreeMap<Key, Cell>) -> Result<()> {
    ensure!(
        expected.len() > 5_000,
        "only {} windows are expected, which proves little",
        expected.len()
    );
    for (key, wanted) in expected {
        let found = actual.get(key).with_context(|| format!("{key:?} is missing"))?;
        let agrees = found.users == wanted.users
            && close(found.sum, wanted.sum, TOLERANCE)
            && close(found.squares, wanted.squares, TOLERANCE);
        ensure!(agrees, "{key:?} is {found:?} and should be {wanted:?}");
    }
    let extra = actual.keys().find(|key| !expected.contains_key(*key));
    ensure!(extra.is_none(), "{extra:?} follows from no event");
    Ok(())
}
