//! The decoder against a full JSON parser, on random objects, damaged text and random bytes.

use domain::{EventKind, RejectReason, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::lines;
use super::{decode_lines, decode_one};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An event-like object: each field right, wrong or absent, and unknown ones in between.
fn any_record() -> impl Strategy<Value = Value> {
    let text = prop_oneof![6 => "[a-z0-9]{1,8}".prop_map(Value::from), 2 => ".{1,20}".prop_map(Value::from), 1 => any_json()];
    let kind = prop_oneof![4 => Just(json!("track")), 4 => Just(json!("exposure")), 1 => any_json()];
    let ts = prop_oneof![8 => (-9_000_000_000_000_000_i64..9_000_000_000_000_000).prop_map(|at| json!(Timestamp(at))), 1 => any_json()];
    let value = prop_oneof![6 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from), 1 => any_json()];
    let optional = |strategy: BoxedStrategy<Value>| prop::option::weighted(0.95, strategy);
    (
        optional(text.clone().boxed()),
        optional(kind.boxed()),
        optional(ts.boxed()),
        optional(text.clone().boxed()),
        [
            optional(text.clone().boxed()),
            optional(text.clone().boxed()),
            optional(text.boxed()),
        ],
        prop::option::of(value),
        prop::option::of(any_json()),
        prop::collection::btree_map("[a-z]{1,3}\\PC{0,3}", any_json(), 0..3),
    )
        .prop_map(
            |(event_id, kind, ts, user_id, [experiment, variant, event], value, properties, unknown)| {
                let mut object: serde_json::Map<String, Value> = unknown.into_iter().collect();
                let fields = [
                    ("event_id", event_id),
                    ("type", kind),
                    ("ts", ts),
                    ("user_id", user_id),
                    ("experiment", experiment),
                    ("variant", variant),
                    ("event", event),
                    ("value", value),
                    ("properties", properties),
                ];
                for (name, field) in fields {
                    if let Some(field) = field {
                        object.insert(name.to_owned(), field);
                    }
                }
                Value::Object(object)
            },
        )
}

fn key_of(value: &Value, max: usize) -> Option<&str> {
    value
        .as_str()
        .filter(|text| !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control))
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether the contract takes the object, written down once more over generic values.
fn is_valid(record: &Value) -> bool {
    let common = key_of(&record["event_id"], 64).is_some()
        && record["ts"]
            .as_str()
            .is_some_and(|ts| Timestamp::parse(ts).is_ok())
        && key_of(&record["user_id"], 256).is_some();
    let properties = &record["properties"];
    let fits = properties.is_null() || (properties.is_object() && depth_of(properties) <= 8);
    let own = match record["type"].as_str() {
        Some("track") => {
            key_of(&record["event"], 256).is_some()
                && (record["value"].is_null() || record["value"].is_number())
        }
        Some("exposure") => {
            key_of(&record["experiment"], 256).is_some() && key_of(&record["variant"], 256).is_some()
        }
        _ => false,
    };
    common && fits && own
}

/// The text with some characters of its strings written as escapes: those whose place the mask names.
fn escape_some(text: &str, mask: u64) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut characters = text.chars().enumerate();
    while let Some((place, character)) = characters.next() {
        if character == '"' {
            in_string = !in_string;
        }
        if character == '\\' {
            // An escape that is there already stays as it is.
            let kind = characters.next().map_or(' ', |(_, kind)| kind);
            out.extend([character, kind]);
            let digits = if kind == 'u' { 4 } else { 0 };
            out.extend(characters.by_ref().take(digits).map(|(_, digit)| digit));
        } else if in_string && character != '"' && mask >> (place % 61) & 1 == 1 {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(character);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn objects_are_taken_exactly_when_a_generic_reader_takes_them(record in any_record(), mask: u64, pretty: bool) {
        // What must never change: acceptance and values are those of a full JSON parser, however the text is written.
        let text = if pretty { serde_json::to_string_pretty(&record).unwrap() } else { record.to_string() };
        let text = escape_some(&text, mask & mask.rotate_left(7));
        // The generic reader is not exact on numbers, so what it read is compared with what it reads.
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let batch = decode_one(text.as_bytes());
        prop_assert_eq!(batch.events.len() == 1, is_valid(&record), "{} {:?}", text, batch.rejections);
        for event in &batch.events {
            prop_assert_eq!(batch.text(event.event_id), &record["event_id"]);
            prop_assert_eq!(batch.text(event.user_id), &record["user_id"]);
            prop_assert_eq!(Ok(event.ts), Timestamp::parse(record["ts"].as_str().unwrap()));
            if event.kind == EventKind::Track {
                prop_assert_eq!(batch.text(event.name), &record["event"]);
                let expected = record["value"].as_f64().unwrap_or(1.0);
                prop_assert_eq!(event.value.to_bits(), expected.to_bits());
            } else {
                prop_assert_eq!(batch.text(event.name), &record["experiment"]);
                prop_assert_eq!(batch.text(event.variant), &record["variant"]);
            }
            let properties = batch.text(event.properties);
            if record["properties"].is_null() {
                prop_assert_eq!(properties, "");
            } else {
                prop_assert_eq!(&serde_json::from_str::<Value>(properties).unwrap(), &parsed["properties"]);
            }
        }
    }

    #[test]
    fn damaged_text_is_json_exactly_when_a_generic_reader_says_so(
        record in any_record(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[]\",:\\ud0-+.eE1tn \x7f\xc3\n".as_slice())), 1..4),
    ) {
        // What must never change: nothing that is not JSON gets in, and nothing that is JSON is said not to be.
        let mut bytes = record.to_string().into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let batch = decode_one(&bytes);
        let verdict = batch.rejections.first().map(|rejection| rejection.reason);
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(_) => prop_assert!(!matches!(verdict, Some(RejectReason::InvalidJson | RejectReason::InvalidUtf8))),
            // The generic reader refuses numbers beyond a double; to the grammar they are numbers.
            Err(error) if error.to_string().contains("out of range") => {}
            Err(_) => prop_assert!(matches!(verdict, Some(RejectReason::InvalidJson | RejectReason::InvalidUtf8)), "{verdict:?}"),
        }
    }

    #[test]
    fn any_bytes_are_accounted_for(bytes in prop::collection::vec(prop_oneof![
        4 => prop::sample::select(b"{}[]\",:\\\n\r u0123456789abcdeftrsn".as_slice()), 1 => any::<u8>()], 0..600)) {
        // What must never change: no input panics, and each line that is not blank is an event or a rejection.
        let expected = lines(&bytes, true).count() as u64;
        let batch = decode_lines(bytes);
        prop_assert_eq!(batch.received_count(), expected);
        for event in &batch.events {
            batch.text(event.properties);
        }
    }
}
