//! The figures of the control plane in docs/performance.md: `cargo run --release -p control --example figures`.
//!
//! Ten thousand experiments and ten thousand flags in a store of their own; what a page of a list takes, with and without
//! filters, and what a process needs to read and compile everything when it starts.

use std::time::Instant;

use control::{Actor, Change, ListFilter, PageRequest, Store};
use domain::Timestamp;
use domain::experiment::ExperimentDefinition;
use domain::rules::Ruleset;
use domain::rules::definition::FlagDefinition;
use serde_json::json;

/// Definitions of each kind.
const COUNT: usize = 10_000;
/// Pages read per measurement.
const PAGES: usize = 2_000;

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("control.db");
    let store = Store::open(&path).await?;
    fill(&store).await?;
    let filters = [
        ("a page of 50 of 10 000 experiments", ListFilter::default()),
        (
            "the same, by tag and owner",
            ListFilter {
                tag: Some("tag-3".to_owned()),
                owner: Some("owner-7".to_owned()),
                ..ListFilter::default()
            },
        ),
        (
            "the same, by status",
            ListFilter {
                status: Some("draft".to_owned()),
                ..ListFilter::default()
            },
        ),
        (
            "the same, by the beginnings of two words, one of them in all",
            ListFilter {
                search: Some("checkout 77".to_owned()),
                ..ListFilter::default()
            },
        ),
        (
            "the same, by the beginnings of two words, both in all",
            ListFilter {
                search: Some("checkout page".to_owned()),
                ..ListFilter::default()
            },
        ),
    ];
    for (what, filter) in filters {
        measure(&store, what, &filter).await?;
    }
    store.close().await;

    let begun = Instant::now();
    let store = Store::open(&path).await?;
    say(&format!("opening the store: {} ms", begun.elapsed().as_millis()));
    let begun = Instant::now();
    let definitions = store.definitions(store.definitions_version().await?).await?;
    say(&format!(
        "reading 10 000 flags and 10 000 experiments: {} ms",
        begun.elapsed().as_millis()
    ));
    let begun = Instant::now();
    let compiled = Ruleset::compile_lenient(&definitions);
    assert!(compiled.errors.is_empty(), "{:?}", compiled.errors.first());
    say(&format!("compiling them: {} ms", begun.elapsed().as_millis()));
    Ok(())
}

async fn fill(store: &Store) -> Result<(), Failed> {
    let change = Change::new(Actor::local(), Timestamp(0));
    let begun = Instant::now();
    for index in 0..COUNT {
        let (tag, owner) = (format!("tag-{}", index % 20), format!("owner-{}", index % 50));
        let experiment: ExperimentDefinition = serde_json::from_value(json!({
            "key": format!("experiment-{index:05}"), "name": format!("Checkout page {index}"), "control": "old",
            "hypothesis": "One page sells more than three.", "tags": [tag], "owner": owner,
            "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}]
        }))?;
        store.create(&experiment, &change).await?;
        let flag: FlagDefinition = serde_json::from_value(json!({
            "key": format!("flag-{index:05}"), "type": "boolean", "enabled": true, "off_variation": "off",
            "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
            "rules": [{"id": "staff", "serve": {"variation": "on"},
                "condition": {"attribute": "email", "operator": "ends_with", "value": ["@example.com"]}}],
            "default": {"rollout": [{"variation": "on", "percent": 10.0}, {"variation": "off", "percent": 90.0}]}
        }))?;
        store.create(&flag, &change).await?;
    }
    let per_second = (2 * COUNT) as f64 / begun.elapsed().as_secs_f64();
    say(&format!(
        "writing one definition after the other: {per_second:.0}/s"
    ));
    Ok(())
}

async fn measure(store: &Store, what: &str, filter: &ListFilter) -> Result<(), Failed> {
    let mut micros = Vec::with_capacity(PAGES);
    let mut request = PageRequest::default();
    for _ in 0..PAGES {
        let begun = Instant::now();
        let page = store.find::<ExperimentDefinition>(filter, &request).await?;
        micros.push(begun.elapsed().as_micros());
        request.after = page.next;
    }
    micros.sort_unstable();
    let at = |share: usize| micros[(micros.len() - 1) * share / 100] as f64 / 1_000.0;
    say(&format!("{what}: p50 {:.2} ms, p99 {:.2} ms", at(50), at(99)));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example prints its figures")]
fn say(line: &str) {
    println!("{line}");
}
