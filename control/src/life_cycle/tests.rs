//! Lives of experiments: every action from every status, starts that are refused, what may change when, and phases.

use std::sync::Arc;

use domain::experiment::{ExperimentDefinition, ExperimentStatus, Outcome, Schedule, Transition};
use domain::results::{ArmSummary, ExperimentSummary};
use serde_json::{Value, json};

use super::*;
use crate::store::planned_shares;
use crate::test_support::{anna, experiment_key, instant, on_both_stores, open};

on_both_stores! {
    a_life_takes_its_steps_and_no_others,
    a_start_is_refused_with_every_check_that_fails,
    while_users_are_measured_only_weights_and_traffic_change,
    each_change_of_weights_and_traffic_is_a_phase_that_results_know_of,
    a_decision_names_what_is_kept_and_why,
    a_clone_is_a_draft_whose_users_are_drawn_anew,
    schedules_are_for_drafts_and_pauses_and_lie_in_the_future,
}

fn experiment(key: &str) -> ExperimentDefinition {
    read(&json!({
        "key": key, "control": "old", "metrics": [{"metric": "revenue"}],
        "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}],
        "analysis": {"planned_units": 10_000, "minimum_effect": 0.02}
    }))
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

async fn with_metric(store: &Store) {
    let metric: domain::metric::MetricDefinition =
        read(&json!({"key": "revenue", "kind": "sum", "event": "purchase"}));
    store.create(&metric, &anna(0)).await.unwrap();
}

fn inconclusive() -> NewDecision {
    NewDecision {
        outcome: Outcome::Inconclusive,
        variant: None,
        reason: "too few users".to_owned(),
    }
}

async fn act(store: &Store, transition: Transition, seconds: i64) -> Result<ExperimentStatus, ControlError> {
    let decision = (transition == Transition::Complete).then(inconclusive);
    let key = experiment_key("checkout");
    let document = store
        .advance(&key, transition, decision.as_ref(), None, &anna(seconds))
        .await?;
    Ok(document.definition.status)
}

async fn a_life_takes_its_steps_and_no_others() {
    // What must never change: no action leads where the life cycle does not, and each leaves one record.
    let (_place, store) = open().await;
    with_metric(&store).await;
    store.create(&experiment("checkout"), &anna(0)).await.unwrap();
    let life = [
        (Transition::Start, ExperimentStatus::Running),
        (Transition::Pause, ExperimentStatus::Paused),
        (Transition::Resume, ExperimentStatus::Running),
        (Transition::Complete, ExperimentStatus::Completed),
        (Transition::Archive, ExperimentStatus::Archived),
    ];
    let mut status = ExperimentStatus::Draft;
    for (step, expected) in life {
        for other in Transition::ALL {
            if other.leads_to(status).is_none() {
                let refused = act(&store, other, 1).await.unwrap_err();
                assert!(matches!(refused, ControlError::NotAllowed { .. }), "{refused}");
            }
        }
        status = act(&store, step, 2).await.unwrap();
        assert_eq!(status, expected);
    }
    let document = store
        .get::<ExperimentDefinition>(&experiment_key("checkout"))
        .await
        .unwrap();
    assert_eq!(document.version, 6);
    let decision = document.definition.decision.unwrap();
    assert_eq!(
        (decision.outcome, decision.at),
        (Outcome::Inconclusive, instant(2))
    );
    let refused = act(&store, Transition::Start, 3).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "experiment checkout is archived; start is not allowed, only nothing more"
    );
    let deleted = store
        .delete::<ExperimentDefinition>(&experiment_key("checkout"), 6, &anna(4))
        .await;
    assert!(matches!(deleted, Err(ControlError::NotADraft { .. })));
}

