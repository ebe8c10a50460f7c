//! Looks are kept once each, when they are reached, and what they saw does not change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use domain::experiment::Transition;
use domain::metric::MetricDefinition;
use domain::results::ArmSummary;
use domain::{Timestamp, VariantKey};
use serde_json::{Value, json};

use super::*;
use crate::store::AuditFilter;
use crate::test_support::{ManualClock, Place, anna, experiment_key, instant, on_both_stores, open};
use crate::{Clock, NewDecision, ObjectKind, Scheduler};

on_both_stores! {
    each_look_is_kept_once_when_it_is_reached,
    a_fixed_horizon_has_one_look_and_the_end_of_an_experiment_is_one,
    methods_without_looks_keep_none,
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn summary(exposed: u64) -> ExperimentSummary {
    let arm = |variant: &str| ArmSummary {
        variant: VariantKey::new(variant).unwrap(),
        exposed: exposed / 2,
        metrics: BTreeMap::new(),
    };
    ExperimentSummary {
        experiment: experiment_key("checkout"),
        as_of: Timestamp(0),
        epoch: exposed as i64,
        arms: vec![arm("a"), arm("b")],
        crossover_users: 0,
    }
}

/// A running experiment with looks, its scheduler and clock, and the number of users that the engine sees.
struct Scene {
    _place: Place,
    store: Store,
    scheduler: Scheduler,
    clock: Arc<ManualClock>,
    exposed: Arc<Mutex<u64>>,
}

impl Scene {
    async fn start(analysis: Value) -> Self {
        let (place, store) = open().await;
        let metric: MetricDefinition =
            read(json!({"key": "clicked", "kind": "proportion", "event": "click"}));
        store.create(&metric, &anna(0)).await.unwrap();
        let exposed = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&exposed);
        store.use_summaries(Arc::new(move |_: &ExperimentKey| {
            let exposed = *seen.lock().unwrap();
            (exposed > 0).then(|| Arc::new(summary(exposed)))
        }));
        let experiment: ExperimentDefinition = read(json!({
            "key": "checkout", "status": "running", "control": "a", "metrics": [{"metric": "clicked"}],
            "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}], "analysis": analysis
        }));
        store.create(&experiment, &anna(0)).await.unwrap();
        let clock = Arc::new(ManualClock::at(0));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let scheduler = Scheduler::new(store.clone(), shared);
        Self {
            _place: place,
            store,
            scheduler,
            clock,
            exposed,
        }
    }

    /// Lets the engine see so many users, and gives the users at the looks that are kept then.
    async fn at(&self, exposed: u64) -> Vec<u64> {
        *self.exposed.lock().unwrap() = exposed;
        self.clock.advance(LOOK_INTERVAL_SECONDS);
        self.scheduler.run_once().await.unwrap();
        let looks = self.store.planned_looks(&experiment_key("checkout")).await;
        looks.unwrap().iter().map(ExperimentSummary::exposed).collect()
    }
}

async fn each_look_is_kept_once_when_it_is_reached() {
    let scene = Scene::start(json!({"method": "group_sequential", "looks": [100, 200, 300, 400]})).await;
    assert_eq!(scene.at(0).await, [0_u64; 0]);
    assert_eq!(scene.at(98).await, [0_u64; 0]);
    assert_eq!(scene.at(104).await, [104]);
    // What must never change: later users do not move a look that was taken.
    assert_eq!(scene.at(180).await, [104]);
    // Two planned looks that are passed in one step are one look.
    assert_eq!(scene.at(310).await, [104, 310]);
    assert_eq!(scene.at(320).await, [104, 310]);
    assert_eq!(scene.at(404).await, [104, 310, 404]);
    let filter = AuditFilter {
        kind: Some(ObjectKind::Experiment),
        ..AuditFilter::default()
    };
    let records = scene.store.audit(&filter, 10).await.unwrap().items;
    let looks = records.iter().filter(|record| record.action == "look").count();
    assert_eq!(looks, 3);
}

async fn a_fixed_horizon_has_one_look_and_the_end_of_an_experiment_is_one() {
    let fixed = json!({"method": "fixed_horizon", "planned_units": 1_000});
    let scene = Scene::start(fixed.clone()).await;
    assert_eq!(scene.at(990).await, [0_u64; 0]);
    assert_eq!(scene.at(1_002).await, [1_002]);
    assert_eq!(scene.at(5_000).await, [1_002]);

    let scene = Scene::start(fixed).await;
    assert_eq!(scene.at(600).await, [0_u64; 0]);
    let decision = NewDecision {
        outcome: domain::experiment::Outcome::Inconclusive,
        variant: None,
        reason: "the season is over".to_owned(),
    };
    let key = experiment_key("checkout");
    let change = Change::new(crate::Actor::person("anna"), instant(6));
    let ended = scene
        .store
        .advance(&key, Transition::Complete, Some(&decision), None, &change);
    ended.await.unwrap();
    assert_eq!(scene.at(620).await, [620]);
    assert_eq!(scene.at(700).await, [620]);
}

async fn methods_without_looks_keep_none() {
    let scene = Scene::start(json!({"method": "sequential", "looks": [100], "planned_units": 100})).await;
    assert_eq!(scene.at(500).await, [0_u64; 0]);
}
