//! Whom a decision is about: the unit, its attributes, and what is known of it from before.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::ids::{ExperimentKey, VariantKey};
use crate::timestamp::Timestamp;

/// A unit and its attributes, borrowed for one evaluation or many.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    user_id: Option<&'a str>,
    attributes: &'a Map<String, Value>,
    assignments: Option<&'a BTreeMap<ExperimentKey, VariantKey>>,
    now: Option<Timestamp>,
}

impl<'a> Context<'a> {
    /// A unit with attributes. An empty id is no id: what has to be bucketed then answers with an error.
    pub fn from_json(user_id: &'a str, attributes: &'a Map<String, Value>) -> Self {
        Self {
            user_id: Some(user_id).filter(|id| !id.is_empty()),
            attributes,
            assignments: None,
            now: None,
        }
    }

    /// Adds the variants that the unit was given before; experiments that are sticky keep them.
    #[must_use]
    pub fn with_assignments(mut self, assignments: &'a BTreeMap<ExperimentKey, VariantKey>) -> Self {
        self.assignments = Some(assignments);
        self
    }

    /// Adds the time of the evaluation, which the attribute `now` stands for where the caller sent none.
    #[must_use]
    pub fn with_now(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }

    /// The unit's id, when it has one.
    pub fn user_id(&self) -> Option<&'a str> {
        self.user_id
    }

    pub(crate) fn assignment(&self, experiment: &ExperimentKey) -> Option<&'a VariantKey> {
        self.assignments?.get(experiment)
    }

    /// What stands at a path.
    pub(crate) fn look_up(&self, path: &AttributePath) -> Attribute<'a> {
        match path {
            AttributePath::UserId => self.user_id.map_or(Attribute::Missing, Attribute::Text),
            AttributePath::Name(name) => self
                .attributes
                .get(&**name)
                .map_or(Attribute::Missing, Attribute::Value),
            AttributePath::Now => match (self.attributes.get("now"), self.now) {
                (Some(value), _) => Attribute::Value(value),
                (None, Some(now)) => Attribute::Instant(now),
                (None, None) => Attribute::Missing,
            },
            AttributePath::Pointer(first, rest) => {
                let start = self.attributes.get(&**first);
                let end = rest
                    .iter()
                    .try_fold(start, |value, token| value.map(|value| token.step(value)));
                end.flatten().map_or(Attribute::Missing, Attribute::Value)
            }
        }
    }

    /// The unit that stands at a path, for bucketing and id lists.
    pub(crate) fn unit(&self, path: &AttributePath) -> Option<Unit<'a>> {
        Unit::of(self.look_up(path))
    }
}

/// What a clause finds at its path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Attribute<'a> {
    /// Nothing.
    Missing,
    /// The unit's id.
    Text(&'a str),
    /// The time of the evaluation.
    Instant(Timestamp),
    /// A value that the caller sent.
    Value(&'a Value),
}

/// What is bucketed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit<'a> {
    /// A text as it came.
    Text(&'a str),
    /// The decimal digits of an integer, at the end of the array.
    Integer {
        /// ASCII digits after unused places.
        digits: [u8; 20],
        /// Where they start.
        start: usize,
    },
}

impl<'a> Unit<'a> {
    /// The unit that an attribute names: a text that is not empty, or an integer.
    pub(crate) fn of(attribute: Attribute<'a>) -> Option<Self> {
        match attribute {
            Attribute::Text(text) => Some(Self::Text(text)),
            Attribute::Value(Value::String(text)) if !text.is_empty() => Some(Self::Text(text)),
            Attribute::Value(Value::Number(number)) => exact_integer(number).map(Self::integer),
            _ => None,
        }
    }

    /// The decimal form of an integer, without an allocation.
    fn integer(number: i64) -> Self {
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        let mut left = number.unsigned_abs();
        loop {
            start = start.saturating_sub(1);
            if let Some(place) = digits.get_mut(start) {
                *place = b'0'.wrapping_add((left % 10) as u8);
            }
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if number < 0 {
            start = start.saturating_sub(1);
            if let Some(place) = digits.get_mut(start) {
                *place = b'-';
            }
        }
        Self::Integer { digits, start }
    }

    /// The text that is hashed.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Integer { digits, start } => {
                let digits = digits.get(*start..).unwrap_or(&[]);
                std::str::from_utf8(digits).unwrap_or("")
            }
        }
    }
}

/// The integers that doubles, and so every language, hold exactly.
pub(crate) const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// A JSON number as an integer, also when it is written `5.0`; nothing for fractions and beyond exactness.
pub(crate) fn exact_integer(number: &serde_json::Number) -> Option<i64> {
    number.as_f64().and_then(integer_of)
}

