//! The metrics of this crate: names with units, descriptions, and the only places that write them.

use std::time::Duration;

use domain::RejectReason;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Records that became events. Label `source`: `collector`.
pub const ACCEPTED_TOTAL: &str = "ingest_events_accepted_total";
/// Records turned away. Labels `source`: `collector`; `reason`: the words of [`RejectReason`].
pub const REJECTED_TOTAL: &str = "ingest_events_rejected_total";
/// Bytes of bodies as they were sent.
pub const RECEIVED_BYTES_TOTAL: &str = "ingest_received_bytes_total";
/// How long a sync of the embedded log takes.
pub const LOG_SYNC_SECONDS: &str = "ingest_log_sync_duration_seconds";
/// Appends that shared one sync.
pub const LOG_GROUP_APPENDS: &str = "ingest_log_group_appends";
/// Bytes of records that wait for their commit.
pub const LOG_HELD_BYTES: &str = "ingest_log_held_bytes";
/// Bytes of unfinished frames cut off when a log was opened.
pub const LOG_CUT_BYTES_TOTAL: &str = "ingest_log_cut_bytes_total";
/// Damage found in the embedded log: corrupt segments and missing ones.
pub const LOG_DAMAGE_TOTAL: &str = "ingest_log_damage_total";

/// Tells the recorder what each metric means. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(ACCEPTED_TOTAL, Unit::Count, "records that became events");
    describe_counter!(REJECTED_TOTAL, Unit::Count, "records turned away, by reason");
    describe_counter!(
        RECEIVED_BYTES_TOTAL,
        Unit::Bytes,
        "bytes of bodies as they were sent"
    );
    describe_histogram!(
        LOG_SYNC_SECONDS,
        Unit::Seconds,
        "duration of one sync of the embedded log"
    );
    describe_histogram!(LOG_GROUP_APPENDS, Unit::Count, "appends that shared one sync");
    describe_gauge!(
        LOG_HELD_BYTES,
        Unit::Bytes,
        "bytes of records that wait for their commit"
    );
    describe_counter!(
        LOG_CUT_BYTES_TOTAL,
        Unit::Bytes,
        "bytes of unfinished frames cut off at start"
    );
    describe_counter!(LOG_DAMAGE_TOTAL, Unit::Count, "damage found in the embedded log");
}

pub(crate) fn collected(body_bytes: usize, accepted: u64) {
    counter!(RECEIVED_BYTES_TOTAL).increment(body_bytes as u64);
    counter!(ACCEPTED_TOTAL, "source" => "collector").increment(accepted);
}

pub(crate) fn rejected(reason: RejectReason) {
    counter!(REJECTED_TOTAL, "source" => "collector", "reason" => reason.as_str()).increment(1);
}

pub(crate) fn log_synced(duration: Duration, appends: usize) {
    histogram!(LOG_SYNC_SECONDS).record(duration.as_secs_f64());
    histogram!(LOG_GROUP_APPENDS).record(appends as f64);
}

pub(crate) fn log_held_bytes(held_bytes: u64) {
    gauge!(LOG_HELD_BYTES).set(held_bytes as f64);
}

pub(crate) fn log_recovered(cut_bytes: u64) {
    counter!(LOG_CUT_BYTES_TOTAL).increment(cut_bytes);
}

pub(crate) fn log_damaged() {
    counter!(LOG_DAMAGE_TOTAL).increment(1);
}
