//! What other libraries get right, we answer with the same digits: their recorded outputs against our equivalent methods.
//!
//! The recordings hold defects too. Rows are left out where the library answered an error or a sentinel, and where it
//! computed a variance from sums that had lost its digits; everything else must agree. The folder lies beside the
//! repository, as for the reference cases.

use std::path::Path;

use serde_json::{Value, json};
use stats::special::student_t;

/// Relative to 1 or to the value, whichever is larger: the libraries subtract tails from 1 and sums from sums.
const TOLERANCE: f64 = 1e-8;

/// Sums of squares this many times the variance have cost the other side digits beyond the tolerance.
const LOST_DIGITS: f64 = 1e5;

/// The recorded rows of a file, or none where the folder is absent.
fn rows(file: &str) -> Vec<Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let folder = option_env!("EXPERIMENTLY_REFERENCE").map_or(beside, Into::into);
    let path = folder.join(file);
    // The reference cases say that the folder is absent.
    let Ok(bytes) = std::fs::read(path) else {
        return Vec::new();
    };
    serde_json::from_slice(&bytes).expect("a recording is a list of rows")
}

fn ask(method: &str, inputs: &Value) -> Value {
    let answer = stats::call(&json!({"id": 1, "method": method, "inputs": inputs}));
    assert!(answer["result"].is_object(), "{method} {inputs}: {answer}");
    answer["result"].clone()
}

/// A recorded number; "inf" and its kin as what they stand for.
fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

#[track_caller]
fn same(ours: &Value, theirs: &Value, what: &str) {
    let (ours, theirs) = (number(ours), number(theirs));
    assert!(
        (ours - theirs).abs() <= TOLERANCE * theirs.abs().max(1.0),
        "{what}: {ours:e} is not {theirs:e}"
    );
}

/// Fails when fewer rows were compared than the file is known to hold.
fn enough(compared: usize, all: &[Value], least: usize) {
    assert!(
        all.is_empty() || compared >= least,
        "only {compared} rows were compared"
    );
}

fn keeps_its_digits(arm: &Value) -> bool {
    let (n, sum, squares) = (
        number(&arm["n"]),
        number(&arm["sum"]),
        number(&arm["sum_squares"]),
    );
    let centred = squares - sum * sum / n;
    centred > 0.0 && squares < LOST_DIGITS * centred
}

#[test]
fn means_agree_with_growthbooks_t_tests_and_posteriors() {
    let rows = rows("gbstats_edge.json");
    let mut compared = 0;
    for row in &rows {
        let (inputs, theirs) = (&row["inputs"], &row["expected"]);
        let sound = row["method"] == "gbstats_edge_mean"
            && theirs["two_sided_abs"]["error"].is_null()
            && theirs["two_sided_rel"]["error"].is_null()
            && keeps_its_digits(&inputs["control"])
            && keeps_its_digits(&inputs["treatment"]);
        if !sound {
            continue;
        }
        compared += 1;
        let ours = ask("welch_t_from_sums", inputs);
        let absolute = &theirs["two_sided_abs"];
        same(&ours["diff"], &absolute["expected"], "difference");
        same(&ours["se"], &absolute["sd"], "standard error");
        same(&ours["ci95"][0], &absolute["ci"][0], "lower end");
        same(&ours["ci95"][1], &absolute["ci"][1], "upper end");
        same(&ours["p_two_sided"], &absolute["p"], "p-value");
        same(
            &ours["p_greater"],
            &theirs["greater_abs"]["p"],
            "p-value, greater",
        );
        same(&ours["p_less"], &theirs["lesser_abs"]["p"], "p-value, less");
        relative_agrees(&ours, theirs);
        watched_agrees(inputs, &ours, theirs);
    }
    enough(compared, &rows, 100);
}

/// The relative change, its p-value and its posteriors under a flat and under their usual prior.
fn relative_agrees(ours: &Value, theirs: &Value) {
    let relative = &theirs["two_sided_rel"];
    // They divide by the size of a negative baseline's mean; a relative change keeps the sign here.
    if number(&ours["mean_c"]) <= 0.0 || ours["rel_lift"].is_null() {
        return;
    }
    same(&ours["rel_lift"], &relative["expected"], "relative change");
    same(&ours["rel_lift_se_delta"], &relative["sd"], "its standard error");
    let t = number(&ours["rel_lift"]) / number(&ours["rel_lift_se_delta"]);
    let p_value = student_t::two_sided(t, number(&ours["df"]));
    same(&json!(p_value), &relative["p"], "its p-value");
    for (name, prior) in [("bayes_flat_rel", None), ("bayes_prior_rel", Some(0.09))] {
        let recorded = &theirs[name];
        let posterior = ask(
            "normal_normal_effect",
            &json!({
                "effect": ours["rel_lift"], "se": ours["rel_lift_se_delta"], "prior_mean": 0, "prior_var": prior,
            }),
        );
        same(&posterior["post_mean"], &recorded["expected"], "posterior mean");
        same(&posterior["chance_to_win"], &recorded["ctw"], "chance to win");
        same(&posterior["ci95"][0], &recorded["ci"][0], "credible interval");
        same(
            &posterior["risk_choose_control"],
            &recorded["risk"][0],
            "loss of control",
        );
        same(
            &posterior["risk_choose_treatment"],
            &recorded["risk"][1],
            "loss of treatment",
        );
    }
}

