//! What is due is done once, on time, however many look; and what fails does not stand in the way.

use std::sync::Mutex;

use domain::experiment::{ExperimentDefinition, Schedule};
use domain::results::{ArmSummary, ExperimentSummary};
use domain::rollout::{RolloutScheduleDefinition, RolloutStatus};
use domain::rules::definition::{FlagDefinition, Serve};
use domain::{RolloutScheduleKey, VariantKey};
use serde_json::{Value, json};

use super::*;
use crate::RolloutAction;
use crate::store::{AuditFilter, ObjectKind};
use crate::test_support::{
    ManualClock, Place, anna, experiment_key, flag, flag_key, guardrail, instant, on_both_stores, open,
};

on_both_stores! {
    of_many_workers_on_one_store_each_timer_is_done_by_one,
    a_start_that_its_checks_refuse_is_told_and_not_tried_again,
    a_paused_experiment_is_resumed_or_ended_as_scheduled,
    a_rollout_goes_from_stage_to_stage_by_time_and_goes_on_after_a_restart,
    a_measured_stage_waits_for_users_and_for_the_absence_of_harm,
    a_flag_that_somebody_changed_is_not_overwritten_and_a_rollback_ends_the_schedule,
    a_schedule_rolled_back_by_hand_turns_its_flag_safe,
}

/// A scheduler with a store and connections of its own, as another process would have.
async fn another(place: &Place, clock: &Arc<ManualClock>) -> (Store, Scheduler) {
    let store = place.open().await;
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    (store.clone(), Scheduler::new(store, clock))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

async fn draft(store: &Store, planned: bool) {
    let metric: domain::metric::MetricDefinition =
        read(json!({"key": "revenue", "kind": "sum", "event": "purchase"}));
    store.create(&metric, &anna(0)).await.unwrap();
    let mut experiment: ExperimentDefinition = read(json!({
        "key": "checkout", "control": "old", "metrics": [{"metric": "revenue"}],
        "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}],
        "analysis": {"planned_units": 10_000, "minimum_effect": 0.02}
    }));
    if !planned {
        experiment.analysis.planned_units = None;
    }
    store.create(&experiment, &anna(0)).await.unwrap();
    let schedule = Schedule {
        start_at: Some(instant(100)),
        end_at: Some(instant(200)),
        problem: None,
    };
    let key = experiment_key("checkout");
    store.schedule(&key, &schedule, None, &anna(1)).await.unwrap();
}

async fn status(store: &Store) -> ExperimentStatus {
    let key = experiment_key("checkout");
    store
        .get::<ExperimentDefinition>(&key)
        .await
        .unwrap()
        .definition
        .status
}

async fn actions(store: &Store, kind: ObjectKind) -> Vec<String> {
    let filter = AuditFilter {
        kind: Some(kind),
        ..AuditFilter::default()
    };
    let trail = store.audit(&filter, 100).await.unwrap();
    trail
        .items
        .into_iter()
        .rev()
        .map(|record| record.action)
        .collect()
}

async fn of_many_workers_on_one_store_each_timer_is_done_by_one() {
    // What must never change: a schedule is honoured once, however many processes share the store.
    let (place, store) = open().await;
    draft(&store, true).await;
    let clock = Arc::new(ManualClock::at(99));
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(another(&place, &clock).await.1);
    }
    let workers = Arc::new(workers);
    let round = || async {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..workers.len() {
            let workers = Arc::clone(&workers);
            tasks.spawn(async move { workers[index].run_once().await.unwrap() });
        }
        tasks.join_all().await.iter().sum::<usize>()
    };
    assert_eq!(
        (round().await, status(&store).await),
        (0, ExperimentStatus::Draft)
    );
    clock.advance(1);
    assert_eq!(
        (round().await, status(&store).await),
        (1, ExperimentStatus::Running)
    );
    clock.advance(99);
    assert_eq!(
        (round().await, status(&store).await),
        (0, ExperimentStatus::Running)
    );
    clock.advance(1);
    assert_eq!(
        (round().await, status(&store).await),
        (1, ExperimentStatus::Completed)
    );
    assert_eq!(round().await, 0);
    let trail = actions(&store, ObjectKind::Experiment).await;
    assert_eq!(trail, ["create", "schedule", "start", "complete"]);
}

