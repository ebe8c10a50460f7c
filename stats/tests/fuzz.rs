//! No input makes a method panic: numbers of every size, not-a-numbers, wrong types, missing fields.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use stats::call::registry::METHODS;

/// Every input name that a method reads, with the shape that it mostly expects.
const COUNTS: [&str; 24] = [
    "n",
    "x",
    "k",
    "x1",
    "n1",
    "x2",
    "n2",
    "x_control",
    "n_control",
    "x_treatment",
    "n_treatment",
    "count_control",
    "count_treatment",
    "K",
    "looks",
    "k_treatments",
    "treatments",
    "metrics",
    "primary",
    "secondary",
    "sides",
    "trials",
    "successes",
    "sided",
];
const NUMBERS: [&str; 44] = [
    "z",
    "t",
    "df",
    "p",
    "x",
    "a",
    "b",
    "v",
    "s",
    "q",
    "alpha",
    "power",
    "sd",
    "delta",
    "variance",
    "margin",
    "diff",
    "effect",
    "se",
    "estimate",
    "N",
    "N_star",
    "V",
    "tau2",
    "rho",
    "p1",
    "p2",
    "baseline",
    "mde_absolute",
    "effect_sd",
    "n_per_group",
    "prior_mean",
    "prior_var",
    "exposure_control",
    "exposure_treatment",
    "alpha_two_sided",
    "v_opt",
    "alpha_opt",
    "c",
    "gamma",
    "beta",
    "var_each",
    "relative_mde",
    "alpha_per_side",
];
const LISTS: [&str; 12] = [
    "p",
    "e",
    "observed",
    "weights",
    "control",
    "treatment",
    "x",
    "counts",
    "t",
    "events_control",
    "events_treatment",
    "exposure_control",
];

/// A number as programs send them: ordinary, at a limit, or none at all.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-10.0_f64..10.0).prop_map(|value| json!(value)),
        3 => (0_u32..200).prop_map(|value| json!(value)),
        2 => (0.0_f64..1.0).prop_map(|value| json!(value)),
        1 => any::<f64>().prop_map(|value| json!(value)),
        1 => prop_oneof![
            Just(json!(0)), Just(json!(-0.0)), Just(json!(1e308)), Just(json!(5e-324)), Just(json!(1e9)),
            Just(json!("nan")), Just(json!("inf")), Just(json!("-inf")), Just(json!(null)), Just(json!("x")),
            Just(json!(true)), Just(json!([])), Just(json!({})),
        ],
    ]
}

fn arm() -> impl Strategy<Value = Value> {
    let fields = [
        "sum",
        "sum_squares",
        "num_sum",
        "num_sum_squares",
        "den_sum",
        "den_sum_squares",
        "cross_sum",
        "post_sum",
        "post_sum_squares",
        "pre_sum",
        "pre_sum_squares",
    ];
    (0_u32..50, prop::collection::vec(number(), fields.len())).prop_map(move |(n, values)| {
        let mut arm: Map<String, Value> = fields.iter().map(|name| (*name).to_owned()).zip(values).collect();
        arm.insert("n".to_owned(), json!(n));
        Value::Object(arm)
    })
}

