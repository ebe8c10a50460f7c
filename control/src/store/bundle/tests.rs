//! Bundles: the same definitions give the same text, what is read back changes nothing, and an import is whole or none.

use serde_json::json;

use super::*;
use crate::test_support::{anna, experiment_key, flag, flag_key, on_both_stores, open};
use crate::{AuditFilter, ListFilter, PageRequest};
use domain::experiment::Transition;

const TEXT: &str = "
experimently: 1
projects:
  shop: {owner: ada}
metrics:
  revenue: {kind: sum, event: purchase}
segments:
  beta: {included: [u1]}
experiments:
  pricing:
    project: shop
    control: old
    variants: [{key: old, weight: 1.0}, {key: new, weight: 1.0}]
    metrics: [{metric: revenue}]
    analysis: {planned_units: 1000, minimum_effect: 0.05}
flags:
  button:
    type: boolean
    off_variation: off
    variations: [{key: on, value: true}, {key: off, value: false}]
    default: {variation: off}
    rules: [{id: beta, condition: {operator: in_segment, value: beta}, serve: {variation: on}}]
";

const PLAN: ImportSettings = ImportSettings {
    delete_others: false,
    plan_only: true,
};

on_both_stores! {
    a_bundle_is_planned_applied_and_then_changes_nothing,
    an_import_that_fails_anywhere_leaves_nothing,
    what_a_bundle_lacks_goes_only_when_asked_and_can_come_back,
}

async fn actions(store: &Store, text: &str, settings: ImportSettings) -> Vec<String> {
    let bundle = Bundle::from_yaml(text).unwrap();
    let plan = store.import(&bundle, settings, &anna(1)).await.unwrap();
    let step = |step: &PlannedStep| format!("{:?} {} {}", step.action, step.kind, step.key);
    plan.steps.iter().map(step).collect()
}

async fn a_bundle_is_planned_applied_and_then_changes_nothing() {
    // What must never change: export and import are inverse, and a plan writes nothing.
    let (_place, store) = open().await;
    let expected = [
        "Create project shop",
        "Create metric revenue",
        "Create segment beta",
        "Create experiment pricing",
        "Create flag button",
    ];
    assert_eq!(actions(&store, TEXT, PLAN).await, expected);
    assert!(
        store
            .audit(&AuditFilter::default(), 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(actions(&store, TEXT, ImportSettings::default()).await, expected);
    let text = store.export().await.unwrap().to_yaml().unwrap();
    assert_eq!(
        actions(&store, &text, ImportSettings::default()).await,
        Vec::<String>::new()
    );
    assert_eq!(store.export().await.unwrap().to_yaml().unwrap(), text);

    // What happens to an experiment is not part of the text.
    let key = experiment_key("pricing");
    store
        .advance(&key, Transition::Start, None, None, &anna(2))
        .await
        .unwrap();
    assert_eq!(store.export().await.unwrap().to_yaml().unwrap(), text);
    let renamed = text.replace("owner: ada", "owner: bob");
    let bundle = Bundle::from_yaml(&renamed).unwrap();
    let plan = store
        .import(&bundle, ImportSettings::default(), &anna(3))
        .await
        .unwrap();
    assert_eq!((plan.steps.len(), plan.unchanged), (1, 4));
    assert_eq!(
        serde_json::to_value(&plan.steps[0].changes).unwrap(),
        json!([{"path": "/owner", "before": "ada", "after": "bob"}])
    );
}

async fn an_import_that_fails_anywhere_leaves_nothing() {
    let (_place, store) = open().await;
    let broken = [
        ("metric: revenue", "metric: nothing", "not defined"),
        ("value: beta", "value: gamma", "no segment gamma"),
        ("kind: sum", "kind: median", "metric revenue"),
        ("experimently: 1", "experimently: 9", "form 9"),
        ("projects:", "prospects:", "prospects"),
    ];
    for (good, bad, told) in broken {
        let text = TEXT.replace(good, bad);
        let outcome = match Bundle::from_yaml(&text) {
            Ok(bundle) => store
                .import(&bundle, ImportSettings::default(), &anna(1))
                .await
                .map(drop),
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert!(
            store
                .audit(&AuditFilter::default(), 10)
                .await
                .unwrap()
                .items
                .is_empty()
        );
    }
}

async fn what_a_bundle_lacks_goes_only_when_asked_and_can_come_back() {
    let (_place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    actions(&store, TEXT, ImportSettings::default()).await;
    assert!(store.get::<FlagDefinition>(&flag_key()).await.is_ok());
    let all = ImportSettings {
        delete_others: true,
        plan_only: false,
    };
    assert_eq!(actions(&store, TEXT, all).await, ["Delete flag checkout"]);
    let deleted = ListFilter {
        deleted: true,
        ..ListFilter::default()
    };
    let found = store
        .find::<FlagDefinition>(&deleted, &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items[0].definition, flag());
    store
        .restore::<FlagDefinition>(&flag_key(), &anna(2))
        .await
        .unwrap();
    assert_eq!(
        store.get::<FlagDefinition>(&flag_key()).await.unwrap().definition,
        flag()
    );
}