async fn a_start_that_its_checks_refuse_is_told_and_not_tried_again() {
    let (place, store) = open().await;
    draft(&store, false).await;
    let clock = Arc::new(ManualClock::at(100));
    let (_, worker) = another(&place, &clock).await;
    assert_eq!(worker.run_once().await.unwrap(), 1);
    assert_eq!(worker.run_once().await.unwrap(), 0);
    let document = store
        .get::<ExperimentDefinition>(&experiment_key("checkout"))
        .await
        .unwrap();
    assert_eq!(document.definition.status, ExperimentStatus::Draft);
    let schedule = document.definition.schedule;
    assert_eq!((schedule.start_at, schedule.end_at), (None, Some(instant(200))));
    assert!(schedule.problem.unwrap().contains("planned_units"));
}

async fn a_paused_experiment_is_resumed_or_ended_as_scheduled() {
    let (place, store) = open().await;
    draft(&store, true).await;
    let clock = Arc::new(ManualClock::at(100));
    let (_, worker) = another(&place, &clock).await;
    worker.run_once().await.unwrap();
    let key = experiment_key("checkout");
    store
        .advance(&key, Transition::Pause, None, None, &anna(110))
        .await
        .unwrap();
    let schedule = Schedule {
        start_at: Some(instant(120)),
        end_at: Some(instant(200)),
        problem: None,
    };
    store.schedule(&key, &schedule, None, &anna(111)).await.unwrap();
    clock.advance(20);
    assert_eq!(
        (worker.run_once().await.unwrap(), status(&store).await),
        (1, ExperimentStatus::Running)
    );
    store
        .advance(&key, Transition::Pause, None, None, &anna(130))
        .await
        .unwrap();
    clock.advance(80);
    assert_eq!(
        (worker.run_once().await.unwrap(), status(&store).await),
        (1, ExperimentStatus::Completed)
    );
}

fn rollout(stages: &Value) -> RolloutScheduleDefinition {
    read(json!({"key": "r", "flag": "checkout", "variation": "new", "control": "old", "stages": stages}))
}

fn rollout_key() -> RolloutScheduleKey {
    RolloutScheduleKey::new("r").unwrap()
}

/// The share of the new variation, in whole percent.
async fn share(store: &Store) -> i64 {
    let flag = store.get::<FlagDefinition>(&flag_key()).await.unwrap().definition;
    let Serve::Rollout(shares) = flag.default else {
        panic!("{:?}", flag.default)
    };
    let new = &shares[0];
    assert_eq!(new.variation.as_str(), "new");
    (new.percent * 1_000.0) as i64 / 1_000
}

async fn progress(store: &Store) -> (RolloutStatus, usize) {
    let found = store
        .get::<RolloutScheduleDefinition>(&rollout_key())
        .await
        .unwrap();
    (
        found.definition.progress.status,
        found.definition.progress.stages_begun,
    )
}

async fn act(store: &Store, action: RolloutAction, seconds: i64) {
    store
        .act_on_rollout(&rollout_key(), action, None, &anna(seconds))
        .await
        .unwrap();
}

