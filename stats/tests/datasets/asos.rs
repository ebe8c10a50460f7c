//! Every look of 381 streams of experiments of an online shop.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ask, known, number, rows, truth};

/// One look at one stream of the ASOS data set.
struct Look {
    time: f64,
    n: [f64; 2],
    difference: f64,
    error: f64,
    p_value: f64,
}

#[test]
fn asos_at_its_looks() {
    let truth = truth();
    let path = "asos_digital/asos_digital_experiments_dataset.csv.gz";
    let Some(rows) = rows(path).filter(|_| !truth.is_empty()) else {
        return;
    };
    let mut streams: BTreeMap<[&str; 3], Vec<Look>> = BTreeMap::new();
    for row in &rows[1..] {
        let field = |index: usize| row[index].parse::<f64>().unwrap_or(f64::NAN);
        let arm = |n: usize, mean: usize, var: usize| json!({"n": field(n), "mean": field(mean), "var": field(var)});
        if !(field(8) + field(9)).is_finite() {
            continue;
        }
        let ours = ask(
            "welch_t_from_sums",
            &json!({"control": arm(4, 6, 8), "treatment": arm(5, 7, 9)}),
        );
        // A look without variance in both arms has no statistic.
        if !ours["se"].is_number() {
            continue;
        }
        let key = [row[0].as_str(), row[1].as_str(), row[2].as_str()];
        streams.entry(key).or_default().push(Look {
            time: field(3),
            n: [field(4), field(5)],
            difference: number(&ours["diff"]),
            error: number(&ours["se"]),
            p_value: number(&ours["p_two_sided"]),
        });
    }
    for looks in streams.values_mut() {
        looks.sort_by(|left, right| left.time.total_cmp(&right.time));
    }
    let shape = &known(&truth, "asos_digital", "shape")["expected"];
    assert_eq!(json!(rows.len() - 1), shape["rows"]);

    let last: Vec<f64> = streams
        .values()
        .filter_map(|looks| Some(looks.last()?.p_value))
        .collect();
    let adjusted = ask("adjusted_p_values", &json!({"p": last}));
    let below = |values: &Value| {
        let values = values.as_array().expect("a list");
        values.iter().filter(|p| number(p) < 0.05).count()
    };
    let found = json!({"streams": last.len(), "sig_05": below(&json!(last)),
                       "bh_05": below(&adjusted["bh"]), "holm_05": below(&adjusted["holm"])});
    assert_eq!(found, known(&truth, "asos_digital", "final snapshot")["expected"]);

    let is_far = |look: &Look| (look.difference / look.error).abs() > 1.96;
    let peeked = streams.values().filter(|looks| looks.iter().any(is_far)).count();
    let row = &known(&truth, "asos_digital", "peeking: streams")["expected"];
    assert_eq!(json!(peeked), row["any_look"]);

    for (target, name) in [(1e5, "N*=100000"), (1e6, "N*=1e+06"), (1e7, "N*=1e+07")] {
        let rejected = |look: &Look| {
            let inputs = json!({"estimate": look.difference, "se": look.error, "N": look.n[0] + look.n[1],
                                "N_star": target, "alpha": 0.05});
            let answer = ask("asymptotic_cs_normal_mixture", &inputs);
            number(&answer["p_two_sided"]) <= 0.05
        };
        let count = streams
            .values()
            .filter(|looks| looks.iter().any(rejected))
            .count();
        let method = format!("anytime: asymptotic CS two-sided alpha=.05 {name}");
        let row = &known(&truth, "asos_digital", &method)["expected"];
        assert_eq!(json!(count), row["rejected_any_look"], "{name}");
    }
}
