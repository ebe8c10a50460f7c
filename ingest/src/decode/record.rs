//! One record to one event: what each field must be.
//!
//! A record is scanned once, to its end, before any field is judged. So a record that is not JSON is said to be that,
//! whatever its first half looked like, and the verdict does not depend on the order of the fields.

use domain::event::{
    EVENT_ID_MAX_BYTES, FUTURE_MAX_MICROS, NAME_MAX_BYTES, PROPERTIES_MAX_BYTES, PROPERTIES_MAX_DEPTH,
    RECORD_MAX_BYTES, USER_ID_MAX_BYTES,
};
use domain::{EventKind, RejectReason, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::fields::{Field, Fields, Reject, Slot, SlotKind, reject, scan, too_deep};
use super::number::{id_key, parse_number};
use super::scan::unescape;
use crate::batch::{EventRecord, Span};

/// What is the same for all records of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordContext {
    /// When the records were received; the clock that event times are held against.
    pub(crate) received_at: Timestamp,
    /// The oldest and the newest event time that is taken.
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
}

impl RecordContext {
    /// Limits for live records received at an instant; history has none.
    pub(crate) fn new(received_at: Timestamp, live: bool, retention_micros: Option<i64>) -> Self {
        let earliest = retention_micros
            .filter(|_| live)
            .map_or(i64::MIN, |kept| received_at.0.saturating_sub(kept));
        let latest = if live {
            received_at.0.saturating_add(FUTURE_MAX_MICROS)
        } else {
            i64::MAX
        };
        Self {
            received_at,
            earliest: Timestamp(earliest),
            latest: Timestamp(latest),
        }
    }
}

/// What the bytes of a record are known to be before they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// ASCII without DEL: what the scanner lets pass holds no control character.
    PlainAscii,
    /// UTF-8.
    Utf8,
    /// Anything.
    Unknown,
}

impl Charset {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.is_ascii() && memchr::memchr(DELETE, bytes).is_none() {
            Self::PlainAscii
        } else if std::str::from_utf8(bytes).is_ok() {
            Self::Utf8
        } else {
            Self::Unknown
        }
    }
}

const DELETE: u8 = 0x7f;

/// Reads one record: `bytes[range]` of a batch whose buffer begins with `bytes` and goes on with `unescaped`.
///
/// The caller has checked that a `charset` other than `Unknown` holds for the record.
pub(crate) fn decode_record(
    bytes: &[u8],
    range: std::ops::Range<usize>,
    charset: Charset,
    context: &RecordContext,
    unescaped: &mut Vec<u8>,
) -> Result<EventRecord, Reject> {
    let record = &bytes[range.clone()];
    if record.len() > RECORD_MAX_BYTES {
        return reject(
            RejectReason::RecordTooLarge,
            format!("a record has at most {RECORD_MAX_BYTES} bytes"),
        );
    }
    let charset = if charset == Charset::Unknown {
        Charset::of(record)
    } else {
        charset
    };
    if charset == Charset::Unknown {
        return Err(not_utf8(record));
    }
    let fields = scan(record)?;
    let offset = range.start;
    Builder {
        record,
        offset,
        total: bytes.len(),
        charset,
        unescaped,
    }
    .build(&fields, context)
}

#[cold]
fn not_utf8(record: &[u8]) -> Reject {
    let valid = std::str::from_utf8(record)
        .err()
        .map_or(0, |error| error.valid_up_to());
    let (reason, detail) = match record {
        [0x1f, 0x8b, ..] => (
            RejectReason::Undecodable,
            "the record is gzip where JSON is expected".to_owned(),
        ),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (
            RejectReason::Undecodable,
            "the record is zstd where JSON is expected".to_owned(),
        ),
        _ => (RejectReason::InvalidUtf8, format!("no UTF-8 at byte {valid}")),
    };
    Reject { reason, detail }
}

/// Judges scanned fields and makes the event of them.
struct Builder<'a> {
    record: &'a [u8],
    /// Where the record begins in the batch's bytes.
    offset: usize,
    /// The size of the batch's bytes: where `unescaped` begins.
    total: usize,
    charset: Charset,
    unescaped: &'a mut Vec<u8>,
}

/// A text field: where it will be, and its bytes.
struct Resolved {
    span: Span,
    start_in_unescaped: Option<usize>,
}