async fn a_rollout_goes_from_stage_to_stage_by_time_and_goes_on_after_a_restart() {
    let (place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let stages = json!([
        {"percent": 1.0, "trigger": {"type": "after", "seconds": 0}},
        {"percent": 10.0, "trigger": {"type": "after", "seconds": 60}},
        {"percent": 100.0, "trigger": {"type": "at", "time": instant(500)}}
    ]);
    store.create(&rollout(&stages), &anna(0)).await.unwrap();
    act(&store, RolloutAction::Start, 100).await;
    assert_eq!(progress(&store).await, (RolloutStatus::Running, 1));
    assert_eq!(share(&store).await, 1);

    let clock = Arc::new(ManualClock::at(159));
    let (first, worker) = another(&place, &clock).await;
    assert_eq!(worker.run_once().await.unwrap(), 0);
    // A pause of half a minute moves what comes by as much.
    act(&store, RolloutAction::Pause, 130).await;
    act(&store, RolloutAction::Resume, 160).await;
    clock.advance(30);
    assert_eq!(worker.run_once().await.unwrap(), 0);
    clock.advance(1);
    first.close().await;
    let (_, worker) = another(&place, &clock).await;
    assert_eq!(worker.run_once().await.unwrap(), 1);
    assert_eq!(share(&store).await, 10);
    clock.advance(310);
    assert_eq!(worker.run_once().await.unwrap(), 1);
    assert_eq!(progress(&store).await, (RolloutStatus::Completed, 3));
    assert_eq!(share(&store).await, 100);
    assert_eq!(worker.run_once().await.unwrap(), 0);
    let trail = actions(&store, ObjectKind::Flag).await;
    assert_eq!(trail, ["create", "rollout", "rollout", "rollout"]);
}

async fn a_measured_stage_waits_for_users_and_for_the_absence_of_harm() {
    let (place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let stages = json!([
        {"percent": 5.0, "trigger": {"type": "manual"}},
        {"percent": 50.0, "trigger": {"type": "healthy", "min_units": 1_000, "min_seconds": 10}}
    ]);
    store.create(&rollout(&stages), &anna(0)).await.unwrap();
    let unwatched = store
        .act_on_rollout(&rollout_key(), RolloutAction::Start, None, &anna(1))
        .await;
    assert!(unwatched.unwrap_err().to_string().contains("guardrail"));
    store.create_guardrail(&guardrail(), &anna(1)).await.unwrap();
    act(&store, RolloutAction::Start, 2).await;
    assert_eq!(progress(&store).await, (RolloutStatus::Running, 0));
    act(&store, RolloutAction::Advance, 3).await;
    assert_eq!(progress(&store).await, (RolloutStatus::Running, 1));

    let clock = Arc::new(ManualClock::at(20));
    let (other, worker) = another(&place, &clock).await;
    assert_eq!(worker.run_once().await.unwrap(), 0);
    let exposed = Arc::new(Mutex::new(999));
    let seen = Arc::clone(&exposed);
    other.use_summaries(Arc::new(move |key: &ExperimentKey| {
        Some(Arc::new(ExperimentSummary {
            experiment: key.clone(),
            as_of: instant(0),
            epoch: 1,
            arms: vec![ArmSummary {
                variant: VariantKey::new("new").unwrap(),
                exposed: *seen.lock().unwrap(),
                metrics: [].into(),
            }],
            crossover_users: 0,
        }))
    }));
    assert_eq!(worker.run_once().await.unwrap(), 0);
    *exposed.lock().unwrap() = 1_000;
    assert_eq!(worker.run_once().await.unwrap(), 1);
    assert_eq!(progress(&store).await, (RolloutStatus::Completed, 2));
}

async fn a_flag_that_somebody_changed_is_not_overwritten_and_a_rollback_ends_the_schedule() {
    let (place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let stages = json!([
        {"percent": 1.0, "trigger": {"type": "after", "seconds": 0}},
        {"percent": 10.0, "trigger": {"type": "after", "seconds": 60}}
    ]);
    store.create(&rollout(&stages), &anna(0)).await.unwrap();
    act(&store, RolloutAction::Start, 100).await;
    let mut by_hand = store.get::<FlagDefinition>(&flag_key()).await.unwrap();
    by_hand.definition.default = Serve::Variation(VariantKey::new("old").unwrap());
    store
        .update(&by_hand.definition, by_hand.version, &anna(110))
        .await
        .unwrap();
    let clock = Arc::new(ManualClock::at(200));
    let (_, worker) = another(&place, &clock).await;
    assert_eq!(worker.run_once().await.unwrap(), 1);
    let found = store
        .get::<RolloutScheduleDefinition>(&rollout_key())
        .await
        .unwrap()
        .definition;
    assert_eq!(found.progress.status, RolloutStatus::Paused);
    assert!(found.progress.note.unwrap().contains("by hand"));

    store
        .rollback_by_hand(&flag_key(), &anna(210).because("errors"))
        .await
        .unwrap();
    let found = store
        .get::<RolloutScheduleDefinition>(&rollout_key())
        .await
        .unwrap()
        .definition;
    assert_eq!(
        (found.progress.status, found.progress.note.as_deref()),
        (RolloutStatus::RolledBack, Some("errors"))
    );
    let again = store
        .act_on_rollout(&rollout_key(), RolloutAction::Resume, None, &anna(220))
        .await;
    assert!(matches!(again, Err(ControlError::RolloutNotAllowed { .. })));
}

async fn a_schedule_rolled_back_by_hand_turns_its_flag_safe() {
    let (_place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let stages = json!([{"percent": 10.0, "trigger": {"type": "after", "seconds": 0}}]);
    store.create(&rollout(&stages), &anna(0)).await.unwrap();
    act(&store, RolloutAction::Start, 100).await;
    assert_eq!(progress(&store).await, (RolloutStatus::Completed, 1));
    act(&store, RolloutAction::RollBack, 110).await;
    assert_eq!(progress(&store).await.0, RolloutStatus::RolledBack);
    assert!(
        !store
            .get::<FlagDefinition>(&flag_key())
            .await
            .unwrap()
            .definition
            .enabled
    );
}
