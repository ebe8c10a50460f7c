//! `in_percentage`: a slice of the units under a salt.

use serde_json::Value;

use super::Outcome;
use crate::rules::allocation::buckets_of_percent;
use crate::rules::bucketing::Bucketer;
use crate::rules::context::{Attribute, Unit};

/// Buckets from `from` to before `to` under a salt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareTest {
    bucketer: Bucketer,
    from: u32,
    to: u32,
}

impl ShareTest {
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        const SHAPE: &str =
            "in_percentage takes {\"salt\": text, \"from\": percent, \"to\": percent} in steps of 0.001";
        let percent = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_f64)
                .and_then(buckets_of_percent)
        };
        let salt = value.get("salt").and_then(Value::as_str);
        match (salt, percent("from"), percent("to")) {
            (Some(salt), Some(from), Some(to)) if from <= to => Ok(Self {
                bucketer: Bucketer::new(salt),
                from,
                to,
            }),
            _ => Err(SHAPE.to_owned()),
        }
    }

    pub(super) fn check(self, attribute: Attribute<'_>) -> Outcome {
        let Some(unit) = Unit::of(attribute) else {
            return Outcome::WrongType;
        };
        let bucket = self.bucketer.bucket(unit.as_str());
        (self.from..self.to).contains(&bucket).into()
    }
}