async fn a_start_is_refused_with_every_check_that_fails() {
    let (_place, store) = open().await;
    with_metric(&store).await;
    let layer: domain::rules::definition::LayerDefinition = read(&json!({"key": "page"}));
    store.create(&layer, &anna(0)).await.unwrap();
    let mut first = experiment("first");
    first.layer = read(&json!({"layer": "page", "from_percent": 0.0, "to_percent": 60.0}));
    store.create(&first, &anna(0)).await.unwrap();
    let key = experiment_key("first");
    store
        .advance(&key, Transition::Start, None, None, &anna(1))
        .await
        .unwrap();

    let mut second = experiment("checkout");
    second.metrics.clear();
    second.variants[1].weight = 0.0;
    second.analysis.planned_units = None;
    second.layer = read(&json!({"layer": "page", "from_percent": 50.0, "to_percent": 100.0}));
    store.create(&second, &anna(2)).await.unwrap();
    let refused = act(&store, Transition::Start, 3).await.unwrap_err();
    let ControlError::CannotStart { failures, .. } = &refused else {
        panic!("{refused}");
    };
    let checks: Vec<(&str, &str)> = failures
        .iter()
        .map(|failed| (failed.check, failed.pointer.as_str()))
        .collect();
    assert_eq!(
        checks,
        [
            ("metrics_exist", "/metrics"),
            ("weights_positive", "/variants/1/weight"),
            ("power_stated", "/analysis"),
            ("layer_has_room", "/layer"),
        ]
    );
    assert_eq!(
        store.start_checks(&experiment_key("checkout")).await.unwrap(),
        *failures
    );

    // With the first one decided, its slot is free.
    let decision = inconclusive();
    store
        .advance(&key, Transition::Complete, Some(&decision), None, &anna(4))
        .await
        .unwrap();
    let mut mended = experiment("checkout");
    mended.layer = second.layer;
    store.update(&mended, 1, &anna(5)).await.unwrap();
    assert_eq!(
        act(&store, Transition::Start, 6).await.unwrap(),
        ExperimentStatus::Running
    );
}

async fn while_users_are_measured_only_weights_and_traffic_change() {
    let (_place, store) = open().await;
    with_metric(&store).await;
    store.create(&experiment("checkout"), &anna(0)).await.unwrap();
    act(&store, Transition::Start, 1).await.unwrap();
    let refuse = [
        (
            json!({"audience": {"attribute": "plan", "operator": "equals", "value": "pro"}}),
            "audience",
        ),
        (json!({"control": "new"}), "control"),
        (
            json!({"variants": [{"key": "old", "weight": 1.0}, {"key": "blue", "weight": 1.0}]}),
            "variants",
        ),
        (json!({"analysis": {"alpha": 0.2}}), "analysis"),
        (
            json!({"salt": "other", "hypothesis": "after all"}),
            "hypothesis, salt",
        ),
    ];
    for (change, members) in refuse {
        let mut wire = serde_json::to_value(experiment("checkout")).unwrap();
        wire.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let refused = store
            .update(&read::<ExperimentDefinition>(&wire), 2, &anna(2))
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, ControlError::Frozen { members: found, .. } if found == members),
            "{refused}"
        );
    }
    let mut running = experiment("checkout");
    running.status = ExperimentStatus::Completed;
    let refused = store.update(&running, 2, &anna(2)).await;
    assert!(matches!(
        refused,
        Err(ControlError::Managed { member: "status", .. })
    ));

    let mut heavier = experiment("checkout");
    heavier.name = "Shorter checkout".to_owned();
    heavier.variants[0].weight = 3.0;
    let updated = store.update(&heavier, 2, &anna(3)).await.unwrap().definition;
    assert_eq!(updated.status, ExperimentStatus::Running);
    // From a half to a quarter: the second variant keeps the first half of its buckets, and nobody moves to it.
    let kept: Vec<(u32, u32)> = updated.variants[1]
        .buckets
        .iter()
        .map(|range| (range.from, range.to))
        .collect();
    assert_eq!(kept, [(50_000, 75_000)]);
}

async fn each_change_of_weights_and_traffic_is_a_phase_that_results_know_of() {
    let (_place, store) = open().await;
    with_metric(&store).await;
    let exposed = Arc::new(std::sync::Mutex::new([0_u64, 0]));
    let seen = Arc::clone(&exposed);
    store.use_summaries(Arc::new(move |key: &ExperimentKey| {
        Some(Arc::new(summary(key, *seen.lock().unwrap())))
    }));
    store.create(&experiment("checkout"), &anna(0)).await.unwrap();
    act(&store, Transition::Start, 1).await.unwrap();
    *exposed.lock().unwrap() = [500, 500];
    let mut heavier = experiment("checkout");
    heavier.variants[1].weight = 3.0;
    store.update(&heavier, 2, &anna(2)).await.unwrap();
    heavier.traffic_percent = 50.0;
    store.update(&heavier, 3, &anna(3)).await.unwrap();
    heavier.name = "Only a name".to_owned();
    store.update(&heavier, 4, &anna(4)).await.unwrap();
    act(&store, Transition::Pause, 5).await.unwrap();
    act(&store, Transition::Resume, 6).await.unwrap();
    act(&store, Transition::Complete, 7).await.unwrap();

    let key = experiment_key("checkout");
    let phases = store.phases(&key).await.unwrap();
    let spans: Vec<(i64, &str, Timestamp, Option<Timestamp>)> = phases
        .iter()
        .map(|phase| {
            (
                phase.number,
                phase.cause.as_str(),
                phase.started_at,
                phase.ended_at,
            )
        })
        .collect();
    assert_eq!(
        spans,
        [
            (1, "start", instant(1), Some(instant(2))),
            (2, "weights", instant(2), Some(instant(3))),
            (3, "traffic", instant(3), Some(instant(5))),
            (4, "resume", instant(6), Some(instant(7))),
        ]
    );
    // A thousand users in halves, then four hundred as one to three.
    let shares = planned_shares(&phases, &summary(&key, [600, 800])).unwrap();
    let shares: Vec<f64> = shares.into_values().collect();
    assert_eq!(shares, [800.0, 600.0]);
    assert_eq!(planned_shares(&phases[..1], &summary(&key, [600, 800])), None);
}

