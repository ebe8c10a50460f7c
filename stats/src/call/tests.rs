//! Calls by name: every method answers, and bad input is named.

use super::*;

fn ask(text: &str) -> Value {
    call(&serde_json::from_str(text).unwrap())
}

#[test]
fn a_request_is_answered_under_its_id_and_method() {
    let answer = ask(r#"{"id": 7, "method": "normal", "inputs": {"z": 0}}"#);
    assert_eq!(
        (answer["id"].as_u64(), answer["method"].as_str()),
        (Some(7), Some("normal"))
    );
    assert_eq!(answer["result"]["sf"].as_f64(), Some(0.5));
}

#[test]
fn whatever_is_wrong_is_said_with_a_code() {
    // What must never change: no request panics or goes unanswered.
    for (request, code) in [
        (r#"null"#, "invalid_input"),
        (r#"{"method": 3}"#, "invalid_input"),
        (r#"{"method": "no such method"}"#, "unknown_method"),
        (r#"{"method": "normal"}"#, "invalid_input"),
        (r#"{"method": "normal", "inputs": []}"#, "invalid_input"),
        (
            r#"{"method": "normal", "inputs": {"z": "three"}}"#,
            "invalid_input",
        ),
    ] {
        assert_eq!(ask(request)["error"]["code"], code, "{request}");
    }
}

#[test]
fn numbers_that_json_cannot_say_are_words_both_ways() {
    let answer = ask(r#"{"method": "normal", "inputs": {"z": "inf"}}"#);
    assert_eq!(answer["result"]["log_sf"], "-inf");
    assert_eq!(number(f64::NAN), "nan");
}

#[test]
fn method_names_are_unique() {
    let mut names: Vec<&str> = registry::METHODS.iter().map(|method| method.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn an_input_that_is_not_read_is_named() {
    // What must never change: a slip of the pen in an optional input does not pass unseen.
    let answer = ask(r#"{"method": "one_proportion_ci", "inputs": {"x": 1, "n": 9, "alhpa": 0.01}}"#);
    let warning = answer["result"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("alhpa") && warning.contains("alpha, n, x"),
        "{warning}"
    );
    let missing = ask(r#"{"method": "one_proportion_ci", "inputs": {"x": 1, "m": 9}}"#);
    let message = missing["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("n is missing") && message.contains("m, x"),
        "{message}"
    );
    let unknown = ask(r#"{"method": "welsh_t"}"#);
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("welch_t_from_sums") && message.contains("methods"),
        "{message}"
    );
}

#[test]
fn comparisons_answer_with_the_shared_names() {
    // What must never change: every comparison of two arms has its parts under the same names.
    let arms = r#""control": {"n": 100, "mean": 1, "var": 2}, "treatment": {"n": 120, "mean": 2, "var": 3}"#;
    let requests = [
        ("welch_t_from_sums", format!("{{{arms}}}")),
        ("pooled_t_from_sums", format!("{{{arms}}}")),
        (
            "tost_welch_mean_difference",
            r#"{"diff": 0, "var_each": 1, "n_control": 50, "n_treatment": 50, "margin": 1}"#.to_owned(),
        ),
        (
            "two_proportion",
            r#"{"x_control": 0, "n_control": 10000, "x_treatment": 300, "n_treatment": 10000}"#.to_owned(),
        ),
        (
            "poisson_two_rates",
            r#"{"count_control": 0, "exposure_control": 10, "count_treatment": 5, "exposure_treatment": 10}"#
                .to_owned(),
        ),
        (
            "mann_whitney_u",
            r#"{"control": [1, 2, 3, 4.5], "treatment": [2.5, 3.5, 4, 8, 9]}"#.to_owned(),
        ),
        (
            "cuped_mean",
            r#"{"control": {"n": 4, "post_sum": 10, "post_sum_squares": 30.5, "pre_sum": 10, "pre_sum_squares": 30,
                "cross_sum": 30}, "treatment": {"n": 4, "post_sum": 14, "post_sum_squares": 54.5, "pre_sum": 10,
                "pre_sum_squares": 30, "cross_sum": 40}}"#
                .to_owned(),
        ),
        (
            "quantile_difference",
            r#"{"q": 0.5, "control": [1,2,3,4,5,6,7,8,9,10,11,12], "treatment": [2,3,4,5,6,7,8,9,10,11,12,14]}"#
                .to_owned(),
        ),
    ];
    for (method, inputs) in requests {
        let answer = ask(&format!(r#"{{"method": "{method}", "inputs": {inputs}}}"#));
        let result = &answer["result"];
        for name in ["estimate", "standard_error", "p_value", "log10_p"] {
            assert!(result[name].is_f64(), "{method} {name}: {answer}");
        }
        assert!(result["interval"].is_object(), "{method}: {answer}");
        assert!(result.get("units").is_some(), "{method}: {answer}");
    }
    let absent = ask(
        r#"{"method": "welch_t_from_sums", "inputs": {"control": {"n": 9, "mean": 1, "var": 0},
        "treatment": {"n": 9, "mean": 1, "var": 0}}}"#,
    );
    assert_eq!(absent["result"]["reason"]["code"], "zero_variance");
}

#[test]
fn posteriors_answer_with_the_shared_names() {
    // What must never change: a Bayesian comparison has estimate, spread and interval like any other, its chances and
    // losses under one name, and no p-value.
    let rates =
        r#"{"x_control": 20, "n_control": 200, "x_treatment": 35, "n_treatment": 210, "prior": [1, 1]}"#;
    let counts = r#"{"count_control": 20, "exposure_control": 100, "count_treatment": 35, "exposure_treatment": 100,
        "prior_shape": 0.5, "prior_rate": 0.001}"#;
    let effect = r#"{"effect": 0.2, "se": 0.1}"#;
    let arms = r#"{"family": "normal", "arms": [{"mean": 1, "se": 0.1}, {"mean": 1.2, "se": 0.1}]}"#;
    for (method, inputs) in [
        ("beta_binomial", rates),
        ("gamma_poisson", counts),
        ("normal_normal_effect", effect),
        ("bayes_arms", arms),
    ] {
        let answer = ask(&format!(r#"{{"method": "{method}", "inputs": {inputs}}}"#));
        let result = match method {
            "bayes_arms" => &answer["result"]["arms"][1]["against_first"],
            _ => &answer["result"],
        };
        for name in ["estimate", "standard_error"] {
            assert!(result[name].is_f64(), "{method} {name}: {answer}");
        }
        let posterior = &result["posterior"];
        let chances =
            [&posterior["chance_to_win"], &posterior["chance_to_lose"]].map(|p| p.as_f64().unwrap());
        assert!((chances[0] + chances[1] - 1.0).abs() < 1e-9, "{method}: {answer}");
        let losses =
            [&posterior["loss_of_control"], &posterior["loss_of_treatment"]].map(|p| p.as_f64().unwrap());
        // What is lost by staying, less what is lost by changing, is the mean of the effect.
        let gap = losses[0] - losses[1] - result["estimate"].as_f64().unwrap();
        assert!(gap.abs() < 1e-9, "{method}: {answer}");
        assert!(
            result["interval"]["lower"].is_f64() && result["p_value"].is_null(),
            "{method}: {answer}"
        );
    }
}

#[test]
fn answers_about_one_sample_count_their_values() {
    // What must never change: what is not about two arms names its number of values n, beside the shared names.
    for (method, inputs) in [
        ("betting_cs_hedged", r#"{"x": [0.2, 0.4, 0.3], "alpha": 0.05}"#),
        (
            "predmix_empirical_bernstein_cs",
            r#"{"x": [0.2, 0.4, 0.3], "alpha": 0.05}"#,
        ),
        ("predmix_hoeffding_cs", r#"{"x": [0.2, 0.4, 0.3], "alpha": 0.05}"#),
        (
            "quantile_confidence_sequence",
            r#"{"values": [3, 1, 2], "quantile_p": 0.5, "t_opt": 100}"#,
        ),
        ("one_proportion_ci", r#"{"x": 1, "n": 3}"#),
    ] {
        let answer = ask(&format!(r#"{{"method": "{method}", "inputs": {inputs}}}"#));
        let result = &answer["result"];
        assert_eq!(result["n"], 3, "{answer}");
        assert!(
            result["estimate"].is_f64() && result["interval"].is_object(),
            "{answer}"
        );
        assert!(!result["assumptions"].as_array().unwrap().is_empty(), "{answer}");
    }
    let none = ask(r#"{"method": "betting_cs_hedged", "inputs": {"x": [], "alpha": 0.05}}"#);
    assert_eq!(none["result"]["reason"]["code"], "too_few_units");
}

#[test]
fn every_result_says_what_it_rests_on() {
    // What must never change: whatever the method, the result has its name, assumptions, warnings and a reason's place.
    for (method, inputs) in [
        ("normal", r#"{"z": 1}"#),
        ("group_sequential_obf", r#"{"K": 3, "alpha_two_sided": 0.05}"#),
        (
            "dunnett_test",
            r#"{"control": {"n": 9, "mean": 1, "var": 1}, "treatments": [{"n": 9, "mean": 2, "var": 1}]}"#,
        ),
    ] {
        let answer = ask(&format!(r#"{{"method": "{method}", "inputs": {inputs}}}"#));
        let result = &answer["result"];
        assert!(
            result["method"].is_string() && result["reason"].is_null(),
            "{answer}"
        );
        assert!(
            result["assumptions"].is_array() && result["warnings"].is_array(),
            "{answer}"
        );
        if let Some(comparisons) = result.get("comparisons") {
            assert!(comparisons[0]["p_value"].is_f64() && comparisons[0]["interval"].is_object());
        }
    }
}

#[test]
fn a_p_value_too_small_to_hold_keeps_its_logarithm() {
    // What must never change: the smallest p-values differ too. Truth: mpmath with 40 digits.
    let apart: Vec<u64> = (0..3_000).collect();
    let beyond: Vec<u64> = (5_000..8_000).collect();
    for (method, inputs, truth) in [
        (
            "mann_whitney_u",
            json!({"control": apart, "treatment": beyond}),
            -978.924_260_310_813_2,
        ),
        (
            "poisson_two_rates",
            json!({"count_control": 0, "exposure_control": 1, "count_treatment": 100_000, "exposure_treatment": 1}),
            -30102.698536402456,
        ),
    ] {
        let answer = call(&json!({"method": method, "inputs": inputs}));
        let log10 = answer["result"]["log10_p"].as_f64().unwrap();
        assert!((log10 / truth - 1.0).abs() < 1e-12, "{method} {log10}");
    }
}
