//! Whether the audit trail is whole: signed checkpoints of its chain in a second place, and the check against them.
//!
//! The chain alone shows every edit to whoever knows its end, but somebody who can write the store can compute it anew. So
//! [`Notary`] signs where the chain stands and appends that to a file of its own, which is also logged: what the store says
//! later must agree with every checkpoint. [`verify`] names the first record that does not.

mod checkpoint;
mod verify;

pub use checkpoint::{Checkpoint, Notary, PublicKey, read_checkpoints};
pub use verify::{Finding, Verified, verify};
