//! Replay of generated events: everything that comes out is compared with what is known of what went in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fixtures::Truth;
use serde_json::{Value, json};

use crate::support::{
    Tables, close, faulty_traffic, number, program, replay, rows, succeed, succeed_json, text, verified,
    write_lines, write_traffic,
};

#[test]
fn a_replay_says_what_is_true_of_its_input() -> Result<()> {
    // What must never change: each record is counted in exactly one way, and the numbers are the true ones.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    let (_, truth) = write_traffic(faulty_traffic(60_000, 11), &file)?;
    let report = succeed_json(&mut replay(&[&file], &data))?;
    check_counters(&report["counters"], &truth)?;
    let verification = verified(&data)?;
    ensure!(
        verification["events"] == truth.exposures + truth.tracks,
        "{verification}"
    );
    ensure!(
        verification["waiting_days"] == 0 && verification["waiting_users"] == 0,
        "{verification}"
    );
    check_dead_letters(&data, &truth)?;
    check_arms(&data, &truth)?;

    let (tables, log) = (Tables::of(&data)?, delta_log(&data)?);
    let again = succeed_json(&mut replay(&[&file], &data))?;
    ensure!(
        again["counters"] == report["counters"],
        "the second run counted {again}, the first {report}"
    );
    ensure!(delta_log(&data)? == log, "the second run committed something");
    Tables::of(&data)?.ensure_equal(&tables)
}

#[test]
fn a_plan_that_changes_late_measures_from_the_first_event_on() -> Result<()> {
    // What must never change: another plan gives what it would have given from the start, also when the manifests of the
    // first epochs are gone because full snapshots stand for them.
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let (first, second) = (path("first.ndjson"), path("second.ndjson"));
    write_traffic(faulty_traffic(20_000, 21), &first)?;
    write_traffic(faulty_traffic(20_000, 22), &second)?;
    let plan = json!({
        "metrics": [{"key": "buys", "kind": "sum", "event": "purchase"},
            {"key": "buyers", "kind": "proportion", "event": "purchase", "conversion_window_seconds": 3_600}],
        "experiments": [{"key": "checkout_button", "metrics": ["buys", "buyers"]}]});
    std::fs::write(path("plan.json"), plan.to_string())?;
    let planned = |files: &[&Path], data: &Path| {
        let mut command = replay(files, data);
        command.arg("--definitions").arg(path("plan.json"));
        command
    };
    let often = ["--commit-records", "1000", "--snapshot-events", "2000"];
    let (changed, straight) = (path("changed"), path("straight"));
    succeed(replay(&[&first], &changed).args(often))?;
    let manifests = changed.join("state/epochs");
    ensure!(
        !manifests.join("000000000001.json").exists() && std::fs::read_dir(&manifests)?.next().is_some(),
        "the first manifest is still there"
    );
    succeed(planned(&[&second], &changed).args(often))?;
    verified(&changed)?;
    succeed(&mut planned(&[&first, &second], &straight))?;
    verified(&straight)?;
    let say = |data: &Path| {
        let of_plan = "metric in ('buys', 'buyers')";
        let newest = format!("{of_plan} and epoch = (select max(epoch) from summaries)");
        let queries = [
            format!("select experiment, variant, metric, exposed, units, round(mean, 9) as mean from summaries where {newest}"),
            "select experiment, user_id, variant, ts, crossover from first_exposures".to_owned(),
            "select window_start, window_seconds, variant, metric, units, round(mean, 9) as mean from windows".to_owned(),
        ];
        let mut said = Vec::new();
        for query in queries {
            let mut found: Vec<String> = rows(data, &query)?.iter().map(Value::to_string).collect();
            found.sort();
            said.push(found);
        }
        anyhow::Ok(said)
    };
    let (changed, straight) = (say(&changed)?, say(&straight)?);
    ensure!(
        straight.iter().all(|rows| !rows.is_empty()),
        "nothing was measured"
    );
    ensure!(changed == straight, "a plan that came late gave other rows");
    Ok(())
}

fn check_counters(counters: &Value, truth: &Truth) -> Result<()> {
    let count = |name: &str| counters[name].as_u64().unwrap_or(u64::MAX);
    let received = count("accepted") + count("duplicate") + count("invalid");
    ensure!(
        count("received") == received,
        "the counters do not add up: {counters}"
    );
    ensure!(count("received") == truth.lines, "{counters} of {truth:?}");
    ensure!(
        count("accepted") == truth.exposures + truth.tracks,
        "{counters} of {truth:?}"
    );
    ensure!(count("duplicate") == truth.duplicates, "{counters} of {truth:?}");
    ensure!(count("invalid") == truth.malformed, "{counters} of {truth:?}");
    ensure!(count("late") <= count("accepted"), "{counters}");
    Ok(())
}

fn check_dead_letters(data: &Path, truth: &Truth) -> Result<()> {
    let found = rows(
        data,
        "select reason, count(*) as n from dead_letters group by reason",
    )?;
    let found: Result<BTreeMap<&str, u64>> = found
        .iter()
        .map(|row| Ok((text(row, "reason")?, number(row, "n")? as u64)))
        .collect();
    let found = found?;
    ensure!(
        found == truth.malformed_by_reason,
        "{found:?} instead of {:?}",
        truth.malformed_by_reason
    );
    ensure!(
        found.len() > 8,
        "the input has too few kinds of faults to prove anything: {found:?}"
    );
    Ok(())
}

