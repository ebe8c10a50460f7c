//! Proves that the streaming result equals the batch result: every window and every summary, row by row.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::prelude::SessionContext;
use domain::metric::MeasurementPlan;
use domain::{Moments, Timestamp};

use crate::PipelineError;
use crate::batch;
use crate::engine::{SummaryRow, WINDOW_SECONDS};
use crate::lake::Lake;
use crate::schema::Table;
use crate::seals::Seals;
use crate::state::{self, DerivedWritten, Manifest};
use crate::store::read::{self, Reader};
use crate::store::{query, session};

/// How far a mean or moment may differ, relative to its size or to 1: both sides add millions of `f64` in different orders.
pub const TOLERANCE: f64 = 1e-9;
/// Differing rows that are listed; all are counted.
pub const LISTED_DIFFERENCES: usize = 20;

/// What a verification found.
#[derive(Debug, Default, serde::Serialize)]
pub struct Verification {
    /// Accepted events.
    pub events: u64,
    /// Window rows that the batch job finds and that are due.
    pub windows: u64,
    /// Summary rows that the batch job finds.
    pub summaries: u64,
    /// Rows that differ, are missing or are too many.
    pub different: u64,
    /// The first of them.
    pub differences: Vec<String>,
    /// Days whose windows wait for reconciliation and were not compared.
    pub waiting_days: u64,
    /// Users who wait for reconciliation; summaries were not compared if there are any.
    pub waiting_users: u64,
    /// Sealed experiments, which cannot be recomputed because events of theirs are gone; their rows were not compared.
    pub sealed: u64,
}

impl Verification {
    fn differ(&mut self, text: String) {
        self.different += 1;
        if self.differences.len() < LISTED_DIFFERENCES {
            self.differences.push(text);
        }
    }
}

type WindowKey = (Timestamp, i32, String, String, String);

/// Recomputes everything from the events of a lake and compares.
///
/// # Errors
/// [`PipelineError::Unsettled`] when the tables are between two epochs; else when the lake cannot be read.
pub async fn verify(lake: &Lake) -> Result<Verification, PipelineError> {
    let mut found = Verification::default();
    let Some(last) = lake.epoch(Table::Events).await? else {
        return Ok(found);
    };
    let Some(written) = last_derived(lake, last).await? else {
        return Ok(found);
    };
    check_settled(lake, last, &written).await?;
    let context = session(lake).await?;
    // The seals go before the plan of the commit: they are written before any event goes.
    let plan = Seals::read(lake.root()).await?.over(&written.plan);
    found.sealed = plan.sealed.len() as u64;
    let expected = batch::run(&context, &plan, written.epoch).await?;
    found.events = expected.events;
    found.waiting_days = written.dirty_days.len() as u64;
    found.waiting_users = written.dirty_users;
    if expected.repeated_ids > 0 {
        found.differ(format!(
            "{} events stand in the lake more than once",
            expected.repeated_ids
        ));
    }
    let due = |start: Timestamp, seconds: i32| is_due(&written, start, seconds);
    let rows = expected
        .windows
        .into_iter()
        .filter(|row| due(row.start, row.seconds));
    let expected_windows: BTreeMap<WindowKey, Moments> = rows
        .map(|row| {
            (
                (row.start, row.seconds, row.experiment, row.variant, row.metric),
                row.moments,
            )
        })
        .collect();
    found.windows = expected_windows.len() as u64;
    let mut actual = actual_windows(&context, &due, &mut found).await?;
    actual.retain(|(_, _, experiment, _, _), _| !plan.is_sealed(experiment));
    compare("window", &expected_windows, &actual, &mut found);
    if written.dirty_users == 0 {
        let (summaries, metrics) = (expected.summaries, expected.metrics);
        check_summaries(&context, &plan, (summaries, &metrics), &mut found).await?;
    }
    Ok(found)
}

/// Compares the newest summaries with those that follow from the events, and with the metrics that these have.
async fn check_summaries(
    context: &SessionContext,
    plan: &MeasurementPlan,
    (expected, metrics): (Vec<SummaryRow>, &BTreeSet<String>),
    found: &mut Verification,
) -> Result<(), PipelineError> {
    // An arm whose users all turned out to be crossovers has a row of zeros or none at all: both say the same.
    let expected = keyed(expected.into_iter().filter(|row| row.exposed > 0));
    found.summaries = expected.len() as u64;
    let stored = read::summaries(context, None).await?.into_iter();
    // A metric that the plan no longer has keeps its last row, which is history; one that no event is left of has zeros.
    let measured = |row: &SummaryRow| {
        let has_events = row.units > 0 || metrics.contains(&row.metric);
        has_events && plan.measures(&row.experiment, &row.metric) && !plan.is_sealed(&row.experiment)
    };
    let stored = stored
        .map(|stored| stored.row)
        .filter(|row| row.exposed > 0 && measured(row));
    compare_summaries(&expected, &keyed(stored), found);
    Ok(())
}

