//! How fast records become events: one megabyte of generated NDJSON through the decoder, on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use domain::{PartitionId, Position, Timestamp};
use fixtures::generate::{GenerateSettings, Generator};
use ingest::RawBatch;
use ingest::decode::{DecodeLimits, decode};
use ingest::source::RecordLayout;

/// Records of one batch: about a megabyte, as sources make them.
const RECORDS: u64 = 4_000;

fn raw_batch() -> RawBatch {
    let settings = GenerateSettings {
        events: RECORDS,
        malformed_share: 0.0,
        ..GenerateSettings::default()
    };
    let mut bytes = Vec::new();
    for line in Generator::new(settings).expect("the default settings fit") {
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
    }
    RawBatch {
        partition: PartitionId("bench:0".into()),
        end: Position::Offset(bytes.len() as u64),
        bytes,
        records: RecordLayout::Lines { first_offset: 0 },
        received_at: Timestamp::parse("2026-01-02T00:00:00Z").expect("the text is a time"),
        live: false,
    }
}

fn decoding(criterion: &mut Criterion) {
    let raw = raw_batch();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("generated_events", |bencher| {
        bencher.iter_batched(
            || raw.clone(),
            |raw| black_box(decode(raw, &DecodeLimits::default())),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
