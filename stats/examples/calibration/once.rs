//! Intervals and tests that are looked at once, through the door that outside programs use.

use serde_json::{Value, json};

use crate::random::Random;
use crate::report::{Claim, Report, Row};

/// A simulated data set as the inputs of a method, and the true effect.
pub struct Case {
    /// Its name.
    pub method: &'static str,
    /// What it is given.
    pub inputs: Value,
    /// What it estimates.
    pub truth: f64,
}

/// What of a result is judged.
pub enum Judge {
    /// A p-value of at most 0.05 counts.
    Rejects(&'static str),
    /// A list of p-values counts whose least one is at most 0.05.
    Least(&'static str),
    /// An interval that holds the true effect counts.
    Covers(&'static str),
}

/// All sections about a single look.
pub fn simulate(report: &mut Report) {
    report.say("## One look");
    report.say("Type I error without an effect at 0.05, and coverage of 95 % intervals. Exact tests are conservative by nature; approximate ones may stray a little in small samples, and the limits allow one percentage point for that.");
    let mut rows = Vec::new();
    let welch = [
        (Judge::Rejects("p_two_sided"), Claim::About(0.05)),
        (Judge::Covers("ci95"), Claim::About(0.95)),
    ];
    rows.extend(run(
        "Welch's t, 12 and 40 units, variances 1 and 9",
        4_000,
        30,
        welch_case,
        &welch,
    ));
    let proportions = [
        (Judge::Rejects("fisher_two_sided"), Claim::AtMost(0.05)),
        (Judge::Rejects("p_pooled"), Claim::AtMost(0.06)),
        (Judge::Covers("newcombe_hybrid_score_ci95"), Claim::AtLeast(0.94)),
        (Judge::Covers("miettinen_nurminen_ci95"), Claim::AtLeast(0.94)),
        (Judge::Covers("agresti_caffo_ci95"), Claim::AtLeast(0.94)),
        (Judge::Covers("wald_ci95"), Claim::Nothing),
    ];
    rows.extend(run(
        "two proportions, 25 and 35 units, 20 %",
        1_000,
        31,
        proportion_case,
        &proportions,
    ));
    let rates = [
        (Judge::Rejects("exact_central_two_sided"), Claim::AtMost(0.05)),
        (Judge::Rejects("score_p"), Claim::AtMost(0.06)),
        (Judge::Covers("rate_ratio_exact_ci95"), Claim::AtLeast(0.95)),
    ];
    rows.extend(run(
        "two Poisson rates, means 8 and 12",
        2_000,
        32,
        rate_case,
        &rates,
    ));
    let ratios = [
        (Judge::Rejects("p_welch"), Claim::AtMost(0.06)),
        (Judge::Covers("ci95_normal"), Claim::AtLeast(0.94)),
    ];
    rows.extend(run(
        "ratio metric by the delta method, 200 users an arm",
        2_000,
        33,
        ratio_case,
        &ratios,
    ));
    let ranks = [(Judge::Rejects("asymptotic_cc"), Claim::AtMost(0.05))];
    rows.extend(run("Mann–Whitney, 15 and 20 units", 2_000, 34, rank_case, &ranks));
    report.claims(&rows);
}

/// Simulates data sets of one kind and judges the answers.
pub fn run(
    name: &str,
    runs: usize,
    seed: u64,
    draw: fn(&mut Random) -> Case,
    judges: &[(Judge, Claim)],
) -> Vec<Row> {
    let mut random = Random::new(seed);
    let mut hits = vec![0; judges.len()];
    let mut answered = vec![0; judges.len()];
    for _ in 0..runs {
        let case = draw(&mut random);
        let answer = stats::call(&json!({"method": case.method, "inputs": case.inputs}));
        for (index, (judge, _)) in judges.iter().enumerate() {
            let Some(hit) = verdict(judge, &answer["result"], case.truth) else {
                continue;
            };
            answered[index] += 1;
            hits[index] += usize::from(hit);
        }
    }
    let field = |judge: &Judge| match judge {
        Judge::Rejects(field) | Judge::Least(field) | Judge::Covers(field) => *field,
    };
    let row = |index: usize, (judge, claim): &(Judge, Claim)| {
        Row::new(
            format!("{name}: `{}`", field(judge)),
            *claim,
            hits[index],
            answered[index],
        )
    };
    judges
        .iter()
        .enumerate()
        .map(|(index, judge)| row(index, judge))
        .collect()
}

fn verdict(judge: &Judge, result: &Value, truth: f64) -> Option<bool> {
    match judge {
        // Some tests answer their statistic and the p-value in a list.
        Judge::Rejects(field) => {
            let value = &result[field];
            Some(value.as_f64().or_else(|| value.get(1)?.as_f64())? <= 0.05)
        }
        Judge::Least(field) => {
            let least = result[field].as_array()?.iter().filter_map(Value::as_f64);
            Some(least.fold(1.0, f64::min) <= 0.05)
        }
        Judge::Covers(field) => {
            // A pair, or an object with names for both ends.
            let interval = &result[field];
            let end = |index: usize, name: &str, open: f64| match interval
                .get(index)
                .or_else(|| interval.get(name))?
            {
                Value::String(_) | Value::Null => Some(open),
                number => number.as_f64(),
            };
            let (low, high) = (
                end(0, "lower", f64::NEG_INFINITY)?,
                end(1, "upper", f64::INFINITY)?,
            );
            Some((low..=high).contains(&truth))
        }
    }
}

/// The sums of an arm.
pub fn sums(values: &[f64]) -> Value {
    json!({"n": values.len(), "sum": values.iter().sum::<f64>(), "sum_squares": values.iter().map(|x| x * x).sum::<f64>()})
}

fn welch_case(random: &mut Random) -> Case {
    let control: Vec<f64> = (0..12).map(|_| 5.0 + random.normal()).collect();
    let treatment: Vec<f64> = (0..40).map(|_| 5.0 + 3.0 * random.normal()).collect();
    Case {
        method: "welch_t_from_sums",
        inputs: json!({"control": sums(&control), "treatment": sums(&treatment), "alpha": 0.05}),
        truth: 0.0,
    }
}

fn proportion_case(random: &mut Random) -> Case {
    let (control, treatment) = (random.binomial(25, 0.2), random.binomial(35, 0.2));
    Case {
        method: "two_proportion",
        inputs: json!({"x_control": control, "n_control": 25, "x_treatment": treatment, "n_treatment": 35, "alpha": 0.05}),
        truth: 0.0,
    }
}

fn rate_case(random: &mut Random) -> Case {
    let (control, treatment) = (random.poisson(8.0), random.poisson(12.0));
    Case {
        method: "poisson_two_rates",
        inputs: json!({"count_control": control, "exposure_control": 2.0, "count_treatment": treatment, "exposure_treatment": 3.0}),
        truth: 1.0,
    }
}

fn ratio_case(random: &mut Random) -> Case {
    let mut arm = || {
        let pairs: Vec<[f64; 2]> = (0..200)
            .map(|_| {
                // Orders of a user, and their value, which goes with the number of orders.
                let orders = 1.0 + random.poisson(2.0) as f64;
                [orders * (10.0 + 2.0 * random.normal()) + random.normal(), orders]
            })
            .collect();
        let sum = |of: fn(&[f64; 2]) -> f64| pairs.iter().map(of).sum::<f64>();
        json!({
            "n": 200,
            "num_sum": sum(|pair| pair[0]),
            "num_sum_squares": sum(|pair| pair[0] * pair[0]),
            "den_sum": sum(|pair| pair[1]),
            "den_sum_squares": sum(|pair| pair[1] * pair[1]),
            "cross_sum": sum(|pair| pair[0] * pair[1]),
        })
    };
    Case {
        method: "ratio_metric_delta",
        inputs: json!({"control": arm(), "treatment": arm(), "alpha": 0.05}),
        truth: 0.0,
    }
}

fn rank_case(random: &mut Random) -> Case {
    let mut arm = |n: usize| (0..n).map(|_| random.gamma(0.7)).collect::<Vec<f64>>();
    Case {
        method: "mann_whitney_u",
        inputs: json!({"control": arm(15), "treatment": arm(20)}),
        truth: 0.0,
    }
}
