//! Any method by name: one JSON request in, one JSON answer out.
//!
//! A request is `{"id", "method", "inputs"}`; the answer is `{"id", "method", "result"}`, or `{"id", "error"}` with a
//! `code` and a `message`. Numbers that JSON has no word for are the strings "inf", "-inf" and "nan", both ways.
//! The list of methods is [`registry::METHODS`]; reading lines and sending answers is left to the caller.

pub mod inputs;
pub mod registry;

mod analysis;
mod bandits;
mod bayes;
mod design;
mod group;
mod means;
mod multiple;
mod named;
mod plan;
mod portfolio;
mod power;
mod proportions;
mod ratios;
mod samples;
mod sequential;
mod special;
mod variance;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::StatsError;
use inputs::Inputs;

/// No more unread inputs than this are warned of.
const MAX_UNREAD: usize = 5;

/// Answers one request.
///
/// Never panics and never fails: whatever is wrong with the request is said in the answer's `error`.
pub fn call(request: &Value) -> Value {
    let id = request.get("id").cloned().unwrap_or(Value::Null);
    match answer(request) {
        Ok((method, result)) => json!({"id": id, "method": method, "result": result}),
        Err(error) => json!({"id": id, "error": {"code": error.code(), "message": error.to_string()}}),
    }
}

/// The name and the result of the method that a request asks for.
fn answer(request: &Value) -> Result<(&'static str, Value), StatsError> {
    if !request.is_object() {
        return Err(StatsError::invalid(
            "the request",
            "must be an object with method and inputs",
        ));
    }
    let name = request
        .get("method")
        .and_then(Value::as_str)
        .ok_or_else(|| StatsError::invalid("method", "must be a text"))?;
    let method = registry::find(name).ok_or_else(|| StatsError::UnknownMethod {
        name: name.to_owned(),
        nearest: registry::nearest(name).join(", "),
    })?;
    let empty = Map::new();
    let inputs = match request.get("inputs") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(map)) => map,
        Some(_) => return Err(StatsError::invalid("inputs", "must be an object")),
    };
    let asked = RefCell::new(BTreeSet::new());
    let mut result = (method.answer)(&Inputs::watched(inputs, &asked))?;
    if holds_nothing(&result) && !inputs.values().any(holds_nothing) {
        return Err(StatsError::NotConverged {
            what: "a number of the answer",
        });
    }
    named::complete_any(&mut result, method.name);
    warn_of_unread(&mut result, inputs, &asked.borrow());
    Ok((method.name, result))
}

/// The one field that says "not a number" on purpose, as the reference does where all values are equal.
const SAYS_NOTHING: &str = "asymptotic_nocc";

/// Whether a value, or a part of it, stands for no number.
fn holds_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "nan",
        Value::Array(list) => list.iter().any(holds_nothing),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name != SAYS_NOTHING && holds_nothing(value)),
        _ => false,
    }
}

/// Warns of inputs that the method never looked for: a slip of the pen would be missed without a word.
fn warn_of_unread(result: &mut Value, inputs: &Map<String, Value>, asked: &BTreeSet<String>) {
    let read: Vec<&str> = asked.iter().map(String::as_str).collect();
    let unread = inputs.keys().filter(|name| !asked.contains(*name));
    let warnings: Vec<Value> = unread
        .take(MAX_UNREAD)
        .map(|name| {
            json!(format!(
                "{name} was not read; the inputs here are {}",
                read.join(", ")
            ))
        })
        .collect();
    if let Some(Value::Array(known)) = result.get_mut("warnings") {
        known.extend(warnings);
    }
}

/// A number as JSON: a word where JSON has no number for it.
pub fn number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else if value.is_nan() {
        json!("nan")
    } else if value > 0.0 {
        json!("inf")
    } else {
        json!("-inf")
    }
}

/// A list of numbers as JSON.
pub fn numbers(values: &[f64]) -> Value {
    Value::Array(values.iter().copied().map(number).collect())
}

/// The answer of a method whose whole result is one number.
pub fn bare(value: f64) -> Value {
    json!({"value": number(value)})
}

/// The answer of a method whose whole result is one list.
pub fn bare_list(values: &[f64]) -> Value {
    json!({"value": numbers(values)})
}

#[cfg(test)]
mod tests;