/// Exposed, converted and spent in every arm, and crossovers, of every experiment.
fn check_arms(data: &Path, truth: &Truth) -> Result<()> {
    let tables = Tables::of(data)?;
    let summary = |experiment: &str, variant: &str, metric: &str| {
        let mut all = tables.rows("summaries").iter();
        let found = all.find(|row| {
            row["experiment"] == experiment && row["variant"] == variant && row["metric"] == metric
        });
        found.cloned().unwrap_or_default()
    };
    for experiment in &truth.experiments {
        let key = &experiment.experiment;
        let crossovers = tables.rows("first_exposures").iter();
        let crossovers = crossovers
            .filter(|row| row["experiment"] == key.as_str() && row["crossover"] == true)
            .count();
        ensure!(
            crossovers as u64 == experiment.crossover_users,
            "{key}: {crossovers} crossovers"
        );
        for arm in &experiment.arms {
            let bought = summary(key, &arm.variant, "purchase_conversion");
            let spent = summary(key, &arm.variant, "purchase");
            let exposed = number(&bought, "exposed")?;
            ensure!(
                close(exposed, arm.exposed_users as f64, 0.0),
                "{bought} of {arm:?}"
            );
            ensure!(
                close(number(&bought, "units")?, arm.converted_users as f64, 0.0),
                "{bought} of {arm:?}"
            );
            // A mean times its count is off by the rounding of one division and one multiplication.
            ensure!(
                close(
                    number(&bought, "mean")? * exposed,
                    arm.converted_users as f64,
                    1e-12
                ),
                "{bought} of {arm:?}"
            );
            let total = number(&spent, "mean")? * number(&spent, "exposed")?;
            ensure!(
                close(total, arm.spent_cents as f64 / 100.0, 1e-9),
                "{spent} of {arm:?}"
            );
        }
    }
    Ok(())
}

/// The names of all commits of all tables.
fn delta_log(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for table in std::fs::read_dir(data.join("lake"))? {
        for entry in std::fs::read_dir(table?.path().join("_delta_log"))? {
            found.push(entry?.path());
        }
    }
    found.sort();
    ensure!(found.len() >= 5, "the lake has too few commits: {found:?}");
    Ok(found)
}

#[test]
fn how_the_input_is_cut_into_files_and_commits_makes_no_difference() -> Result<()> {
    // What must never change: the tables are a function of the set of records alone. The second half before the first
    // means that half of all events come later than any window allows, and half of the duplicates before their originals.
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut settings = faulty_traffic(24_000, 12);
    settings.span_seconds = 30_000;
    let (lines, _) = write_traffic(settings, &path("all.ndjson"))?;
    let (first, second) = lines.split_at(lines.len() / 2);
    write_lines(first, &path("first.ndjson"))?;
    write_lines(second, &path("second.ndjson"))?;
    let whole = path("whole");
    let one = succeed_json(&mut replay(&[&path("all.ndjson")], &whole))?;
    let expected = Tables::of(&whole)?;
    let cuts: [(&str, &[&[&str]]); 4] = [
        ("one command", &[&["first.ndjson", "second.ndjson"]]),
        ("two commands", &[&["first.ndjson"], &["second.ndjson"]]),
        ("reversed", &[&["second.ndjson", "first.ndjson"]]),
        (
            "reversed in two commands",
            &[&["second.ndjson"], &["first.ndjson"]],
        ),
    ];
    for (name, commands) in cuts {
        let data = path(name);
        let mut report = Value::Null;
        for files in commands {
            let files: Vec<PathBuf> = files.iter().map(|file| path(file)).collect();
            let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            // Few events in memory and few files in a table: mending takes many passes and slices, and files are joined.
            let small = [
                "--commit-records",
                "3000",
                "--mend-events",
                "500",
                "--compact-files",
                "3",
            ];
            report = succeed_json(replay(&files, &data).args(small))?;
        }
        for counter in ["received", "accepted", "duplicate", "invalid"] {
            ensure!(
                report["counters"][counter] == one["counters"][counter],
                "{name}: {report} instead of {one}"
            );
        }
        Tables::of(&data)?
            .ensure_equal(&expected)
            .map_err(|error| error.context(name))?;
        verified(&data)?;
    }
    Ok(())
}

#[test]
fn what_is_generated_can_be_piped_into_a_replay() -> Result<()> {
    // What must never change: the command of the first five minutes works, and standard input is a file like any other.
    let folder = tempfile::tempdir()?;
    let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
    let generated = succeed(&mut program(&[
        "generate", "--events", "5000", "--users", "500", "--seed", "3",
    ]))?;
    ensure!(
        generated.lines().count() == 5_000,
        "{} lines",
        generated.lines().count()
    );
    std::fs::write(&file, &generated)?;
    let mut piped = program(&["replay", "-", "--format", "json", "--data"]);
    let report = succeed_json(piped.arg(&data).stdin(std::fs::File::open(&file)?))?;
    ensure!(report["counters"]["received"] == 5_000, "{report}");
    let other = folder.path().join("other");
    succeed(&mut replay(&[&file], &other))?;
    Tables::of(&data)?.ensure_equal(&Tables::of(&other)?)
}
