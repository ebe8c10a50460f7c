//! The metrics of this crate: names with unit, and what they say. No labels but the table's name.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Seconds that a commit took, from the last record taken to every table committed.
pub(crate) const COMMIT_SECONDS: &str = "pipeline_commit_seconds";
/// The last epoch committed.
pub(crate) const EPOCH: &str = "pipeline_epoch";
/// Users whose state is held.
pub(crate) const USERS: &str = "pipeline_users";
/// Days and users that wait for reconciliation.
pub(crate) const WAITING: &str = "pipeline_waiting_for_reconciliation";
/// Full snapshots written.
pub(crate) const SNAPSHOTS: &str = "pipeline_snapshots_total";
/// Files joined by compaction, by `table`.
pub(crate) const FILES_JOINED: &str = "pipeline_files_joined_total";
/// Files deleted after they had left a table, by `table`.
pub(crate) const FILES_DELETED: &str = "pipeline_files_deleted_total";

/// Days deleted because they were older than the retention, by `table`.
pub(crate) const DAYS_DELETED: &str = "pipeline_days_deleted_total";
/// Exposures to sealed experiments, which are kept and measure nothing.
pub(crate) const SEALED_EXPOSURES: &str = "pipeline_sealed_exposures_total";

/// Describes the metrics to the recorder that is installed.
pub fn describe() {
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "How long a commit took.");
    describe_gauge!(EPOCH, "The last epoch committed.");
    describe_gauge!(USERS, "Users whose state is held.");
    describe_gauge!(WAITING, "Days and users that wait for reconciliation.");
    describe_counter!(SNAPSHOTS, "Full snapshots written.");
    describe_counter!(FILES_JOINED, "Files joined by compaction.");
    describe_counter!(FILES_DELETED, "Files deleted a day after they had left a table.");
    describe_counter!(
        DAYS_DELETED,
        "Days deleted because they were older than the retention."
    );
    describe_counter!(SEALED_EXPOSURES, "Exposures to sealed experiments.");
}
