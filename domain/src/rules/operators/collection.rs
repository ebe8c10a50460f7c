//! `array_contains_any`, `array_contains_all` and `array_contains_none`.

use serde_json::Value;

use super::Outcome;
use super::equality::{OneOf, same};
use crate::rules::context::Attribute;
use crate::rules::definition::Operator;

/// The most values of `array_contains_all`: each is looked for in the whole array.
const ALL_VALUES_MAX: usize = 64;

/// What an array attribute has to hold.
#[derive(Debug)]
pub(crate) enum Collection {
    Any(OneOf),
    None(OneOf),
    All(Box<[Value]>),
}

impl Collection {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        let set = OneOf::compile(value)?;
        Ok(match operator {
            Operator::ArrayContainsAny => Self::Any(set),
            Operator::ArrayContainsNone => Self::None(set),
            _ => {
                let values = value.as_array().cloned().unwrap_or_default();
                if values.len() > ALL_VALUES_MAX {
                    return Err(format!("the operator takes at most {ALL_VALUES_MAX} values"));
                }
                Self::All(values.into())
            }
        })
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        let Attribute::Value(Value::Array(array)) = attribute else {
            return Outcome::WrongType;
        };
        match self {
            Self::Any(set) => array.iter().any(|value| set.holds(value) == Some(true)),
            Self::None(set) => !array.iter().any(|value| set.holds(value) == Some(true)),
            Self::All(wanted) => wanted
                .iter()
                .all(|wanted| array.iter().any(|value| same(value, wanted))),
        }
        .into()
    }
}