impl Builder<'_> {
    fn build(mut self, fields: &Fields, context: &RecordContext) -> Result<EventRecord, Reject> {
        if let Some(field) = fields.duplicate {
            return reject(
                RejectReason::DuplicateField,
                format!("`{}` stands twice", field.name()),
            );
        }
        let event_id = self.text(fields, Field::EventId, EVENT_ID_MAX_BYTES)?;
        let id_key = id_key(self.resolve(&event_id));
        let kind = self.kind(fields)?;
        let ts = self.ts(fields, context)?;
        let user_id = self.text(fields, Field::UserId, USER_ID_MAX_BYTES)?;
        let user_hash = xxh3_64(self.resolve(&user_id));
        let (name, variant, value) = match kind {
            EventKind::Exposure => {
                let name = self.text(fields, Field::Experiment, NAME_MAX_BYTES)?;
                (name, self.text(fields, Field::Variant, NAME_MAX_BYTES)?.span, 0.0)
            }
            EventKind::Track => {
                let name = self.text(fields, Field::Event, NAME_MAX_BYTES)?;
                (name, Span::default(), self.value(fields)?)
            }
        };
        let properties = self.properties(fields)?;
        Ok(EventRecord {
            kind,
            ts,
            received_at: context.received_at,
            event_id: event_id.span,
            user_id: user_id.span,
            name: name.span,
            variant,
            value,
            properties,
            id_key,
            user_hash,
        })
    }

    fn slot_bytes(&self, slot: Slot) -> &[u8] {
        &self.record[slot.start..slot.end]
    }

    fn resolve(&self, text: &Resolved) -> &[u8] {
        let length = text.span.length as usize;
        match text.start_in_unescaped {
            Some(start) => &self.unescaped[start..start + length],
            None => {
                let start = text.span.start as usize - self.offset;
                &self.record[start..start + length]
            }
        }
    }

    /// A required string, unescaped where it must be, that is not judged yet.
    #[inline]
    fn required(&mut self, fields: &Fields, field: Field) -> Result<Resolved, Reject> {
        let slot = fields.slots[field as usize];
        match slot.kind {
            SlotKind::Text => Ok(Resolved {
                span: span(self.offset + slot.start, slot.end - slot.start),
                start_in_unescaped: None,
            }),
            SlotKind::EscapedText => {
                let start = self.unescaped.len();
                unescape(&self.record[slot.start..slot.end], self.unescaped);
                let span = span(self.total + start, self.unescaped.len() - start);
                Ok(Resolved {
                    span,
                    start_in_unescaped: Some(start),
                })
            }
            SlotKind::Absent => reject(
                RejectReason::MissingField,
                format!("`{}` is missing", field.name()),
            ),
            SlotKind::Null => reject(RejectReason::MissingField, format!("`{}` is null", field.name())),
            _ => reject(
                RejectReason::WrongType,
                format!("`{}` is not a string", field.name()),
            ),
        }
    }

    /// A required string that is not empty, not too long and free of control characters.
    #[inline]
    fn text(&mut self, fields: &Fields, field: Field, max_bytes: usize) -> Result<Resolved, Reject> {
        let text = self.required(fields, field)?;
        let length = text.span.length as usize;
        if length == 0 {
            return reject(RejectReason::EmptyField, format!("`{}` is empty", field.name()));
        }
        if length > max_bytes {
            let detail = format!(
                "`{}` has {length} bytes, at most {max_bytes} are taken",
                field.name()
            );
            return reject(RejectReason::InvalidField, detail);
        }
        let unchecked = text.start_in_unescaped.is_some() || self.charset != Charset::PlainAscii;
        if unchecked && has_control_character(self.resolve(&text)) {
            return reject(
                RejectReason::InvalidField,
                format!("`{}` holds a control character", field.name()),
            );
        }
        Ok(text)
    }

    fn kind(&mut self, fields: &Fields) -> Result<EventKind, Reject> {
        let text = self.required(fields, Field::Type)?;
        match self.resolve(&text) {
            b"track" => Ok(EventKind::Track),
            b"exposure" => Ok(EventKind::Exposure),
            _ => reject(
                RejectReason::UnknownType,
                "`type` is neither exposure nor track".to_owned(),
            ),
        }
    }

    fn ts(&mut self, fields: &Fields, context: &RecordContext) -> Result<Timestamp, Reject> {
        let text = self.required(fields, Field::Ts)?;
        let parsed = std::str::from_utf8(self.resolve(&text))
            .ok()
            .and_then(|text| Timestamp::parse(text).ok());
        let Some(ts) = parsed else {
            let detail = "`ts` is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z".to_owned();
            return reject(RejectReason::InvalidTimestamp, detail);
        };
        if ts < context.earliest {
            return reject(
                RejectReason::TooOld,
                format!("`ts` is before {}, the end of retention", context.earliest),
            );
        }
        if ts > context.latest {
            return reject(
                RejectReason::TooFarAhead,
                format!("`ts` is after {}, a day ahead", context.latest),
            );
        }
        Ok(ts)
    }

    /// The value of a track; 1 when it has none.
    #[inline]
    fn value(&self, fields: &Fields) -> Result<f64, Reject> {
        let slot = fields.slots[Field::Value as usize];
        match slot.kind {
            SlotKind::Absent | SlotKind::Null => return Ok(1.0),
            SlotKind::Number => {}
            _ => return reject(RejectReason::WrongType, "`value` is not a number".to_owned()),
        }
        let value = parse_number(self.slot_bytes(slot));
        if !value.is_finite() {
            return reject(
                RejectReason::ValueNotFinite,
                "`value` is beyond the range of a double".to_owned(),
            );
        }
        Ok(value)
    }

    /// The text of `properties`; empty when there are none.
    #[inline]
    fn properties(&self, fields: &Fields) -> Result<Span, Reject> {
        let slot = fields.slots[Field::Properties as usize];
        match slot.kind {
            SlotKind::Absent | SlotKind::Null => return Ok(Span::default()),
            SlotKind::Object => {}
            _ => {
                return reject(
                    RejectReason::WrongType,
                    "`properties` is not an object".to_owned(),
                );
            }
        }
        let length = slot.end - slot.start;
        if length > PROPERTIES_MAX_BYTES {
            let detail = format!("`properties` has {length} bytes, at most {PROPERTIES_MAX_BYTES} are taken");
            return reject(RejectReason::PropertiesTooLarge, detail);
        }
        if fields.properties_depth as usize > PROPERTIES_MAX_DEPTH {
            return Err(too_deep(slot.start));
        }
        Ok(span(self.offset + slot.start, length))
    }
}

fn has_control_character(text: &[u8]) -> bool {
    // The scanner and the charset have made sure that this is UTF-8.
    std::str::from_utf8(text).map_or(true, |text| text.chars().any(char::is_control))
}

/// Batches are far smaller than four gigabytes: see [`super::decode`].
#[inline]
fn span(start: usize, length: usize) -> Span {
    Span {
        start: start as u32,
        length: length as u32,
    }
}
