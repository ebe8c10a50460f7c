//! Holds the documented shapes to the domain's own.

use std::collections::BTreeSet;

use domain::catalog::{DimensionDefinition, EnvironmentDefinition, ProjectDefinition, TagDefinition};
use domain::experiment::ExperimentDefinition;
use domain::guardrail::GuardrailDefinition;
use domain::metric::MetricDefinition;
use domain::rollout::RolloutScheduleDefinition;
use domain::rules::definition::{FlagDefinition, HoldoutDefinition, LayerDefinition, SegmentDefinition};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::PartialSchema;

use super::*;

/// The names of all members that a schema documents.
fn members(schema: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        names.extend(members(part));
    }
    names
}

/// Holds a documented shape and the domain's type together: the example is read, every member is documented, and no
/// member is documented that the type does not have.
fn check<T: DeserializeOwned + Serialize, S: PartialSchema>(full: &Value) {
    let schema = serde_json::to_value(S::schema()).unwrap();
    let example = schema["example"].clone();
    serde_json::from_value::<T>(example.clone()).unwrap_or_else(|error| panic!("{error}: {example}"));
    let read: T = serde_json::from_value(full.clone()).unwrap_or_else(|error| panic!("{error}: {full}"));
    let written = serde_json::to_value(read).unwrap();
    let own: BTreeSet<String> = written.as_object().unwrap().keys().cloned().collect();
    let documented: BTreeSet<String> = members(&schema)
        .into_iter()
        .filter(|name| name != "discovered")
        .collect();
    let own: BTreeSet<String> = own.into_iter().filter(|name| name != "discovered").collect();
    assert_eq!(documented, own);
}

#[test]
fn the_documented_shapes_are_those_of_the_domain() {
    // What must never change: what is documented is what is taken and given.
    let slot = json!({"layer": "l", "from_percent": 0.0, "to_percent": 1.0});
    let clause = json!({"attribute": "a", "operator": "exists"});
    check::<ExperimentDefinition, ExperimentDocument>(
        &json!({"key": "k", "name": "n", "hypothesis": "h", "owner": "o",
        "project": "p", "tags": ["t"], "environments": ["e"], "type": "bandit", "status": "running", "variants": [],
        "factors": [{"key": "f", "levels": []}], "control": "c", "metrics": [], "traffic_percent": 1.0,
        "audience": clause, "overrides": {"u": "c"}, "prerequisites": [{"flag": "f", "variations": []}], "layer": slot,
        "holdout": "h", "sticky": true, "salt": "s", "bucket_by": "/company", "analysis": {"alpha": 0.1}, "bandit": {},
        "live_weights": {"c": 1.0}, "schedule": {"end_at": "2026-01-31T12:00:00Z"}, "discovered": false,
        "decision": {"outcome": "inconclusive", "reason": "r", "at": "2026-01-31T12:00:00Z"}}),
    );
    check::<SegmentDefinition, SegmentDocument>(
        &json!({"key": "k", "name": "n", "included": ["u"], "excluded": ["v"],
        "condition": clause}),
    );
    check::<LayerDefinition, LayerDocument>(&json!({"key": "k", "name": "n", "salt": "s"}));
    check::<HoldoutDefinition, HoldoutDocument>(
        &json!({"key": "k", "name": "n", "percent": 1.0, "salt": "s"}),
    );
    check::<EnvironmentDefinition, EnvironmentDocument>(&json!({"key": "k"}));
    check::<DimensionDefinition, DimensionDocument>(&json!({"key": "k", "property": "p"}));
    check::<ProjectDefinition, ProjectDocument>(&json!({"key": "k"}));
    check::<TagDefinition, TagDocument>(&json!({"key": "k"}));
    check::<RolloutScheduleDefinition, RolloutScheduleDocument>(
        &json!({"key": "k", "name": "n", "flag": "f", "rule": "r",
        "variation": "a", "control": "b", "stages": []}),
    );
    check::<MetricDefinition, MetricDocument>(&json!({"key": "k", "name": "n", "kind": "sum", "event": "e",
        "direction": "up", "conversion_window_seconds": 1, "cap": 1.0}));
    check::<GuardrailDefinition, GuardrailDocument>(
        &json!({"flag": "f", "event": "e", "control": "a", "treatment": "b",
        "margin": 0.1, "alpha": 0.1}),
    );
    // The algorithm is left out where it is the only one that there is.
    let flag = json!({"key": "k", "name": "n", "owner": "o", "project": "p", "tags": ["t"], "type": "boolean", "variations": [], "enabled": true, "archived": true,
        "off_variation": "o", "default": {"variation": "o"}, "salt": "s", "bucket_by": "/company", "overrides": {"u": "o"},
        "prerequisites": [{"flag": "f", "variations": []}], "holdout": "h", "measured": true,
        "layer": {"layer": "l", "from_percent": 0.0, "to_percent": 1.0}, "rules": [{"id": "r", "serve": {"variation": "o"}}],
        "environments": {"test": {}}});
    let schema = serde_json::to_value(FlagDocument::schema()).unwrap();
    let read: FlagDefinition = serde_json::from_value(flag).unwrap();
    let mut own: BTreeSet<String> = serde_json::to_value(&read)
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    own.insert("algorithm".to_owned());
    assert_eq!(members(&schema), own);
    let example: FlagDefinition = serde_json::from_value(schema["example"].clone()).unwrap();
    let compiled = domain::rules::Ruleset::compile(&domain::rules::definition::Definitions {
        flags: vec![example],
        ..Default::default()
    });
    assert!(compiled.is_ok(), "{compiled:?}");
}
