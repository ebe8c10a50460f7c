//! What the decoder takes, what it turns away and why, with `serde_json` as the independent reader.

use domain::{EventKind, PartitionId, Position, RejectReason, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::source::RawRecord;

mod oracle;

const NOON: &str = "2026-01-01T12:00:00Z";

fn lines_batch(bytes: impl Into<Vec<u8>>, live: bool) -> RawBatch {
    let bytes = bytes.into();
    RawBatch {
        partition: PartitionId("file:test".into()),
        end: Position::Offset(bytes.len() as u64),
        bytes,
        records: RecordLayout::Lines { first_offset: 0 },
        received_at: Timestamp::parse(NOON).unwrap(),
        live,
    }
}

fn decode_lines(bytes: impl Into<Vec<u8>>) -> EventBatch {
    decode(lines_batch(bytes, false), &DecodeLimits::default())
}

/// One record listed by itself, so that newlines in it do not cut it.
fn decode_one(record: &[u8]) -> EventBatch {
    let mut raw = lines_batch(record, false);
    let whole = RawRecord {
        start: 0,
        length: record.len() as u32,
        undecodable: None,
    };
    raw.records = RecordLayout::Listed(vec![(whole, "7/0".into())]);
    decode(raw, &DecodeLimits::default())
}

fn check_rejected(record: impl AsRef<[u8]>, reason: RejectReason, detail_part: &str) {
    let batch = decode_one(record.as_ref());
    let shown = String::from_utf8_lossy(&record.as_ref()[..record.as_ref().len().min(200)]).into_owned();
    assert_eq!((batch.events.len(), batch.rejections.len()), (0, 1), "{shown}");
    let rejection = &batch.rejections[0];
    assert_eq!(rejection.reason, reason, "{shown}: {}", rejection.detail);
    assert!(
        rejection.detail.contains(detail_part),
        "{shown}: {}",
        rejection.detail
    );
    assert_eq!(rejection.position, "7/0");
    assert!(record.as_ref().starts_with(&rejection.payload));
}

fn track() -> Value {
    json!({"event_id": "e1", "type": "track", "ts": NOON, "user_id": "u1", "event": "buy", "value": 2.5})
}

fn exposure() -> Value {
    json!({"event_id": "e1", "type": "exposure", "ts": NOON, "user_id": "u1", "experiment": "x", "variant": "b"})
}

fn with(mut event: Value, field: &str, value: Value) -> String {
    event[field] = value;
    event.to_string()
}

fn without(mut event: Value, field: &str) -> String {
    event.as_object_mut().unwrap().remove(field);
    event.to_string()
}

/// A track with one more field whose value is written out by hand.
fn with_raw(field: &str, value: &str) -> String {
    let rest = without(track(), field);
    format!("{{\"{field}\":{value},{}", &rest[1..])
}

#[test]
fn a_track_and_an_exposure_are_read_whole() {
    let text = format!(
        "{}\n{}\n",
        with(track(), "properties", json!({"a": [1, {"b": null}]})),
        exposure()
    );
    let batch = decode_lines(text);
    assert_eq!(batch.rejections, []);
    let [track, exposure] = batch.events.as_slice() else {
        panic!("two events are expected")
    };
    assert_eq!(
        (track.kind, batch.text(track.name), track.value),
        (EventKind::Track, "buy", 2.5)
    );
    assert_eq!(
        (batch.text(track.event_id), batch.text(track.user_id)),
        ("e1", "u1")
    );
    assert_eq!(batch.text(track.properties), r#"{"a":[1,{"b":null}]}"#);
    assert_eq!(track.ts, Timestamp::parse(NOON).unwrap());
    assert_eq!(
        (exposure.kind, batch.text(exposure.name)),
        (EventKind::Exposure, "x")
    );
    assert_eq!(
        (batch.text(exposure.variant), batch.text(exposure.properties)),
        ("b", "")
    );
    assert_eq!(track.user_hash, xxhash_rust::xxh3::xxh3_64(b"u1"));
    assert_eq!(track.id_key, xxhash_rust::xxh3::xxh3_128(b"e1"));
}

#[test]
fn lines_may_end_in_any_common_way_and_blank_ones_are_none() {
    let one = track().to_string();
    let text = format!("\u{feff}{one}\r\n\n  \r\n\t{one} \n\r\n{one}");
    assert_eq!(decode_lines(text.clone()).events.len(), 3);
    assert_eq!(decode_lines("").received_count(), 0);
    assert_eq!(decode_lines("\n\n").received_count(), 0);
    // A byte order mark anywhere else is no JSON.
    let mut later = lines_batch(text, false);
    later.records = RecordLayout::Lines { first_offset: 10 };
    let batch = decode(later, &DecodeLimits::default());
    assert_eq!(
        (batch.events.len(), batch.rejections[0].reason),
        (2, RejectReason::InvalidJson)
    );
    assert_eq!(batch.rejections[0].position, "10");
}

#[test]
fn a_rejected_line_keeps_its_bytes_and_its_place_and_stops_nobody() {
    let one = track().to_string();
    let batch = decode_lines(format!("{one}\nnot json\n{one}\n"));
    assert_eq!(batch.events.len(), 2);
    let rejection = &batch.rejections[0];
    assert_eq!(
        (rejection.payload.as_slice(), rejection.position.clone()),
        (&b"not json"[..], (one.len() + 1).to_string())
    );
    assert_eq!(rejection.received_at, Timestamp::parse(NOON).unwrap());
}

#[test]
fn text_that_is_no_json_is_said_to_be_that() {
    let whole = track().to_string();
    for length in 0..whole.len() {
        check_rejected(&whole[..length], RejectReason::InvalidJson, "");
    }
    for record in [
        "NaN",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{,}",
        "{\"a\":1,}",
        "[1,]",
        "{\"a\":1}}",
        "{} {}",
        "'x'",
    ] {
        check_rejected(record, RejectReason::InvalidJson, "");
    }
    for value in [
        "01", "1.", ".5", "+1", "1e", "0x1", "NaN", "Infinity", "-", "\"a\tb\"", "\"\\x\"", "tru", "nulll",
    ] {
        check_rejected(with_raw("extra", value), RejectReason::InvalidJson, "byte");
        check_rejected(
            with_raw("properties", &format!("{{\"a\":{value}}}")),
            RejectReason::InvalidJson,
            "byte",
        );
    }
    for escape in [
        r"\ud800",
        r"\udc00",
        r"\ud800\u0041",
        r"\u12",
        r"\ud800x",
        r"\uzzzz",
        r"\u+123",
    ] {
        check_rejected(
            with_raw("user_id", &format!("\"{escape}\"")),
            RejectReason::InvalidJson,
            "byte",
        );
        check_rejected(
            with_raw("extra", &format!("\"{escape}\"")),
            RejectReason::InvalidJson,
            "byte",
        );
    }
    check_rejected("", RejectReason::InvalidJson, "empty");
}

#[test]
fn every_other_json_is_not_an_object() {
    for record in ["null", "true", "1", "\"x\"", "[]", "[{}]", " [1, 2] "] {
        check_rejected(record, RejectReason::NotAnObject, "object");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_found_wherever_they_are() {
    for field in ["user_id", "extra", "properties"] {
        let mut record = with(track(), field, json!("?")).into_bytes();
        let at = record.iter().rposition(|byte| *byte == b'?').unwrap();
        record[at] = 0xff;
        check_rejected(&record, RejectReason::InvalidUtf8, &format!("byte {at}"));
        // The neighbours of such a record are read all the same.
        let good = with(track(), "user_id", json!("é"));
        let batch = decode_lines([good.as_bytes(), b"\n", &record, b"\n", good.as_bytes()].concat());
        assert_eq!((batch.events.len(), batch.rejections.len()), (2, 1));
    }
    check_rejected(b"\x1f\x8b\x08\x00rest", RejectReason::Undecodable, "gzip");
    check_rejected(b"\x28\xb5\x2f\xfdrest", RejectReason::Undecodable, "zstd");
}

#[test]
fn required_fields_are_there_and_are_strings() {
    for (event, fields) in [
        (track(), &["event_id", "type", "ts", "user_id", "event"][..]),
        (
            exposure(),
            &["event_id", "type", "ts", "user_id", "experiment", "variant"],
        ),
    ] {
        for field in fields {
            let named = format!("`{field}`");
            check_rejected(without(event.clone(), field), RejectReason::MissingField, &named);
            check_rejected(
                with(event.clone(), field, Value::Null),
                RejectReason::MissingField,
                &named,
            );
            for wrong in [json!(1), json!(true), json!(["x"]), json!({"x": 1})] {
                check_rejected(with(event.clone(), field, wrong), RejectReason::WrongType, &named);
            }
        }
    }
    check_rejected("{}", RejectReason::MissingField, "`event_id`");
}

#[test]
fn texts_are_within_their_limits() {
    let limits = [
        ("event_id", 64, track()),
        ("user_id", 256, track()),
        ("event", 256, track()),
    ];
    for (field, max, event) in limits
        .into_iter()
        .chain([("experiment", 256, exposure()), ("variant", 256, exposure())])
    {
        let named = format!("`{field}`");
        check_rejected(
            with(event.clone(), field, json!("")),
            RejectReason::EmptyField,
            &named,
        );
        check_rejected(
            with(event.clone(), field, json!("x".repeat(max + 1))),
            RejectReason::InvalidField,
            &named,
        );
        for control in ["a\nb", "a\u{7f}", "\u{85}b", "\u{0}"] {
            check_rejected(
                with(event.clone(), field, json!(control)),
                RejectReason::InvalidField,
                &named,
            );
        }
        assert_eq!(
            decode_one(with(event.clone(), field, json!("π".repeat(max / 2))).as_bytes())
                .events
                .len(),
            1
        );
    }
    check_rejected(
        with_raw("user_id", "\"a\u{7f}\""),
        RejectReason::InvalidField,
        "control",
    );
    for other in ["", "Track", "exposures", "page"] {
        check_rejected(
            with(track(), "type", json!(other)),
            RejectReason::UnknownType,
            "`type`",
        );
    }
}

#[test]
fn escapes_mean_what_they_stand_for_in_keys_and_in_values() {
    let record = r#"{"\u0065vent_id":"\u0065\"1","t\u0079pe":"tr\u0061ck","ts":"2026-01-01T12:00:00\u005A",
        "user_id":"u\ud83d\ude00\/\\","event":"b\u00fcy","value":1E1,"properties":{"k":"\u00e9"}}"#;
    let batch = decode_one(record.as_bytes());
    assert_eq!(batch.rejections, []);
    let event = &batch.events[0];
    assert_eq!(
        (batch.text(event.event_id), batch.text(event.user_id)),
        ("e\"1", "u😀/\\")
    );
    assert_eq!((batch.text(event.name), event.value), ("büy", 10.0));
    assert_eq!(batch.text(event.properties), r#"{"k":"\u00e9"}"#);
    // Equal ids have equal keys, however they were written.
    let plain = decode_one(
        with(track(), "event_id", json!("e\"1"))
            .replace("\\\"", "\\u0022")
            .as_bytes(),
    );
    assert_eq!(plain.events[0].id_key, event.id_key);
}

#[test]
fn a_known_field_stands_once() {
    for field in [
        "event_id",
        "type",
        "ts",
        "user_id",
        "event",
        "value",
        "properties",
        "experiment",
    ] {
        let twice = format!(
            "{{\"{field}\":null,\"{field}\":null,{}",
            &without(track(), field)[1..]
        );
        check_rejected(twice, RejectReason::DuplicateField, field);
    }
    let unknown = with_raw("extra", "1,\"extra\":2");
    assert_eq!(decode_one(unknown.as_bytes()).events.len(), 1);
}

#[test]
fn times_are_rfc_3339_and_live_ones_are_near_the_clock() {
    for wrong in [
        "",
        "yesterday",
        "2026-01-01",
        "2026-13-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "1767225600",
    ] {
        check_rejected(
            with(track(), "ts", json!(wrong)),
            RejectReason::InvalidTimestamp,
            "`ts`",
        );
    }
    let limits = DecodeLimits {
        retention_micros: Some(3_600_000_000),
    };
    let reason = |ts: &str, live: bool| {
        let batch = decode(lines_batch(with(track(), "ts", json!(ts)), live), &limits);
        batch.rejections.first().map(|rejection| rejection.reason)
    };
    assert_eq!(reason("2026-01-01T11:00:00Z", true), None);
    assert_eq!(
        reason("2026-01-01T10:59:59.999Z", true),
        Some(RejectReason::TooOld)
    );
    assert_eq!(reason("2026-01-02T12:00:00Z", true), None);
    assert_eq!(
        reason("2026-01-02T12:00:00.000001Z", true),
        Some(RejectReason::TooFarAhead)
    );
    for history in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        assert_eq!(reason(history, false), None);
    }
}

#[test]
fn values_are_finite_doubles() {
    for (text, value) in [
        ("0", 0.0),
        ("-0", -0.0),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("1e-400", 0.0),
    ] {
        let batch = decode_one(with_raw("value", text).as_bytes());
        assert_eq!(batch.events[0].value.to_bits(), f64::to_bits(value), "{text}");
    }
    for infinite in ["1e400", "-1e309", &"9".repeat(400)] {
        check_rejected(
            with_raw("value", infinite),
            RejectReason::ValueNotFinite,
            "`value`",
        );
    }
    for wrong in ["\"1\"", "true", "[1]", "{}"] {
        check_rejected(with_raw("value", wrong), RejectReason::WrongType, "`value`");
    }
    for absent in [without(track(), "value"), with(track(), "value", Value::Null)] {
        assert_eq!(
            decode_one(absent.as_bytes()).events[0].value.to_bits(),
            1_f64.to_bits()
        );
    }
}

#[test]
fn properties_are_an_object_of_bounded_size_and_depth() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert_eq!(
        decode_one(with_raw("properties", &nested(8)).as_bytes())
            .events
            .len(),
        1
    );
    assert_eq!(
        decode_one(with_raw("properties", "null").as_bytes()).events.len(),
        1
    );
    for depth in [9, 32, 33, 1_000] {
        check_rejected(
            with_raw("properties", &nested(depth)),
            RejectReason::PropertiesTooDeep,
            "`properties`",
        );
    }
    for wrong in ["1", "\"{}\"", "[]", "false"] {
        check_rejected(
            with_raw("properties", wrong),
            RejectReason::WrongType,
            "`properties`",
        );
    }
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(
        decode_one(with_raw("properties", &sized(16 * 1024)).as_bytes())
            .events
            .len(),
        1
    );
    check_rejected(
        with_raw("properties", &sized(16 * 1024 + 1)),
        RejectReason::PropertiesTooLarge,
        "16385",
    );
}

#[test]
fn bombs_are_turned_away_without_harm() {
    for depth in [34, 129, 30_000] {
        for open in ["[", "{\"a\":"] {
            let bomb = open.repeat(depth.min(60_000 / open.len()));
            check_rejected(&bomb, RejectReason::InvalidJson, "levels");
            check_rejected(with_raw("extra", &bomb), RejectReason::InvalidJson, "levels");
            check_rejected(with_raw("user_id", &bomb), RejectReason::InvalidJson, "levels");
        }
    }
    let closed = format!("{}{}", "[".repeat(32), "]".repeat(32));
    assert_eq!(decode_one(with_raw("extra", &closed).as_bytes()).events.len(), 1);
    let huge = with(track(), "user_id", json!("x".repeat(1024 * 1024)));
    check_rejected(&huge, RejectReason::RecordTooLarge, "65536");
    assert_eq!(
        decode_one(huge.as_bytes()).rejections[0].payload.len(),
        RECORD_MAX_BYTES
    );
    check_rejected("[".repeat(100_000), RejectReason::RecordTooLarge, "");
}

#[test]
fn a_record_that_the_source_could_not_open_is_not_looked_into() {
    let record = track().to_string();
    let mut raw = lines_batch(record.clone(), false);
    let closed = RawRecord {
        start: 0,
        length: record.len() as u32,
        undecodable: Some("bad checksum".into()),
    };
    // A range beyond the batch's bytes is cut, never a panic.
    let beyond = RawRecord {
        start: 1_000_000,
        length: 5,
        undecodable: None,
    };
    raw.records = RecordLayout::Listed(vec![(closed, "1".into()), (beyond, "2".into())]);
    let batch = decode(raw, &DecodeLimits::default());
    assert_eq!(batch.rejections[0].reason, RejectReason::Undecodable);
    assert_eq!(
        (
            batch.rejections[0].detail.as_str(),
            batch.rejections[0].payload.as_slice()
        ),
        ("bad checksum", record.as_bytes())
    );
    assert_eq!(batch.rejections[1].reason, RejectReason::InvalidJson);
}
