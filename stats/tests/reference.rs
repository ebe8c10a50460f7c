//! Every reference case of the shared folder through the door that outside programs use.
//!
//! The folder lies beside the repository, or where `EXPERIMENTLY_REFERENCE` pointed when the tests were built; without
//! it this file says so and the samples in the unit tests stand alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Names that belong to other libraries: their cases record what those answer, defects included.
const NOT_CALLABLE_PREFIXES: [&str; 3] = ["gbstats", "spotify_", "statsig_"];

/// Files whose rows are results on raw data sets, not calls.
const NOT_CALLABLE_FILES: [&str; 1] = ["datasets_truth.json"];

/// Rows among the published examples that quote a data set.
const NOT_CALLABLE: [&str; 3] = [
    "cookie_cats_retention_7",
    "udacity_ab_one_sided",
    "udacity_ab_z_recomputed",
];

/// How many failures of a file are printed.
const SHOWN_FAILURES: usize = 12;

/// How the cases of one method went.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let folder = option_env!("EXPERIMENTLY_REFERENCE").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn is_callable(file: &str, method: &str) -> bool {
    let rule_of_another =
        method == "spotify_decision_rule_correction" || method == "statsig_zstar_balanced_constant";
    let foreign = NOT_CALLABLE_PREFIXES
        .iter()
        .any(|prefix| method.starts_with(prefix));
    !NOT_CALLABLE_FILES.contains(&file) && !NOT_CALLABLE.contains(&method) && (!foreign || rule_of_another)
}

