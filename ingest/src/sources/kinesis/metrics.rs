//! What is measured about reading a stream: the names, and the only places that write them. None has labels, because
//! the parts of a stream are without number.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// Calls that the service refused for their rate.
pub const THROTTLED_CALLS_TOTAL: &str = "ingest_kinesis_throttled_calls_total";
/// Calls that failed for any other reason.
pub const FAILED_CALLS_TOTAL: &str = "ingest_kinesis_failed_calls_total";
/// Stream records read.
pub const READ_RECORDS_TOTAL: &str = "ingest_kinesis_read_records_total";
/// Bytes of stream records read.
pub const READ_BYTES_TOTAL: &str = "ingest_kinesis_read_bytes_total";
/// User records of aggregates found in a shard where their key does not belong. They are kept.
pub const MISPLACED_RECORDS_TOTAL: &str = "ingest_kinesis_misplaced_records_total";
/// Lists of shards whose hash keys did not fit together.
pub const UNEVEN_LISTS_TOTAL: &str = "ingest_kinesis_uneven_lists_total";
/// How far the shard that is furthest behind is behind its tip.
pub const LAG_MILLISECONDS: &str = "ingest_kinesis_lag_milliseconds";

/// Tells the recorder what each metric means. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(THROTTLED_CALLS_TOTAL, Unit::Count, "calls refused for their rate");
    describe_counter!(
        FAILED_CALLS_TOTAL,
        Unit::Count,
        "calls that failed for any other reason"
    );
    describe_counter!(READ_RECORDS_TOTAL, Unit::Count, "stream records read");
    describe_counter!(READ_BYTES_TOTAL, Unit::Bytes, "bytes of stream records read");
    describe_counter!(
        MISPLACED_RECORDS_TOTAL,
        Unit::Count,
        "user records in a shard where they do not belong"
    );
    describe_counter!(
        UNEVEN_LISTS_TOTAL,
        Unit::Count,
        "lists of shards whose hash keys did not fit together"
    );
    describe_gauge!(
        LAG_MILLISECONDS,
        Unit::Milliseconds,
        "how far the last shard is behind its tip"
    );
}

pub(crate) fn call_throttled() {
    counter!(THROTTLED_CALLS_TOTAL).increment(1);
}

pub(crate) fn call_failed() {
    counter!(FAILED_CALLS_TOTAL).increment(1);
}

pub(crate) fn read(record_count: usize, size_bytes: usize) {
    counter!(READ_RECORDS_TOTAL).increment(record_count as u64);
    counter!(READ_BYTES_TOTAL).increment(size_bytes as u64);
}

pub(crate) fn misplaced(record_count: u64) {
    counter!(MISPLACED_RECORDS_TOTAL).increment(record_count);
}

pub(crate) fn list_was_uneven() {
    counter!(UNEVEN_LISTS_TOTAL).increment(1);
}

pub(crate) fn lag_is(milliseconds: i64) {
    gauge!(LAG_MILLISECONDS).set(milliseconds as f64);
}
