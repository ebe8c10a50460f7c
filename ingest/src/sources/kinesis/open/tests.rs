//! Every form in which a record may come, and every way in which it may be broken.

use std::io::Write;

use domain::RejectReason;
use proptest::prelude::*;

use super::*;
use crate::kpl::tests::{Put, pack};
use crate::{DecodeLimits, decode};

const SMALL: ReadLimits = ReadLimits {
    prefetch_bytes: 0,
    expanded_bytes: 1_000,
    expanded_records: 10,
    batch_bytes: 100_000,
};

fn page(records: Vec<ShardRecord>, limits: ReadLimits) -> OpenPage {
    OpenPage {
        partition: PartitionId("kinesis:s/shard".into()),
        records,
        taken_through: None,
        hash_keys: None,
        limits,
        now: Timestamp(1_000_000_000),
    }
}

fn record(sequence: &str, data: impl Into<Vec<u8>>) -> ShardRecord {
    ShardRecord {
        sequence: sequence.into(),
        arrival: None,
        data: data.into(),
    }
}

fn batches(page: OpenPage) -> Vec<RawBatch> {
    let mut opener = Opener::new(page);
    std::iter::from_fn(|| opener.next_batch()).collect()
}

/// Position, text and whether it could not be opened, of every record.
fn listed(batches: &[RawBatch]) -> Vec<(String, Vec<u8>, Option<String>)> {
    let mut all = Vec::new();
    for batch in batches {
        let RecordLayout::Listed(records) = &batch.records else {
            panic!("listed records");
        };
        for (record, position) in records {
            let bytes = &batch.bytes[record.start as usize..][..record.length as usize];
            all.push((position.clone(), bytes.to_vec(), record.undecodable.clone()));
        }
    }
    all
}

