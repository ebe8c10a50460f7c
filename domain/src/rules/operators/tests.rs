//! Operators on values of the right type, of the wrong type, and on none.

use super::*;

#[test]
fn the_documentation_defines_every_operator_and_no_other() {
    // What must never change: the one table of the documentation has a row for each operator.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/targeting.md")).unwrap();
    let table = page
        .split("<!-- operators -->")
        .nth(1)
        .expect("the table stands between two marks");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let expected: Vec<String> = Operator::ALL.iter().map(|operator| name(*operator)).collect();
    assert_eq!(documented, expected);
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        // Operator, value, holds when, missing, wrong type, limits.
        assert_eq!(row.matches(" | ").count(), 4, "{row}");
    }
}

fn name(operator: Operator) -> String {
    serde_json::to_value(operator)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn the_list_of_operators_is_complete() {
    // The names that serde knows are listed in its error for one that it does not know.
    let error = serde_json::from_str::<Operator>("\"?\"").unwrap_err().to_string();
    for operator in Operator::ALL {
        assert!(error.contains(&format!("`{}`", name(operator))), "{operator:?}");
    }
    assert_eq!(error.matches('`').count() / 2 - 1, Operator::ALL.len());
}
