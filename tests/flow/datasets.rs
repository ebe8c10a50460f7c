//! Real experiments, replayed: the analyses that are known of them come out again.
//!
//! The datasets are not part of the repository. Tolerances: estimates and the sample-ratio check are the same formulas on the
//! same counts, so they agree to the reference's own nine digits; so does Welch's test of amounts, but for the last digits of
//! the t distribution. Zeros and ones are compared by Welch's test, too, and the reference for them is the unpooled z: the two
//! differ by the variance's divisor, n − 1 for n, and by t for the normal distribution. With n units in the smaller arm, and
//! so at least n − 1 degrees of freedom, a quantile near 2 moves by (1 + z²)/4n of itself, and the logarithm of a p-value by
//! about z⁴/4n + z²/2n.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fixtures::{Dataset, FixtureError};
use serde_json::Value;

use crate::support::{beside_the_repository, number, program, replay, succeed_json, verified};

/// What the reference itself is good for.
const SAME: f64 = 1e-9;
/// A bound of Welch's interval for one of the unpooled z, in widths of the interval.
const T_FOR_Z: f64 = 1e-4;

struct Study {
    _folder: tempfile::TempDir,
    data: PathBuf,
    dataset: Dataset,
    truth: Vec<Value>,
}

impl Study {
    /// Converts and replays a dataset; none where it is absent.
    fn replayed(dataset: Dataset) -> Result<Option<Self>> {
        let (Some(datasets), Some(truth)) = (
            beside_the_repository("datasets"),
            beside_the_repository("reference/datasets_truth.json"),
        ) else {
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let (file, data) = (folder.path().join("events.ndjson"), folder.path().join("data"));
        let mut output = std::io::BufWriter::new(std::fs::File::create(&file)?);
        let converted = match dataset.convert(&datasets, 7, &mut output) {
            Ok(converted) => converted,
            Err(error @ FixtureError::DatasetAbsent { .. }) => {
                eprintln!("skipped: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        drop(output);
        let report = succeed_json(&mut replay(&[&file], &data))?;
        ensure!(
            report["counters"]["accepted"] == converted.exposures + converted.tracks,
            "{report} of {converted:?}"
        );
        verified(&data)?;
        let truth = serde_json::from_slice(&std::fs::read(truth)?)?;
        Ok(Some(Self {
            _folder: folder,
            data,
            dataset,
            truth,
        }))
    }

    fn results(&self) -> Result<Value> {
        let mut command = program(&["results", self.dataset.name(), "--format", "json", "--data"]);
        succeed_json(command.arg(&self.data))
    }

    /// The reference row whose method begins with a text.
    fn truth(&self, method: &str) -> Result<&Value> {
        let mut rows = self.truth.iter();
        let found = rows.find(|row| {
            row["dataset"] == self.dataset.name()
                && row["method"]
                    .as_str()
                    .is_some_and(|name| name.starts_with(method))
        });
        Ok(&found.with_context(|| format!("the reference has no {method}"))?["expected"])
    }
}

/// One metric of one variant against the control.
fn comparison<'a>(results: &'a Value, metric: &str, variant: &str) -> Result<&'a Value> {
    let of = |list: &'a Value, field: &str, wanted: &str| {
        list.as_array()?.iter().find(|item| item[field] == wanted)
    };
    let found = of(&results["metrics"], "metric", metric)
        .and_then(|metric| of(&metric["comparisons"], "variant", variant));
    found.with_context(|| format!("{metric} of {variant} is not in the results: {results}"))
}

fn check(what: &str, found: &Value, expected: &Value, tolerance: f64) -> Result<()> {
    let (found, expected) = (found.as_f64(), expected.as_f64());
    let agrees = match (found, expected) {
        // Relative for what is small, too: a p-value of 1e-13 is not one of 1e-9.
        (Some(found), Some(expected)) => {
            (found - expected).abs() <= tolerance * expected.abs().max(f64::MIN_POSITIVE)
        }
        _ => false,
    };
    ensure!(agrees, "{what} is {found:?} and should be {expected:?}");
    Ok(())
}

fn check_sample_ratio(results: &Value, truth: &Value) -> Result<()> {
    check("chi2", &results["sample_ratio"]["chi2"], &truth["chi2"], SAME)?;
    check(
        "p of the sample ratio",
        &results["sample_ratio"]["p_value"],
        &truth["p"],
        1e-8,
    )
}

/// A metric of zeros and ones against the unpooled z.
fn check_proportion(study: &Study, results: &Value, metric: &str, variant: &str, method: &str) -> Result<()> {
    let (truth, found) = (study.truth(method)?, comparison(results, metric, variant)?);
    let what = |part: &str| format!("{method}: {part}");
    let fixed = &found["absolute"]["fixed"];
    check(&what("difference"), &fixed["estimate"], &truth["diff"], SAME)?;
    check(
        &what("lift"),
        &found["relative"]["fixed"]["estimate"],
        &truth["rel_lift"],
        SAME,
    )?;
    let width = width(&truth["wald_ci95"])?;
    for (side, index) in [("lower", 0), ("upper", 1)] {
        let (bound, wanted) = (
            number(&fixed["interval"], side)?,
            truth["wald_ci95"][index].as_f64().context("a bound")?,
        );
        ensure!(
            (bound - wanted).abs() <= T_FOR_Z * width,
            "{}: {bound} and {wanted}",
            what(side)
        );
    }
    let units = &fixed["units"];
    let smaller = number(units, "control")?.min(number(units, "treatment")?);
    let (p, wanted, z) = (
        number(fixed, "p_value")?,
        number(truth, "p_unpooled")?,
        number(truth, "z_unpooled")?,
    );
    let allowed = (z.powi(4) + z.powi(2) + 1.0) / (2.0 * smaller);
    ensure!(
        (p.ln() - wanted.ln()).abs() <= allowed,
        "{}: {p:e} and {wanted:e}",
        what("p")
    );
    Ok(())
}

fn width(interval: &Value) -> Result<f64> {
    let bound = |index: usize| interval[index].as_f64().context("an interval has two bounds");
    Ok(bound(1)? - bound(0)?)
}

/// A metric of amounts against Welch's test, which is the very same method.
fn check_welch(study: &Study, results: &Value, metric: &str, variant: &str, method: &str) -> Result<()> {
    let (truth, found) = (study.truth(method)?, comparison(results, metric, variant)?);
    let fixed = &found["absolute"]["fixed"];
    check(
        &format!("{method}: difference"),
        &fixed["estimate"],
        &truth["diff"],
        SAME,
    )?;
    check(&format!("{method}: p"), &fixed["p_value"], &truth["p"], 1e-8)?;
    check(
        &format!("{method}: lower"),
        &fixed["interval"]["lower"],
        &truth["ci95"][0],
        1e-8,
    )?;
    check(
        &format!("{method}: upper"),
        &fixed["interval"]["upper"],
        &truth["ci95"][1],
        1e-8,
    )
}

#[test]
fn the_gate_of_cookie_cats_lowers_retention() -> Result<()> {
    // What must never change: the published numbers of this experiment come out of its events.
    let Some(study) = Study::replayed(Dataset::CookieCats)? else {
        return Ok(());
    };
    let results = study.results()?;
    ensure!(results["control"] == "gate_30", "{}", results["control"]);
    check_sample_ratio(&results, study.truth("srm_chi2_50_50")?)?;
    check_proportion(
        &study,
        &results,
        "retention_1_conversion",
        "gate_40",
        "retention_1",
    )?;
    check_proportion(
        &study,
        &results,
        "retention_7_conversion",
        "gate_40",
        "retention_7",
    )?;
    // A metric of the values 0 and 1 says the same as the share of users with an event.
    check_proportion(&study, &results, "retention_7", "gate_40", "retention_7")?;
    check_welch(
        &study,
        &results,
        "game_rounds",
        "gate_40",
        "welch_sum_gamerounds_all",
    )
}

#[test]
fn both_mailings_of_hillstrom_bring_visits_and_money() -> Result<()> {
    // What must never change: the published numbers of this experiment come out of its events, for both treatments.
    let Some(study) = Study::replayed(Dataset::HillstromEmail)? else {
        return Ok(());
    };
    let results = study.results()?;
    ensure!(results["control"] == "control", "{}", results["control"]);
    check_sample_ratio(&results, study.truth("srm_3way")?)?;
    for (variant, name) in [("mens", "Mens"), ("womens", "Womens")] {
        for metric in ["visit", "conversion"] {
            let method = format!("{metric} {name} E-Mail vs No E-Mail");
            check_proportion(
                &study,
                &results,
                &format!("{metric}_conversion"),
                variant,
                &method,
            )?;
        }
        check_welch(
            &study,
            &results,
            "spend",
            variant,
            &format!("welch spend {name} E-Mail"),
        )?;
    }
    Ok(())
}

#[test]
fn the_new_page_of_the_course_changes_nothing() -> Result<()> {
    // What must never change: the published numbers of this experiment come out of its events.
    let Some(study) = Study::replayed(Dataset::AbDataUdacity)? else {
        return Ok(());
    };
    let results = study.results()?;
    check_sample_ratio(&results, study.truth("srm_clean")?)?;
    check_proportion(
        &study,
        &results,
        "converted_conversion",
        "treatment",
        "converted_clean (drop",
    )?;
    let exposed: Vec<u64> = results["arms"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|arm| arm["exposed"].as_u64())
        .collect();
    ensure!(exposed == [145_274, 145_310], "{exposed:?}");
    Ok(())
}

#[test]
fn generate_writes_a_dataset_as_the_library_does() -> Result<()> {
    // What must never change: the command and the library make the same events of a dataset and a seed.
    let Some(datasets) = beside_the_repository("datasets") else {
        return Ok(());
    };
    let dataset = Dataset::AbDataUdacity;
    if !Path::new(&dataset.path(&datasets)).exists() {
        eprintln!("skipped: {} is not there", dataset.path(&datasets).display());
        return Ok(());
    }
    let mut expected = Vec::new();
    dataset.convert(&datasets, 5, &mut expected)?;
    let mut command = program(&["generate", "--dataset", dataset.name(), "--seed", "5", "--folder"]);
    let output = command.arg(&datasets).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        output.stdout == expected,
        "the command wrote {} bytes, not {}",
        output.stdout.len(),
        expected.len()
    );
    Ok(())
}
