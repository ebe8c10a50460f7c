//! `exists`, `is_null` and `is_type`.

use serde_json::Value;

use super::Outcome;
use crate::rules::context::Attribute;
use crate::rules::definition::Operator;

/// What is tested of an attribute that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Presence {
    NotNull,
    Null,
    Type(JsonType),
}

/// The types of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JsonType {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Presence {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        if operator == Operator::IsType {
            let one = serde_json::from_value(value.clone());
            return one
                .map(Self::Type)
                .map_err(|_| "is_type takes null, boolean, number, string, array or object".to_owned());
        }
        if !value.is_null() {
            return Err("the operator takes no value".to_owned());
        }
        Ok(if operator == Operator::Exists {
            Self::NotNull
        } else {
            Self::Null
        })
    }

    pub(super) fn check(self, attribute: Attribute<'_>) -> Outcome {
        let found = match attribute {
            Attribute::Missing => return Outcome::Missing,
            Attribute::Text(_) | Attribute::Instant(_) => JsonType::String,
            Attribute::Value(value) => type_of(value),
        };
        match self {
            Self::NotNull => found != JsonType::Null,
            Self::Null => found == JsonType::Null,
            Self::Type(wanted) => found == wanted,
        }
        .into()
    }
}

fn type_of(value: &Value) -> JsonType {
    match value {
        Value::Null => JsonType::Null,
        Value::Bool(_) => JsonType::Boolean,
        Value::Number(_) => JsonType::Number,
        Value::String(_) => JsonType::String,
        Value::Array(_) => JsonType::Array,
        Value::Object(_) => JsonType::Object,
    }
}
