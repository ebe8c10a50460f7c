//! Further methods that are looked at once: lifts, covariates, strata, caps, quantiles, resampling, families of tests.

use serde_json::{Value, json};

use crate::once::{Case, Judge, run, sums};
use crate::random::Random;
use crate::report::{Claim, Report, Row};

/// The lift that the relative cases have.
const LIFT: f64 = 0.1;

/// All sections about further methods.
pub fn simulate(report: &mut Report) {
    report.say("## One look, further methods");
    report.say("Intervals under a true effect where the method has one, type I error where there is none. The limits leave one or two percentage points for what is only nearly normal in samples of this size.");
    let mut rows = means();
    rows.extend(others());
    report.claims(&rows);
}

fn covers(field: &'static str, least: f64) -> (Judge, Claim) {
    (Judge::Covers(field), Claim::AtLeast(least))
}

fn rejects(field: &'static str, most: f64) -> (Judge, Claim) {
    (Judge::Rejects(field), Claim::AtMost(most))
}

/// Lifts, adjusted means, strata, caps and margins.
fn means() -> Vec<Row> {
    let mut rows = run(
        "lift of 10 %, 60 users an arm",
        2_000,
        60,
        lift_case,
        &[
            covers("rel_ci95_logdelta_normal", 0.93),
            covers("fieller_rel_ci95", 0.93),
            covers("rel_ci95_delta_normal", 0.93),
        ],
    );
    rows.extend(run(
        "CUPED, 100 users an arm",
        2_000,
        61,
        cuped_case,
        &[covers("interval", 0.94), rejects("p_value", 0.06)],
    ));
    rows.extend(run(
        "post-stratified, 3 strata with known shares",
        2_000,
        62,
        strata_case,
        &[covers("interval", 0.94)],
    ));
    rows.extend(run(
        "winsorized means at a planned cap",
        2_000,
        63,
        capped_case,
        &[covers("interval", 0.94)],
    ));
    rows.extend(run(
        "equivalence, true difference at the margin",
        2_000,
        64,
        margin_case,
        &[rejects("p_tost", 0.05)],
    ));
    rows
}

/// Quantiles, resampling, ranks, rates and families of tests.
fn others() -> Vec<Row> {
    let mut rows = run(
        "median, 200 values an arm",
        1_000,
        65,
        median_case,
        &[covers("interval", 0.93)],
    );
    rows.extend(run(
        "90 % quantile, 150 users with 1 to 8 values",
        600,
        66,
        clustered_case,
        &[covers("interval", 0.92)],
    ));
    rows.extend(run(
        "Poisson bootstrap, 100 buckets an arm",
        300,
        67,
        bootstrap_case,
        &[covers("interval", 0.92)],
    ));
    rows.extend(run(
        "Mann–Whitney, chance to exceed 0.760",
        2_000,
        68,
        exceed_case,
        &[covers("interval", 0.93)],
    ));
    rows.extend(run(
        "difference of Poisson rates, means 8 and 18",
        2_000,
        69,
        rate_difference_case,
        &[covers("interval", 0.95)],
    ));
    rows.extend(run(
        "Dunnett, least of three p-values",
        2_000,
        70,
        dunnett_case,
        &[(Judge::Least("p"), Claim::About(0.05))],
    ));
    let families = ["holm", "hochberg", "hommel", "sidak", "bonferroni"];
    let families = families.map(|name| (Judge::Least(name), Claim::AtMost(0.05)));
    rows.extend(run(
        "five tests, none with an effect",
        4_000,
        71,
        family_case,
        &families,
    ));
    rows
}

fn draw(random: &mut Random, n: usize, of: impl Fn(&mut Random) -> f64) -> Vec<f64> {
    (0..n).map(|_| of(random)).collect()
}

fn estimate(values: &[f64]) -> Value {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let m2: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    json!({"estimate": mean, "se": (m2 / (n - 1.0) / n).sqrt()})
}

fn lift_case(random: &mut Random) -> Case {
    let control = draw(random, 60, |random| 10.0 * random.gamma(4.0));
    let treatment = draw(random, 60, |random| 10.0 * (1.0 + LIFT) * random.gamma(4.0));
    Case {
        method: "relative_change",
        inputs: json!({"control": estimate(&control), "treatment": estimate(&treatment)}),
        truth: LIFT,
    }
}

fn cuped_case(random: &mut Random) -> Case {
    let mut arm = || {
        let before = draw(random, 100, |random| 3.0 * random.gamma(2.0));
        let after: Vec<f64> = before.iter().map(|x| 0.7 * x + 2.0 * random.normal()).collect();
        let sum = |values: &[f64], power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>();
        let cross: f64 = before.iter().zip(&after).map(|(x, y)| x * y).sum();
        json!({"n": 100, "post_sum": sum(&after, 1), "post_sum_squares": sum(&after, 2), "pre_sum": sum(&before, 1),
            "pre_sum_squares": sum(&before, 2), "cross_sum": cross})
    };
    Case {
        method: "cuped_mean",
        inputs: json!({"control": arm(), "treatment": arm()}),
        truth: 0.0,
    }
}

