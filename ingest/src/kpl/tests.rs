//! The published form, an encoder to go round with, and bytes that only look like aggregates.

use proptest::prelude::*;

use super::*;

/// A user record as a producer would put it.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) partition_key: String,
    pub(crate) explicit_hash_key: Option<u128>,
    pub(crate) data: Vec<u8>,
}

impl Put {
    /// A record with a partition key only.
    pub(crate) fn new(partition_key: &str, data: impl Into<Vec<u8>>) -> Self {
        Self {
            partition_key: partition_key.into(),
            explicit_hash_key: None,
            data: data.into(),
        }
    }
}

/// Packs records as the producer library does, keys stored once each.
pub(crate) fn pack(puts: &[Put]) -> Vec<u8> {
    let (mut keys, mut hashes, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for put in puts {
        let mut record = Vec::new();
        varint_field(&mut record, 1, index_of(&mut keys, put.partition_key.clone()));
        if let Some(hash) = put.explicit_hash_key {
            varint_field(&mut record, 2, index_of(&mut hashes, hash.to_string()));
        }
        bytes_field(&mut record, 3, &put.data);
        records.push(record);
    }
    let mut message = Vec::new();
    for key in &keys {
        bytes_field(&mut message, 1, key.as_bytes());
    }
    for hash in &hashes {
        bytes_field(&mut message, 2, hash.as_bytes());
    }
    for record in &records {
        bytes_field(&mut message, 3, record);
    }
    seal(&message)
}

fn seal(message: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(&Md5::digest(message));
    bytes
}

fn index_of(table: &mut Vec<String>, key: String) -> u64 {
    let found = table.iter().position(|other| *other == key);
    let index = found.unwrap_or_else(|| {
        table.push(key);
        table.len() - 1
    });
    index as u64
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn varint_field(bytes: &mut Vec<u8>, number: u64, value: u64) {
    varint(bytes, number << 3);
    varint(bytes, value);
}

fn bytes_field(bytes: &mut Vec<u8>, number: u64, value: &[u8]) {
    varint(bytes, number << 3 | 2);
    varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn data_of(bytes: &[u8]) -> Vec<&[u8]> {
    match unpack(bytes, 1_000) {
        Unpacked::Aggregate(records) => records.into_iter().map(|record| record.data).collect(),
        other => panic!("not an aggregate but {other:?}"),
    }
}

#[test]
fn an_aggregate_of_another_implementation_comes_apart() {
    // What must never change: what other producers pack, here the Python one, is read as they meant it.
    let bytes = hex(
        "f3899ac20a06757365722d300a06757365722d311a0b08001a077b226e223a307d1a0b08011a077b226e223a317d\
         1a0b08001a077b226e223a327d1b8edd240b9a861757d99633ac9169f8",
    );
    let expected = [
        ("user-0", r#"{"n":0}"#),
        ("user-1", r#"{"n":1}"#),
        ("user-0", r#"{"n":2}"#),
    ];
    let expected: Vec<UserRecord<'_>> = expected
        .iter()
        .map(|(key, data)| UserRecord {
            hash_key: Some(hash_of(key.as_bytes())),
            data: data.as_bytes(),
        })
        .collect();
    assert_eq!(unpack(&bytes, 3), Unpacked::Aggregate(expected));
    assert_eq!(unpack(&bytes, 2), Unpacked::TooMany);
    let puts = [
        ("user-0", "{\"n\":0}"),
        ("user-1", "{\"n\":1}"),
        ("user-0", "{\"n\":2}"),
    ];
    let puts: Vec<Put> = puts.iter().map(|(key, data)| Put::new(key, *data)).collect();
    assert_eq!(
        pack(&puts),
        bytes,
        "the encoder of these tests writes the same form"
    );
}

#[test]
fn what_is_not_exactly_an_aggregate_is_plain() {
    // What must never change: a record that only resembles an aggregate reaches the decoder whole.
    let good = pack(&[Put::new("k", "data")]);
    assert_eq!(data_of(&good), [b"data"]);
    let mut bad_digest = good.clone();
    *bad_digest.last_mut().unwrap() ^= 1;
    let mut bad_message = good.clone();
    bad_message[5] ^= 1;
    let truncated = &good[..good.len() - 1];
    for bytes in [
        &bad_digest,
        &bad_message,
        truncated,
        &MAGIC,
        &good[..19],
        b"",
        b"{}",
    ] {
        assert_eq!(unpack(bytes, 10), Unpacked::Plain, "{bytes:?}");
    }
    // Valid checksums around messages that are not valid: a missing field, a wrong type, a group, a length too long,
    // a varint too long, field number 0.
    let messages: [&[u8]; 7] = [
        &[0x1A, 2, 0x08, 0],
        &[0x08, 1],
        &[0x1A, 4, 0x0A, 0, 0x1A, 0],
        &[0x0B],
        &[0x0A, 5, 0],
        &[0x20, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
        &[0x00, 0],
    ];
    for message in messages {
        assert_eq!(unpack(&seal(message), 10), Unpacked::Plain, "{message:?}");
    }
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let mut record = Vec::new();
    varint_field(&mut record, 1, 0);
    bytes_field(&mut record, 3, b"old");
    bytes_field(&mut record, 3, b"data");
    bytes_field(&mut record, 4, b"tag");
    let mut message = Vec::new();
    bytes_field(&mut message, 1, b"k");
    bytes_field(&mut message, 3, &record);
    message.extend_from_slice(&[
        (9 << 3) | 1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        (10 << 3) | 5,
        0,
        0,
        0,
        0,
        11 << 3,
        7,
    ]);
    // As protobuf says, the last of a field that stands twice is the one that counts.
    assert_eq!(data_of(&seal(&message)), [b"data"]);
}

#[test]
fn a_record_without_a_valid_key_is_kept_and_belongs_nowhere() {
    // What must never change: a wrong index in one record does not lose it or those after it.
    let mut message = Vec::new();
    bytes_field(&mut message, 1, b"k");
    for index in [7, 0] {
        let mut record = Vec::new();
        varint_field(&mut record, 1, index);
        bytes_field(&mut record, 3, b"x");
        bytes_field(&mut message, 3, &record);
    }
    let bytes = seal(&message);
    let Unpacked::Aggregate(records) = unpack(&bytes, 10) else {
        panic!("an aggregate");
    };
    let everything = 0..=u128::MAX;
    let belongs: Vec<bool> = records
        .iter()
        .map(|record| record.belongs_to(&everything))
        .collect();
    assert_eq!(belongs, [false, true]);
    assert!(!records[1].belongs_to(&(0..=1)));
}

#[test]
fn an_explicit_hash_key_decides_the_place() {
    let mut put = Put::new("k", "x");
    put.explicit_hash_key = Some(u128::MAX);
    let bytes = pack(&[put]);
    let Unpacked::Aggregate(records) = unpack(&bytes, 10) else {
        panic!("an aggregate");
    };
    assert_eq!(records[0].hash_key, Some(u128::MAX));
}

#[test]
fn tables_of_keys_are_bombs_too() {
    let message: Vec<u8> = [0x0A, 0].repeat(1_000);
    assert_eq!(unpack(&seal(&message), 999), Unpacked::TooMany);
    assert_eq!(unpack(&seal(&message), 1_000), Unpacked::Aggregate(Vec::new()));
}

fn any_put() -> impl Strategy<Value = Put> {
    let hash = proptest::option::of(any::<u128>());
    let data = proptest::collection::vec(any::<u8>(), 0..300);
    ("[a-e]{0,3}", hash, data).prop_map(|(partition_key, explicit_hash_key, data)| Put {
        partition_key,
        explicit_hash_key,
        data,
    })
}

proptest! {
    #[test]
    fn packing_and_unpacking_gives_the_same(puts in proptest::collection::vec(any_put(), 0..40)) {
        let bytes = pack(&puts);
        let expected = puts.iter().map(|put| UserRecord {
            hash_key: Some(put.explicit_hash_key.unwrap_or_else(|| hash_of(put.partition_key.as_bytes()))),
            data: &put.data,
        });
        prop_assert_eq!(unpack(&bytes, 40), Unpacked::Aggregate(expected.collect()));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0_usize..5) {
        unpack(&bytes, limit);
        // Behind a valid checksum, where the parser itself is reached.
        unpack(&seal(&bytes), limit);
    }

    #[test]
    fn a_damaged_message_never_panics(
        puts in proptest::collection::vec(any_put(), 1..5),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let packed = pack(&puts);
        let mut message = packed[MAGIC.len()..packed.len() - DIGEST_BYTES].to_vec();
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        unpack(&seal(&message), 100);
    }
}
