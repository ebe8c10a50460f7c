//! Several arms and strata against two other programs: what each row expects was computed in 40 digits by mpmath from the
//! definition, and agreed with scipy and statsmodels to the digits that they have.
//!
//! Rows hold ties, an offset of 10⁹, lopsided arms, arms of two to five values, sixty strata of nine units, an arm with a
//! single event in 10⁵ and one of 10⁸ units.

use serde_json::{Value, json};

/// The offset costs the inputs themselves digits of a mean; everything else keeps twelve.
const TOLERANCE: f64 = 1e-10;

/// The standard error of a log odds ratio is statsmodels' own, in double precision.
fn log_odds_error(result: &Value) -> &Value {
    &result["odds_ratio"]["standard_error"]
}

fn field<'a>(result: &'a Value, name: &str) -> &'a Value {
    match name {
        "risk_difference" | "risk_ratio" | "odds_ratio" => &result[name]["estimate"],
        "log_odds_se" => log_odds_error(result),
        _ => &result[name],
    }
}

#[test]
fn several_arms_and_strata_meet_two_other_programs() {
    let rows: Vec<Value> = include_str!("several/cases.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row is JSON"))
        .collect();
    assert_eq!(rows.len(), 19);
    for row in rows {
        let answer = stats::call(&json!({"method": row["method"], "inputs": row["inputs"]}));
        for (name, truth) in row["expected"].as_object().expect("expected values by name") {
            let ours = field(&answer["result"], name).as_f64();
            let (ours, truth) = (ours.unwrap_or(f64::NAN), truth.as_f64().expect("a number"));
            assert!(
                (ours - truth).abs() <= TOLERANCE * truth.abs(),
                "{} {name}: {ours:e} is not {truth:e}",
                row["method"]
            );
        }
    }
}
