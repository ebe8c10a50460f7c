//! Number comparisons, `modulo` and `size`.

use serde_json::Value;

use super::{Outcome, pair};
use crate::rules::context::{Attribute, integer_of};
use crate::rules::definition::Operator;

/// The longest text that is read as a number in bytes; a double's shortest form has 24.
const NUMBER_TEXT_MAX_BYTES: usize = 64;

/// A comparison with one or two numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NumberTest {
    Equal(f64),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
    Between(Bounds),
}

/// Two bounds, both included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    low: f64,
    high: f64,
}

impl NumberTest {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        if operator == Operator::Between {
            return Ok(Self::Between(Bounds::compile(value)?));
        }
        let number = value.as_f64().ok_or("the operator takes a number")?;
        Ok(match operator {
            Operator::NumberEquals => Self::Equal(number),
            Operator::LessThan => Self::Less(number),
            Operator::LessThanOrEqual => Self::LessOrEqual(number),
            Operator::GreaterThan => Self::Greater(number),
            _ => Self::GreaterOrEqual(number),
        })
    }

    pub(super) fn check(self, attribute: Attribute<'_>) -> Outcome {
        let Some(number) = number_of(attribute) else {
            return Outcome::WrongType;
        };
        match self {
            Self::Equal(wanted) => number.partial_cmp(&wanted).is_some_and(std::cmp::Ordering::is_eq),
            Self::Less(bound) => number < bound,
            Self::LessOrEqual(bound) => number <= bound,
            Self::Greater(bound) => number > bound,
            Self::GreaterOrEqual(bound) => number >= bound,
            Self::Between(bounds) => bounds.hold(number),
        }
        .into()
    }
}

impl Bounds {
    fn compile(value: &Value) -> Result<Self, String> {
        let ends = pair(value).and_then(|(low, high)| Some((low.as_f64()?, high.as_f64()?)));
        let (low, high) = ends.ok_or("the operator takes [low, high]")?;
        if low > high {
            return Err("the low bound is above the high one".to_owned());
        }
        Ok(Self { low, high })
    }

    /// A size: one number or two bounds.
    pub(super) fn compile_size(value: &Value) -> Result<Self, String> {
        match value.as_f64() {
            Some(size) => Ok(Self {
                low: size,
                high: size,
            }),
            None => Self::compile(value),
        }
    }

    fn hold(self, number: f64) -> bool {
        self.low <= number && number <= self.high
    }

    /// The size of an array or object in members, of a text in code points.
    pub(super) fn check_size(self, attribute: Attribute<'_>) -> Outcome {
        let size = match attribute {
            Attribute::Text(text) => text.chars().count(),
            Attribute::Value(Value::String(text)) => text.chars().count(),
            Attribute::Value(Value::Array(array)) => array.len(),
            Attribute::Value(Value::Object(object)) => object.len(),
            _ => return Outcome::WrongType,
        };
        self.hold(size as f64).into()
    }
}

/// An integer attribute's remainder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modulo {
    divisor: i64,
    remainder: i64,
}

impl Modulo {
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        let part = |name: &str| value.get(name).and_then(Value::as_i64);
        match (part("divisor"), part("remainder")) {
            (Some(divisor @ 1..), Some(remainder @ 0..)) if remainder < divisor => {
                Ok(Self { divisor, remainder })
            }
            _ => Err("modulo takes {\"divisor\": d, \"remainder\": r} with integers 0 <= r < d".to_owned()),
        }
    }

    pub(super) fn check(self, attribute: Attribute<'_>) -> Outcome {
        let Some(number) = number_of(attribute).and_then(integer_of) else {
            return Outcome::WrongType;
        };
        let remainder = number.checked_rem_euclid(self.divisor);
        (remainder == Some(self.remainder)).into()
    }
}

/// The number that an attribute is: a JSON number, or a text in the grammar of JSON numbers.
pub(super) fn number_of(attribute: Attribute<'_>) -> Option<f64> {
    match attribute {
        Attribute::Value(Value::Number(number)) => number.as_f64(),
        Attribute::Value(Value::String(text)) => parse(text),
        Attribute::Text(text) => parse(text),
        _ => None,
    }
}

/// Reads `-? digits [. digits] [e [+-] digits]` without a leading zero; everything else is no number.
fn parse(text: &str) -> Option<f64> {
    if text.len() > NUMBER_TEXT_MAX_BYTES {
        return None;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let valid = digits(whole) && !leading_zero && fraction.is_none_or(digits) && exponent.is_none_or(digits);
    let number: Option<f64> = if valid { text.parse().ok() } else { None };
    number.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_text_is_a_number_exactly_when_json_says_so(text in "[-+0-9.eE ]{0,8}") {
            // What must never change: one grammar, that of JSON; serde_json is the independent reading.
            let expected = serde_json::from_str::<f64>(&text).ok().filter(|_| text.trim() == text);
            proptest::prop_assert_eq!(parse(&text), expected);
        }
    }
}