/// Inputs with a shape of their own, made of the plain ones.
fn structured(plain: &Map<String, Value>) -> Map<String, Value> {
    let of = |name: &str| plain.get(name).cloned().unwrap_or(Value::Null);
    let arm = json!({
        "x": of("x1"), "n": of("n1"), "count": of("n2"), "exposure": of("V"), "mean": of("diff"), "se": of("se"),
        "mean_log": of("z"), "m2_log": of("V"), "estimate": of("estimate"), "traffic": of("n_control"),
        "share": of("alpha"), "m2": of("V"), "var": of("variance"),
    });
    let one_of = |names: &[&str]| {
        let index = plain.get("n").and_then(Value::as_u64).unwrap_or(0) as usize;
        json!(names[index % names.len()])
    };
    let fields = json!({
        "arms": [arm, arm, arm], "effects": [arm, arm], "batches": [arm, arm], "rope": [of("diff"), of("p")],
        "family": one_of(&["beta_binomial", "gamma_poisson", "normal", "log_normal"]),
        "rule": one_of(&["thompson", "lord_plus_plus", "top_two", "saffron"]),
        "metric": one_of(&["proportion", "mean", "ratio", "count"]),
        "looking": one_of(&["once", "group_sequential", "mixture_test", "confidence_sequence", "once"]),
        "goal": one_of(&["superiority", "non_inferiority", "equivalence"]),
        "correction": one_of(&["bonferroni", "dunnett", "sidak", "none", "holm"]),
        "units": of("N"), "numerator_mean": of("p1"), "numerator_sd": of("sd"), "denominator_mean": of("p2"),
        "denominator_sd": of("se"), "futility_spending": "HSD_-2", "alpha_one_sided": of("alpha_per_side"),
        "stopped_at_look": of("K"), "threshold": of("c"),
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// Inputs that hold something for every name that methods read.
fn inputs() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(number(), 0..6).prop_map(Value::Array);
    (
        prop::collection::vec(0_u32..30, COUNTS.len()),
        prop::collection::vec(number(), NUMBERS.len()),
        prop::collection::vec(list(), LISTS.len()),
        (arm(), arm()),
        0_u8..4,
    )
        .prop_map(|(counts, numbers, lists, arms, shape)| {
            let mut map: Map<String, Value> = NUMBERS
                .iter()
                .map(|name| (*name).to_owned())
                .zip(numbers)
                .collect();
            map.extend(
                COUNTS
                    .iter()
                    .map(|name| (*name).to_owned())
                    .zip(counts.into_iter().map(|count| json!(count))),
            );
            if shape > 0 {
                map.extend(LISTS.iter().map(|name| (*name).to_owned()).zip(lists));
            }
            if shape > 1 {
                map.insert("control".to_owned(), arms.0.clone());
                map.insert("treatment".to_owned(), arms.1.clone());
                map.insert("treatments".to_owned(), json!([arms.1]));
            }
            if shape == 3 {
                map.insert(
                    "strata".to_owned(),
                    json!([{"control": arms.0, "treatment": arms.1}]),
                );
                map.insert("spending".to_owned(), json!("LD_OBF"));
                map.insert("prior".to_owned(), json!([1, 1]));
                map.extend(structured(&map));
            }
            Value::Object(map)
        })
}

/// A plan and a summary, of arms whose metrics have a second value or none.
fn experiment() -> impl Strategy<Value = Value> {
    let kinds = ["sum", "count", "proportion"];
    let values = [None, Some("denominator"), Some("covariate")];
    let arm = (0_u64..5_000, prop::collection::vec(number(), 6), 0_usize..3);
    (prop::collection::vec(arm, 2..4), number(), 0_usize..4, any::<bool>()).prop_map(
        move |(arms, alpha, method, goals_first)| {
            let arms: Vec<Value> = arms
                .iter()
                .enumerate()
                .map(|(index, (n, numbers, shape))| {
                    let mut metric = json!({"kind": kinds[*shape], "units": n / 2,
                        "moments": {"n": n, "mean": numbers[0], "m2": numbers[1]}});
                    if let Some(value) = values[(*shape + index) % 3] {
                        metric["pair"] = json!({"value": value, "cross": numbers[2],
                            "moments": {"n": n, "mean": numbers[3], "m2": numbers[4]}});
                    }
                    json!({"variant": format!("arm_{index}"), "exposed": n, "metrics": {"revenue": metric}})
                })
                .collect();
            let method = ["sequential", "fixed_horizon", "group_sequential", "bayesian"][method];
            json!({"summary": {"arms": arms}, "plan": {"control": "arm_0", "method": method, "goals_first": goals_first,
                "alpha": if alpha.is_number() { alpha } else { json!(0.05) }, "looks": [100, 1_000]}})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_experiment_is_analysed_or_refused_by_name(inputs in experiment()) {
        // What must never change: whatever moments a program sends, there is an answer or a reason.
        let answer = stats::call(&json!({"method": "analysis", "inputs": inputs}));
        let named = answer["error"]["code"].is_string() && answer["error"]["message"].is_string();
        prop_assert!(answer["result"]["metrics"].is_array() || named, "{answer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_method_answers_whatever_it_is_given(inputs in inputs()) {
        // What must never change: an answer or a reason, for every method and every input.
        for method in METHODS {
            let answer = stats::call(&json!({"id": 7, "method": method.name, "inputs": inputs}));
            let named = answer["error"]["code"].is_string() && answer["error"]["message"].is_string();
            prop_assert!(answer["result"].is_object() || named, "{} {answer}", method.name);
            prop_assert_eq!(&answer["id"], &json!(7));
        }
    }
}

/// Inputs with an ordinary number for every word that stands for none.
fn tamed(value: &Value) -> Value {
    match value {
        Value::String(text) if text == "nan" || text == "x" => json!(0.5),
        Value::String(text) if text == "inf" => json!(1e300),
        Value::String(text) if text == "-inf" => json!(-1e300),
        Value::Array(list) => list.iter().map(tamed).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), tamed(value)))
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn finite_inputs_are_answered_with_numbers_or_a_reason(inputs in inputs()) {
        // What must never change: what cannot be computed is said to be so, never "not a number".
        let inputs = tamed(&inputs);
        for method in METHODS {
            // A plain test of ranks says so where all values are equal, as its reference does.
            if method.name == "mann_whitney_u" {
                continue;
            }
            let answer = stats::call(&json!({"method": method.name, "inputs": inputs}));
            let says_nothing = answer.to_string().contains("\"nan\"");
            prop_assert!(!says_nothing, "{} {answer} {inputs}", method.name);
        }
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(count, names.len());
}
