//! What decides an automatic rollback: exact sequential tests on counts of affected users.

pub mod rate_ratio;