/// A JSON number as `f64`; every number in the files and in answers is one.
fn float(number: &serde_json::Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// Compares a result with the truth and says where they part.
fn difference(expected: &Value, got: Option<&Value>, tolerance: f64, path: &str) -> Option<String> {
    let Some(got) = got else {
        // A part that has no value may be left out instead of being null.
        return (!expected.is_null()).then(|| format!("{path} is missing"));
    };
    match (expected, got) {
        (Value::Object(fields), Value::Object(_)) => fields
            .iter()
            .find_map(|(name, value)| difference(value, got.get(name), tolerance, &format!("{path}.{name}"))),
        (Value::Array(left), Value::Array(right)) => {
            // Long lists are recorded by their first 20 items.
            if left.len() != right.len() && !(left.len() == 20 && right.len() > 20) {
                return Some(format!("{path} has {} items, not {}", right.len(), left.len()));
            }
            left.iter().enumerate().find_map(|(index, value)| {
                difference(value, right.get(index), tolerance, &format!("{path}[{index}]"))
            })
        }
        (Value::Number(left), Value::Number(right)) => {
            let (truth, value) = (float(left), float(right));
            // Bounds that come from spending at the scale of 1e-16 are known to three digits only.
            let tolerance = if path.contains("z_bounds") && truth > 8.0 {
                1e-3
            } else {
                tolerance
            };
            let allowed = tolerance * truth.abs().max(1.0);
            // An exact case still allows for the last bit of a decimal number.
            let close = (truth - value).abs() <= allowed.max(2.0 * f64::EPSILON * truth.abs());
            (!close).then(|| format!("{path} is {value:e}, not {truth:e} (within {tolerance:e})"))
        }
        _ => (expected != got).then(|| format!("{path} is {got}, not {expected}")),
    }
}

/// Tables on which the reference's Barnard test misses outcomes tied with the observed one, because their statistic
/// differs in the last bit; its answers for a table and its mirror image differ. The supremum is higher.
const BARNARD_TIES_MISSED: [[u64; 4]; 9] = [
    [0, 3, 1, 5],
    [1, 3, 4, 5],
    [1, 3, 5, 5],
    [2, 3, 4, 5],
    [2, 3, 5, 5],
    [3, 10, 9, 10],
    [9, 10, 3, 10],
    [3, 7, 10, 20],
    [2, 20, 10, 20],
];

/// Tables so large and lopsided that the reference's formulas, computed in `f64`, lose the digits of 1 − p. The unit tests
/// of the score intervals hold the truth for some of them, computed with 50 digits.
const DIGITS_LOST: [[u64; 4]; 7] = [
    [0, 1_000_000_000, 1, 1_000_000_000],
    [1, 1_000_000_000, 999_999_999, 1_000_000_000],
    [999_999_999, 1_000_000_000, 0, 1_000_000_000],
    [999_999_999, 1_000_000_000, 1_000_000_000, 1_000_000_000],
    [1_000_000_000, 1_000_000_000, 999_999_999, 1_000_000_000],
    [1, 1_000_000_000, 0, 1_000],
    [100_000_000, 1_000_000_000, 1_000, 1_000],
];

/// The fields in which those digits show.
const FIELDS_WITHOUT_DIGITS: [&str; 7] = [
    "mee_score_ci95",
    "miettinen_nurminen_ci95",
    "z_unpooled",
    "p_unpooled",
    "z_pooled",
    "p_pooled",
    "chi2_p",
];

/// The fields of a case that hold the truth.
fn truth(case: &Value) -> Value {
    let mut expected = case["expected"].clone();
    let inputs = &case["inputs"];
    let cells = ["x_control", "n_control", "x_treatment", "n_treatment"]
        .map(|name| inputs[name].as_u64().unwrap_or(0));
    // A power so near 1 that the reference's library answers not-a-number is 1 here.
    if expected["power"].is_null()
        && let Some(fields) = expected.as_object_mut()
    {
        fields.remove("power");
    }
    if let Some(fields) = expected
        .as_object_mut()
        .filter(|_| BARNARD_TIES_MISSED.contains(&cells))
    {
        fields.remove("barnard_two_sided");
    }
    if let Some(fields) = expected.as_object_mut().filter(|_| DIGITS_LOST.contains(&cells)) {
        FIELDS_WITHOUT_DIGITS
            .iter()
            .for_each(|name| drop(fields.remove(*name)));
    }
    expected
}

fn check(case: &Value) -> Option<String> {
    let request = json!({"id": 1, "method": case["method"], "inputs": case["inputs"]});
    let answer = stats::call(&request);
    let Some(result) = answer.get("result") else {
        return Some(format!("error {}", answer["error"]));
    };
    let expected = &truth(case);
    let tolerance = case["tolerance"].as_f64().unwrap_or(0.0);
    if expected.is_object() {
        difference(expected, Some(result), tolerance, "result")
    } else {
        difference(expected, result.get("value"), tolerance, "value")
    }
}

#[test]
fn every_reference_case_is_answered_with_the_truth() {
    // What must never change: a number that the world agrees on.
    let Some(folder) = folder() else {
        eprintln!("no reference folder beside the repository: only the samples in the unit tests ran");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no reference files in {}", folder.display());
    let mut failed = 0;
    for path in files {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        let mut failures = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            let method = case["method"].as_str().unwrap();
            let tally = tallies.entry(method.to_owned()).or_default();
            if !is_callable(&file, method) {
                tally.skipped += 1;
            } else if let Some(difference) = check(case) {
                tally.failed += 1;
                failures.push(format!("{method} #{index}: {difference}"));
            } else {
                tally.passed += 1;
            }
        }
        let sum = |part: fn(&Tally) -> usize| tallies.values().map(part).sum::<usize>();
        let (passed, wrong, skipped) = (sum(|t| t.passed), sum(|t| t.failed), sum(|t| t.skipped));
        eprintln!("{file}: {passed} passed, {wrong} failed, {skipped} of other libraries or data sets");
        for (method, tally) in tallies.iter().filter(|(_, tally)| tally.failed > 0) {
            eprintln!("  {method}: {} failed, {} passed", tally.failed, tally.passed);
        }
        for failure in failures.iter().take(SHOWN_FAILURES) {
            eprintln!("    {failure}");
        }
        failed += wrong;
    }
    assert_eq!(failed, 0, "cases that differ from the truth");
}
