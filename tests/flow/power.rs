//! Planning on the command line: what is left out is found, what was assumed is said, and bad input is one sentence.

use anyhow::{Result, ensure};

use crate::support::{close, finish, number, program, succeed, succeed_json};

/// Runs `experimently power` with the words of a line.
fn power(line: &str) -> std::process::Command {
    let words: Vec<&str> = std::iter::once("power").chain(line.split_whitespace()).collect();
    program(&words)
}

#[test]
fn whatever_is_left_out_is_found() -> Result<()> {
    // What must never change: published sizes, and the same plan whichever part of it is asked for.
    let sized = succeed_json(&mut power(
        "proportion --baseline 0.5 --effect 0.25 --power 0.9 --format json",
    ))?;
    // R: power.prop.test(p1 = .5, p2 = .75, power = .9) n = 76.7.
    ensure!(close(number(&sized, "units")? / 2.0, 76.7, 1e-3), "{sized}");
    ensure!(close(number(&sized, "total_units")?, 154.0, 0.0), "{sized}");
    let units = number(&sized, "units")?;
    let found = succeed_json(&mut power(&format!(
        "proportion --baseline 0.5 --units {units} --power 0.9 --format json"
    )))?;
    ensure!(close(number(&found, "effect")?, 0.25, 1e-6), "{found}");
    let chance = succeed_json(&mut power(&format!(
        "proportion --baseline 0.5 --units {units} --effect 50% --format json"
    )))?;
    ensure!(close(number(&chance, "power")?, 0.9, 1e-6), "{chance}");
    Ok(())
}

#[test]
fn every_metric_goal_and_way_of_looking_has_a_plan() -> Result<()> {
    let ratio = "ratio --numerator-mean 2 --numerator-sd 3 --denominator-mean 10 --denominator-sd 8";
    for line in [
        "mean --sd 25 --baseline 40 --effect 2% --correlation 0.6",
        "mean --sd 1 --margin 0.1 --goal equivalence",
        "mean --sd 1 --margin 0.1 --goal non-inferiority --lower-is-better --true-difference -0.02",
        "count --baseline 0.3 --exposure 7 --effect -5% --one-sided --lower-is-better --dispersion 1.5",
        "proportion --baseline 0.05 --effect 10% --looking confidence-sequence --looks 10",
        "proportion --baseline 0.05 --effect 10% --looking mixture-test --looks 10",
        "proportion --baseline 0.05 --effect 10% --looking group-sequential --looks 0.5,1 --spending hsd:-4",
        "proportion --baseline 0.05 --effect 10% --arms 4 --shares best --correction dunnett --metrics 2",
        &format!("{ratio} --parts-correlation 0.7 --effect 2% --variance-reduction 0.3"),
    ] {
        let planned = succeed_json(&mut power(&format!("{line} --format json")))?;
        ensure!(number(&planned, "units")? > 100.0, "{line}: {planned}");
        ensure!(close(number(&planned, "power")?, 0.8, 1e-6), "{line}: {planned}");
        ensure!(
            planned["assumptions"]
                .as_array()
                .is_some_and(|assumptions| assumptions.len() >= 4),
            "{line} does not say what was assumed: {planned}"
        );
    }
    Ok(())
}

#[test]
fn people_see_a_table_with_days_and_assumptions() -> Result<()> {
    let table = succeed(&mut power(
        "proportion --baseline 0.05 --effect 10% --daily-units 4000 --format table",
    ))?;
    for part in ["units", "<- found", "whole weeks", "assumed", "a power of 0.8"] {
        ensure!(table.contains(part), "no {part} in {table}");
    }
    let days = succeed(&mut power(
        "proportion --baseline 0.05 --days 14 --daily-units 4000 --format table",
    ))?;
    ensure!(
        days.contains("56,000") && days.contains("14.0 days: 2 whole weeks"),
        "{days}"
    );
    Ok(())
}

#[test]
fn a_bad_plan_is_one_sentence() -> Result<()> {
    // What must never change: wrong usage ends with 2 and names the option, a plan that cannot be met ends with 1.
    for (line, code, part) in [
        ("proportion --baseline 1.5 --effect 0.1", 2, "baseline"),
        ("proportion --baseline 0.1", 2, "exactly one"),
        (
            "proportion --baseline 0.1 --effect 1% --units 100 --power 0.8",
            2,
            "exactly one",
        ),
        ("proportion --baseline 0.1 --effect ten", 2, "10%"),
        ("proportion --baseline 0.1 --effect 1% --days 7", 2, "daily-units"),
        ("mean --sd 1 --effect 5%", 2, "--baseline"),
        ("mean --sd 1 --effect 0.1 --goal equivalence", 2, "--margin"),
        ("mean --sd 1 --effect 0.1 --looks 5", 2, "--looking"),
        ("mean --sd 1 --effect 0.1 --shares 50,fifty", 2, "50,25,25"),
        ("mean --sd nan --effect 0.1", 2, "sd"),
        ("mean --sd 1 --effect 0", 1, "no solution"),
        (
            "proportion --baseline 0.01 --units 100 --lower-is-better --one-sided",
            1,
            "no solution",
        ),
    ] {
        let refused = finish(&mut power(line))?;
        let said = &refused.stderr;
        ensure!(
            refused.code == Some(code),
            "{line} ended with {:?}: {said}",
            refused.code
        );
        ensure!(
            said.starts_with("error: ") && said.contains(part),
            "{line}: {said}"
        );
        ensure!(refused.stdout.is_empty(), "{line} printed {}", refused.stdout);
    }
    Ok(())
}