fn summary(key: &ExperimentKey, [old, new]: [u64; 2]) -> ExperimentSummary {
    let arm = |variant: &str, exposed| ArmSummary {
        variant: VariantKey::new(variant).unwrap(),
        exposed,
        metrics: [].into(),
    };
    ExperimentSummary {
        experiment: key.clone(),
        as_of: instant(0),
        epoch: 1,
        arms: vec![arm("new", new), arm("old", old)],
        crossover_users: 0,
    }
}

async fn a_decision_names_what_is_kept_and_why() {
    let (_place, store) = open().await;
    with_metric(&store).await;
    store.create(&experiment("checkout"), &anna(0)).await.unwrap();
    act(&store, Transition::Start, 1).await.unwrap();
    let key = experiment_key("checkout");
    let variant = |text| Some(VariantKey::new(text).unwrap());
    let refused = [
        (Outcome::Ship, None, "better"),
        (Outcome::Ship, variant("blue"), "better"),
        (Outcome::KeepControl, variant("old"), "no better"),
        (Outcome::Inconclusive, None, " "),
    ];
    for (outcome, variant, reason) in refused {
        let decision = NewDecision {
            outcome,
            variant,
            reason: reason.to_owned(),
        };
        let change = anna(2);
        let complete = store.advance(&key, Transition::Complete, Some(&decision), None, &change);
        assert!(
            matches!(complete.await, Err(ControlError::BadDecision { .. })),
            "{outcome:?}"
        );
    }
    let without = store
        .advance(&key, Transition::Complete, None, None, &anna(2))
        .await;
    assert!(matches!(without, Err(ControlError::BadDecision { .. })));
    let decision = NewDecision {
        outcome: Outcome::Ship,
        variant: variant("new"),
        reason: "two per cent more revenue".to_owned(),
    };
    let stale = store
        .advance(&key, Transition::Complete, Some(&decision), Some(1), &anna(3))
        .await;
    assert!(matches!(
        stale,
        Err(ControlError::VersionConflict { current: 2, .. })
    ));
    store
        .advance(&key, Transition::Complete, Some(&decision), Some(2), &anna(3))
        .await
        .unwrap();
}

async fn a_clone_is_a_draft_whose_users_are_drawn_anew() {
    let (_place, store) = open().await;
    with_metric(&store).await;
    let mut original = experiment("checkout");
    original.salt = Some("checkout-2025".to_owned());
    store.create(&original, &anna(0)).await.unwrap();
    act(&store, Transition::Start, 1).await.unwrap();
    let cloned = store
        .clone_experiment(
            &experiment_key("checkout"),
            (&experiment_key("checkout-2"), Some("Again")),
            &anna(2),
        )
        .await
        .unwrap();
    let mut expected = experiment("checkout-2");
    expected.name = "Again".to_owned();
    assert_eq!((cloned.version, cloned.definition), (1, expected));
}

async fn schedules_are_for_drafts_and_pauses_and_lie_in_the_future() {
    let (_place, store) = open().await;
    with_metric(&store).await;
    store.create(&experiment("checkout"), &anna(0)).await.unwrap();
    let key = experiment_key("checkout");
    let schedule = |start, end| Schedule {
        start_at: Some(instant(start)),
        end_at: Some(instant(end)),
        problem: None,
    };
    for (start, end) in [(5, 20), (20, 15), (20, 20)] {
        let refused = store.schedule(&key, &schedule(start, end), None, &anna(10)).await;
        assert!(
            matches!(refused, Err(ControlError::BadSchedule { .. })),
            "{start} {end}"
        );
    }
    let set = store
        .schedule(&key, &schedule(15, 20), Some(1), &anna(10))
        .await
        .unwrap();
    assert_eq!(set.definition.schedule, schedule(15, 20));
    let written = store.update(&experiment("checkout"), 2, &anna(11)).await.unwrap();
    assert_eq!(written.definition.schedule, schedule(15, 20));
    act(&store, Transition::Start, 12).await.unwrap();
    let refused = store.schedule(&key, &schedule(30, 40), None, &anna(13)).await;
    assert!(matches!(refused, Err(ControlError::ScheduleNotAllowed { .. })));
}
