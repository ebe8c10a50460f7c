//! What compiling accepts and refuses, and the places that its errors name.

use serde_json::{Map, Value, json};

use super::*;
use crate::rules::Context;

#[test]
fn a_definition_that_does_not_even_read_stops_no_other() {
    // What must never change: one bad flag in a file never stops the others.
    let (definitions, errors) = Definitions::from_json_lenient(&json!({
        "version": 4,
        "flags": [
            {"key": "good", "type": "boolean", "enabled": true, "off_variation": "on", "default": {"variation": "on"},
             "variations": [{"key": "on", "value": true}]},
            {"key": "bad", "type": "colour"},
            7,
        ],
        "segments": [{"key": "s", "surprise": 1}],
        "layers": "none",
        "surprise": true,
    }));
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/flags/1", "/flags/2", "/layers", "/segments/0", "/surprise"]
    );
    assert!(
        errors[0].message.contains("unknown variant `colour`"),
        "{}",
        errors[0]
    );
    let ruleset = Ruleset::compile(&definitions).unwrap();
    let attributes = Map::new();
    let decision = ruleset.evaluate("good", &Context::from_json("u", &attributes));
    assert_eq!((decision.value, decision.ruleset_version), (&json!(true), 4));
}

#[test]
fn errors_beyond_the_limit_are_counted_but_not_kept() {
    let flags: Vec<Value> = (0..1_500)
        .map(|number| {
            json!({"key": format!("f{number}"), "type": "boolean", "off_variation": "gone", "default": {"variation": "on"},
                   "variations": [{"key": "on", "value": true}]})
        })
        .collect();
    let definitions: Definitions = serde_json::from_value(json!({"flags": flags})).unwrap();
    let compiled = Ruleset::compile_lenient(&definitions);
    assert_eq!(compiled.errors.len(), 1_000);
    assert_eq!(compiled.ruleset.flag_keys().count(), 0);
}

#[test]
fn listed_ids_make_a_segment() {
    let mut definitions: Definitions = serde_json::from_value(json!({
        "segments": [{"key": "big", "excluded": ["u3"]}],
        "flags": [{"key": "f", "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "off"},
            "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
            "rules": [{"id": "r", "condition": {"operator": "in_segment", "value": "big"}, "serve": {"variation": "on"}}]}],
    }))
    .unwrap();
    let ids = crate::rules::IdSet::new(["u1", "u2", "u3"]);
    definitions
        .id_sets
        .insert(definitions.segments[0].key.clone(), std::sync::Arc::new(ids));
    let ruleset = Ruleset::compile(&definitions).unwrap();
    let attributes = Map::new();
    for (unit, expected) in [("u1", true), ("u2", true), ("u3", false), ("u4", false)] {
        let decision = ruleset.evaluate("f", &Context::from_json(unit, &attributes));
        assert_eq!(decision.value, &json!(expected), "{unit}");
    }
}