fn strata_case(random: &mut Random) -> Case {
    let shares = [0.5, 0.3, 0.2];
    let mut strata = Vec::new();
    for (index, share) in shares.iter().enumerate() {
        let base = 5.0 * index as f64;
        // Chance decides how many of a stratum come, and its effect is its own: 1, 2 and 3.
        let sizes = [random.binomial(300, *share) + 5, random.binomial(300, *share) + 5];
        let control = draw(random, sizes[0] as usize, |random| base + random.normal());
        let effect = index as f64 + 1.0;
        let treatment = draw(random, sizes[1] as usize, |random| {
            base + effect + random.normal()
        });
        strata.push(json!({"weight": share, "control": sums(&control), "treatment": sums(&treatment)}));
    }
    Case {
        method: "post_stratified_difference",
        inputs: json!({"strata": strata}),
        truth: 0.5 + 0.6 + 0.6,
    }
}

fn capped_case(random: &mut Random) -> Case {
    // Exponential values capped at 3 have the mean 1 − e⁻³; twice as large ones 2·(1 − e^(−3/2)).
    let control = draw(random, 150, |random| random.gamma(1.0));
    let treatment = draw(random, 150, |random| 2.0 * random.gamma(1.0));
    Case {
        method: "winsorized_means",
        inputs: json!({"control": control, "treatment": treatment, "upper_cap": 3.0}),
        truth: 2.0 * (1.0 - (-1.5_f64).exp()) - (1.0 - (-3.0_f64).exp()),
    }
}

fn margin_case(random: &mut Random) -> Case {
    Case {
        method: "tost_welch_mean_difference",
        inputs: json!({"diff": 0.5 + (2.0_f64 / 250.0).sqrt() * random.normal(), "var_each": 1, "n_control": 250,
            "n_treatment": 250, "margin": 0.5}),
        truth: 0.5,
    }
}

fn median_case(random: &mut Random) -> Case {
    let control = draw(random, 200, |random| random.normal().exp());
    let treatment = draw(random, 200, |random| 1.5 * random.normal().exp());
    Case {
        method: "quantile_difference",
        inputs: json!({"q": 0.5, "control": control, "treatment": treatment}),
        truth: 0.5,
    }
}

fn clustered_case(random: &mut Random) -> Case {
    let mut arm = || -> Vec<Vec<f64>> {
        let user = |random: &mut Random| {
            let own = random.normal();
            let count = 1 + (8.0 * random.uniform()) as usize;
            draw(random, count, |random| own + random.normal())
        };
        (0..150).map(|_| user(random)).collect()
    };
    Case {
        method: "quantile_difference_clustered",
        inputs: json!({"q": 0.9, "control": arm(), "treatment": arm()}),
        truth: 0.0,
    }
}

fn bootstrap_case(random: &mut Random) -> Case {
    let seed = (1e6 * random.uniform()) as u64;
    let mut arm = || -> Vec<[f64; 2]> {
        let bucket = |random: &mut Random| [random.gamma(20.0), 10.0 + random.poisson(10.0) as f64];
        (0..100).map(|_| bucket(random)).collect()
    };
    Case {
        method: "poisson_bootstrap",
        inputs: json!({"control": arm(), "treatment": arm(), "replicates": 400, "seed": seed}),
        truth: 0.0,
    }
}

fn exceed_case(random: &mut Random) -> Case {
    // Normal values one standard deviation apart: the chance is Φ(1/√2).
    let control = draw(random, 25, Random::normal);
    let treatment = draw(random, 35, |random| 1.0 + random.normal());
    Case {
        method: "mann_whitney_u",
        inputs: json!({"control": control, "treatment": treatment}),
        truth: 0.760_249_938_906_523_5,
    }
}

fn rate_difference_case(random: &mut Random) -> Case {
    Case {
        method: "poisson_two_rates",
        inputs: json!({"count_control": random.poisson(8.0), "exposure_control": 2.0,
            "count_treatment": random.poisson(18.0), "exposure_treatment": 3.0}),
        truth: 2.0,
    }
}

fn dunnett_case(random: &mut Random) -> Case {
    let mut arm = |n: usize| sums(&draw(random, n, |random| 4.0 + random.normal()));
    let treatments = [arm(15), arm(15), arm(25)];
    Case {
        method: "dunnett_test",
        inputs: json!({"control": arm(20), "treatments": treatments}),
        truth: 0.0,
    }
}

fn family_case(random: &mut Random) -> Case {
    let p = draw(random, 5, Random::uniform);
    Case {
        method: "adjusted_p_values",
        inputs: json!({"p": p}),
        truth: 0.0,
    }
}
