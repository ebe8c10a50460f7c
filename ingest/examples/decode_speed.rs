//! Measures the decoder alone on a file of one event a line: nanoseconds per event, best and median of several rounds.
#![expect(clippy::print_stdout, reason = "a measuring program prints its figures")]

use domain::{PartitionId, Position, Timestamp};
use ingest::source::{RAW_BATCH_MAX_BYTES, RawBatch, RecordLayout};
use ingest::{DecodeLimits, decode};

fn main() {
    let path = std::env::args()
        .nth(1)
        .expect("the path of an NDJSON file is the first argument");
    let bytes = std::fs::read(&path).expect("the file can be read");
    let mut rounds: Vec<f64> = (0..7).map(|_| one_round(&bytes)).collect();
    rounds.sort_by(f64::total_cmp);
    println!("best {:.1} ns/event, median {:.1} ns/event", rounds[0], rounds[3]);
}

/// The time that this thread has run, in nanoseconds: unlike the wall clock it does not count other programs.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps this file");
    text.split(' ')
        .next()
        .and_then(|nanos| nanos.parse().ok())
        .expect("the first number is the time on a processor")
}

fn one_round(bytes: &[u8]) -> f64 {
    let mut start = 0;
    let (mut events, mut rejections, mut nanos) = (0, 0, 0);
    while start < bytes.len() {
        let limit = (start + RAW_BATCH_MAX_BYTES).min(bytes.len());
        let end = bytes[start..limit]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(limit, |at| start + at + 1);
        let raw = RawBatch {
            partition: PartitionId("file:speed".into()),
            bytes: bytes[start..end].to_vec(),
            records: RecordLayout::Lines {
                first_offset: start as u64,
            },
            end: Position::Offset(end as u64),
            received_at: Timestamp(0),
            live: false,
        };
        let begun = cpu_nanos();
        let batch = decode(raw, &DecodeLimits::default());
        nanos += cpu_nanos() - begun;
        events += batch.events.len();
        rejections += batch.rejections.len();
        start = end;
    }
    println!("{events} events, {rejections} rejections");
    nanos as f64 / events as f64
}
