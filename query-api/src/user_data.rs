//! What is held of single users outside the store of definitions, as this crate sees it.

use bytes::Bytes;
use domain::UnitId;
use tokio::sync::mpsc;

/// Gives what the tables hold of a user.
pub trait UserData: Send + Sync {
    /// Everything as JSON lines, `{"table", "row"}`, in pieces of any length. The end of the channel is the end of the
    /// lines; an error is the last piece. Whoever drops the receiver ends the reading.
    fn export(&self, user: UnitId) -> mpsc::Receiver<std::io::Result<Bytes>>;
}

impl<F: Fn(UnitId) -> mpsc::Receiver<std::io::Result<Bytes>> + Send + Sync> UserData for F {
    fn export(&self, user: UnitId) -> mpsc::Receiver<std::io::Result<Bytes>> {
        self(user)
    }
}
