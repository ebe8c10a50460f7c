//! `before`, `after`, `on_date` and `date_between`.
//!
//! A time is an RFC 3339 text, a date (`2026-01-31`, its first instant in UTC), or a number of milliseconds
//! since the Unix epoch.

use serde_json::Value;

use super::{Outcome, pair};
use crate::rules::context::Attribute;
use crate::rules::definition::Operator;
use crate::timestamp::Timestamp;

/// The furthest instant that languages represent alike, in milliseconds from the epoch.
const EPOCH_MS_MAX: f64 = 8.64e15;

/// A comparison with one or two instants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DateTest {
    Before(Timestamp),
    After(Timestamp),
    /// The same calendar day in UTC.
    OnDay(i64),
    /// Both ends included.
    Between(Timestamp, Timestamp),
}

impl DateTest {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        const TIME: &str = "the operator takes an RFC 3339 time, a date, or milliseconds since the epoch";
        if operator == Operator::DateBetween {
            let ends = pair(value).and_then(|(from, to)| Some((read(from)?, read(to)?)));
            let (from, to) = ends.ok_or("date_between takes [from, to], both times")?;
            if from > to {
                return Err("the first time is after the second".to_owned());
            }
            return Ok(Self::Between(from, to));
        }
        let instant = read(value).ok_or(TIME)?;
        Ok(match operator {
            Operator::Before => Self::Before(instant),
            Operator::After => Self::After(instant),
            _ => Self::OnDay(day(instant)),
        })
    }

    pub(super) fn check(self, attribute: Attribute<'_>) -> Outcome {
        let instant = match attribute {
            Attribute::Instant(instant) => Some(instant),
            Attribute::Value(value) => read(value),
            Attribute::Text(_) | Attribute::Missing => None,
        };
        let Some(instant) = instant else {
            return Outcome::WrongType;
        };
        match self {
            Self::Before(bound) => instant < bound,
            Self::After(bound) => instant > bound,
            Self::OnDay(wanted) => day(instant) == wanted,
            Self::Between(from, to) => from <= instant && instant <= to,
        }
        .into()
    }
}

fn day(instant: Timestamp) -> i64 {
    instant.0.div_euclid(crate::timestamp::MICROS_PER_DAY)
}

fn read(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => {
            let milliseconds = number.as_f64()?;
            // Within the limit the product is exact to a microsecond at worst and fits.
            (milliseconds.abs() <= EPOCH_MS_MAX).then(|| Timestamp((milliseconds * 1_000.0).floor() as i64))
        }
        _ => None,
    }
}

/// A time, or a date as its first instant.
fn parse(text: &str) -> Option<Timestamp> {
    const MIDNIGHT: &[u8] = b"T00:00:00Z";
    if text.len() != 10 {
        return Timestamp::parse(text).ok();
    }
    let mut whole = [0_u8; 20];
    for (place, byte) in whole.iter_mut().zip(text.bytes().chain(MIDNIGHT.iter().copied())) {
        *place = byte;
    }
    Timestamp::parse(std::str::from_utf8(&whole).ok()?).ok()
}
