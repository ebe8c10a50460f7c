//! The store as its callers see it: versions, references, pages, plans, and files that are no store.

use domain::experiment::ExperimentDefinition;
use domain::metric::MetricDefinition;
use domain::rules::definition::FlagDefinition;
use domain::{FlagKey, MetricKey, VariantKey};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::test_support::{anna, experiment_key, flag, flag_key, guardrail, instant, on_both_stores, open};

on_both_stores! {
    a_definition_lives_from_creation_to_deletion_and_leaves_its_trace,
    of_fifty_writers_that_read_the_same_version_one_wins,
    what_others_need_is_neither_deleted_nor_broken,
    invalid_definitions_and_guardrails_are_refused,
    a_repeated_creation_with_the_same_key_makes_one_document,
    pages_follow_each_other_without_gaps_whatever_happens_between,
    a_store_is_reopened_and_one_of_a_newer_version_is_refused,
    audit_records_cannot_be_changed,
    plans_follow_the_definitions,
    a_person_rolls_back_once_and_a_flag_without_guardrails_turns_off,
    another_process_hears_of_changes_and_not_of_looks,
    a_store_from_before_labels_is_searched_like_any_other,
}

mod chained;
mod kill;
mod outage;
mod search;
mod tamper;

impl Store {
    /// Runs statements in the words of the migrations.
    pub(crate) async fn run_sql(&self, sql: &str) {
        let mut write = self.begin().await.unwrap();
        let sql = self.dialect().schema(sql);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut *write)
            .await
            .unwrap();
        self.commit_quietly(write).await.unwrap();
    }
}

fn metric(key: &str) -> MetricDefinition {
    serde_json::from_value(json!({"key": key, "kind": "sum", "event": key})).unwrap()
}

fn experiment(key: &str, metrics: &[&str]) -> ExperimentDefinition {
    let metrics: Vec<Value> = metrics.iter().map(|metric| json!({"metric": metric})).collect();
    serde_json::from_value(json!({
        "key": key, "control": "old", "metrics": metrics,
        "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 3.0}]
    }))
    .unwrap()
}

async fn a_definition_lives_from_creation_to_deletion_and_leaves_its_trace() {
    let (_place, store) = open().await;
    let mut changes = store.subscribe();
    let made = store.create(&flag(), &anna(1)).await.unwrap();
    assert_eq!((made.version, made.discovered), (1, false));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();

    let mut renamed = flag();
    renamed.name = "Checkout".to_owned();
    let change = anna(2).because("a better name");
    let updated = store.update(&renamed, 1, &change).await.unwrap();
    assert_eq!(
        (updated.version, updated.created_at, updated.updated_at),
        (2, instant(1), instant(2))
    );
    assert_eq!(store.get::<FlagDefinition>(&flag_key()).await.unwrap(), updated);
    assert!(changes.has_changed().unwrap());

    store
        .delete::<FlagDefinition>(&flag_key(), 2, &anna(3))
        .await
        .unwrap();
    let gone = store.get::<FlagDefinition>(&flag_key()).await;
    assert!(matches!(
        gone,
        Err(ControlError::NotFound {
            kind: ObjectKind::Flag,
            ..
        })
    ));

    let trace = store.audit(&AuditFilter::default(), 10).await.unwrap();
    let actions: Vec<&str> = trace.items.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(actions, ["delete", "update", "create"]);
    let update = &trace.items[1];
    assert_eq!(update.actor, crate::Actor::person("anna"));
    assert_eq!(update.reason.as_deref(), Some("a better name"));
    assert_eq!(update.before, Some(serde_json::to_value(flag()).unwrap()));
    assert_eq!(update.after, Some(serde_json::to_value(&renamed).unwrap()));
    assert!(trace.items[0].after.is_none() && trace.items[2].before.is_none());
}

