//! `equals`, `in` and their forms that ignore case.

use std::cmp::Ordering;

use serde_json::Value;

use super::text::{fold, fold_hash};
use super::{Outcome, VALUES_MAX, text_of, texts};
use crate::rules::context::Attribute;
use crate::rules::definition::Operator;
use crate::rules::ruleset::KeySet;

/// Equal to one JSON value, of the same type.
#[derive(Debug)]
pub(crate) struct Equals(Value);

impl Equals {
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        if value.is_null() {
            return Err("equals takes a value; is_null tests for null".to_owned());
        }
        Ok(Self(value.clone()))
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        match (attribute, &self.0) {
            (Attribute::Text(text), wanted) => (wanted.as_str() == Some(text)).into(),
            (Attribute::Value(Value::String(text)), Value::String(wanted)) => (text == wanted).into(),
            (Attribute::Value(Value::Null), _) | (Attribute::Instant(_) | Attribute::Missing, _) => {
                Outcome::WrongType
            }
            (Attribute::Value(value), wanted) => same(value, wanted).into(),
        }
    }
}

/// Whether two JSON values are equal, where numbers are equal by value (`1` and `1.0`).
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || compare(number(left), number(right)) == Ordering::Equal
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let equal = |(key, value)| right.get::<String>(key).is_some_and(|other| same(value, other));
            left.len() == right.len() && left.iter().all(equal)
        }
        (left, right) => left == right,
    }
}

fn number(number: &serde_json::Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// The order of numbers, in which the two zeros are one.
fn compare(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.total_cmp(&right))
}

/// One of a set of texts, numbers and truth values.
#[derive(Debug, Default)]
pub(crate) struct OneOf {
    texts: KeySet,
    /// In ascending order.
    numbers: Box<[f64]>,
    truth: bool,
    falsehood: bool,
}

impl OneOf {
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        let values = value.as_array().ok_or("the operator takes an array")?;
        if values.len() > VALUES_MAX {
            return Err(format!(
                "there are at most {VALUES_MAX} values; a longer list is a segment"
            ));
        }
        let mut set = Self::default();
        let mut numbers = Vec::new();
        for value in values {
            match value {
                Value::String(text) => {
                    set.texts.insert(text.as_str().into());
                }
                Value::Number(number) => numbers.push(self::number(number)),
                Value::Bool(true) => set.truth = true,
                Value::Bool(false) => set.falsehood = true,
                _ => return Err("the array holds texts, numbers and truth values".to_owned()),
            }
        }
        numbers.sort_by(|left, right| compare(*left, *right));
        set.numbers = numbers.into();
        Ok(set)
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        match attribute {
            Attribute::Text(text) => self.texts.contains(text).into(),
            Attribute::Value(value) => self.holds(value).map_or(Outcome::WrongType, Outcome::from),
            Attribute::Instant(_) | Attribute::Missing => Outcome::WrongType,
        }
    }

    /// Whether a value is in the set; nothing when it is of a type that no set holds.
    pub(super) fn holds(&self, value: &Value) -> Option<bool> {
        match value {
            Value::String(text) => Some(self.texts.contains(text.as_str())),
            Value::Number(number) => {
                let wanted = self::number(number);
                Some(
                    self.numbers
                        .binary_search_by(|other| compare(*other, wanted))
                        .is_ok(),
                )
            }
            Value::Bool(truth) => Some(if *truth { self.truth } else { self.falsehood }),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// One of a set of texts, whatever their case.
#[derive(Debug)]
pub(crate) struct OneOfFolded {
    /// Texts and the hashes of their folded forms, by hash.
    texts: Box<[(u64, Box<str>)]>,
}

impl OneOfFolded {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        match operator {
            Operator::EqualsIgnoreCase if !value.is_string() => {
                return Err("the operator takes a text".to_owned());
            }
            Operator::InIgnoreCase if !value.is_array() => {
                return Err("the operator takes an array".to_owned());
            }
            _ => {}
        }
        let mut texts: Vec<(u64, Box<str>)> = self::texts(value)?
            .into_iter()
            .map(|text| (fold_hash(text), text.into()))
            .collect();
        texts.sort_unstable();
        Ok(Self { texts: texts.into() })
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        let text = match text_of(attribute) {
            Ok(text) => text,
            Err(outcome) => return outcome,
        };
        let hash = fold_hash(text);
        let first = self.texts.partition_point(|(other, _)| *other < hash);
        let candidates = self.texts.get(first..).unwrap_or(&[]);
        let mut candidates = candidates.iter().take_while(|(other, _)| *other == hash);
        candidates.any(|(_, other)| fold(text).eq(fold(other))).into()
    }
}
