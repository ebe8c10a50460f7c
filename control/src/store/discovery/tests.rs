//! Discovery writes once, overwrites nothing that people declared, and has limits.

use super::*;
use crate::store::{AuditFilter, Document};
use crate::test_support::{anna, experiment_key, instant, on_both_stores, open};

on_both_stores! {
    what_is_seen_becomes_definitions_once,
    what_people_declared_is_never_overwritten,
    what_was_deleted_and_is_still_seen_comes_back,
}

fn variants(keys: &[&str]) -> BTreeSet<VariantKey> {
    keys.iter().map(|key| VariantKey::new(key).unwrap()).collect()
}

fn seen(experiment: &str, arms: &[&str], events: &[&str]) -> Discovered {
    Discovered {
        experiments: BTreeMap::from([(experiment_key(experiment), variants(arms))]),
        events: events
            .iter()
            .map(|event| EventName::new(event).unwrap())
            .collect(),
    }
}

async fn experiment(store: &Store) -> Document<ExperimentDefinition> {
    store.get(&experiment_key("checkout")).await.unwrap()
}

async fn what_is_seen_becomes_definitions_once() {
    let (_place, store) = open().await;
    let first = seen("checkout", &["blue"], &["purchase"]);
    assert!(store.record_discovered(&first, instant(1)).await.unwrap());
    assert!(!store.record_discovered(&first, instant(2)).await.unwrap());
    let metrics = store.all::<MetricDefinition>().await.unwrap();
    let keys: Vec<&str> = metrics
        .iter()
        .map(|metric| metric.definition.key.as_str())
        .collect();
    assert_eq!(keys, ["purchase", "purchase_conversion"]);

    // A second variant joins the first, and the control is found anew.
    let both = seen("checkout", &["Control"], &["purchase"]);
    assert!(store.record_discovered(&both, instant(3)).await.unwrap());
    let found = experiment(&store).await;
    assert!(found.discovered && found.definition.discovered);
    assert_eq!((found.version, found.definition.control.as_str()), (2, "Control"));
    assert_eq!(found.definition.variants.len(), 2);

    // Another process that starts over knows nothing in memory and still writes nothing.
    store.forget_known();
    assert!(!store.record_discovered(&both, instant(4)).await.unwrap());
    assert_eq!(
        store
            .audit(&AuditFilter::default(), 50)
            .await
            .unwrap()
            .items
            .len(),
        4
    );
}

async fn what_people_declared_is_never_overwritten() {
    let (_place, store) = open().await;
    store
        .record_discovered(&seen("checkout", &["a", "b"], &["purchase"]), instant(1))
        .await
        .unwrap();
    let mut declared = experiment(&store).await.definition;
    declared.name = "The checkout".to_owned();
    // Creating what was only discovered takes its place.
    let made = store.create(&declared, &anna(2)).await.unwrap();
    assert_eq!(
        (made.version, made.discovered, made.definition.discovered),
        (2, false, false)
    );
    let key = MetricKey::new("purchase").unwrap();
    let mut metric = store.get::<MetricDefinition>(&key).await.unwrap().definition;
    metric.cap = Some(10.0);
    store.update(&metric, 1, &anna(2)).await.unwrap();

    let more = seen("checkout", &["a", "b", "c"], &["purchase"]);
    assert!(!store.record_discovered(&more, instant(3)).await.unwrap());
    assert_eq!(experiment(&store).await, made);
    assert_eq!(
        store.get::<MetricDefinition>(&key).await.unwrap().definition.cap,
        Some(10.0)
    );
}

async fn what_was_deleted_and_is_still_seen_comes_back() {
    let (_place, store) = open().await;
    let both = seen("checkout", &["a", "b"], &[]);
    store.record_discovered(&both, instant(1)).await.unwrap();
    store
        .delete::<ExperimentDefinition>(&experiment_key("checkout"), 1, &anna(2))
        .await
        .unwrap();
    assert!(store.record_discovered(&both, instant(3)).await.unwrap());
    // Versions go on, so that nobody changes the new one with an old ETag.
    assert_eq!(experiment(&store).await.version, 3);
}

#[test]
fn names_beyond_the_limit_are_left_out() {
    let mut known = Known::default();
    let mut flood = Discovered::default();
    for index in 0..DISCOVERED_MAX + 5 {
        flood
            .events
            .insert(EventName::new(&format!("event-{index}")).unwrap());
        flood
            .experiments
            .insert(experiment_key(&format!("x{index}")), variants(&["a"]));
    }
    let news = known.news(&flood);
    assert_eq!(
        (news.events.len(), news.experiments.len()),
        (DISCOVERED_MAX, DISCOVERED_MAX)
    );
    known.learn(news);
    assert_eq!(known.news(&flood), Discovered::default());
    // What is known may still gain variants.
    let mut grown = Discovered::default();
    grown.experiments.insert(experiment_key("x0"), variants(&["b"]));
    assert_eq!(known.news(&grown), grown);
}

#[test]
fn summaries_show_events_and_not_declared_metrics() {
    let summary =
        |kind: &str| serde_json::json!({"kind": kind, "units": 1, "moments": domain::Moments::default()});
    let summaries: Vec<ExperimentSummary> = serde_json::from_value(serde_json::json!([{
        "experiment": "checkout", "as_of": "2026-01-01T00:00:00Z", "epoch": 1, "crossover_users": 0,
        "arms": [{"variant": "a", "exposed": 1, "metrics": {
            "purchase": summary("sum"), "purchase_conversion": summary("proportion"), "declared": summary("sum")
        }}]
    }]))
    .unwrap();
    assert_eq!(
        Discovered::from_summaries(&summaries),
        seen("checkout", &["a"], &["purchase"])
    );
}
