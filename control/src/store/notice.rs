//! Notice of what other processes on the same store change.
//!
//! Every change of a definition writes an audit record, so each process looks for the number of the newest one: one look
//! at the end of one index. SQLite tells nobody of a commit, so it is looked at again and again; PostgreSQL tells who
//! listens, and is looked at often only while nobody can listen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::address::PostgresAddress;
use super::dialect::CHANNEL;
use super::{Store, StoreAddress, failed};
use crate::error::ControlError;

/// How often other processes' changes are looked for: a change is then followed in well under a fifth of a second.
pub const NOTICE_POLL: Duration = Duration::from_millis(50);

/// How often they are looked for while PostgreSQL tells of them: a connection may be dead without anybody knowing.
const LISTENING_POLL: Duration = Duration::from_secs(1);

/// How long a connection that listens may take to be made, and how long until the next try when it could not be.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
const LISTEN_RETRY_WAIT: Duration = Duration::from_millis(500);

/// What the connection that listens tells the one who looks.
#[derive(Default)]
struct Told {
    listening: AtomicBool,
    heard: Notify,
}

impl Store {
    /// Tells the followers of [`Store::subscribe`] of other processes' changes, until `shutdown`.
    pub async fn follow_others(self, shutdown: CancellationToken) {
        let told = Told::default();
        let listening = async {
            match &self.shared.address {
                StoreAddress::File(_) => std::future::pending().await,
                StoreAddress::Postgres(address) => listen(address, &told).await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = listening => {}
            () = self.look(&told) => {}
        }
    }

    async fn look(&self, told: &Told) {
        let mut silent = false;
        loop {
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
            let poll = match told.listening.load(Ordering::SeqCst) {
                true => LISTENING_POLL,
                false => NOTICE_POLL,
            };
            tokio::select! {
                () = told.heard.notified() => {}
                () = tokio::time::sleep(poll) => {}
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

/// Listens to PostgreSQL for ever, over a new connection when one is lost.
async fn listen(address: &PostgresAddress, told: &Told) {
    loop {
        match tokio::time::timeout(LISTEN_TIMEOUT, connect(address)).await {
            Ok(Ok(mut listener)) => {
                told.listening.store(true, Ordering::SeqCst);
                // What was said before it listened was said to nobody here.
                told.heard.notify_one();
                while let Ok(Some(_)) = listener.try_recv().await {
                    told.heard.notify_one();
                }
                told.listening.store(false, Ordering::SeqCst);
                told.heard.notify_one();
            }
            Ok(Err(error)) => tracing::debug!(%error, "the store cannot be listened to"),
            Err(_) => tracing::debug!("the store cannot be listened to: no answer"),
        }
        tokio::time::sleep(LISTEN_RETRY_WAIT).await;
    }
}

async fn connect(address: &PostgresAddress) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect(address.secret_url().as_str()).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// The number of the newest audit record; 0 before the first.
pub(super) async fn newest_record<'e, E>(executor: E) -> Result<i64, ControlError>
where
    E: sqlx::Executor<'e, Database = sqlx::Any>,
{
    sqlx::query("SELECT coalesce(max(seq), 0) AS newest FROM audit")
        .fetch_one(executor)
        .await
        .and_then(|row| row.try_get("newest"))
        .map_err(failed("read the newest change"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Backend, anna, flag, open, run_on};

    #[tokio::test]
    async fn postgres_tells_who_listens_of_each_committed_write() {
        // What must never change: no process has to look to see a change soon.
        let scenario = async {
            let (place, store) = open().await;
            let StoreAddress::Postgres(address) = place.address() else {
                unreachable!("the scenario runs on PostgreSQL")
            };
            let told = Told::default();
            let writing = async {
                // The first notice says that it listens; those that follow come from the server alone.
                told.heard.notified().await;
                assert!(told.listening.load(Ordering::SeqCst));
                for version in 0..3 {
                    match version {
                        0 => store.create(&flag(), &anna(0)).await.map(drop).unwrap(),
                        version => store
                            .update(&flag(), version, &anna(version))
                            .await
                            .map(drop)
                            .unwrap(),
                    }
                    told.heard.notified().await;
                }
            };
            tokio::select! {
                () = listen(address, &told) => {}
                () = writing => {}
            }
        };
        run_on(Backend::Postgres, Box::pin(scenario)).await;
    }
}
