//! The named results that every comparison shares: added to what its method answers in the words of the references.

use serde_json::{Map, Value};

use crate::estimate::Estimate;

/// Adds estimate, interval, p-value, units, assumptions, warnings and reason where the result has no field of that name.
pub fn complete(result: &mut Map<String, Value>, answer: &Estimate) {
    let Ok(Value::Object(fields)) = serde_json::to_value(answer) else {
        return;
    };
    for (name, value) in fields {
        result.entry(name).or_insert(value);
    }
}

/// The same on a JSON object.
pub fn completed(mut result: Value, answer: &Estimate) -> Value {
    if let Some(fields) = result.as_object_mut() {
        complete(fields, answer);
    }
    result
}
