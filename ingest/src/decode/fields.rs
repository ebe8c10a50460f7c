//! The known fields of a record, found in one scan of the whole of it. What each must be is judged in `record`.

use domain::RejectReason;
use domain::event::PROPERTIES_MAX_DEPTH;

use super::scan::{Fault, Scalar, Scanner, VALUE_MAX_DEPTH, unescape};

/// Why a record is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) reason: RejectReason,
    pub(crate) detail: String,
}

pub(crate) fn reject<T>(reason: RejectReason, detail: String) -> Result<T, Reject> {
    Err(Reject { reason, detail })
}

/// The known fields, in the order in which they are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    EventId,
    Type,
    Ts,
    UserId,
    Experiment,
    Variant,
    Event,
    Value,
    Properties,
}

const FIELD_COUNT: usize = 9;

impl Field {
    const NAMES: [&'static str; FIELD_COUNT] = [
        "event_id",
        "type",
        "ts",
        "user_id",
        "experiment",
        "variant",
        "event",
        "value",
        "properties",
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    #[inline]
    fn from_key(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"event_id" => Self::EventId,
            b"type" => Self::Type,
            b"ts" => Self::Ts,
            b"user_id" => Self::UserId,
            b"experiment" => Self::Experiment,
            b"variant" => Self::Variant,
            b"event" => Self::Event,
            b"value" => Self::Value,
            b"properties" => Self::Properties,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    Absent,
    Null,
    Text,
    EscapedText,
    Number,
    Object,
    Other,
}

/// What stood in one field: its kind and its bytes within the record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) kind: SlotKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All fields of one record as scanned.
pub(crate) struct Fields {
    pub(crate) slots: [Slot; FIELD_COUNT],
    pub(crate) duplicate: Option<Field>,
    pub(crate) properties_depth: u32,
}

#[cold]
fn not_json(fault: Fault, record: &[u8]) -> Reject {
    let detail = match fault {
        Fault::Syntax { .. } if record.is_empty() => "the record is empty".to_owned(),
        Fault::Syntax { at } if at >= record.len() => "the JSON ends too early".to_owned(),
        Fault::Syntax { at } => format!("no JSON at byte {at}"),
        Fault::TooDeep { at } => format!("more than {VALUE_MAX_DEPTH} levels of nesting at byte {at}"),
    };
    Reject {
        reason: RejectReason::InvalidJson,
        detail,
    }
}

pub(crate) fn scan(record: &[u8]) -> Result<Fields, Reject> {
    let mut scanner = Scanner::new(record);
    scanner.skip_whitespace();
    if scanner.peek() != b'{' {
        return Err(scan_other(scanner));
    }
    let fields = scan_object(&mut scanner)?;
    scanner.skip_whitespace();
    if scanner.at != record.len() {
        return Err(not_json(Fault::Syntax { at: scanner.at }, record));
    }
    Ok(fields)
}

/// A record that begins with anything else than an object: other JSON, or none.
#[cold]
fn scan_other(mut scanner: Scanner<'_>) -> Reject {
    if let Err(fault) = scanner.value() {
        return not_json(fault, scanner.bytes);
    }
    scanner.skip_whitespace();
    if scanner.at != scanner.bytes.len() {
        return not_json(Fault::Syntax { at: scanner.at }, scanner.bytes);
    }
    Reject {
        reason: RejectReason::NotAnObject,
        detail: "a record is one JSON object".to_owned(),
    }
}

fn scan_object(scanner: &mut Scanner<'_>) -> Result<Fields, Reject> {
    let empty = Slot {
        kind: SlotKind::Absent,
        start: 0,
        end: 0,
    };
    let mut fields = Fields {
        slots: [empty; FIELD_COUNT],
        duplicate: None,
        properties_depth: 0,
    };
    scanner.at += 1;
    scanner.skip_whitespace();
    if scanner.peek() == b'}' {
        scanner.at += 1;
        return Ok(fields);
    }
    loop {
        scan_field(scanner, &mut fields)?;
        scanner.skip_whitespace();
        match scanner.peek() {
            b',' => {
                scanner.at += 1;
                scanner.skip_whitespace();
            }
            b'}' => {
                scanner.at += 1;
                return Ok(fields);
            }
            _ => return Err(not_json(Fault::Syntax { at: scanner.at }, scanner.bytes)),
        }
    }
}

#[inline]
fn scan_field(scanner: &mut Scanner<'_>, fields: &mut Fields) -> Result<(), Reject> {
    let bytes = scanner.bytes;
    let key = scanner.string().map_err(|fault| not_json(fault, bytes))?;
    let key_bytes = &bytes[key.start..key.end];
    let field = if key.escaped {
        escaped_field(key_bytes)
    } else {
        Field::from_key(key_bytes)
    };
    scanner.colon().map_err(|fault| not_json(fault, bytes))?;
    let Some(field) = field else {
        return scanner.value().map_err(|fault| not_json(fault, bytes));
    };
    let (slot, depth) = scan_slot(scanner).map_err(|fault| match fault {
        Fault::TooDeep { at } if field == Field::Properties => too_deep(at),
        fault => not_json(fault, bytes),
    })?;
    if field == Field::Properties {
        fields.properties_depth = depth;
    }
    let place = &mut fields.slots[field as usize];
    if place.kind != SlotKind::Absent {
        fields.duplicate.get_or_insert(field);
    }
    *place = slot;
    Ok(())
}

#[cold]
fn escaped_field(key: &[u8]) -> Option<Field> {
    let mut text = Vec::with_capacity(key.len());
    unescape(key, &mut text);
    Field::from_key(&text)
}

#[inline]
fn scan_slot(scanner: &mut Scanner<'_>) -> Result<(Slot, u32), Fault> {
    let start = scanner.at;
    match scanner.peek() {
        b'"' => {
            let text = scanner.string()?;
            let kind = if text.escaped {
                SlotKind::EscapedText
            } else {
                SlotKind::Text
            };
            Ok((
                Slot {
                    kind,
                    start: text.start,
                    end: text.end,
                },
                0,
            ))
        }
        open @ (b'{' | b'[') => {
            let depth = scanner.container()?;
            let kind = if open == b'{' {
                SlotKind::Object
            } else {
                SlotKind::Other
            };
            Ok((
                Slot {
                    kind,
                    start,
                    end: scanner.at,
                },
                depth,
            ))
        }
        _ => {
            let kind = match scanner.scalar()? {
                Scalar::Null => SlotKind::Null,
                Scalar::Number => SlotKind::Number,
                Scalar::Bool => SlotKind::Other,
            };
            Ok((
                Slot {
                    kind,
                    start,
                    end: scanner.at,
                },
                0,
            ))
        }
    }
}

#[cold]
pub(crate) fn too_deep(at: usize) -> Reject {
    let detail =
        format!("`properties` has at most {PROPERTIES_MAX_DEPTH} levels, there are more at byte {at}");
    Reject {
        reason: RejectReason::PropertiesTooDeep,
        detail,
    }
}
