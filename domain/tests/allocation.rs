//! Counts allocations: an evaluation makes none, whatever the flag and its operators.
#![expect(clippy::unwrap_used, reason = "tests may panic, their helpers too")]
#![expect(
    unsafe_code,
    reason = "counting allocations needs an allocator, and its trait is unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::rules::definition::Definitions;
use domain::rules::{Context, Ruleset};
use serde_json::{Map, Value, json};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing that it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn fixture(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/evaluation")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A ruleset and what is asked of it.
struct Work {
    ruleset: Ruleset,
    /// Flag, user id, attributes.
    questions: Vec<(String, String, Map<String, Value>)>,
}

impl Work {
    /// The vectors of flags.
    fn of_flags() -> Self {
        let file = fixture("flags.json");
        let definitions: Definitions = serde_json::from_value(file["definitions"].clone()).unwrap();
        let cases = file["cases"].as_array().unwrap().iter();
        let questions = cases.map(|case| {
            let text = |name: &str| case[name].as_str().unwrap().to_owned();
            let attributes = case["attributes"].as_object().cloned().unwrap_or_default();
            (text("flag"), text("user_id"), attributes)
        });
        Self {
            ruleset: Ruleset::compile(&definitions).unwrap(),
            questions: questions.collect(),
        }
    }

    /// The vectors of operators, each clause in a flag of its own.
    fn of_clauses() -> Self {
        let (mut flags, mut questions) = (Vec::new(), Vec::new());
        for (at, case) in fixture("clauses.json")["clauses"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let key = format!("flag-{at}");
            flags.push(json!({
                "key": key, "type": "boolean", "enabled": true, "off_variation": "off", "default": {"variation": "off"},
                "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
                "rules": [{"id": "r", "condition": case["clause"], "serve": {"variation": "on"}}],
            }));
            for outcome in ["holds", "does_not_hold", "wrong_type", "too_long"] {
                for value in case[outcome].as_array().into_iter().flatten() {
                    let attributes = Map::from_iter([("a".to_owned(), value.clone())]);
                    questions.push((key.clone(), "u1".to_owned(), attributes));
                }
            }
        }
        let definitions: Definitions = serde_json::from_value(json!({"flags": flags})).unwrap();
        Self {
            ruleset: Ruleset::compile(&definitions).unwrap(),
            questions,
        }
    }

    fn ask_all(&self) -> usize {
        let asked = self.questions.iter().map(|(flag, user, attributes)| {
            self.ruleset
                .evaluate(flag, &Context::from_json(user, attributes))
                .variation
                .is_some()
        });
        asked.filter(|answered| *answered).count()
    }
}

#[test]
fn evaluations_allocate_nothing_and_rulesets_are_small() {
    // One test, because the counters are the process's. What must never change: an evaluation takes no
    // memory, so that it neither waits for the allocator nor grows under load.
    for work in [Work::of_flags(), Work::of_clauses()] {
        // A regular expression gets its scratch space when a thread first uses it.
        let answered = work.ask_all();
        assert!(answered > 100);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let again = work.ask_all();
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
        assert_eq!(answered, again);
    }
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter counts");
    let definitions = ten_thousand_flags();
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let ruleset = Ruleset::compile(&definitions).unwrap();
    let size = LIVE_BYTES.load(Ordering::Relaxed) - before;
    println!("10 000 flags of two rules take {} bytes each", size / 10_000);
    // Twice the size when this was written: room for a field, not for a copy of the definitions.
    assert!(size < 32_000_000, "{size}");
    drop(ruleset);
}

fn ten_thousand_flags() -> Definitions {
    let flag = |at: usize| {
        json!({
            "key": format!("flag-{at}"), "type": "boolean", "enabled": true, "off_variation": "off",
            "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
            "rules": [
                {"id": "country", "condition": {"attribute": "country", "operator": "in", "value": ["DE", "AT", "CH"]}, "serve": {"variation": "on"}},
                {"id": "app", "condition": {"all": [
                    {"attribute": "app_version", "operator": "version_in_range", "value": format!("^{}.1", at % 9)},
                    {"attribute": "email", "operator": "ends_with", "value": format!("@company-{at}.example")}]},
                 "serve": {"rollout": [{"variation": "on", "percent": 12.5}]}},
            ],
            "default": {"rollout": [{"variation": "on", "percent": 10}, {"variation": "off", "percent": 90}]},
        })
    };
    let flags: Vec<Value> = (0..10_000).map(flag).collect();
    serde_json::from_value(json!({"flags": flags})).unwrap()
}
