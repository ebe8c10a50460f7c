//! What the tests of this crate share: a store in a folder of its own, a clock that is turned by hand, definitions.

use std::sync::atomic::{AtomicI64, Ordering};

use domain::guardrail::GuardrailDefinition;
use domain::rules::definition::FlagDefinition;
use domain::timestamp::MICROS_PER_SECOND;
use domain::{ExperimentKey, FlagKey, Timestamp};
use serde_json::json;
use tempfile::TempDir;

use crate::{Actor, Change, Clock, Store};

/// A store that goes with its folder.
pub(crate) async fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("control.db")).await.unwrap();
    (folder, store)
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
