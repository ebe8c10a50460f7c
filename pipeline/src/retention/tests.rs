//! Retention over lakes of a few days, with a clock of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::metric::{MeasurementPlan, MetricDefinition};
use domain::results::ExperimentSummary;
use domain::timestamp::MICROS_PER_DAY;
use ingest::sources::file::FileSource;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Pipeline;
use crate::erase::erase;
use crate::store::{query, read, session};
use crate::verify::verify;
use crate::view::{KeepView, LiveView};

/// 2026-01-01.
const FIRST_DAY: i64 = 20_454;
const HOUR_MICROS: i64 = 3_600 * 1_000_000;
const POLICY: Policy = Policy {
    events_micros: 90 * MICROS_PER_DAY,
    aggregates_micros: Some(730 * MICROS_PER_DAY),
};

/// An hour of a day of the test.
fn at(day: i64, hour: i64) -> Timestamp {
    Timestamp((FIRST_DAY + day) * MICROS_PER_DAY + hour * HOUR_MICROS)
}

fn key(text: &str) -> ExperimentKey {
    ExperimentKey::new(text).unwrap()
}

/// Ten users of an experiment on a day, six of whom buy; one is a crossover.
fn visits(experiment: &str, day: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for user in 0..10 {
        let (variant, name) = (["a", "b"][user % 2], format!("{experiment}-{day}-{user}"));
        lines.push(exposure(&name, experiment, variant, at(day, 1)));
        if user % 4 < 2 {
            lines.push(format!(
                r#"{{"event_id":"t-{name}","type":"track","ts":"{}","user_id":"{name}","event":"buy","value":{}.5}}"#,
                at(day, 2 + user as i64),
                user + 1
            ));
        }
    }
    lines.push(exposure(
        &format!("{experiment}-{day}-0"),
        experiment,
        "b",
        at(day, 3),
    ));
    lines
}

fn exposure(user: &str, experiment: &str, variant: &str, ts: Timestamp) -> String {
    format!(
        r#"{{"event_id":"x-{user}-{variant}","type":"exposure","ts":"{ts}","user_id":"{user}","experiment":"{experiment}","variant":"{variant}"}}"#
    )
}

struct TestLake {
    folder: tempfile::TempDir,
    plan: MeasurementPlan,
}

