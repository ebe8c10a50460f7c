//! Tracking events: what a product tells the platform, its limits, and why one is turned away.

use serde::{Deserialize, Serialize};

use crate::ids::{EventName, ExperimentKey, UnitId, VariantKey};
use crate::timestamp::Timestamp;

/// The longest `event_id` in bytes: a UUID, a ULID or a hash in hexadecimal fits.
pub const EVENT_ID_MAX_BYTES: usize = 64;
/// The longest `user_id` in bytes.
pub const USER_ID_MAX_BYTES: usize = 256;
/// The longest experiment key, variant key or event name in bytes.
pub const NAME_MAX_BYTES: usize = 256;
/// The largest `properties` object as JSON text in bytes: metric and dimension columns are read out of it.
pub const PROPERTIES_MAX_BYTES: usize = 16 * 1024;
/// The deepest nesting of `properties`; the object itself is level one.
pub const PROPERTIES_MAX_DEPTH: usize = 8;
/// The largest record: all fields at their limits, escaped, fit. A longer one is a bomb or a lost newline.
pub const RECORD_MAX_BYTES: usize = 64 * 1024;
/// How far ahead of the clock an event from a live source may be, in microseconds: a day, for wrong time zones.
pub const FUTURE_MAX_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A user was shown a variant.
    Exposure,
    /// A user did something that a metric may count.
    Track,
}

impl EventKind {
    /// The kind as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exposure => "exposure",
            Self::Track => "track",
        }
    }
}

/// One event in its owned form, for producers, generators and tests. The engine itself reads batches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Made by the producer; the key of de-duplication. 1 to [`EVENT_ID_MAX_BYTES`] bytes.
    pub event_id: String,
    /// Event time.
    pub ts: Timestamp,
    /// The randomization unit.
    pub user_id: UnitId,
    /// What happened.
    #[serde(flatten)]
    pub payload: Payload,
    /// Free attributes: a JSON object, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<serde_json::Value>,
}

/// What an event says happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Payload {
    /// The user was shown a variant.
    Exposure {
        /// The experiment, or the flag with a measured rollout.
        experiment: ExperimentKey,
        /// The variant shown.
        variant: VariantKey,
    },
    /// The user did something.
    Track {
        /// The event's name.
        event: EventName,
        /// Its value; finite.
        value: f64,
    },
}

/// Why a record did not become an event. The list is closed: tables, metrics and answers use these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The bytes are not one JSON text.
    InvalidJson,
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// The JSON is not an object.
    NotAnObject,
    /// A field that the type needs is absent or null.
    MissingField,
    /// A field is of another JSON type than the contract says.
    WrongType,
    /// `type` is neither `exposure` nor `track`.
    UnknownType,
    /// A text is empty.
    EmptyField,
    /// A text is longer than its limit, or holds a control character.
    InvalidField,
    /// A field stands twice in the object.
    DuplicateField,
    /// `ts` is not RFC 3339.
    InvalidTimestamp,
    /// `ts` is older than the retention of a live source.
    TooOld,
    /// `ts` is more than [`FUTURE_MAX_MICROS`] ahead of the clock.
    TooFarAhead,
    /// `value` is not a finite number.
    ValueNotFinite,
    /// `properties` is larger than [`PROPERTIES_MAX_BYTES`].
    PropertiesTooLarge,
    /// `properties` is nested deeper than [`PROPERTIES_MAX_DEPTH`].
    PropertiesTooDeep,
    /// The record is larger than [`RECORD_MAX_BYTES`]; its beginning is kept.
    RecordTooLarge,
    /// A compressed or aggregated record could not be opened, or opens to more than the limit.
    Undecodable,
}

impl RejectReason {
    /// Every reason, in the order of documentation.
    pub const ALL: [Self; 17] = [
        Self::InvalidJson,
        Self::InvalidUtf8,
        Self::NotAnObject,
        Self::MissingField,
        Self::WrongType,
        Self::UnknownType,
        Self::EmptyField,
        Self::InvalidField,
        Self::DuplicateField,
        Self::InvalidTimestamp,
        Self::TooOld,
        Self::TooFarAhead,
        Self::ValueNotFinite,
        Self::PropertiesTooLarge,
        Self::PropertiesTooDeep,
        Self::RecordTooLarge,
        Self::Undecodable,
    ];

    /// The reason as in tables, metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotAnObject => "not_an_object",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::UnknownType => "unknown_type",
            Self::EmptyField => "empty_field",
            Self::InvalidField => "invalid_field",
            Self::DuplicateField => "duplicate_field",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::ValueNotFinite => "value_not_finite",
            Self::PropertiesTooLarge => "properties_too_large",
            Self::PropertiesTooDeep => "properties_too_deep",
            Self::RecordTooLarge => "record_too_large",
            Self::Undecodable => "undecodable",
        }
    }

    /// The reason that a word of a table names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word() {
        // What must never change: the words are a contract with tables and dashboards.
        for reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_word(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn an_event_is_written_as_the_contract_says() {
        let event = Event {
            event_id: "e1".into(),
            ts: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            user_id: UnitId::new("u1").unwrap(),
            payload: Payload::Track {
                event: EventName::new("purchase").unwrap(),
                value: 2.5,
            },
            properties: None,
        };
        let expected = serde_json::json!({"event_id": "e1", "ts": "2026-01-01T00:00:00Z", "user_id": "u1",
            "type": "track", "event": "purchase", "value": 2.5});
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    }
}
