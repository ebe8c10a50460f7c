//! The rules engine: evaluations, compilation and membership of large segments.
//!
//! Throughput is in evaluations, flags or look-ups per second; one core, fixed inputs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use domain::rules::definition::Definitions;
use domain::rules::{Context, IdSet, Ruleset, bucket};
use serde_json::{Map, Value, json};

fn attributes(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn boolean(key: &str, rules: &Value, default: &Value) -> Value {
    json!({
        "key": key, "type": "boolean", "enabled": true, "off_variation": "off", "rules": rules, "default": default,
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
    })
}

fn compiled(flags: &[Value]) -> Ruleset {
    let definitions: Definitions =
        serde_json::from_value(json!({"flags": flags})).expect("the flags are well formed");
    Ruleset::compile(&definitions).expect("the flags are valid")
}

/// Ten clauses that all hold, so that none is skipped.
fn ten_clauses() -> Value {
    let ids: Vec<String> = (0..10_000).map(|number| format!("user-{number}")).collect();
    json!([{"id": "ten", "serve": {"variation": "on"}, "condition": {"all": [
        {"attribute": "user_id", "operator": "in", "value": ids},
        {"attribute": "country", "operator": "in", "value": ["DE", "AT", "CH", "NL"]},
        {"attribute": "email", "operator": "matches", "value": "^[a-z0-9.]+@(mail|post)\\.example\\.(com|org)$"},
        {"attribute": "app_version", "operator": "version_in_range", "value": ">=4.2.0 <6 || ^7.1"},
        {"attribute": "/device/os", "operator": "equals", "value": "ios"},
        {"attribute": "age", "operator": "between", "value": [18, 65]},
        {"attribute": "signed_up_at", "operator": "after", "value": "2024-01-01"},
        {"attribute": "ip", "operator": "in_network", "value": ["10.0.0.0/8", "2001:db8::/32"]},
        {"attribute": "groups", "operator": "array_contains_any", "value": ["beta", "staff"]},
        {"attribute": "plan", "operator": "contains_ignore_case", "value": "PRO"},
    ]}}])
}

fn person() -> Map<String, Value> {
    attributes(&json!({
        "country": "DE", "email": "someone.else@mail.example.org", "app_version": "5.12.3", "device": {"os": "ios"},
        "age": 42, "signed_up_at": "2025-06-01T08:30:00Z", "ip": "10.20.30.40", "groups": ["users", "beta"], "plan": "team-pro",
    }))
}

fn evaluation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evaluate");
    group.throughput(Throughput::Elements(1));
    let ruleset = compiled(&[
        boolean("simple", &json!([]), &json!({"variation": "on"})),
        boolean(
            "rollout",
            &json!([]),
            &json!({"rollout": [{"variation": "on", "percent": 25}]}),
        ),
        boolean(
            "one-rule",
            &json!([{"id": "r", "condition": {"attribute": "country", "operator": "equals", "value": "DE"}, "serve": {"variation": "on"}}]),
            &json!({"variation": "off"}),
        ),
        boolean("ten-clauses", &ten_clauses(), &json!({"variation": "off"})),
    ]);
    let person = person();
    let context = Context::from_json("user-4711", &person);
    for key in ["simple", "rollout", "one-rule", "ten-clauses"] {
        let decision = ruleset.evaluate(key, &context);
        assert!(
            decision.error.is_none() && (key == "rollout" || decision.value == true),
            "{key}"
        );
        group.bench_function(key, |bencher| {
            bencher.iter(|| ruleset.evaluate(black_box(key), black_box(&context)));
        });
    }
    group.bench_function("bucket of a 36-byte id", |bencher| {
        bencher.iter(|| {
            bucket(
                black_box("checkout"),
                black_box("550e8400-e29b-41d4-a716-446655440000"),
            )
        });
    });
    group.finish();
}

/// What a bulk call does: 1 000 users and 10 flags, with contexts that are read already.
fn bulk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bulk");
    group.throughput(Throughput::Elements(10_000));
    let flags: Vec<Value> = (0..10).map(mixed_flag).collect();
    let keys: Vec<String> = (0..10).map(|number| format!("flag-{number}")).collect();
    let ruleset = compiled(&flags);
    let person = person();
    let users: Vec<String> = (0..1_000).map(|number| format!("user-{number}")).collect();
    group.bench_function("1000 users x 10 flags", |bencher| {
        bencher.iter(|| {
            let mut on = 0_u32;
            for user in &users {
                let context = Context::from_json(user, &person);
                for key in &keys {
                    on += u32::from(*ruleset.evaluate(key, &context).value == Value::Bool(true));
                }
            }
            on
        });
    });
    group.finish();
}

/// A flag as they are in the field: two rules, a rollout, and a regular expression in one of ten.
fn mixed_flag(number: usize) -> Value {
    let email = if number.is_multiple_of(10) {
        json!({"attribute": "email", "operator": "matches", "value": format!("^[a-z.]+@company-{number}\\.example$")})
    } else {
        json!({"attribute": "email", "operator": "ends_with", "value": format!("@company-{number}.example")})
    };
    let rules = json!([
        {"id": "country", "condition": {"attribute": "country", "operator": "in", "value": ["FR", "IT", "ES"]}, "serve": {"variation": "on"}},
        {"id": "app", "condition": {"all": [
            {"attribute": "app_version", "operator": "version_in_range", "value": format!("^{}.1", number % 9)}, email]},
         "serve": {"rollout": [{"variation": "on", "percent": 12.5}]}},
    ]);
    let default =
        json!({"rollout": [{"variation": "on", "percent": 10}, {"variation": "off", "percent": 90}]});
    boolean(&format!("flag-{number}"), &rules, &default)
}

fn compilation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10).throughput(Throughput::Elements(10_000));
    let flags: Vec<Value> = (0..10_000).map(mixed_flag).collect();
    let definitions: Definitions =
        serde_json::from_value(json!({"flags": flags})).expect("the flags are well formed");
    let before = resident_bytes();
    let held: Vec<Ruleset> = (0..20)
        .map(|_| Ruleset::compile(&definitions).expect("the flags are valid"))
        .collect();
    let each = resident_bytes().saturating_sub(before) / held.len() as u64;
    drop(held);
    group.bench_function(format!("10000 flags into {each} bytes of memory"), |bencher| {
        bencher.iter(|| Ruleset::compile(black_box(&definitions)).expect("the flags are valid"));
    });
    group.finish();
}

/// The memory that the process holds; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn membership(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    group.throughput(Throughput::Elements(1));
    let id = |number: u32| format!("user-{number}@example.com");
    for size in [10_000_u32, 10_000_000] {
        let set = IdSet::new((0..size).map(id));
        // Members and others, half and half, spread over the whole set. Few enough texts to stay in the
        // cache, as the text of a request does; what they lead to in the set is spread far too wide for that.
        let step = 7_919_u32;
        let asked: Vec<String> = (0..8_192_u32)
            .map(|at| id(at.wrapping_mul(step * 31) % (size * 2)))
            .collect();
        let mut at = 0;
        let name = format!("membership among {size} ids in {} bytes", set.size_bytes());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = (at + 1) % asked.len();
                set.contains(black_box(&asked[at]))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, evaluation, bulk, compilation, membership);
criterion_main!(benches);
