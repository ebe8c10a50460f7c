//! Runs the shared vectors of `fixtures/evaluation`, which every SDK runs as well.
#![expect(clippy::unwrap_used, reason = "tests may panic, their helpers too")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::rules::definition::Definitions;
use domain::rules::{Context, Decision, Explanation, Ruleset, allocation, bucket, murmur3_x86_32};
use domain::{ExperimentKey, Timestamp, VariantKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

fn fixture<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/evaluation")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct BucketCase {
    salt: String,
    unit: String,
    hash: u32,
    bucket: u32,
}

#[test]
fn buckets_are_the_golden_ones() {
    // What must never change: the bucket of any unit under any salt.
    let file: Cases<BucketCase> = fixture("bucketing.json");
    assert!(file.cases.len() > 500);
    for case in file.cases {
        let bytes = format!("{}:{}", case.salt, case.unit);
        assert_eq!(
            murmur3_x86_32(bytes.as_bytes()),
            case.hash,
            "{} {}",
            case.salt,
            case.unit
        );
        assert_eq!(
            bucket(&case.salt, &case.unit),
            case.bucket,
            "{} {}",
            case.salt,
            case.unit
        );
    }
}

#[derive(Deserialize)]
struct WeightCase {
    weights: Vec<f64>,
    buckets: Vec<u32>,
}

#[test]
fn weights_become_the_golden_numbers_of_buckets() {
    // What must never change: who is in which variant of a running experiment.
    for case in fixture::<Cases<WeightCase>>("weights.json").cases {
        assert_eq!(
            allocation::buckets_of_weights(&case.weights),
            Some(case.buckets),
            "{:?}",
            case.weights
        );
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionFile {
    #[expect(dead_code, reason = "for people")]
    description: String,
    definitions: Definitions,
    cases: Vec<DecisionCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionCase {
    flag: Option<String>,
    experiment: Option<String>,
    user_id: String,
    #[serde(default)]
    attributes: Map<String, Value>,
    #[serde(default)]
    assignments: BTreeMap<ExperimentKey, VariantKey>,
    now: Option<Timestamp>,
    expected: Value,
}

impl DecisionCase {
    fn context(&self) -> Context<'_> {
        let context = Context::from_json(&self.user_id, &self.attributes).with_assignments(&self.assignments);
        self.now.map_or(context, |now| context.with_now(now))
    }

    fn name(&self) -> String {
        let key = self.flag.as_ref().or(self.experiment.as_ref()).unwrap();
        format!("{key} for {} with {}", self.user_id, json!(self.attributes))
    }

    fn decide<'r>(&self, ruleset: &'r Ruleset) -> Decision<'r> {
        match (&self.flag, &self.experiment) {
            (Some(flag), None) => ruleset.evaluate(flag, &self.context()),
            (None, Some(experiment)) => ruleset.assign(experiment, &self.context()),
            _ => panic!("a case has a flag or an experiment"),
        }
    }

    fn explain<'r>(&self, ruleset: &'r Ruleset) -> Explanation<'r> {
        match (&self.flag, &self.experiment) {
            (Some(flag), _) => ruleset.explain(flag, &self.context()),
            (_, Some(experiment)) => ruleset.explain_assignment(experiment, &self.context()),
            _ => panic!("a case has a flag or an experiment"),
        }
    }
}

/// The decision in the form of the vectors: what is absent is left out.
fn written(decision: &Decision<'_>) -> Value {
    let mut object = json!({
        "value": decision.value,
        "variation": decision.variation,
        "reason": decision.reason.as_str(),
        "cause": decision.cause.as_str(),
        "rule_id": decision.rule_id,
        "bucket": decision.bucket,
        "url": decision.url,
        "exposure": decision.exposure,
        "error": decision.error,
    });
    object
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    object
}

fn run(file: &str) {
    let file: DecisionFile = fixture(file);
    let ruleset = Ruleset::compile(&file.definitions).unwrap();
    // The same definitions, written and read once more, decide the same: nothing is lost in storage.
    let stored: Definitions =
        serde_json::from_str(&serde_json::to_string(&file.definitions).unwrap()).unwrap();
    let reread = Ruleset::compile(&stored).unwrap();
    for case in &file.cases {
        let decision = case.decide(&ruleset);
        assert_eq!(written(&decision), case.expected, "{}", case.name());
        assert_eq!(decision, case.decide(&reread), "{}", case.name());
        assert_eq!(decision.ruleset_version, file.definitions.version);
        check_explanation(&decision, &case.explain(&ruleset), &case.name());
    }
}

/// What must never change: an explanation explains the decision that is made.
fn check_explanation(decision: &Decision<'_>, explanation: &Explanation<'_>, name: &str) {
    assert_eq!(explanation.value, decision.value, "{name}");
    assert_eq!(explanation.rule_id, decision.rule_id, "{name}");
    assert_eq!(
        (explanation.reason, explanation.bucket),
        (decision.reason, decision.bucket),
        "{name}"
    );
    for rule in &explanation.rules {
        if rule.served {
            assert!(
                rule.matched
                    || explanation.cause.as_str() == "sticky"
                    || explanation.cause.as_str() == "override",
                "{name}"
            );
        }
    }
    serde_json::to_string(explanation).unwrap();
}

