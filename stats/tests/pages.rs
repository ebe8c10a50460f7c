//! The worked examples of `docs/statistics`: what a reader recomputes by hand is what the library answers.
//!
//! On a page a request stands in one block of JSON and the answer in the next. The answer may leave fields out; its
//! numbers are right to the digits that are printed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stats::call::registry::METHODS;

/// Pages that hold no method: the overview, what is measured, the names, and the door for whole experiments.
const WITHOUT_EXAMPLES: [&str; 4] = ["README.md", "calibration.md", "by-name.md", "analysis.md"];

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/statistics");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the pages stand beside the crate")
        .map(|entry| entry.expect("a folder that opens can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages
}

/// The blocks of JSON on a page.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

/// Half of the last digit that a number is printed with; nearly nothing for a whole number.
fn half_digit(printed: &str) -> f64 {
    let (mantissa, exponent) = printed.split_once(['e', 'E']).unwrap_or((printed, "0"));
    let Some((_, decimals)) = mantissa.split_once('.') else {
        return 1e-9;
    };
    let exponent: i32 = exponent.parse().expect("JSON has whole exponents");
    0.5 * 10.0_f64.powi(exponent - decimals.len() as i32)
}

/// Where an answer differs from what the page prints.
fn difference(printed: &Value, answer: &Value, path: &str) -> Option<String> {
    match (printed, answer) {
        (Value::Object(fields), Value::Object(found)) => fields.iter().find_map(|(name, value)| {
            difference(
                value,
                found.get(name).unwrap_or(&Value::Null),
                &format!("{path}.{name}"),
            )
        }),
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                return Some(format!("{path} has {} entries, not {}", right.len(), left.len()));
            }
            let pairs = left.iter().zip(right).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (left, right))| difference(left, right, &format!("{path}[{index}]")))
        }
        (Value::Number(left), Value::Number(right)) => {
            let float = |number: &serde_json::Number| number.as_f64().unwrap_or(f64::NAN);
            let gap = (float(left) - float(right)).abs();
            let allowed = half_digit(&left.to_string()) * (1.0 + 1e-6);
            (gap.is_nan() || gap > allowed).then(|| format!("{path} is {right}, not {left}"))
        }
        _ => (printed != answer).then(|| format!("{path} is {answer}, not {printed}")),
    }
}

#[test]
fn every_worked_example_is_answered_as_printed() {
    // What must never change: a page does not promise a number that the library does not give.
    let mut wrong = Vec::new();
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&page).unwrap();
        let blocks = blocks(&text);
        let mut examples = 0;
        for (index, block) in blocks.iter().enumerate() {
            let Ok(request) = serde_json::from_str::<Value>(block) else {
                wrong.push(format!("{name}: block {index} is not JSON"));
                continue;
            };
            if request.get("method").is_none_or(|method| !method.is_string())
                || request.get("inputs").is_none()
            {
                continue;
            }
            let printed: Value = serde_json::from_str(blocks[index + 1]).unwrap();
            let result = stats::call(&request)["result"].clone();
            let is_empty = printed.as_object().is_none_or(serde_json::Map::is_empty);
            if is_empty {
                wrong.push(format!(
                    "{name}: {} promises nothing; it answers {result}",
                    request["method"]
                ));
            } else if let Some(difference) = difference(&printed, &result, "result") {
                wrong.push(format!("{name}: {} {difference}", request["method"]));
            }
            examples += 1;
        }
        if examples == 0 && !WITHOUT_EXAMPLES.contains(&name.as_str()) {
            wrong.push(format!("{name} has no worked example"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_method_stands_on_the_page_of_names() {
    // What must never change: whoever looks for a name finds it, and finds none that is not answered.
    let page = pages()
        .into_iter()
        .find(|page| page.ends_with("by-name.md"))
        .unwrap();
    let text = std::fs::read_to_string(page).unwrap();
    let mut listed: Vec<&str> = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let names = row.split('|').nth(1).unwrap();
        listed.extend(names.split('`').skip(1).step_by(2));
    }
    let known: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    let missing: Vec<&&str> = known.iter().filter(|name| !listed.contains(name)).collect();
    let unknown: Vec<&&str> = listed.iter().filter(|name| !known.contains(name)).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing {missing:?}, unknown {unknown:?}"
    );
}

#[test]
fn a_printed_digit_that_is_wrong_is_found() {
    assert_eq!(
        difference(&json!({"a": [1.25]}), &json!({"a": [1.2549], "b": 3}), ""),
        None
    );
    assert!(difference(&json!({"a": [1.25]}), &json!({"a": [1.2551]}), "").is_some());
    assert!(difference(&json!(1.8e-6), &json!(1.86e-6), "").is_some());
    assert!(difference(&json!(16), &json!(16.1), "").is_some());
    assert!(difference(&json!({"a": null}), &json!({"a": 1}), "").is_some());
    assert!(difference(&json!({"a": 1}), &json!({}), "").is_some());
}
