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
        for name in ["units", "assumptions", "warnings", "method", "reason"] {
            assert!(result.get(name).is_some(), "{method} {name}: {answer}");
        }
    }
    let absent = ask(
        r#"{"method": "welch_t_from_sums", "inputs": {"control": {"n": 9, "mean": 1, "var": 0},
        "treatment": {"n": 9, "mean": 1, "var": 0}}}"#,
    );
    assert_eq!(absent["result"]["reason"]["code"], "zero_variance");
}