#[test]
fn flags_decide_as_the_vectors_say() {
    run("flags.json");
}

#[test]
fn experiments_decide_as_the_vectors_say() {
    run("experiments.json");
}

#[test]
fn environments_decide_as_the_vectors_say() {
    for name in ["none", "production", "staging", "test", "unknown"] {
        run(&format!("environment_{name}.json"));
    }
}

#[derive(Deserialize)]
struct Clauses {
    clauses: Vec<ClauseCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClauseCase {
    clause: Value,
    holds: Vec<Value>,
    does_not_hold: Vec<Value>,
    #[serde(default)]
    wrong_type: Vec<Value>,
    #[serde(default)]
    too_long: Vec<Value>,
}

/// A flag that is on where the clause holds, and one where its negation does.
fn flags_of(clause: &Value) -> Ruleset {
    let mut negated = clause.clone();
    negated["negate"] = json!(true);
    let flag = |key: &str, condition: &Value| {
        json!({
            "key": key, "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "off"},
            "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
            "rules": [{"id": "rule", "condition": condition, "serve": {"variation": "on"}}],
        })
    };
    let definitions = json!({"flags": [
        flag("plain", clause), flag("negated", &negated), flag("not", &json!({"not": clause})),
    ]});
    let definitions: Definitions = serde_json::from_value(definitions).unwrap();
    Ruleset::compile(&definitions).unwrap_or_else(|errors| panic!("{clause}: {errors:?}"))
}

fn check_clause(ruleset: &Ruleset, clause: &Value, attributes: &Map<String, Value>, outcome: &str) {
    let context = Context::from_json("u1", attributes);
    let holds = outcome == "holds";
    let name = format!("{clause} on {}", json!(attributes));
    for (flag, expected) in [("plain", holds), ("negated", !holds), ("not", !holds)] {
        assert_eq!(
            ruleset.evaluate(flag, &context).value,
            &json!(expected),
            "{flag} {name}"
        );
    }
    let explained = serde_json::to_value(ruleset.explain("plain", &context)).unwrap();
    assert_eq!(explained["rules"][0]["condition"]["outcome"], outcome, "{name}");
}

#[test]
fn clauses_hold_as_the_vectors_say() {
    for case in fixture::<Clauses>("clauses.json").clauses {
        let ruleset = flags_of(&case.clause);
        for (values, outcome) in [
            (&case.holds, "holds"),
            (&case.does_not_hold, "does_not_hold"),
            (&case.wrong_type, "wrong_type"),
            (&case.too_long, "too_long"),
        ] {
            for value in values {
                let attributes = Map::from_iter([("a".to_owned(), value.clone())]);
                check_clause(&ruleset, &case.clause, &attributes, outcome);
            }
        }
        check_clause(&ruleset, &case.clause, &Map::new(), "missing");
    }
}

#[test]
fn every_operator_has_vectors_that_hold_and_that_do_not() {
    let clauses = fixture::<Clauses>("clauses.json").clauses;
    for operator in domain::rules::definition::Operator::ALL {
        let name = json!(operator);
        // These two refer to other definitions and stand in `flags.json`.
        if name == "in_segment" || name == "flag_equals" {
            continue;
        }
        let of_operator: Vec<_> = clauses
            .iter()
            .filter(|case| case.clause["operator"] == name)
            .collect();
        assert!(of_operator.iter().any(|case| !case.holds.is_empty()), "{name}");
        assert!(
            of_operator.iter().any(|case| !case.does_not_hold.is_empty()),
            "{name}"
        );
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvalidCase {
    name: String,
    definitions: Definitions,
    errors: Vec<String>,
    #[serde(default)]
    still_served: Vec<String>,
}

#[test]
fn what_is_invalid_is_reported_where_it_stands() {
    for case in fixture::<Cases<InvalidCase>>("invalid.json").cases {
        let compiled = Ruleset::compile_lenient(&case.definitions);
        let mut paths: Vec<&str> = compiled.errors.iter().map(|error| error.path.as_str()).collect();
        let mut expected: Vec<&str> = case.errors.iter().map(String::as_str).collect();
        paths.sort_unstable();
        expected.sort_unstable();
        assert_eq!(paths, expected, "{}: {:?}", case.name, compiled.errors);
        assert!(Ruleset::compile(&case.definitions).is_err(), "{}", case.name);
        let attributes = Map::new();
        for flag in &case.definitions.flags {
            let decision = compiled
                .ruleset
                .evaluate(flag.key.as_str(), &Context::from_json("u1", &attributes));
            let own = format!(
                "/flags/{}",
                flag.key.as_str().replace('~', "~0").replace('/', "~1")
            );
            let broken = paths
                .iter()
                .any(|path| *path == own || path.starts_with(&format!("{own}/")));
            let served = case.still_served.iter().any(|key| key == flag.key.as_str());
            if served {
                assert!(decision.error.is_none(), "{}: {}", case.name, flag.key);
            } else if broken {
                assert!(decision.error.is_some(), "{}: {}", case.name, flag.key);
            }
        }
    }
}
