//! The clock of the machine, and what is random about a process.

use std::sync::Arc;

use domain::Timestamp;
use domain::timestamp::MICROS_PER_DAY;

/// A source of the present instant.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the machine.
pub fn machine() -> Now {
    Arc::new(|| Timestamp(jiff::Timestamp::now().as_microsecond()))
}

/// The clock of the machine, set ahead by some days.
pub fn ahead(days: u32) -> Now {
    let machine = machine();
    let micros = i64::from(days).saturating_mul(MICROS_PER_DAY);
    Arc::new(move || machine().plus_micros(micros))
}

/// A short text that no other process of this lake uses.
pub fn run_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}
