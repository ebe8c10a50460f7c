//! The clock of the machine, and what is random about a process.

use std::sync::Arc;

use domain::Timestamp;

/// A source of the present instant.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the machine.
pub fn machine() -> Now {
    Arc::new(|| Timestamp(jiff::Timestamp::now().as_microsecond()))
}

/// A short text that no other process of this lake uses.
pub fn run_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}
