//! What the tests of this crate share: a store of their own on either database, a clock that is turned by hand,
//! definitions.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::guardrail::GuardrailDefinition;
use domain::rules::definition::FlagDefinition;
use domain::timestamp::MICROS_PER_SECOND;
use domain::{ExperimentKey, FlagKey, Timestamp};
use fixtures::postgres::PostgresServer;
use serde_json::json;
use tempfile::TempDir;

use crate::access::{AccessMode, AccessSettings, OidcSettings, SignOnSettings, TokenAlgorithm};
use crate::{Actor, Change, Clock, Store, StoreAddress};

/// Which database the tests of a module run on; see [`on_both_stores`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

tokio::task_local! {
    /// What [`place`] and [`open`] make. The test's own task knows it.
    static BACKEND: Backend;
}

/// The server of this process, once the first test asked for it; nothing where it is not installed. It ends with the
/// process.
static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();

/// Makes each scenario two tests, one on SQLite and one on PostgreSQL. A scenario that is left out is dead code, of which
/// the compiler warns.
macro_rules! on_both_stores {
    ($($scenario:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    use $crate::test_support::{Backend, run_on};
                    run_on(Backend::Sqlite, super::$scenario()).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    use $crate::test_support::{Backend, run_on};
                    run_on(Backend::Postgres, super::$scenario()).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_stores;

/// Runs a scenario on a database; on PostgreSQL only where it is installed.
pub(crate) async fn run_on(backend: Backend, scenario: impl Future<Output = ()>) {
    let is_there = backend == Backend::Sqlite || SERVER.get_or_init(PostgresServer::start).is_some();
    if is_there {
        BACKEND.scope(backend, scenario).await;
    }
}

/// Where a store of a test's own is.
pub(crate) struct Place {
    folder: TempDir,
    address: StoreAddress,
}

impl Place {
    pub(crate) fn address(&self) -> &StoreAddress {
        &self.address
    }

    /// A folder for whatever else the test has.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The store with connections of its own, as another process would have.
    pub(crate) async fn open(&self) -> Store {
        Store::connect(&self.address).await.unwrap()
    }
}

/// A place for a store, where there is none yet.
pub(crate) async fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let address = match BACKEND.get() {
        Backend::Sqlite => StoreAddress::File(folder.path().join("control.db")),
        Backend::Postgres => {
            let server = SERVER.get().and_then(Option::as_ref).unwrap();
            StoreAddress::parse(&server.fresh_schema()).unwrap()
        }
    };
    Place { folder, address }
}

/// A store in a place of its own.
pub(crate) async fn open() -> (Place, Store) {
    let place = place().await;
    let store = place.open().await;
    (place, store)
}

/// A clock that stands still until it is turned.
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn at(seconds: i64) -> Self {
        Self(AtomicI64::new(seconds * MICROS_PER_SECOND))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * MICROS_PER_SECOND, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Everybody has to log in, and may by a provider that does not answer.
pub(crate) fn sign_on_settings() -> AccessSettings {
    let oidc = OidcSettings {
        issuer: "https://idp.example".to_owned(),
        client_id: "web".to_owned(),
        audience: None,
        algorithms: vec![TokenAlgorithm::Rs256],
        groups_claim: "groups".to_owned(),
        roles: [].into(),
        login: Some(SignOnSettings::default()),
    };
    AccessSettings {
        mode: AccessMode::Required,
        public_url: Some("https://experiments.example".to_owned()),
        oidc: Some(oidc),
        ..AccessSettings::default()
    }
}

pub(crate) fn instant(seconds: i64) -> Timestamp {
    Timestamp(seconds * MICROS_PER_SECOND)
}

pub(crate) fn anna(seconds: i64) -> Change {
    Change::new(Actor::person("anna"), instant(seconds))
}

pub(crate) fn flag_key() -> FlagKey {
    FlagKey::new("checkout").unwrap()
}

pub(crate) fn experiment_key(text: &str) -> ExperimentKey {
    ExperimentKey::new(text).unwrap()
}

/// A flag with a rule, an override and an environment of its own, all of which lead to the new variation.
pub(crate) fn flag() -> FlagDefinition {
    serde_json::from_value(json!({
        "key": "checkout", "type": "boolean", "enabled": true, "measured": true,
        "variations": [{"key": "old", "value": false}, {"key": "new", "value": true}, {"key": "off", "value": false}],
        "off_variation": "off",
        "default": {"rollout": [{"variation": "new", "percent": 50.0}, {"variation": "old", "percent": 50.0}]},
        "overrides": {"tester": "new"},
        "rules": [{"id": "everybody", "serve": {"variation": "new"}}],
        "environments": {"staging": {"enabled": true, "off_variation": "new"}}
    }))
    .unwrap()
}

pub(crate) fn guardrail() -> GuardrailDefinition {
    serde_json::from_value(json!({
        "flag": "checkout", "event": "error", "control": "old", "treatment": "new"
    }))
    .unwrap()
}
