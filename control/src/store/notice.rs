//! Notice of what other processes on the same store change.
//!
//! SQLite tells nobody of a commit, so each process asks for the number of the newest audit record: one look at the end
//! of one index. Every change of a definition writes such a record.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::Row;
use tokio_util::sync::CancellationToken;

use super::{Store, failed};
use crate::error::ControlError;

/// How often other processes' changes are looked for: a change is then followed in well under a fifth of a second.
pub const NOTICE_POLL: Duration = Duration::from_millis(50);

impl Store {
    /// Tells the followers of [`Store::subscribe`] of other processes' changes, until `shutdown`.
    pub async fn follow_others(self, shutdown: CancellationToken) {
        let mut silent = false;
        while tokio::time::timeout(NOTICE_POLL, shutdown.cancelled())
            .await
            .is_err()
        {
            match newest_record(self.readers()).await {
                Ok(newest) => {
                    silent = false;
                    self.tell(newest);
                }
                // Told once: a store that is away for an hour is one line in the log, not seventy thousand.
                Err(error) if !silent => {
                    silent = true;
                    tracing::warn!(%error, "changes of other processes cannot be looked for");
                }
                Err(_) => {}
            }
        }
    }

    /// Tells followers of changes up to an audit record, unless they know.
    pub(super) fn tell(&self, newest: i64) {
        if self.shared.told.fetch_max(newest, Ordering::SeqCst) < newest {
            self.shared
                .changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

/// The number of the newest audit record; 0 before the first.
pub(super) async fn newest_record<'e, E>(executor: E) -> Result<i64, ControlError>
where
    E: sqlx::Executor<'e, Database = sqlx::Sqlite>,
{
    sqlx::query("SELECT coalesce(max(seq), 0) AS newest FROM audit")
        .fetch_one(executor)
        .await
        .and_then(|row| row.try_get("newest"))
        .map_err(failed("read the newest change"))
}
