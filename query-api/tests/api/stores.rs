//! Which database the server of a test keeps its store in.

use std::path::Path;
use std::sync::OnceLock;

use control::{Store, StoreAddress};
use fixtures::postgres::PostgresServer;

/// A database that a store can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

tokio::task_local! {
    /// What [`open`] makes. The test's own task knows it.
    static BACKEND: Backend;
}

/// The server of this process, once the first test asked for it; nothing where it is not installed. It ends with the
/// process.
static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();

/// Makes each scenario two tests, one on SQLite and one on PostgreSQL: for whatever goes through the store. A scenario that
/// is left out is dead code, of which the compiler warns.
macro_rules! on_both_stores {
    ($($scenario:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $scenario() {
                    use $crate::stores::{Backend, run_on};
                    run_on(Backend::Sqlite, super::$scenario()).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $scenario() {
                    use $crate::stores::{Backend, run_on};
                    run_on(Backend::Postgres, super::$scenario()).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_stores;

/// Runs a scenario on a database; on PostgreSQL only where it is installed.
pub async fn run_on(backend: Backend, scenario: impl Future<Output = ()>) {
    let is_there = backend == Backend::Sqlite || SERVER.get_or_init(PostgresServer::start).is_some();
    if is_there {
        BACKEND.scope(backend, scenario).await;
    }
}

/// An empty store: in the database of the scenario, or in a file of the folder where a test is for one database only.
pub async fn open(folder: &Path) -> Store {
    let address = match BACKEND.try_with(|backend| *backend) {
        Ok(Backend::Postgres) => {
            let server = SERVER.get().and_then(Option::as_ref).unwrap();
            StoreAddress::parse(&server.fresh_schema()).unwrap()
        }
        _ => StoreAddress::File(folder.join("store.sqlite")),
    };
    Store::connect(&address).await.unwrap()
}