fn keyed(rows: impl Iterator<Item = SummaryRow>) -> BTreeMap<SummaryKey, (u64, u64, Moments)> {
    let row = |row: SummaryRow| {
        (
            (row.experiment, row.variant, row.metric),
            (row.exposed, row.units, row.moments),
        )
    };
    rows.map(row).collect()
}

/// The manifest of the last epoch whose derived tables were written; none when nothing that is kept tells of one.
async fn last_derived(lake: &Lake, last: i64) -> Result<Option<Manifest>, PipelineError> {
    let mut manifest = state::read_manifest(lake.root(), last).await?;
    while manifest.derived == DerivedWritten::Nothing {
        // Manifests from before the last full snapshots are gone: if derived tables were due by then, they are due still.
        match state::find_manifest(lake.root(), manifest.epoch - 1).await? {
            Some(earlier) => manifest = earlier,
            None => return Ok(None),
        }
    }
    Ok(Some(manifest))
}

/// Makes sure that the tables were read between two epochs: not after a crash, nor while a writer commits.
async fn check_settled(lake: &Lake, last: i64, written: &Manifest) -> Result<(), PipelineError> {
    for table in Table::ALL {
        let epoch = lake.epoch(table).await?.unwrap_or(0);
        let is_owed = written.owed.contains_key(&table) && epoch < written.epoch;
        if is_owed || epoch > last {
            return Err(PipelineError::Unsettled {
                table: table.name(),
                epoch: last,
            });
        }
    }
    Ok(())
}

/// Whether a window has to stand in the table as of an epoch.
fn is_due(written: &Manifest, start: Timestamp, seconds: i32) -> bool {
    if written.dirty_days.contains(&start.day()) {
        return false;
    }
    let size = i64::from(seconds) * 1_000_000;
    let closed_until = written
        .watermark
        .0
        .saturating_sub(written.horizons.lateness_micros);
    written.derived == DerivedWritten::All || start.0 + size <= closed_until.div_euclid(size) * size
}

async fn actual_windows(
    context: &SessionContext,
    due: &impl Fn(Timestamp, i32) -> bool,
    found: &mut Verification,
) -> Result<BTreeMap<WindowKey, Moments>, PipelineError> {
    let mut rows = BTreeMap::new();
    for seconds in WINDOW_SECONDS {
        let sql = format!(
            "select window_start, experiment, variant, metric, units, mean, m2 from windows where window_seconds = {seconds} \
             and dimension is null"
        );
        for batch in query(context, &sql).await?.collect().await? {
            let reader = Reader::new(&batch)?;
            for row in 0..batch.num_rows() {
                let start = reader.time("window_start", row);
                let text = |name| reader.text(name, row).to_owned();
                let key = (
                    start,
                    seconds,
                    text("experiment"),
                    text("variant"),
                    text("metric"),
                );
                let moments = Moments {
                    n: reader.count("units", row),
                    mean: reader.float("mean", row),
                    m2: reader.float("m2", row),
                };
                if due(start, seconds) && rows.insert(key.clone(), moments).is_some() {
                    found.differ(format!("window {key:?} stands in the table twice"));
                }
            }
        }
    }
    Ok(rows)
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= TOLERANCE * left.abs().max(right.abs()).max(1.0)
}

fn same(left: &Moments, right: &Moments) -> bool {
    left.n == right.n && close(left.mean, right.mean) && close(left.m2, right.m2)
}

fn compare<K: Ord + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, Moments>,
    actual: &BTreeMap<K, Moments>,
    found: &mut Verification,
) {
    for (key, moments) in expected {
        match actual.get(key) {
            None => found.differ(format!("{what} {key:?} is missing")),
            Some(other) if !same(moments, other) => {
                found.differ(format!(
                    "{what} {key:?} is {other:?} in the table and {moments:?} from the events"
                ));
            }
            Some(_) => {}
        }
    }
    for key in actual.keys().filter(|key| !expected.contains_key(key)) {
        found.differ(format!(
            "{what} {key:?} stands in the table and follows from no event"
        ));
    }
}

type SummaryKey = (String, String, String);

fn compare_summaries(
    expected: &BTreeMap<SummaryKey, (u64, u64, Moments)>,
    actual: &BTreeMap<SummaryKey, (u64, u64, Moments)>,
    found: &mut Verification,
) {
    let counts = |rows: &BTreeMap<SummaryKey, (u64, u64, Moments)>| {
        rows.iter()
            .map(|(key, row)| ((key.clone(), row.0, row.1), row.2))
            .collect::<BTreeMap<_, _>>()
    };
    compare("summary", &counts(expected), &counts(actual), found);
}