async fn of_fifty_writers_that_read_the_same_version_one_wins() {
    // What must never change: no writer overwrites a change that it has not seen.
    let (_place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    for version in 1..=4 {
        let mut writers = JoinSet::new();
        for writer in 0..50 {
            let store = store.clone();
            writers.spawn(async move {
                let mut mine = flag();
                mine.name = format!("writer {writer}");
                (writer, store.update(&mine, version, &anna(writer)).await)
            });
        }
        let mut winners = Vec::new();
        for (writer, outcome) in writers.join_all().await {
            match outcome {
                Ok(document) => winners.push((writer, document)),
                Err(ControlError::VersionConflict {
                    expected, current, ..
                }) => {
                    assert_eq!((expected, current), (version, version + 1));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1);
        let stored = store.get::<FlagDefinition>(&flag_key()).await.unwrap();
        assert_eq!(stored, winners[0].1);
        assert_eq!(stored.definition.name, format!("writer {}", winners[0].0));
    }
    let trace = store.audit(&AuditFilter::default(), 200).await.unwrap();
    assert_eq!(trace.items.len(), 5);
}

async fn what_others_need_is_neither_deleted_nor_broken() {
    let (_place, store) = open().await;
    let unknown = store.create(&experiment("pricing", &["revenue"]), &anna(0)).await;
    assert!(matches!(unknown, Err(ControlError::InvalidMetric(_))));
    store.create(&metric("revenue"), &anna(0)).await.unwrap();
    store
        .create(&experiment("pricing", &["revenue"]), &anna(0))
        .await
        .unwrap();
    let key = MetricKey::new("revenue").unwrap();
    let used = store.delete::<MetricDefinition>(&key, 1, &anna(1)).await;
    assert!(matches!(used, Err(ControlError::InUse { used_by, .. }) if used_by == "experiment pricing"));

    store.create(&flag(), &anna(0)).await.unwrap();
    let made = store.create_guardrail(&guardrail(), &anna(0)).await.unwrap();
    let watched = store.delete::<FlagDefinition>(&flag_key(), 1, &anna(1)).await;
    assert!(matches!(watched, Err(ControlError::InUse { .. })));
    let mut without_arm: FlagDefinition = flag();
    without_arm.variations.remove(0);
    without_arm.default = domain::rules::definition::Serve::Variation(VariantKey::new("new").unwrap());
    let broken = store.update(&without_arm, 1, &anna(1)).await;
    assert!(matches!(broken, Err(ControlError::InUse { .. })));

    store.retire_guardrail(&made.id, &anna(2)).await.unwrap();
    assert!(
        store
            .guardrails(None, &PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    store.update(&without_arm, 1, &anna(3)).await.unwrap();
    store
        .delete::<FlagDefinition>(&flag_key(), 2, &anna(4))
        .await
        .unwrap();
}

async fn invalid_definitions_and_guardrails_are_refused() {
    let (_place, store) = open().await;
    let mut unserved = flag();
    unserved.off_variation = VariantKey::new("nothing").unwrap();
    assert!(matches!(
        store.create(&unserved, &anna(0)).await,
        Err(ControlError::InvalidFlag { .. })
    ));
    let mut one_arm = experiment("pricing", &[]);
    one_arm.variants.truncate(1);
    // A person cannot pass an experiment off as discovered to get around its rules.
    one_arm.discovered = true;
    assert!(store.create(&one_arm, &anna(0)).await.is_err());

    let orphan = store.create_guardrail(&guardrail(), &anna(0)).await;
    assert!(matches!(
        orphan,
        Err(ControlError::NotFound {
            kind: ObjectKind::Flag,
            ..
        })
    ));
    store.create(&flag(), &anna(0)).await.unwrap();
    let again = store.create(&flag(), &anna(0)).await;
    assert!(matches!(again, Err(ControlError::AlreadyExists { .. })));
    store.create_guardrail(&guardrail(), &anna(0)).await.unwrap();
    let twice = store.create_guardrail(&guardrail(), &anna(0)).await;
    assert!(matches!(
        twice,
        Err(ControlError::AlreadyExists {
            kind: ObjectKind::Guardrail,
            ..
        })
    ));
    let mut strange = guardrail();
    strange.treatment = VariantKey::new("third").unwrap();
    let strange = store.create_guardrail(&strange, &anna(0)).await;
    assert!(matches!(strange, Err(ControlError::InvalidFlag { .. })));
}

async fn a_repeated_creation_with_the_same_key_makes_one_document() {
    let (_place, store) = open().await;
    let mut change = anna(0);
    change.idempotency_key = Some("request-1".to_owned());
    let first = store.create(&flag(), &change).await.unwrap();
    let second = store.create(&flag(), &change).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(
        store
            .audit(&AuditFilter::default(), 10)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let other = store.create(&metric("revenue"), &change).await;
    assert!(matches!(other, Err(ControlError::IdempotencyMismatch { .. })));
    // Another person's key is another key, and after a day it is a new one.
    let mut bert = change.clone();
    bert.actor = crate::Actor::person("bert");
    store.create(&metric("revenue"), &bert).await.unwrap();
    change.at = instant(86_401);
    assert!(matches!(
        store.create(&flag(), &change).await,
        Err(ControlError::AlreadyExists { .. })
    ));
}

async fn pages_follow_each_other_without_gaps_whatever_happens_between() {
    let (_place, store) = open().await;
    for index in 0..7 {
        store
            .create(&metric(&format!("m{index}")), &anna(0))
            .await
            .unwrap();
    }
    let mut request = PageRequest {
        after: None,
        limit: 3,
    };
    let mut keys = Vec::new();
    loop {
        let page = store.list::<MetricDefinition>(&request).await.unwrap();
        keys.extend(
            page.items
                .iter()
                .map(|document| document.definition.key.to_string()),
        );
        // An entry that goes behind the cursor moves nothing before it.
        let first = MetricKey::new("m0").unwrap();
        let _ = store.delete::<MetricDefinition>(&first, 1, &anna(1)).await;
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    for limit in [0, 201] {
        let page = PageRequest { after: None, limit };
        assert!(matches!(
            store.list::<MetricDefinition>(&page).await,
            Err(ControlError::InvalidLimit { .. })
        ));
    }
}

async fn a_store_is_reopened_and_one_of_a_newer_version_is_refused() {
    let (place, store) = open().await;
    let made = store.create(&flag(), &anna(1)).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.get::<FlagDefinition>(&flag_key()).await.unwrap(), made);
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', $1, $2, 0)",
    )
    .bind(true)
    .bind(vec![0_u8])
    .execute(&store.shared.writer)
    .await
    .unwrap();
    store.close().await;
    let error = Store::connect(place.address()).await.unwrap_err();
    assert!(matches!(error, ControlError::NewerSchema { found: 9999, .. }));
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn files_that_are_no_store_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    std::fs::write(&path, vec![b'x'; 4_096]).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, ControlError::Open { .. }));
    assert!(error.to_string().contains("control.db"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let _store = Store::open(&path).await.unwrap();
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

async fn audit_records_cannot_be_changed() {
    let (_place, store) = open().await;
    store.create(&flag(), &anna(1)).await.unwrap();
    let changed = sqlx::query("UPDATE audit SET actor = 'nobody'")
        .execute(&store.shared.writer)
        .await;
    assert!(changed.unwrap_err().to_string().contains("never changed"));
}

async fn plans_follow_the_definitions() {
    let (_place, store) = open().await;
    assert_eq!(
        store.measurement_plan().await.unwrap(),
        domain::metric::MeasurementPlan::discover()
    );
    let mut latency = metric("latency");
    latency.direction = domain::metric::Direction::Down;
    store.create(&latency, &anna(0)).await.unwrap();
    store.create(&metric("revenue"), &anna(0)).await.unwrap();
    store
        .create(&experiment("pricing", &["latency"]), &anna(0))
        .await
        .unwrap();
    store.create(&flag(), &anna(0)).await.unwrap();

    let plan = store.measurement_plan().await.unwrap();
    assert!(plan.discovery);
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(
        plan.experiments[0].metrics,
        Some(vec![MetricKey::new("latency").unwrap()])
    );

    let analysis = store.analysis_plan(&experiment_key("pricing")).await.unwrap();
    assert_eq!(analysis.control.as_str(), "old");
    assert_eq!(analysis.weights.values().copied().collect::<Vec<_>>(), [3.0, 1.0]);
    assert_eq!(analysis.metrics.len(), 1);
    assert_eq!(analysis.metrics[0].direction, domain::metric::Direction::Down);

    // A flag is compared with its off variation until a guardrail names a better control.
    let key = experiment_key("checkout");
    assert_eq!(store.analysis_plan(&key).await.unwrap().control.as_str(), "off");
    store.create_guardrail(&guardrail(), &anna(0)).await.unwrap();
    let analysis = store.analysis_plan(&key).await.unwrap();
    assert_eq!(analysis.control.as_str(), "old");
    let weights: Vec<(&str, f64)> = analysis
        .weights
        .iter()
        .map(|(key, weight)| (key.as_str(), *weight))
        .collect();
    assert_eq!(weights, [("new", 50.0), ("old", 50.0)]);
    let unknown = store.analysis_plan(&experiment_key("nothing")).await;
    assert!(matches!(unknown, Err(ControlError::NotFound { .. })));
}

async fn a_person_rolls_back_once_and_a_flag_without_guardrails_turns_off() {
    let (_place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let key: FlagKey = flag_key();
    let record = store
        .rollback_by_hand(&key, &anna(5).because("complaints"))
        .await
        .unwrap();
    assert!(!record.automatic && record.evidence.is_none());
    assert_eq!(
        (record.safe_variation.as_str(), record.reason.as_str()),
        ("off", "complaints")
    );
    assert_eq!((record.version_before, record.version_after), (1, 2));
    assert_eq!(store.rollback(&record.id).await.unwrap(), record);
    let again = store.rollback_by_hand(&key, &anna(6)).await;
    assert!(matches!(again, Err(ControlError::AlreadySafe { .. })));
    assert_eq!(
        store.rollbacks(Some(&key), None, 10).await.unwrap().items,
        [record]
    );
}

async fn another_process_hears_of_changes_and_not_of_looks() {
    // What must never change: each process follows what any of them writes.
    let (place, store) = open().await;
    let other = place.open().await;
    let mut heard = other.subscribe();
    let stop = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(other.clone().follow_others(stop.clone()));
    store.create(&flag(), &anna(0)).await.unwrap();
    heard.changed().await.unwrap();
    assert_eq!(other.get::<FlagDefinition>(&flag_key()).await.unwrap().version, 1);
    assert_eq!(other.definitions_version().await.unwrap(), 1);

    // Its own writes are told once, by the write itself.
    heard.mark_unchanged();
    let mut renamed = flag();
    renamed.name = "Checkout".to_owned();
    other.update(&renamed, 1, &anna(1)).await.unwrap();
    assert!(heard.has_changed().unwrap());
    heard.mark_unchanged();
    other.tell(2);
    assert!(!heard.has_changed().unwrap());
    stop.cancel();
    following.await.unwrap();
}

async fn a_store_from_before_labels_is_searched_like_any_other() {
    let (place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    sqlx::query("DELETE FROM labels")
        .execute(&store.shared.writer)
        .await
        .unwrap();
    store.close().await;
    let store = place.open().await;
    let filter = ListFilter {
        status: Some("enabled".to_owned()),
        search: Some("check".to_owned()),
        ..ListFilter::default()
    };
    let found = store
        .find::<FlagDefinition>(&filter, &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items.len(), 1);
}

#[test]
fn ids_ascend_in_time_and_differ() {
    let earlier = fresh_id("grd", instant(1));
    let later = fresh_id("grd", instant(2));
    assert!(earlier < later && later.starts_with("grd_"));
    assert_ne!(fresh_id("grd", instant(1)), earlier);
}
