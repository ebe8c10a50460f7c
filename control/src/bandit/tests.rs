//! Bandits learn from summaries, keep their floor, wait for their burn-in, and move few users.

use std::sync::{Arc, Mutex};

use domain::metric::MetricDefinition;
use domain::{Moments, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::test_support::{ManualClock, anna, experiment_key, instant, on_both_stores, open};
use crate::{Clock, Scheduler};

on_both_stores! {
    weights_are_learned_at_each_interval_as_phases_that_move_few_users,
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn bandit() -> ExperimentDefinition {
    read(json!({
        "key": "banner", "type": "bandit", "status": "running", "control": "a", "metrics": [{"metric": "clicked"}],
        "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}, {"key": "c", "weight": 1.0}],
        "bandit": {"interval_seconds": 60, "floor": 0.05, "burn_in_units": 100}
    }))
}

fn clicks(of_thousand: [u64; 3], exposed: u64) -> ExperimentSummary {
    let arms = ["a", "b", "c"].into_iter().zip(of_thousand);
    let arm = |(variant, rate): (&str, u64)| {
        let units = exposed * rate / 1_000;
        let share = units as f64 / exposed as f64;
        let moments = Moments {
            n: exposed,
            mean: share,
            m2: units as f64 * (1.0 - share),
        };
        let metric = MetricSummary {
            kind: MetricKind::Proportion,
            units,
            moments,
            pair: None,
        };
        ArmSummary {
            variant: VariantKey::new(variant).unwrap(),
            exposed,
            metrics: [(MetricKey::new("clicked").unwrap(), metric)].into(),
        }
    };
    ExperimentSummary {
        experiment: experiment_key("banner"),
        as_of: Timestamp(0),
        epoch: 1,
        arms: arms.map(arm).collect(),
        crossover_users: 0,
    }
}

#[test]
fn the_better_arm_gets_more_whichever_way_is_good() {
    // What must never change: traffic goes to what is better, and no arm falls below the floor.
    let settings = bandit().bandit.unwrap();
    let summary = clicks([100, 120, 150], 1_000);
    let up = learned(&bandit(), &settings, Direction::Up, &summary).unwrap();
    let down = learned(&bandit(), &settings, Direction::Down, &summary).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|key| VariantKey::new(key).unwrap());
    assert!(up[&a] < up[&b] && up[&b] < up[&c] && up[&a] >= 0.05, "{up:?}");
    assert!(
        down[&c] < down[&b] && down[&b] < down[&a] && down[&c] >= 0.05,
        "{down:?}"
    );
    assert!((up.values().sum::<f64>() - 1.0).abs() < 1e-5, "{up:?}");
    assert_eq!(
        learned(&bandit(), &settings, Direction::Up, &clicks([100, 120, 150], 99)),
        None
    );
}

async fn weights_are_learned_at_each_interval_as_phases_that_move_few_users() {
    let (_place, store) = open().await;
    let metric: MetricDefinition = read(json!({"key": "clicked", "kind": "proportion", "event": "click"}));
    store.create(&metric, &anna(0)).await.unwrap();
    let exposed = Arc::new(Mutex::new(50));
    let seen = Arc::clone(&exposed);
    store.use_summaries(Arc::new(move |_: &ExperimentKey| {
        Some(Arc::new(clicks([100, 120, 150], *seen.lock().unwrap())))
    }));
    store.create(&bandit(), &anna(0)).await.unwrap();
    let clock = Arc::new(ManualClock::at(59));
    let scheduler = Scheduler::new(store.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    assert_eq!(scheduler.run_once().await.unwrap(), 0);

    clock.advance(1);
    assert_eq!(scheduler.run_once().await.unwrap(), 1);
    let key = experiment_key("banner");
    let burning_in = store.get::<ExperimentDefinition>(&key).await.unwrap();
    assert_eq!(
        (burning_in.version, burning_in.definition.live_weights),
        (1, None)
    );

    *exposed.lock().unwrap() = 1_000;
    clock.advance(60);
    assert_eq!(scheduler.run_once().await.unwrap(), 1);
    let learned = store.get::<ExperimentDefinition>(&key).await.unwrap();
    let weights = learned.definition.live_weights.clone().unwrap();
    let best = VariantKey::new("c").unwrap();
    assert!(weights[&best] > 0.8, "{weights:?}");
    // The best arm keeps every bucket that it had.
    let kept = learned.definition.variants[2].buckets.iter();
    assert!(
        kept.clone()
            .any(|range| range.from <= 66_667 && range.to >= 100_000),
        "{kept:?}"
    );

    // The same evidence again is no new phase.
    clock.advance(60);
    assert_eq!(scheduler.run_once().await.unwrap(), 1);
    assert_eq!(store.get::<ExperimentDefinition>(&key).await.unwrap().version, 2);
    let phases = store.phases(&key).await.unwrap();
    let causes: Vec<&str> = phases.iter().map(|phase| phase.cause.as_str()).collect();
    assert_eq!(causes, ["start", "bandit"]);
    assert_eq!(phases[1].started_at, instant(120));
    assert_eq!(phases[1].setting.weights, weights);
}
