//! The operators: what a clause's value must look like, and what it says of an attribute.
//!
//! `docs/targeting.md` has the table. A test never fails: an attribute that is absent or odd does not hold,
//! and the outcome says which it was. To add an operator: one name in `Operator`, one line here, one row
//! there and one vector in `fixtures/evaluation`.

mod collection;
mod date;
mod equality;
mod network;
mod number;
mod pattern;
mod place;
mod presence;
mod share;
mod text;
mod version;

use serde_json::Value;

use super::condition::{Outcome, Scope};
use super::context::{Attribute, Unit};
use super::definition::Operator;

/// The longest text in a clause's value in bytes, but for regular expressions.
const TEXT_MAX_BYTES: usize = 1_024;
/// The most values in a clause; longer lists are segments.
const VALUES_MAX: usize = 100_000;

/// A compiled operator with its value.
#[derive(Debug)]
pub(crate) enum Test {
    Equals(equality::Equals),
    OneOf(equality::OneOf),
    OneOfFolded(equality::OneOfFolded),
    Text(text::TextTest),
    Pattern(pattern::Pattern),
    Number(number::NumberTest),
    Modulo(number::Modulo),
    Version(version::VersionTest),
    Date(date::DateTest),
    Presence(presence::Presence),
    Size(number::Bounds),
    Collection(collection::Collection),
    Network(network::Networks),
    Radius(place::Radius),
    Share(share::ShareTest),
    /// The unit is in one of these segments.
    Segment(Box<[usize]>),
    /// The flag gives one of these variations.
    Flag {
        flag: usize,
        variations: Box<[usize]>,
    },
}

/// Compiles an operator that refers to no other definition; the error is a phrase about the value.
pub(crate) fn compile(operator: Operator, value: &Value) -> Result<Test, String> {
    use Operator as O;
    Ok(match operator {
        O::Equals => Test::Equals(equality::Equals::compile(value)?),
        O::In => Test::OneOf(equality::OneOf::compile(value)?),
        O::EqualsIgnoreCase | O::InIgnoreCase => {
            Test::OneOfFolded(equality::OneOfFolded::compile(operator, value)?)
        }
        O::StartsWith
        | O::StartsWithIgnoreCase
        | O::EndsWith
        | O::EndsWithIgnoreCase
        | O::Contains
        | O::ContainsIgnoreCase => Test::Text(text::TextTest::compile(operator, value)?),
        O::Matches => Test::Pattern(pattern::Pattern::compile(value, false)?),
        O::MatchesIgnoreCase => Test::Pattern(pattern::Pattern::compile(value, true)?),
        O::NumberEquals
        | O::LessThan
        | O::LessThanOrEqual
        | O::GreaterThan
        | O::GreaterThanOrEqual
        | O::Between => Test::Number(number::NumberTest::compile(operator, value)?),
        O::Modulo => Test::Modulo(number::Modulo::compile(value)?),
        O::VersionEquals
        | O::VersionLessThan
        | O::VersionLessThanOrEqual
        | O::VersionGreaterThan
        | O::VersionGreaterThanOrEqual
        | O::VersionInRange => Test::Version(version::VersionTest::compile(operator, value)?),
        O::Before | O::After | O::OnDate | O::DateBetween => {
            Test::Date(date::DateTest::compile(operator, value)?)
        }
        O::Exists | O::IsNull | O::IsType => Test::Presence(presence::Presence::compile(operator, value)?),
        O::Size => Test::Size(number::Bounds::compile_size(value)?),
        O::ArrayContainsAny | O::ArrayContainsAll | O::ArrayContainsNone => {
            Test::Collection(collection::Collection::compile(operator, value)?)
        }
        O::InNetwork => Test::Network(network::Networks::compile(value)?),
        O::WithinRadius => Test::Radius(place::Radius::compile(value)?),
        O::InPercentage => Test::Share(share::ShareTest::compile(value)?),
        O::InSegment | O::FlagEquals => return Err("the operator refers to another definition".to_owned()),
    })
}

impl Test {
    /// What the test says of an attribute.
    pub(crate) fn check(&self, attribute: Attribute<'_>, scope: Scope<'_>) -> Outcome {
        if attribute == Attribute::Missing && !matches!(self, Self::Flag { .. }) {
            return Outcome::Missing;
        }
        match self {
            Self::Equals(test) => test.check(attribute),
            Self::OneOf(test) => test.check(attribute),
            Self::OneOfFolded(test) => test.check(attribute),
            Self::Text(test) => test.check(attribute),
            Self::Pattern(test) => test.check(attribute),
            Self::Number(test) => test.check(attribute),
            Self::Modulo(test) => test.check(attribute),
            Self::Version(test) => test.check(attribute),
            Self::Date(test) => test.check(attribute),
            Self::Presence(test) => test.check(attribute),
            Self::Size(test) => test.check_size(attribute),
            Self::Collection(test) => test.check(attribute),
            Self::Network(test) => test.check(attribute),
            Self::Radius(test) => test.check(attribute),
            Self::Share(test) => test.check(attribute),
            Self::Segment(segments) => in_segments(segments, attribute, scope),
            Self::Flag { flag, variations } => {
                let given = scope.ruleset.given_variation(*flag, scope.context);
                given.is_some_and(|given| variations.contains(&given)).into()
            }
        }
    }
}

/// Whether the unit that the attribute names is in one of the segments.
fn in_segments(segments: &[usize], attribute: Attribute<'_>, scope: Scope<'_>) -> Outcome {
    let Some(unit) = Unit::of(attribute) else {
        return Outcome::WrongType;
    };
    let segments = segments
        .iter()
        .filter_map(|at| scope.ruleset.segments.get(*at)?.as_ref());
    let mut members = segments.map(|segment| segment.contains(unit.as_str(), scope));
    members.any(|member| member).into()
}

impl super::ruleset::Segment {
    /// Whether a unit is in the segment.
    pub(crate) fn contains(&self, unit: &str, scope: Scope<'_>) -> bool {
        if !self.excluded.is_empty() && self.excluded.contains(unit) {
            return false;
        }
        (!self.included.is_empty() && self.included.contains(unit))
            || self.listed.as_ref().is_some_and(|listed| listed.contains(unit))
            || self
                .condition
                .as_ref()
                .is_some_and(|condition| condition.holds(scope))
    }
}

/// The text that an attribute is, or why it is none.
fn text_of(attribute: Attribute<'_>) -> Result<&str, Outcome> {
    match attribute {
        Attribute::Text(text) => Ok(text),
        Attribute::Value(Value::String(text)) => Ok(text),
        _ => Err(Outcome::WrongType),
    }
}

/// A text, or an array of texts, none of them too long.
pub(crate) fn texts(value: &Value) -> Result<Vec<&str>, String> {
    let one = std::slice::from_ref(value);
    let values = value.as_array().map_or(one, Vec::as_slice);
    if values.len() > VALUES_MAX {
        return Err(format!(
            "there are at most {VALUES_MAX} values; a longer list is a segment"
        ));
    }
    let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
    let texts = texts.ok_or("the operator takes a text or an array of texts")?;
    if texts.iter().any(|text| text.len() > TEXT_MAX_BYTES) {
        return Err(format!("a text has at most {TEXT_MAX_BYTES} bytes"));
    }
    Ok(texts)
}

/// Two values of an array.
fn pair(value: &Value) -> Option<(&Value, &Value)> {
    match value.as_array()?.as_slice() {
        [low, high] => Some((low, high)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
