//! How fast the keyed state takes events in: de-duplication, attribution, windows and summaries, on one core.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use domain::metric::MeasurementPlan;
use domain::{PartitionId, Position, Timestamp};
use fixtures::generate::{GenerateSettings, Generator};
use ingest::decode::{DecodeLimits, decode};
use ingest::source::RecordLayout;
use ingest::{EventBatch, RawBatch};
use pipeline::PipelineError;
use pipeline::dedup::{RunLookup, RunName};
use pipeline::engine::{Engine, Horizons};

/// Events in all, and in one batch.
const EVENTS: u64 = 200_000;
const BATCH_EVENTS: usize = 4_000;

/// Nothing leaves memory within the span of the bench.
struct NoRuns;

impl RunLookup for NoRuns {
    fn contains(&mut self, _run: RunName, _key: u128) -> Result<bool, PipelineError> {
        Ok(false)
    }
}

fn batches() -> Vec<EventBatch> {
    let settings = GenerateSettings {
        events: EVENTS,
        span_seconds: 3_000,
        ..GenerateSettings::default()
    };
    let lines: Vec<Vec<u8>> = Generator::new(settings)
        .expect("the default settings fit")
        .collect();
    let raw = lines.chunks(BATCH_EVENTS).map(|lines| RawBatch {
        partition: PartitionId("bench:0".into()),
        end: Position::End,
        bytes: lines.join(&b'\n'),
        records: RecordLayout::Lines { first_offset: 0 },
        received_at: Timestamp::parse("2026-01-02T00:00:00Z").expect("the text is a time"),
        live: false,
    });
    raw.map(|raw| decode(raw, &DecodeLimits::default())).collect()
}

fn applying(criterion: &mut Criterion) {
    let batches = batches();
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(EVENTS));
    group.sample_size(10);
    group.bench_function("apply", |bencher| {
        bencher.iter_batched(
            || Engine::new(&MeasurementPlan::discover(), Horizons::REPLAY),
            |mut engine| {
                let mut accepted = Vec::new();
                for batch in &batches {
                    engine
                        .apply(batch, &mut NoRuns, &mut accepted)
                        .expect("nothing is looked up on storage");
                }
                black_box(engine)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, applying);
criterion_main!(benches);