impl TestLake {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            plan: MeasurementPlan::discover(),
        }
    }

    fn root(&self) -> Root {
        Root::folder(self.folder.path()).unwrap()
    }

    fn settings(day: i64) -> Settings {
        Settings::replay(Arc::new(move || at(day, 23)), "test".into())
    }

    async fn lake(&self) -> Lake {
        Lake::open(self.root()).await.unwrap()
    }

    /// Takes lines in that came on a day, and gives what is known then.
    async fn take(&self, lines: &[String], day: i64) -> Arc<LiveView> {
        let name = format!("{day}-{}.ndjson", lines.len());
        let file = self.folder.path().join(name);
        std::fs::write(&file, lines.join("\n")).unwrap();
        let (views, view) = tokio::sync::watch::channel(Arc::new(LiveView::default()));
        let observer = Arc::new(KeepView(views));
        let pipeline = Pipeline::open(self.root(), self.plan.clone(), Self::settings(day), observer);
        let pipeline = Box::pin(pipeline).await.unwrap();
        let mut source = FileSource::new(vec![file], at(day, 22));
        pipeline.run(&mut source, CancellationToken::new()).await.unwrap();
        view.borrow().clone()
    }

    fn asked(day: i64, declared: &[(&str, Standing)]) -> Asked {
        let declared = declared
            .iter()
            .map(|(key, standing)| ((*key).to_owned(), *standing));
        Asked {
            now: at(day, 23),
            policy: POLICY,
            declared: declared.collect(),
        }
    }

    async fn enforce(&self, day: i64, declared: &[(&str, Standing)]) -> Deleted {
        let asked = Self::asked(day, declared);
        let enforced = enforce(self.root(), self.plan.clone(), || Self::settings(day), &asked);
        Box::pin(enforced).await.unwrap()
    }

    async fn due(&self, day: i64, declared: &[(&str, Standing)]) -> Due {
        due(&self.lake().await, &Self::asked(day, declared))
            .await
            .unwrap()
    }

    /// Days of a table that have rows, counted from the first of the test.
    async fn days(&self, table: Table) -> Vec<i64> {
        let days = due::days_of(&self.lake().await, table).unwrap();
        days.into_iter().map(|day| i64::from(day) - FIRST_DAY).collect()
    }

    /// Rows of a query as sorted text.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let context = session(&self.lake().await).await.unwrap();
        let batches = query(&context, sql).await.unwrap().collect().await.unwrap();
        let text = arrow::util::pretty::pretty_format_batches(&batches)
            .unwrap()
            .to_string();
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }

    /// Everything that stands in the tables of an experiment, apart from who wrote it when.
    async fn aggregates(&self, experiment: &str) -> Vec<String> {
        let windows = format!(
            "select window_start, window_seconds, variant, metric, units, mean, m2 from windows where experiment = '{experiment}'"
        );
        let summaries = format!(
            "select distinct variant, metric, exposed, units, mean, m2 from summaries where experiment = '{experiment}'"
        );
        let mut rows = self.rows(&windows).await;
        rows.extend(self.rows(&summaries).await);
        rows
    }

    /// The answer of a query for one number.
    async fn count(&self, sql: &str) -> i64 {
        let context = session(&self.lake().await).await.unwrap();
        let sql = format!("select count(*) as n {sql}");
        let batches = query(&context, &sql).await.unwrap().collect().await.unwrap();
        read::Reader::new(&batches[0]).unwrap().integer("n", 0)
    }

    /// `verify` agrees; gives how many experiments it could not compute.
    async fn verified(&self) -> u64 {
        let found = verify(&self.lake().await).await.unwrap();
        assert_eq!(found.differences, Vec::<String>::new());
        assert_eq!(
            (found.different, found.waiting_users, found.waiting_days),
            (0, 0, 0)
        );
        found.sealed
    }
}

