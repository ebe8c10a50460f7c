//! What all flow tests share: running the program, reading its tables, comparing them, and generated input with known truth.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use fixtures::{GenerateSettings, Generator, Truth, simulated_experiments};
use serde_json::Value;

/// How far numbers of two runs may differ, relative to their size or to 1: means and moments are sums of `f64` whose order
/// depends on where commits fell; `verify` uses the same bound.
const TOLERANCE: f64 = 1e-9;

/// How a run of the program ended.
pub struct Finished {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// The program with arguments, not yet started.
pub fn program<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experimently"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("EXPERIMENTLY_LOG")
        .env_remove("EXPERIMENTLY_DATA");
    command
}

/// `replay FILE… --data DIR`, not yet started.
pub fn replay(files: &[&Path], data: &Path) -> Command {
    let mut command = program(&["replay", "--format", "json", "--data"]);
    command.arg(data).args(files);
    command
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Result<Finished> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} could not be run"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Finished {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    })
}

/// Runs a command that must succeed, and gives what it printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let finished = finish(command)?;
    ensure!(
        finished.code == Some(0),
        "{command:?} ended with {:?}: {}",
        finished.code,
        finished.stderr
    );
    Ok(finished.stdout)
}

/// Runs a command that must succeed and print one JSON object.
pub fn succeed_json(command: &mut Command) -> Result<Value> {
    let printed = succeed(command)?;
    serde_json::from_str(printed.trim())
        .with_context(|| format!("{command:?} printed no JSON object: {printed}"))
}

/// Runs a command that must fail with an exit code and exactly one sentence, and gives the sentence. Lines of the log, which
/// tell what happened on the way, may stand before it.
pub fn fail(command: &mut Command, code: i32) -> Result<String> {
    let finished = finish(command)?;
    ensure!(
        finished.code == Some(code),
        "{command:?} ended with {:?}: {}",
        finished.code,
        finished.stderr
    );
    let is_log = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let said: Vec<&str> = finished
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty() && !is_log(line))
        .collect();
    let is_sentence = said.len() == 1 && said[0].starts_with("error: ");
    ensure!(
        is_sentence,
        "{command:?} did not say one sentence but {:?}",
        finished.stderr
    );
    Ok(said[0].to_owned())
}

/// The rows of a query.
pub fn rows(data: &Path, sql: &str) -> Result<Vec<Value>> {
    let mut command = program(&["sql", sql, "--format", "json", "--data"]);
    let printed = succeed(command.arg(data))?;
    printed
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// A number of a row; absent is an error.
pub fn number(row: &Value, name: &str) -> Result<f64> {
    row[name]
        .as_f64()
        .with_context(|| format!("{name} is no number in {row}"))
}

/// A text of a row; absent is an error.
pub fn text<'a>(row: &'a Value, name: &str) -> Result<&'a str> {
    row[name]
        .as_str()
        .with_context(|| format!("{name} is no text in {row}"))
}

/// `verify` must find that nothing differs; gives its report.
pub fn verified(data: &Path) -> Result<Value> {
    let mut command = program(&["verify", "--format", "json", "--data"]);
    let report = succeed_json(command.arg(data))?;
    ensure!(report["different"] == 0, "verify found differences: {report}");
    Ok(report)
}

/// Writes all windows and mends all that is waiting, by a replay that brings nothing.
pub fn settle(data: &Path) -> Result<()> {
    let empty = data.join("nothing.ndjson");
    std::fs::write(&empty, b"")?;
    succeed(&mut replay(&[&empty], data))?;
    Ok(())
}

