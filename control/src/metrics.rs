//! The metrics of this crate: names with units, what they count, and the label values that occur.

use metrics::{counter, describe_counter};

/// Changes refused because somebody else changed the document first.
pub const VERSION_CONFLICTS_TOTAL: &str = "experimently_control_version_conflicts_total";
/// Looks counted by guardrails.
pub const SAFETY_LOOKS_TOTAL: &str = "experimently_control_safety_looks_total";
/// Flags rolled back by guardrails.
pub const ROLLBACKS_TOTAL: &str = "experimently_control_rollbacks_total";
/// Attempts to deliver a webhook; `outcome` is `delivered`, `retry` or `exhausted`.
pub const WEBHOOK_ATTEMPTS_TOTAL: &str = "experimently_control_webhook_attempts_total";

/// Timers done by this process; `kind` is `experiment`, `bandit` or `rollout`.
pub const TIMERS_DONE_TOTAL: &str = "experimently_control_timers_done_total";

/// Logins refused; `record` is `written` or `left_out`.
pub const LOGINS_REFUSED_TOTAL: &str = "experimently_control_logins_refused_total";

/// Tells the recorder what the metrics mean. To be called once, after the recorder is set.
pub fn describe() {
    describe_counter!(
        VERSION_CONFLICTS_TOTAL,
        "changes refused because somebody else changed the document first"
    );
    describe_counter!(SAFETY_LOOKS_TOTAL, "looks counted by guardrails");
    describe_counter!(ROLLBACKS_TOTAL, "flags rolled back by guardrails");
    describe_counter!(
        WEBHOOK_ATTEMPTS_TOTAL,
        "attempts to deliver a webhook, by outcome"
    );
    describe_counter!(TIMERS_DONE_TOTAL, "timers done by this process, by kind");
    describe_counter!(
        LOGINS_REFUSED_TOTAL,
        "logins refused, by what became of their audit record"
    );
}

pub(crate) fn timer_done(kind: &'static str) {
    counter!(TIMERS_DONE_TOTAL, "kind" => kind).increment(1);
}

pub(crate) fn login_refused(is_recorded: bool) {
    let record = if is_recorded { "written" } else { "left_out" };
    counter!(LOGINS_REFUSED_TOTAL, "record" => record).increment(1);
}

pub(crate) fn version_conflict() {
    counter!(VERSION_CONFLICTS_TOTAL).increment(1);
}

pub(crate) fn safety_looks(count: usize) {
    counter!(SAFETY_LOOKS_TOTAL).increment(count as u64);
}

pub(crate) fn rolled_back() {
    counter!(ROLLBACKS_TOTAL).increment(1);
}

pub(crate) fn webhook_attempt(outcome: &'static str) {
    counter!(WEBHOOK_ATTEMPTS_TOTAL, "outcome" => outcome).increment(1);
}
