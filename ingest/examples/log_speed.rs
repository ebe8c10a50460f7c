//! Measures durable appends: how many a second the embedded log answers with 1, 16 and 64 writers at a time.
#![expect(clippy::print_stdout, reason = "a measuring program prints its figures")]

use std::time::{Duration, Instant};

use domain::Timestamp;
use ingest::{EmbeddedLog, Frame, LogSettings};

/// How long each measurement lasts.
const ROUND: Duration = Duration::from_secs(3);
/// The size of a usual event.
const RECORD_BYTES: usize = 264;

#[tokio::main]
async fn main() {
    let folder = std::env::args()
        .nth(1)
        .expect("a folder to write in is the first argument");
    for records in [1, 100] {
        for writers in [1, 16, 64] {
            let path = std::path::Path::new(&folder).join(format!("{records}-{writers}"));
            let (log, _) = EmbeddedLog::open(&path, LogSettings::default()).expect("the log opens");
            let begun = Instant::now();
            let tasks: Vec<_> = (0..writers)
                .map(|_| tokio::spawn(write(log.clone(), records, begun)))
                .collect();
            let mut appends = 0;
            for task in tasks {
                appends += task.await.expect("a writer ends");
            }
            let seconds = begun.elapsed().as_secs_f64();
            let per_second = appends as f64 / seconds;
            println!(
                "{writers:>3} writers x {records:>3} records: {per_second:>9.0} appends/s, {:>11.0} records/s",
                per_second * records as f64
            );
        }
    }
}

/// Appends one frame after another until the round is over; gives their number.
async fn write(log: EmbeddedLog, records: usize, begun: Instant) -> usize {
    let mut line = vec![b'x'; RECORD_BYTES - 1];
    line.push(b'\n');
    let mut appends = 0;
    while begun.elapsed() < ROUND {
        let frame = Frame {
            received_at: Timestamp(0),
            records: line.repeat(records),
            record_count: records as u32,
        };
        match log.append(frame).await {
            Ok(offset) => log.release(offset).expect("segments can be deleted"),
            Err(error) => panic!("{error}"),
        }
        appends += 1;
    }
    appends
}
