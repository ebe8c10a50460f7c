//! From looks to decisions: one rollback, whole or not at all, and the same when computed again.

use domain::guardrail::{ArmCounts, CohortCounts};
use domain::rules::definition::{Definitions, FlagDefinition};
use domain::rules::{Context, Ruleset};
use domain::{EventName, VariantKey};

use super::*;
use crate::store::{AuditFilter, ObjectKind};
use crate::test_support::{
    Place, anna, experiment_key, flag, flag_key, guardrail, instant, on_both_stores, open,
};

on_both_stores! {
    harm_turns_the_flag_once_and_leaves_record_audit_and_message,
    with_rollback_by_hand_only_a_crossing_is_told_once_and_the_flag_stays,
    a_failure_on_the_way_leaves_nothing_and_the_repetition_everything,
    a_decision_is_computed_again_from_its_record_alone,
    a_person_who_enables_the_flag_again_starts_a_new_phase,
    equal_arms_and_other_events_change_nothing,
    guardrails_of_one_flag_share_the_budget_and_roll_back_once,
    a_rollback_takes_the_flag_as_people_left_it,
}

/// A look at one cohort of 1000 users in each arm.
fn look(epoch: i64, newly_treatment: u64, newly_control: u64, before: (u64, u64)) -> GuardrailLook {
    let arm = |variant: &str, affected_before, newly_affected| ArmCounts {
        variant: VariantKey::new(variant).unwrap(),
        exposed: 1_000,
        affected_before,
        newly_affected,
    };
    GuardrailLook {
        experiment: experiment_key("checkout"),
        event: EventName::new("error").unwrap(),
        epoch,
        cohorts: vec![CohortCounts {
            start: instant(0),
            arms: vec![
                arm("new", before.0, newly_treatment),
                arm("old", before.1, newly_control),
                arm("off", 0, 9),
            ],
        }],
    }
}

/// Ten looks that cross somewhere on the way.
fn harmful() -> Vec<GuardrailLook> {
    (0..10)
        .map(|index| look(index as i64 + 1, 6, 1, (6 * index, index)))
        .collect()
}