/// The texts that one stream record opens to; one that cannot be opened is written `!detail`.
fn opened(data: impl Into<Vec<u8>>) -> Vec<String> {
    let listed = listed(&batches(page(vec![record("7", data)], SMALL)));
    let text = |(_, bytes, detail): (String, Vec<u8>, Option<String>)| match detail {
        Some(detail) => format!("!{detail}"),
        None => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
    };
    listed.into_iter().map(text).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

#[test]
fn every_form_of_a_record_opens() {
    // What must never change: the same events are read from each form that a producer may choose.
    let two = ["{\"a\":1}", "{\"b\":2}"];
    assert_eq!(opened("{\"a\":1}"), ["{\"a\":1}"]);
    assert_eq!(opened("{\"a\":1}\n"), ["{\"a\":1}"]);
    assert_eq!(opened("\n {\"a\":1}\r\n\n{\"b\":2}"), two);
    assert_eq!(opened("\u{FEFF}{\"a\":1}\n{\"b\":2}"), two);
    assert_eq!(opened("[{\"a\":1},\n {\"b\":2}]"), two);
    assert_eq!(opened("[{\"a\":1}]\n{\"b\":2}"), two);
    assert_eq!(opened(" [ ]\n"), Vec::<String>::new());
    assert_eq!(
        opened("{\n \"a\": 1\n}\n{\"b\":2}"),
        ["{\n \"a\": 1\n}", "{\"b\":2}"]
    );
    for compress in [gzip, zstd] {
        assert_eq!(opened(compress(b"{\"a\":1}\n{\"b\":2}\n")), two);
        let aggregate = pack(&[Put::new("k", two[0]), Put::new("k", compress(two[1].as_bytes()))]);
        assert_eq!(opened(aggregate), two);
    }
    let members = [gzip(b"{\"a\":1}\n"), gzip(b"{\"b\":2}")].concat();
    assert_eq!(opened(members), two);
}

#[test]
fn what_is_no_event_is_kept_for_the_dead_letters() {
    // What must never change: no byte disappears without a reason written beside it.
    assert_eq!(opened(""), [""]);
    assert_eq!(opened(" \n"), [""]);
    assert_eq!(opened("junk"), ["junk"]);
    assert_eq!(opened("{\"a\":\n{\"b\":2}"), ["{\"a\":", "{\"b\":2}"]);
    assert_eq!(
        opened("[{\"a\":1}, oops, {\"b\":2}]"),
        ["{\"a\":1}", "oops, {\"b\":2}]"]
    );
    assert_eq!(opened("[{\"a\":1},"), ["{\"a\":1}", ""]);
    assert_eq!(opened("\x0c"), ["\x0c".trim_end()]);
    let damaged = &gzip(b"{\"a\":1}")[..20];
    assert!(
        opened(damaged)[0].starts_with("!damaged gzip after"),
        "{:?}",
        opened(damaged)
    );
    let damaged = &zstd(b"{\"a\":1}")[..9];
    assert!(
        opened(damaged)[0].starts_with("!damaged zstd after"),
        "{:?}",
        opened(damaged)
    );
}

#[test]
fn bombs_are_dead_letters_with_their_own_bytes() {
    // What must never change: one small record cannot take more memory than its limit.
    for bomb in [gzip(&vec![b' '; 1_001]), zstd(&vec![b' '; 1_001])] {
        let batches = batches(page(vec![record("7", bomb.clone()), record("8", "{}")], SMALL));
        let listed = listed(&batches);
        assert_eq!((listed[0].0.as_str(), &listed[0].1), ("7/0/0", &bomb));
        assert!(listed[0].2.as_ref().unwrap().contains("more than the 1000 bytes"));
        assert_eq!((listed[1].0.as_str(), &listed[1].2), ("8/0/0", &None));
        let decoded = decode(batches.into_iter().next().unwrap(), &DecodeLimits::default());
        let reasons: Vec<RejectReason> = decoded.rejections.iter().map(|bad| bad.reason).collect();
        assert_eq!(reasons, [RejectReason::Undecodable, RejectReason::MissingField]);
    }
    assert_eq!(opened("1\n".repeat(10)).len(), 10);
    assert_eq!(
        opened("1\n".repeat(11)),
        ["!more than the 10 records that a record may still hold"]
    );
    assert_eq!(opened(format!("[{}1]", "1,".repeat(10))).len(), 1);
    let many: Vec<Put> = (0..11).map(|_| Put::new("k", "{}")).collect();
    assert_eq!(opened(pack(&many)), ["!aggregate of more than 10 user records"]);
    // The limits are of the stream record, not of each part of it.
    let half = gzip(&[b"{".as_slice(), &[b' '; 600], b"}"].concat());
    let halves = opened(pack(&[
        Put::new("k", half.clone()),
        Put::new("k", half),
        Put::new("k", "{}"),
    ]));
    assert!(
        halves[1].starts_with("!gzip opens to more than the 398 bytes"),
        "{halves:?}"
    );
    assert_eq!(halves[2], "{}");
}

#[test]
fn a_position_inside_an_aggregate_is_taken_up_there() {
    // What must never change: reading again after any position gives what comes after it, no more and no less.
    let aggregate = pack(&[Put::new("k", "1\n2"), Put::new("k", "3"), Put::new("k", "4")]);
    let records = vec![record("099", aggregate), record("100", "5\n6")];
    let limits = ReadLimits {
        batch_bytes: 1,
        ..SMALL
    };
    let all = batches(page(records.clone(), limits));
    let ends: Vec<String> = all.iter().map(|batch| batch.end.to_string()).collect();
    assert_eq!(ends, ["099/0", "099/1", "099/2", "100/0"]);
    let positions: Vec<String> = listed(&all).into_iter().map(|record| record.0).collect();
    assert_eq!(
        positions,
        ["099/0/0", "099/0/1", "099/1/0", "099/2/0", "100/0/0", "100/0/1"]
    );
    for taken in 0..all.len() {
        let mut rest = page(records.clone(), limits);
        rest.taken_through = Some(all[taken].end.clone());
        assert_eq!(
            listed(&batches(rest)),
            listed(&all[taken + 1..]),
            "after {}",
            all[taken].end
        );
    }
}

#[test]
fn records_of_other_shards_are_kept_and_counted() {
    let mut stray = Put::new("k", "2");
    stray.explicit_hash_key = Some(500);
    let mut page = page(
        vec![record("7", pack(&[stray.clone(), stray, Put::new("k", "3")]))],
        SMALL,
    );
    page.hash_keys = Some(501..=u128::MAX);
    page.taken_through = Some(Position::Sequence {
        sequence: "7".into(),
        sub_sequence: 0,
    });
    let mut opener = Opener::new(page);
    assert_eq!(listed(&[opener.next_batch().unwrap()]).len(), 2);
    assert_eq!(opener.next_batch(), None);
    assert_eq!(opener.misplaced_count(), 1);
}

#[test]
fn an_empty_aggregate_moves_the_position() {
    let batches = batches(page(vec![record("7", pack(&[]))], SMALL));
    assert_eq!((batches.len(), batches[0].end.to_string().as_str()), (1, "7/0"));
    assert_eq!(listed(&batches), []);
}

#[test]
fn a_batch_says_when_its_records_arrived() {
    // What must never change: a late reader gives an event the same verdict as a reader in time.
    let at = |arrival: i64, sequence: &str| ShardRecord {
        arrival: Some(Timestamp(arrival)),
        ..record(sequence, "{}")
    };
    let minute = ARRIVAL_SPAN_MAX_MICROS;
    let records = vec![
        at(5, "1"),
        at(minute + 5, "2"),
        at(minute + 6, "3"),
        at(9_000_000_000, "4"),
        record("5", "{}"),
    ];
    let batches = batches(page(records, SMALL));
    let arrivals: Vec<i64> = batches.iter().map(|batch| batch.received_at.0).collect();
    // An arrival in the future is a wrong clock.
    assert_eq!(arrivals, [5, minute + 6, 1_000_000_000]);
    assert_eq!(
        batches
            .iter()
            .map(|batch| listed(std::slice::from_ref(batch)).len())
            .collect::<Vec<_>>(),
        [2, 1, 2]
    );
}

proptest! {
    #[test]
    fn any_bytes_open_to_something(data in proptest::collection::vec(any::<u8>(), 0..100), kind in 0..4) {
        let data = match kind {
            0 => data,
            1 => [GZIP_MAGIC.to_vec(), data].concat(),
            2 => [ZSTD_MAGIC.to_vec(), data].concat(),
            _ => pack(&[Put::new("k", data.clone()), Put::new("k", gzip(&data))]),
        };
        let batches = batches(page(vec![record("7", data)], SMALL));
        prop_assert_eq!(batches.len(), 1);
    }

    #[test]
    fn texts_close_to_json_lose_nothing(text in "[\\[\\]{}\":,a1 \\n]{0,40}") {
        // What must never change: all that is not a separator is in some record.
        let found: usize = opened(text.as_str()).iter().map(|record| significant(record)).sum();
        let separators = text.matches(['[', ']', ',']).count();
        prop_assert!(found + separators >= significant(&text), "{:?} of {:?}", opened(text.as_str()), text);
    }
}

fn significant(text: &str) -> usize {
    text.bytes().filter(|byte| !byte.is_ascii_whitespace()).count()
}
