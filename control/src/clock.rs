//! Where the time comes from.
//!
//! Nothing in this crate reads a clock of its own: `cli` picks the clock of the machine, tests pick one that they turn.

use domain::Timestamp;

/// A source of the present instant.
///
/// May be asked from several tasks at once. It need not be monotonic: no decision here depends on two readings being
/// in order.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

impl<F> Clock for F
where
    F: Fn() -> Timestamp + Send + Sync,
{
    fn now(&self) -> Timestamp {
        self()
    }
}