async fn watched_store() -> (Place, Store, GuardrailId) {
    let (place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let id = store.create_guardrail(&guardrail(), &anna(0)).await.unwrap().id;
    (place, store, id)
}

async fn count(store: &Store, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(store.readers()).await.unwrap()
}

const OUTBOX: &str = "SELECT count(*) FROM outbox";
const ROLLBACKS: &str = "SELECT count(*) FROM rollbacks";
const LOOKS: &str = "SELECT count(*) FROM guardrail_looks";

async fn harm_turns_the_flag_once_and_leaves_record_audit_and_message() {
    let (_place, store, id) = watched_store().await;
    let safety = Safety::new(store.clone());
    let mut changes = store.subscribe();
    changes.mark_unchanged();
    let mut records = Vec::new();
    // Each commit brings its look twice, as after a crash between the commit and the safety loop.
    for look in harmful() {
        for _ in 0..2 {
            let now = instant(look.epoch);
            records.extend(safety.observe(std::slice::from_ref(&look), now).await.unwrap());
        }
    }
    assert_eq!(records.len(), 1);
    let record = &records[0];
    let evidence = record.evidence.unwrap();
    assert!(record.automatic && evidence.verdict.crossed);
    assert!(evidence.verdict.p_value <= 0.01 && evidence.verdict.log_e >= (2.0_f64 / 0.01).ln());
    assert_eq!(evidence.affected_treatment, 6 * evidence.looks);
    assert_eq!(record.safe_variation.as_str(), "old");
    assert_eq!(record.at, instant(record.epoch.unwrap()));

    let stored = store.get::<FlagDefinition>(&flag_key()).await.unwrap();
    assert_eq!((stored.version, &stored.definition), (2, &record.after));
    assert!(changes.has_changed().unwrap());
    let filter = AuditFilter {
        kind: Some(ObjectKind::Flag),
        ..AuditFilter::default()
    };
    let audit = store.audit(&filter, 10).await.unwrap().items;
    assert_eq!(
        (audit.len(), audit[0].action.as_str(), audit[0].actor.as_str()),
        (2, "rollback", "system:safety")
    );
    assert_eq!(audit[0].before, Some(serde_json::to_value(flag()).unwrap()));
    assert_eq!(
        (count(&store, OUTBOX).await, count(&store, ROLLBACKS).await),
        (1, 1)
    );
    let guardrail = store.guardrail(&id).await.unwrap();
    assert_eq!((guardrail.armed, guardrail.last_epoch), (false, Some(10)));
    // Looks after the decision are no part of its record.
    assert_eq!(count(&store, LOOKS).await, evidence.looks as i64);
}

async fn with_rollback_by_hand_only_a_crossing_is_told_once_and_the_flag_stays() {
    let (_place, store, id) = watched_store().await;
    let settings = crate::store::SafetySettings {
        automatic_rollback: false,
        ..crate::store::SafetySettings::default()
    };
    store
        .set_safety_settings(settings, Some(0), &anna(0))
        .await
        .unwrap();
    let safety = Safety::new(store.clone());
    for look in harmful() {
        let records = safety.observe(&[look], instant(9)).await.unwrap();
        assert!(records.is_empty());
    }
    assert_eq!(
        (count(&store, OUTBOX).await, count(&store, ROLLBACKS).await),
        (1, 0)
    );
    assert_eq!(store.get::<FlagDefinition>(&flag_key()).await.unwrap().version, 1);
    assert!(!store.guardrail(&id).await.unwrap().armed);
    let replay = safety.replay_decision(&id, 1).await.unwrap();
    assert!(replay.agrees && replay.crossing_epoch.is_some() && replay.rollback_epoch.is_none());
}

#[test]
fn a_flag_made_safe_gives_the_safe_variation_to_everybody_everywhere() {
    // What must never change: no override, rule or environment leads to the harmful variation after a rollback.
    let safe = VariantKey::new("old").unwrap();
    let after = crate::store::made_safe(&flag(), &safe);
    for environment in [None, Some("staging"), Some("production")] {
        let definitions = Definitions {
            environment: environment.map(str::to_owned),
            flags: vec![after.clone()],
            ..Definitions::default()
        };
        let ruleset = Ruleset::compile(&definitions).unwrap();
        for user in ["tester", "somebody"] {
            let decision = ruleset.evaluate("checkout", &Context::from_json(user, &serde_json::Map::new()));
            assert_eq!(
                decision.variation.map(VariantKey::as_str),
                Some("old"),
                "{environment:?} {user}"
            );
        }
    }
}

async fn a_failure_on_the_way_leaves_nothing_and_the_repetition_everything() {
    let (_place, store, id) = watched_store().await;
    let safety = Safety::new(store.clone());
    // Every table that the decision writes refuses once; the last of them is the last write of the transaction.
    for table in ["guardrail_looks", "rollbacks", "audit", "outbox"] {
        let trigger = format!(
            "CREATE TRIGGER no_room BEFORE INSERT ON {table}\nBEGIN SELECT RAISE(ABORT, 'database or disk is full'); END;"
        );
        store.run_sql(&trigger).await;
        let error = safety.observe(&harmful(), instant(1)).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        let untouched = store.get::<FlagDefinition>(&flag_key()).await.unwrap();
        assert_eq!((untouched.version, untouched.definition), (1, flag()), "{table}");
        let guardrail = store.guardrail(&id).await.unwrap();
        assert!(guardrail.armed && guardrail.last_epoch.is_none() && guardrail.evidence.is_none());
        for sql in [LOOKS, ROLLBACKS, OUTBOX] {
            assert_eq!(count(&store, sql).await, 0, "{table} {sql}");
        }
        store.run_sql("DROP TRIGGER no_room;").await;
    }
    assert_eq!(safety.observe(&harmful(), instant(1)).await.unwrap().len(), 1);
    assert_eq!(safety.observe(&harmful(), instant(2)).await.unwrap().len(), 0);
    assert_eq!(
        (count(&store, OUTBOX).await, count(&store, ROLLBACKS).await),
        (1, 1)
    );
}

async fn a_decision_is_computed_again_from_its_record_alone() {
    let (_place, store, id) = watched_store().await;
    let safety = Safety::new(store.clone());
    // One look at a time, so that the state travels through the store between them.
    for look in harmful() {
        safety.observe(&[look], instant(1)).await.unwrap();
    }
    let record = store.rollbacks(None, None, 1).await.unwrap().items.remove(0);
    let replay = safety.replay_decision(&id, record.phase.unwrap()).await.unwrap();
    assert!(replay.agrees, "{replay:?}");
    assert_eq!(
        (replay.crossing_epoch, replay.rollback_epoch),
        (record.epoch, record.epoch)
    );
    assert_eq!(replay.looks.len() as u64, record.evidence.unwrap().looks);

    // A record that was tampered with no longer agrees.
    let forged = "UPDATE guardrail_looks SET cohorts = replace(cohorts, '\"newly_affected\":6', '\"newly_affected\":1')";
    store.run_sql(forged).await;
    let replay = safety.replay_decision(&id, 1).await.unwrap();
    assert!(!replay.agrees);
    assert_eq!(replay.crossing_epoch, None);
}

async fn a_person_who_enables_the_flag_again_starts_a_new_phase() {
    let (_place, store, id) = watched_store().await;
    let safety = Safety::new(store.clone());
    safety.observe(&harmful(), instant(1)).await.unwrap();
    let rolled_back = store.get::<FlagDefinition>(&flag_key()).await.unwrap();

    // An edit that leaves the flag off arms nothing, and the same harm does nothing more.
    let mut edited = rolled_back.definition.clone();
    edited.name = "looked at".to_owned();
    store.update(&edited, 2, &anna(2)).await.unwrap();
    let late: Vec<GuardrailLook> = (11..15).map(|epoch| look(epoch, 20, 0, (60, 10))).collect();
    assert!(safety.observe(&late, instant(3)).await.unwrap().is_empty());

    edited.enabled = true;
    store.update(&edited, 3, &anna(4)).await.unwrap();
    let guardrail = store.guardrail(&id).await.unwrap();
    assert_eq!(
        (guardrail.armed, guardrail.phase, guardrail.evidence),
        (true, 2, None)
    );
    // What was counted or passed over before stays out of the new phase.
    assert!(safety.observe(&late, instant(5)).await.unwrap().is_empty());
    assert!(store.guardrail(&id).await.unwrap().evidence.is_none());

    let again: Vec<GuardrailLook> = (20..30).map(|epoch| look(epoch, 6, 0, (0, 0))).collect();
    let records = safety.observe(&again, instant(6)).await.unwrap();
    assert_eq!((records.len(), records[0].phase), (1, Some(2)));
    assert!(safety.replay_decision(&id, 1).await.unwrap().agrees);
    assert!(safety.replay_decision(&id, 2).await.unwrap().agrees);
}

async fn equal_arms_and_other_events_change_nothing() {
    let (_place, store, id) = watched_store().await;
    let safety = Safety::new(store.clone());
    let healthy: Vec<GuardrailLook> = (0..40)
        .map(|index| look(index as i64, 5, 5, (5 * index, 5 * index)))
        .collect();
    assert!(safety.observe(&healthy, instant(1)).await.unwrap().is_empty());
    let mut foreign = harmful();
    for look in &mut foreign {
        look.epoch += 100;
        look.event = EventName::new("purchase").unwrap();
    }
    assert!(safety.observe(&foreign, instant(2)).await.unwrap().is_empty());
    let guardrail = store.guardrail(&id).await.unwrap();
    let evidence = guardrail.evidence.unwrap();
    assert_eq!((evidence.looks, evidence.affected_control), (40, 200));
    assert!(guardrail.armed && !evidence.verdict.crossed);
    assert_eq!(store.get::<FlagDefinition>(&flag_key()).await.unwrap().version, 1);
}

async fn guardrails_of_one_flag_share_the_budget_and_roll_back_once() {
    let (_place, store, _) = watched_store().await;
    let mut second = guardrail();
    second.event = EventName::new("crash").unwrap();
    store.create_guardrail(&second, &anna(0)).await.unwrap();
    let safety = Safety::new(store.clone());
    let mut looks = harmful();
    for mut look in harmful() {
        look.event = EventName::new("crash").unwrap();
        looks.push(look);
    }
    let records = safety.observe(&looks, instant(1)).await.unwrap();
    assert_eq!(records.len(), 1);
    assert!((records[0].evidence.unwrap().alpha - 0.005).abs() < 1e-15);
    assert_eq!(
        (count(&store, OUTBOX).await, count(&store, ROLLBACKS).await),
        (1, 1)
    );
}

async fn a_rollback_takes_the_flag_as_people_left_it() {
    // What must never change: a person's change made meanwhile is neither lost nor a way around the rollback.
    let (_place, store, _) = watched_store().await;
    let mut edited = flag();
    edited.name = "edited meanwhile".to_owned();
    store.update(&edited, 1, &anna(1)).await.unwrap();
    let records = Safety::new(store.clone())
        .observe(&harmful(), instant(2))
        .await
        .unwrap();
    assert_eq!((records[0].version_before, records[0].version_after), (2, 3));
    assert_eq!(records[0].after.name, "edited meanwhile");
    // Whoever read the flag before the rollback cannot bring the harm back by accident.
    let stale = store.update(&edited, 2, &anna(3)).await;
    assert!(matches!(
        stale,
        Err(ControlError::VersionConflict { current: 3, .. })
    ));
}
