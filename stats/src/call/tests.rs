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
