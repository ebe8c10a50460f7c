//! What differs between two documents, as a list of places.
//!
//! Lists whose entries have a name (`id`, `key`, `metric` or `variation`) are compared by name, so that a rule put in
//! front of others is one difference and not one for each rule behind it.

use serde::Serialize;
use serde_json::{Map, Value};

/// The most differences that are told one by one; beyond them stands the whole document.
pub const DIFFERENCES_MAX: usize = 200;

/// The members by which entries of a list are told apart, the first that all have.
const NAMES: [&str; 4] = ["id", "key", "metric", "variation"];

/// One place at which two documents differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where, as a JSON pointer; an entry of a list of named things stands under its name.
    pub path: String,
    /// What stood there; absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What stands there; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Where two documents differ, in order of place.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    if found.len() > DIFFERENCES_MAX {
        return vec![difference("", Some(before), Some(after))];
    }
    found
}

fn difference(path: &str, before: Option<&Value>, after: Option<&Value>) -> Difference {
    Difference {
        path: path.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    }
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => members(path, before, after, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) => match named(before, after) {
            Some((old, new)) => {
                members(path, &old, &new, found);
                if old.keys().eq(new.keys()) && order(before) != order(after) {
                    found.push(difference(path, Some(&order(before)), Some(&order(after))));
                }
            }
            None => found.push(difference(
                path,
                Some(&Value::Array(before.clone())),
                Some(&Value::Array(after.clone())),
            )),
        },
        _ => found.push(difference(path, before, after)),
    }
}

fn members(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<Difference>) {
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let place = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        compare(&place, before.get(name), after.get(name), found);
    }
}

/// Both lists by the names of their entries, when every entry has one of its own.
fn named(before: &[Value], after: &[Value]) -> Option<(Map<String, Value>, Map<String, Value>)> {
    NAMES
        .iter()
        .find_map(|name| Some((by_name(before, name)?, by_name(after, name)?)))
}

fn by_name(entries: &[Value], name: &str) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for entry in entries {
        let key = entry.get(name)?.as_str()?.to_owned();
        map.insert(key, entry.clone());
    }
    (map.len() == entries.len()).then_some(map)
}

/// The names of a list's entries in their order.
fn order(entries: &[Value]) -> Value {
    let names = entries.iter().map(|entry| {
        let name = NAMES.iter().find_map(|name| entry.get(*name));
        name.cloned().unwrap_or(Value::Null)
    });
    Value::Array(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(before: &Value, after: &Value, expected: &Value) {
        let found = serde_json::to_value(differences(before, after)).unwrap();
        assert_eq!(&found, expected, "{before} {after}");
    }

    #[test]
    fn a_rule_is_found_by_its_id_wherever_it_stands() {
        // What must never change: a reader of the audit trail sees the one rule that changed.
        check(
            &json!({"rules": [{"id": "a", "serve": 1}, {"id": "b", "serve": 2}]}),
            &json!({"rules": [{"id": "new", "serve": 0}, {"id": "a", "serve": 1}, {"id": "b", "serve": 3}]}),
            &json!([
                {"path": "/rules/b/serve", "before": 2, "after": 3},
                {"path": "/rules/new", "after": {"id": "new", "serve": 0}}
            ]),
        );
    }

    #[test]
    fn order_values_and_absence_are_differences() {
        check(
            &json!({"rules": [{"id": "a"}, {"id": "b"}]}),
            &json!({"rules": [{"id": "b"}, {"id": "a"}]}),
            &json!([{"path": "/rules", "before": ["a", "b"], "after": ["b", "a"]}]),
        );
        check(
            &json!({"a/b": 1, "gone": null}),
            &json!({"a/b": {"c": 2}}),
            &json!([{"path": "/a~1b", "before": 1, "after": {"c": 2}}, {"path": "/gone", "before": null}]),
        );
        check(
            &json!([1, 2]),
            &json!([1, 3]),
            &json!([{"path": "", "before": [1, 2], "after": [1, 3]}]),
        );
        check(&json!({"a": 1}), &json!({"a": 1}), &json!([]));
    }
}
