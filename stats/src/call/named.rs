//! The named results that every comparison shares: added to what its method answers in the words of the references.

use serde_json::{Map, Value, json};

use crate::estimate::{ArmUnits, Estimate};

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

/// An answer about one sample: it names the number of its values `n` instead of units per arm.
pub fn completed_sample(result: Value, answer: &Estimate, n: u64) -> Value {
    let mut result = completed(result, answer);
    if let Some(fields) = result.as_object_mut() {
        fields.remove("units");
        fields.entry("n").or_insert(json!(n));
    }
    result
}

/// The units of an answer that is not about two arms.
pub const NO_ARMS: ArmUnits = ArmUnits {
    control: 0,
    treatment: 0,
};

/// A result that is no estimate, such as a design, with what it rests on.
pub fn resting_on(mut result: Value, assumptions: &[&str]) -> Value {
    if let Some(fields) = result.as_object_mut() {
        fields.entry("assumptions").or_insert(json!(assumptions));
    }
    result
}

/// Adds what every result has, whichever its method: the method's name, what it rests on, warnings, and a reason.
pub fn complete_any(result: &mut Value, method: &str) {
    let Some(fields) = result.as_object_mut() else {
        return;
    };
    fields.entry("method").or_insert(json!(method));
    fields.entry("assumptions").or_insert(json!([]));
    fields.entry("warnings").or_insert(json!([]));
    fields.entry("reason").or_insert(Value::Null);
}
