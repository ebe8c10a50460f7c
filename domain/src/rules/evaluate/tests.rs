//! Evaluations by hand: order of precedence, reasons and explanations.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::rules::definition::{Definitions, Operator};
use crate::rules::{Context, Ruleset};

/// Any JSON, with the odd cases often.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "[0-9v.x^~<>=*-]{0,8}".prop_map(Value::from),
        Just(json!("2026-01-31T00:00:00Z")),
        Just(json!("10.0.0.0/8")),
        Just(json!({"latitude": 1, "longitude": 2, "radius_km": 3})),
        Just(json!({"salt": "s", "from": 0, "to": 50})),
        Just(json!({"divisor": i64::MAX, "remainder": 0})),
        Just(json!({"flag": "plain", "variations": ["on"]})),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c/~]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn clause() -> impl Strategy<Value = Value> {
    let attribute = prop_oneof![
        Just("a"),
        Just("/a/b"),
        Just("/a/0"),
        Just("user_id"),
        Just("now"),
        Just("/~")
    ];
    (attribute, 0..Operator::ALL.len(), any_json(), any::<bool>()).prop_map(
        |(attribute, operator, value, negate)| {
            let operator = Operator::ALL[operator];
            json!({"attribute": attribute, "operator": operator, "value": value, "negate": negate})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_definition_and_no_context_is_too_odd(
        clauses in proptest::collection::vec(clause(), 1..4),
        attribute in any_json(),
        user in ".{0,6}",
    ) {
        // What must never change: whatever compiles decides, whatever does not is an error, and nothing
        // panics; and the explanation agrees with the decision.
        let rules: Vec<Value> = clauses.iter().enumerate()
            .map(|(at, clause)| json!({"id": at.to_string(), "condition": clause, "serve": {"variation": "on"}}))
            .collect();
        let plain = json!({"key": "plain", "type": "boolean", "enabled": true, "off_variation": "off",
            "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}], "default": {"variation": "on"}});
        let mut flag = plain.clone();
        flag["key"] = json!("flag");
        flag["rules"] = json!(rules);
        flag["default"] = json!({"rollout": [{"variation": "on", "percent": 50}]});
        let definitions: Definitions = serde_json::from_value(json!({"flags": [plain, flag]})).unwrap();
        let compiled = Ruleset::compile_lenient(&definitions);
        let attributes = Map::from_iter([("a".to_owned(), attribute)]);
        let context = Context::from_json(&user, &attributes);
        let decision = compiled.ruleset.evaluate("flag", &context);
        prop_assert_eq!(compiled.errors.is_empty(), decision.variation.is_some());
        let explanation = compiled.ruleset.explain("flag", &context);
        prop_assert_eq!(explanation.reason, decision.reason);
        if decision.error.is_none() {
            let first = explanation.rules.iter().find(|rule| rule.matched).map(|rule| rule.id);
            prop_assert_eq!(first, decision.rule_id);
        }
    }

    #[test]
    fn all_any_and_not_are_those_of_logic(values in proptest::collection::vec(any::<bool>(), 3)) {
        // What must never change: nested conditions are plain two-valued logic.
        let [a, b, c] = values[..] else { unreachable!() };
        let is = |name: &str| json!({"attribute": name, "operator": "equals", "value": true});
        let condition = json!({"any": [{"all": [is("a"), {"not": is("b")}]}, {"not": {"any": [is("b"), is("c")]}}, {"all": [{"any": []}]}]});
        let definitions: Definitions = serde_json::from_value(json!({"flags": [{
            "key": "flag", "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "off"},
            "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
            "rules": [{"id": "r", "condition": condition, "serve": {"variation": "on"}}]}]})).unwrap();
        let ruleset = Ruleset::compile(&definitions).unwrap();
        let attributes = json!({"a": a, "b": b, "c": c});
        let decision = ruleset.evaluate("flag", &Context::from_json("u", attributes.as_object().unwrap()));
        let (first, second) = (a && !b, !(b || c));
        prop_assert_eq!(decision.value, &json!(first || second));
    }
}