/// The confidence sequence with their usual tuning.
fn watched_agrees(inputs: &Value, ours: &Value, theirs: &Value) {
    let units = number(&inputs["control"]["n"]) + number(&inputs["treatment"]["n"]);
    let sequence = ask(
        "asymptotic_cs_normal_mixture",
        &json!({"estimate": ours["diff"], "se": ours["se"], "N": units, "N_star": 5000, "alpha": 0.05}),
    );
    let recorded = &theirs["seq_two_abs"]["ci"];
    same(&sequence["lower"], &recorded[0], "lower end, watched");
    same(&sequence["upper"], &recorded[1], "upper end, watched");
}

#[test]
fn proportions_agree_with_spotifys_tests() {
    let rows = rows("spotify_confidence.json");
    let mut compared = 0;
    for row in &rows {
        let (inputs, theirs) = (&row["inputs"], &row["expected"]);
        let (p_name, ends) = match row["method"].as_str().unwrap() {
            "spotify_ZTest" => ("p_unpooled", true),
            "spotify_ChiSquared" => ("chi2_p", false),
            _ => continue,
        };
        if number(&theirs["p-value"]).is_nan() {
            continue;
        }
        compared += 1;
        let ours = ask("two_proportion", inputs);
        same(&ours["diff"], &theirs["difference"], "difference");
        same(&ours[p_name], &theirs["p-value"], p_name);
        if ends {
            same(&ours["wald_ci95"][0], &theirs["ci_lower"], "lower end");
            same(&ours["wald_ci95"][1], &theirs["ci_upper"], "upper end");
        }
    }
    enough(compared, &rows, 150);
}

#[test]
fn spending_boundaries_agree_with_spotifys_within_their_error() {
    // Their trapezoid is off by up to 1.7e-3 in the boundary.
    let rows = rows("spotify_confidence.json");
    let bounds: Vec<&Value> = rows
        .iter()
        .filter(|row| row["method"] == "spotify_sequential_bounds")
        .collect();
    for row in &bounds {
        let ours = ask("group_sequential_spending", &row["inputs"]);
        let theirs = row["expected"].as_array().unwrap();
        for (index, theirs) in theirs.iter().enumerate() {
            let (ours, theirs) = (number(&ours["z_bounds"][index]), number(theirs));
            // Beyond eight standard deviations they cut off.
            assert!(
                theirs > 7.9 || (ours - theirs).abs() < 2e-3,
                "{row}: {ours} {theirs}"
            );
        }
    }
    enough(bounds.len(), &rows, 50);
}

#[test]
fn recorded_tests_of_growthbook_hold() {
    let rows = rows("gbstats_tests.json");
    let mut compared = 0;
    for row in &rows {
        let (inputs, theirs) = (&row["inputs"], &row["expected"]);
        match row["method"].as_str().unwrap() {
            "gbstats.utils.check_srm" => {
                let weights = inputs["weights"].as_array().unwrap();
                // They count an arm without a share as a degree of freedom.
                if weights.iter().all(|weight| number(weight) > 0.0) {
                    let ours = ask(
                        "srm_chi2",
                        &json!({"observed": inputs["users"], "weights": weights}),
                    );
                    same(&ours["p"], theirs, "sample ratio");
                    compared += 1;
                }
            }
            "gbstats.TwoSidedTTest.compute_result" => {
                compared += usize::from(one_stratum_agrees(inputs, theirs));
            }
            _ => {}
        }
    }
    enough(compared, &rows, 10);
}

/// A test of two means without strata or covariates; whether it is one.
fn one_stratum_agrees(inputs: &Value, theirs: &Value) -> bool {
    let arms = &inputs["stats"][0];
    let config = &inputs["config"];
    let plain = inputs["stats"].as_array().is_some_and(|strata| strata.len() == 1)
        && arms[0]["_type"] == "SampleMeanStatistic"
        && config["test_value"] == 0
        && theirs["errorMessage"].is_null()
        && keeps_its_digits(&arms[0])
        && keeps_its_digits(&arms[1]);
    if !plain {
        return false;
    }
    let arm = |arm: &Value| json!({"n": arm["n"], "sum": arm["sum"], "sum_squares": arm["sum_squares"]});
    let request = json!({"control": arm(&arms[0]), "treatment": arm(&arms[1]), "alpha": config["alpha"]});
    let ours = ask("welch_t_from_sums", &request);
    if config["difference_type"] == "relative" {
        same(&ours["rel_lift"], &theirs["expected"], "relative change");
        same(
            &ours["rel_lift_se_delta"],
            &theirs["uplift"]["stddev"],
            "its standard error",
        );
    } else {
        same(&ours["diff"], &theirs["expected"], "difference");
        same(&ours["ci95"][0], &theirs["ci"][0], "lower end");
    }
    true
}

#[test]
fn special_functions_agree_with_statrs_where_it_has_digits() {
    use stats::special::{beta, gamma, normal};
    let near = |ours: f64, theirs: f64, what: &str| {
        assert!(
            (ours - theirs).abs() < 1e-10 * theirs.abs().max(1e-2),
            "{what}: {ours:e} {theirs:e}"
        );
    };
    for index in 1..60 {
        let z = 0.1 * f64::from(index);
        near(
            normal::sf(z),
            0.5 * statrs::function::erf::erfc(z / std::f64::consts::SQRT_2),
            "normal tail",
        );
        let p = f64::from(index) / 121.0;
        near(
            normal::isf(p),
            std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * p),
            "normal quantile",
        );
        let (a, b) = (0.3 * f64::from(index), 2.0 + 0.1 * f64::from(index));
        let x = p + 0.2;
        near(
            beta::beta_cdf(a, b, x),
            statrs::function::beta::beta_reg(a, b, x),
            "incomplete beta",
        );
        near(
            gamma::ln_gamma_tails(a, z + 1.0).lower.exp(),
            statrs::function::gamma::gamma_lr(a, z + 1.0),
            "incomplete gamma",
        );
    }
}