/// What the tables of a lake hold, without what differs between runs by nature: epochs, times of receipt, partitions.
#[derive(Debug)]
pub struct Tables(BTreeMap<&'static str, Vec<Value>>);

impl Tables {
    /// The queries, by table; summaries are reduced to the newest epoch of each key.
    const QUERIES: [(&'static str, &'static str); 5] = [
        (
            "events",
            "select event_id, type, ts, user_id, experiment, variant, event, value, properties, event_date from events",
        ),
        (
            "first_exposures",
            "select experiment, user_id, variant, ts, crossover, event_date from first_exposures",
        ),
        (
            "windows",
            "select window_start, window_seconds, experiment, variant, metric, dimension, dimension_value, units, mean, m2, \
             event_date from windows",
        ),
        (
            "summaries",
            "select s.experiment, s.variant, s.metric, exposed, units, mean, m2 from summaries s join \
             (select experiment, variant, metric, max(epoch) as newest from summaries group by experiment, variant, metric) n \
             on s.experiment = n.experiment and s.variant = n.variant and s.metric = n.metric and s.epoch = n.newest",
        ),
        ("dead_letters", "select reason, detail, payload from dead_letters"),
    ];

    /// Reads all tables.
    pub fn of(data: &Path) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for (name, sql) in Self::QUERIES {
            let mut found = rows(data, sql)?;
            found.sort_by_cached_key(key);
            tables.insert(name, found);
        }
        Ok(Self(tables))
    }

    /// The rows of a table.
    pub fn rows(&self, table: &str) -> &[Value] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// Fails with the first difference of each table that differs.
    pub fn ensure_equal(&self, other: &Self) -> Result<()> {
        let differences: Vec<String> = Self::QUERIES
            .iter()
            .filter_map(|(name, _)| difference(name, self.rows(name), other.rows(name)))
            .collect();
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    }
}

/// What identifies a row: everything but its measured numbers, which may differ in their last digits.
fn key(row: &Value) -> String {
    let mut row = row.clone();
    if let Some(fields) = row.as_object_mut() {
        fields.retain(|name, _| name != "mean" && name != "m2");
    }
    row.to_string()
}

fn difference(table: &str, left: &[Value], right: &[Value]) -> Option<String> {
    if left.len() != right.len() {
        let known: std::collections::BTreeSet<String> = left.iter().map(key).collect();
        let others: std::collections::BTreeSet<String> = right.iter().map(key).collect();
        let odd: Vec<&String> = known.symmetric_difference(&others).take(3).collect();
        return Some(format!(
            "{table} has {} rows and {}: for example {odd:?}",
            left.len(),
            right.len()
        ));
    }
    let mut pairs = left.iter().zip(right);
    let (left, right) = pairs.find(|(left, right)| !same(left, right))?;
    Some(format!("{table} has {left} and {right}"))
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let equal =
                |(name, value): (&String, &Value)| right.get(name).is_some_and(|other| same(value, other));
            left.len() == right.len() && left.iter().all(equal)
        }
        (Value::Number(left), Value::Number(right)) => match (left.as_f64(), right.as_f64()) {
            (Some(left), Some(right)) => close(left, right, TOLERANCE),
            _ => left == right,
        },
        _ => left == right,
    }
}

/// Whether two numbers agree within a tolerance relative to their size, or to 1.
pub fn close(left: f64, right: f64, tolerance: f64) -> bool {
    (left - right).abs() <= tolerance * left.abs().max(right.abs()).max(1.0)
}

/// A day of traffic squeezed into two hours, with every fault a good share.
pub fn faulty_traffic(events: u64, seed: u64) -> GenerateSettings {
    GenerateSettings {
        events,
        users: 4_000,
        experiments: simulated_experiments(3, 0.2),
        seed,
        crossover_share: 0.02,
        duplicate_share: 0.03,
        out_of_order_share: 0.05,
        late_share: 0.01,
        malformed_share: 0.005,
        span_seconds: 7_200,
        ..GenerateSettings::default()
    }
}

/// Writes generated events to a file and gives their lines and their truth.
pub fn write_traffic(settings: GenerateSettings, file: &Path) -> Result<(Vec<Vec<u8>>, Truth)> {
    let mut generator = Generator::new(settings)?;
    let lines: Vec<Vec<u8>> = generator.by_ref().collect();
    write_lines(&lines, file)?;
    Ok((lines, generator.truth().clone()))
}

/// Writes records to a file, one a line.
pub fn write_lines(lines: &[Vec<u8>], file: &Path) -> Result<()> {
    let mut output = std::io::BufWriter::new(std::fs::File::create(file)?);
    for line in lines {
        output.write_all(line)?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(())
}

/// A folder beside the repository that not every machine has; says so when it is absent.
pub fn beside_the_repository(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}