/// A double as an integer, when it is one exactly.
pub(crate) fn integer_of(number: f64) -> Option<i64> {
    let whole = number.fract().abs() <= 0.0 && number.abs() <= EXACT_INTEGER_MAX;
    whole.then_some(number as i64)
}

/// Where an attribute stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttributePath {
    /// The unit's id.
    UserId,
    /// The time.
    Now,
    /// A top-level attribute.
    Name(Box<str>),
    /// A JSON pointer of at least two tokens.
    Pointer(Box<str>, Box<[Token]>),
}

/// One step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    name: Box<str>,
    /// The token as the index of an array, where it is one.
    index: Option<usize>,
}

impl Token {
    fn step<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match value {
            Value::Object(object) => object.get(&*self.name),
            Value::Array(array) => array.get(self.index?),
            _ => None,
        }
    }
}

/// The longest attribute path in bytes.
pub(crate) const PATH_MAX_BYTES: usize = 512;

impl AttributePath {
    /// Reads a name or, when it starts with `/`, a JSON pointer (RFC 6901).
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > PATH_MAX_BYTES {
            return Err("an attribute is a name or a JSON pointer of 1 to 512 bytes");
        }
        let Some(pointer) = text.strip_prefix('/') else {
            return Ok(Self::top_level(text.into()));
        };
        let mut tokens = Vec::new();
        for token in pointer.split('/') {
            tokens.push(unescape(token)?);
        }
        if tokens.len() == 1 {
            return Ok(Self::top_level(tokens.remove(0)));
        }
        let mut tokens = tokens.into_iter();
        let first = tokens.next().unwrap_or_default();
        let rest = tokens.map(|name| Token {
            index: index_of(&name),
            name,
        });
        Ok(Self::Pointer(first, rest.collect()))
    }

    fn top_level(name: Box<str>) -> Self {
        match &*name {
            "user_id" => Self::UserId,
            "now" => Self::Now,
            _ => Self::Name(name),
        }
    }
}

fn unescape(token: &str) -> Result<Box<str>, &'static str> {
    if token.replace("~0", "").replace("~1", "").contains('~') {
        return Err("in a JSON pointer `~` is written `~0` and `/` is written `~1`");
    }
    Ok(token.replace("~1", "/").replace("~0", "~").into())
}

/// An array index as RFC 6901 has it: digits without a leading zero.
fn index_of(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = token.len() > 1 && token.starts_with('0');
    if !digits || leading_zero {
        None
    } else {
        token.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn find(attributes: &Value, path: &str) -> Option<Value> {
        let context = Context::from_json("u1", attributes.as_object().unwrap());
        match context.look_up(&AttributePath::parse(path).unwrap()) {
            Attribute::Missing => None,
            Attribute::Text(text) => Some(json!(text)),
            Attribute::Instant(instant) => Some(json!(instant)),
            Attribute::Value(value) => Some(value.clone()),
        }
    }

    #[test]
    fn paths_lead_where_json_pointers_do() {
        let attributes = json!({"plan": "pro", "a/b": 1, "company": {"id": 7, "tags": ["x", {"y": null}], "m~n": 8, "": 9}});
        for path in [
            "/company/id",
            "/company/tags/0",
            "/company/tags/1/y",
            "/company/m~0n",
            "/company/",
            "/company/tags/2",
            "/company/tags/00",
            "/company/tags/-",
            "/company/id/x",
            "/nothing/at/all",
            "/a~1b",
            "/plan",
        ] {
            // What must never change: a pointer means what RFC 6901 says; serde_json is the independent
            // reading.
            assert_eq!(
                find(&attributes, path).as_ref(),
                attributes.pointer(path),
                "{path}"
            );
        }
        assert_eq!(find(&attributes, "plan"), Some(json!("pro")));
        assert_eq!(find(&attributes, "a/b"), Some(json!(1)));
        assert_eq!(find(&attributes, "user_id"), Some(json!("u1")));
        assert!(AttributePath::parse("/a~2").is_err() && AttributePath::parse("").is_err());
    }

    #[test]
    fn integers_are_bucketed_by_their_digits() {
        for number in [0, 7, -7, 1_234_567_890, i64::MAX, i64::MIN] {
            assert_eq!(Unit::integer(number).as_str(), number.to_string());
        }
    }

    #[test]
    fn the_time_is_an_attribute_that_the_caller_may_send_itself() {
        let (with, without) = (json!({"now": 5}), json!({}));
        let instant = Timestamp(7);
        let path = AttributePath::parse("now").unwrap();
        let context = Context::from_json("u", without.as_object().unwrap());
        assert_eq!(context.look_up(&path), Attribute::Missing);
        assert_eq!(
            context.with_now(instant).look_up(&path),
            Attribute::Instant(instant)
        );
        let context = Context::from_json("u", with.as_object().unwrap()).with_now(instant);
        assert_eq!(context.look_up(&path), Attribute::Value(&json!(5)));
    }
}