/// What a summary says, apart from when it was made.
fn arms(summary: &ExperimentSummary) -> String {
    format!("{:?} {}", summary.arms, summary.crossover_users)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_ended_experiment_go_and_its_numbers_stay() {
    // What must never change: what an ended experiment came to is the same before and after its events went, whatever happens
    // to the lake later, and nothing else changes at all.
    let mut lake = TestLake::new();
    let mut lines = visits("old", 0);
    lines.extend(visits("old", 1));
    lines.push("no event".into());
    lake.take(&lines, 1).await;
    let before = lake.take(&visits("new", 60), 60).await;
    let (old, new) = (lake.aggregates("old").await, lake.aggregates("new").await);
    assert_eq!(lake.verified().await, 0);
    assert_eq!(lake.days(Table::Events).await, [0, 1, 60]);

    let deleted = lake.enforce(100, &[]).await;
    assert_eq!(deleted.event_days, ["2026-01-01", "2026-01-02"]);
    assert_eq!(
        (deleted.events, deleted.first_exposures, deleted.dead_letters),
        (34, 20, 1)
    );
    assert_eq!(deleted.sealed, [key("old")]);
    assert!(lake.due(100, &[]).await.is_empty());
    assert_eq!(lake.days(Table::Events).await, [60]);
    assert_eq!(lake.days(Table::FirstExposures).await, [60]);
    assert_eq!(lake.days(Table::DeadLetters).await, Vec::<i64>::new());
    assert_eq!(lake.verified().await, 1);

    // Later exposures to it are kept, and measure nothing.
    let mut more = visits("new", 99);
    more.extend(visits("old", 99));
    let after = lake.take(&more, 100).await;
    let summary = &after.experiments[&key("old")];
    assert_eq!(arms(summary), arms(&before.experiments[&key("old")]));
    assert_eq!(after.sealed[&key("old")], summary.as_of);
    assert_eq!(after.users, 30, "a user whose events are gone is still known");
    assert_eq!(lake.verified().await, 1);
    assert_eq!(lake.aggregates("old").await, old);
    assert_ne!(lake.aggregates("new").await, new);
    let read = read::experiments(&lake.lake().await, None).await.unwrap();
    assert_eq!(arms(&read[&key("old")]), arms(summary));

    // Another plan makes the state again and writes all days anew; what is sealed stays.
    let metric = serde_json::json!({"key": "orders", "kind": "count", "event": "buy"});
    lake.plan.metrics = vec![serde_json::from_value::<MetricDefinition>(metric).unwrap()];
    let again = lake.take(&visits("new", 101), 101).await;
    assert_eq!(arms(&again.experiments[&key("old")]), arms(summary));
    assert_eq!(lake.aggregates("old").await, old);
    assert_eq!(lake.verified().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_in_motion_keeps_its_events_until_it_is_older_than_aggregates() {
    // What must never change: no event goes that a number which may still change is computed from.
    let lake = TestLake::new();
    lake.take(&visits("before", 0), 0).await;
    lake.take(&visits("long", 5), 5).await;
    lake.take(&visits("short", 8), 8).await;
    lake.take(&visits("busy", 10), 10).await;
    lake.take(&visits("busy", 100), 100).await;
    let declared = [("long", Standing::InMotion), ("short", Standing::Ended)];
    let due = lake.due(120, &declared).await;
    let first_days: Vec<i64> = due
        .event_days
        .iter()
        .map(|day| i64::from(*day) - FIRST_DAY)
        .collect();
    assert_eq!(first_days, [0]);
    let held = due.held.unwrap();
    assert_eq!(
        (held.since().as_str(), held.experiment.as_str()),
        ("2026-01-06", "long")
    );
    assert_eq!(lake.enforce(120, &declared).await.sealed, [key("before")]);
    assert_eq!(lake.days(Table::Events).await, [5, 8, 10, 100]);
    // It ended before its events were too old for that, but they are kept: it is computed like any other.
    assert_eq!(lake.verified().await, 1);
    // Nobody declared one and somebody still sees it: it is in motion, too.
    let due = lake.due(120, &[]).await;
    assert_eq!(
        due.sealed.keys().cloned().collect::<Vec<_>>(),
        [key("long"), key("short")]
    );
    assert_eq!(due.held.unwrap().experiment, "busy");
    let guarded = lake.due(5 + 731, &[("long", Standing::Guarded)]).await;
    assert_eq!(guarded.held.unwrap().experiment, "long");
    assert!(guarded.event_days.is_empty() && guarded.sealed.is_empty());
    let deleted = lake.enforce(5 + 731, &declared).await;
    assert_eq!(deleted.sealed, [key("busy"), key("long"), key("short")]);
    assert_eq!(lake.verified().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_as_young_as_the_day_on_which_it_came() {
    // What must never change: whoever reads old files in does not find them gone the next day.
    let lake = TestLake::new();
    let mut lines = visits("checkout", 0);
    lines.push("no event".into());
    lake.take(&lines, 1_000).await;
    assert!(lake.due(1_080, &[]).await.is_empty());
    let due = lake.due(1_092, &[]).await;
    assert_eq!(due.event_days.len(), 1);
    assert_eq!(due.sealed[&key("checkout")], at(1_000, 22));
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_go_two_years_after_the_last_exposure_and_then_the_seal() {
    // What must never change: what is too old goes whole, and a key of which nothing is left may be used again.
    let lake = TestLake::new();
    lake.take(&visits("old", 0), 0).await;
    lake.take(&visits("other", 3), 3).await;
    lake.enforce(92, &[]).await;
    let others = lake.aggregates("other").await;
    assert!(lake.due(729, &[]).await.expired.is_empty());
    let deleted = lake.enforce(731, &[]).await;
    assert_eq!(deleted.expired, [key("old")]);
    assert_eq!(
        lake.rows("select distinct experiment from windows").await,
        lake.rows("select 'other' as experiment").await
    );
    assert_eq!(lake.aggregates("other").await, others);
    let read = read::experiments(&lake.lake().await, None).await.unwrap();
    assert!(!read.contains_key("old") && read.contains_key("other"));
    assert_eq!(lake.verified().await, 2);
    assert_eq!(lake.due(731, &[]).await.lifted, BTreeSet::from([key("old")]));
    lake.enforce(731, &[]).await;
    assert_eq!(lake.verified().await, 1);
    let view = lake.take(&visits("old", 732), 732).await;
    assert_eq!(view.experiments[&key("old")].exposed(), 9);
    assert!(!view.sealed.contains_key("old"));
    assert_eq!(lake.verified().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_sealed_experiment_is_erased_and_its_numbers_stay() {
    // What must never change: erasing takes every row that names the user, and never what a sealed experiment came to.
    let lake = TestLake::new();
    lake.take(&visits("long", 0), 0).await;
    let mut lines = visits("long", 50);
    lines.extend(visits("other", 50));
    lake.take(&lines, 50).await;
    let before = lake.take(&visits("other", 51), 51).await;
    let deleted = lake.enforce(100, &[("long", Standing::Ended)]).await;
    assert_eq!(deleted.sealed, [key("long")]);
    // The first exposures of a sealed experiment stay as long as the events that they follow from.
    assert_eq!(lake.days(Table::FirstExposures).await, [50, 51]);
    let of_long = "from first_exposures where experiment = 'long'";
    assert_eq!(lake.count(of_long).await, 10);
    let long = lake.aggregates("long").await;

    let settings = TestLake::settings(100);
    let erased = erase(lake.root(), &settings, &|user| user == "long-50-3")
        .await
        .unwrap();
    assert_eq!((erased.events, erased.first_exposures), (1, 1));
    let after = lake.take(&visits("other", 99), 100).await;
    assert_eq!(lake.count(of_long).await, 9);
    let of_user = "from first_exposures where user_id = 'long-50-3'";
    assert_eq!(lake.count(of_user).await, 0);
    assert_eq!(lake.aggregates("long").await, long);
    assert_eq!(
        arms(&after.experiments[&key("long")]),
        arms(&before.experiments[&key("long")])
    );
    assert_eq!(lake.verified().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_name_that_no_event_is_left_of_has_zeros_as_before() {
    // What must never change: a metric of a running experiment does not vanish, or differ, because others' events went.
    let lake = TestLake::new();
    let lines = [format!(
        r#"{{"event_id":"t1","type":"track","ts":"{}","user_id":"u","event":"rare"}}"#,
        at(0, 1)
    )];
    lake.take(&lines, 0).await;
    let before = lake.take(&visits("new", 60), 60).await;
    assert_eq!(lake.enforce(100, &[]).await.sealed, []);
    assert_eq!(lake.days(Table::Events).await, [60]);
    let after = lake.take(&visits("new", 99), 100).await;
    let metrics = |view: &LiveView| {
        view.experiments[&key("new")].arms[0]
            .metrics
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(metrics(&after), metrics(&before));
    assert_eq!(metrics(&after).len(), 4);
    assert_eq!(lake.verified().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ids_of_events_that_went_are_forgotten_and_those_of_others_are_not() {
    // What must never change: a copy of an event that is there is known as a copy, also after the state was made again.
    let lake = TestLake::new();
    lake.take(&visits("old", 0), 0).await;
    lake.take(&visits("new", 60), 60).await;
    let view = lake.take(&visits("new", 61), 61).await;
    lake.enforce(100, &[]).await;
    let runs = std::fs::read_dir(lake.folder.path().join("state/ids")).unwrap();
    let last_old = at(1, 0).0 / BUCKET_MICROS;
    let old = runs.filter_map(|run| {
        let name = run.unwrap().file_name().into_string().unwrap();
        name[..12].parse::<i64>().ok().filter(|bucket| *bucket < last_old)
    });
    assert_eq!(old.count(), 0);
    let mut again = visits("new", 60);
    again.extend(visits("new", 99));
    let after = lake.take(&again, 100).await;
    assert_eq!(after.counters.duplicate, view.counters.duplicate + 17);
    assert_eq!(lake.verified().await, 1);
}
