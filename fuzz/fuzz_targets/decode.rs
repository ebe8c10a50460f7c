//! The decoder takes any bytes: every record becomes an event or a rejection, and nothing else happens.
//!
//! Run it with `cargo fuzz run decode` (cargo-fuzz and a nightly toolchain).
#![no_main]

use domain::{PartitionId, Position, Timestamp};
use ingest::RawBatch;
use ingest::decode::{DecodeLimits, decode};
use ingest::source::RecordLayout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let batch = decode(
        RawBatch {
            partition: PartitionId("fuzz:0".into()),
            bytes: bytes.to_vec(),
            records: RecordLayout::Lines { first_offset: 0 },
            end: Position::End,
            received_at: Timestamp(1_800_000_000_000_000),
            live: true,
        },
        &DecodeLimits { retention_micros: Some(1 << 50) },
    );
    for event in &batch.events {
        assert!(!batch.text(event.event_id).is_empty());
        assert!(event.value.is_finite());
    }
});
