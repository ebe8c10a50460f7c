//! The same metric plan as one batch job over the `events` table: how the stream is proved right.
//!
//! The job shares no code with the engine: it is SQL over the accepted events. First exposures are found by two joins on
//! minima, because ordered aggregates over keys of high cardinality cost several times as much.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::prelude::SessionContext;
use domain::metric::{CONVERSION_SUFFIX, MeasurementPlan, MetricDefinition, MetricKind};
use domain::{EventName, MetricKey, Moments};

use crate::PipelineError;
use crate::engine::{SummaryRow, WINDOW_SECONDS, WindowRow};
use crate::store::{query, read::Reader};

/// A conversion window that no event time leaves, in microseconds: longer than the years that a timestamp can name.
const NO_WINDOW_MICROS: i64 = 1 << 60;

/// What the batch job finds.
#[derive(Debug, Default)]
pub struct BatchResult {
    /// Accepted events.
    pub events: u64,
    /// Ids that stand in the lake more than once.
    pub repeated_ids: u64,
    /// The metrics that are declared or that an event is left of.
    pub metrics: BTreeSet<String>,
    /// All window rows.
    pub windows: Vec<WindowRow>,
    /// All summary rows.
    pub summaries: Vec<SummaryRow>,
    /// First exposures: experiment, variant, users, and how many of them are crossovers.
    pub exposures: Vec<(String, String, u64, u64)>,
}

/// The kind of a metric of a plan, discovered ones included.
pub fn kind_of(plan: &MeasurementPlan, key: &MetricKey) -> MetricKind {
    let declared = plan
        .metrics
        .iter()
        .find(|metric| metric.key == *key)
        .map(|metric| metric.kind);
    declared.unwrap_or(if key.as_str().ends_with(CONVERSION_SUFFIX) {
        MetricKind::Proportion
    } else {
        MetricKind::Sum
    })
}

/// Runs the job over the events up to an epoch. Sealed experiments are left out: what they were computed from is gone.
///
/// # Errors
/// When a query fails.
pub async fn run(
    context: &SessionContext,
    plan: &MeasurementPlan,
    up_to_epoch: i64,
) -> Result<BatchResult, PipelineError> {
    let mut result = BatchResult::default();
    let ids = format!(
        "select count(*) as events, count(distinct event_id) as ids from events where epoch <= {up_to_epoch}"
    );
    for batch in query(context, &ids).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        result.events = reader.count("events", 0);
        result.repeated_ids = result.events - reader.count("ids", 0);
    }
    let metrics = planned_metrics(context, plan, up_to_epoch).await?;
    result.metrics = metrics.iter().map(|metric| metric.key.to_string()).collect();
    result.exposures = first_exposures(context, up_to_epoch).await?;
    if metrics.is_empty() {
        return Ok(result);
    }
    let list = metric_values(&metrics);
    let wanted = |experiment: &str, metric: &str| is_planned(plan, experiment, metric);
    for seconds in WINDOW_SECONDS {
        let sql = windows_sql(seconds, &list, up_to_epoch);
        for batch in query(context, &sql).await?.collect().await? {
            let reader = Reader::new(&batch)?;
            let rows = (0..batch.num_rows()).map(|row| window_row(&reader, row, seconds));
            result
                .windows
                .extend(rows.filter(|row| wanted(&row.experiment, &row.metric)));
        }
    }
    result.summaries = summary_rows(context, &metrics, &list, &result.exposures, up_to_epoch).await?;
    result
        .summaries
        .retain(|row| wanted(&row.experiment, &row.metric));
    Ok(result)
}

fn is_planned(plan: &MeasurementPlan, experiment: &str, metric: &str) -> bool {
    if plan.is_sealed(experiment) {
        return false;
    }
    let declared = plan
        .experiments
        .iter()
        .find(|planned| planned.key.as_str() == experiment);
    match declared {
        None => plan.discovery,
        Some(planned) => planned
            .metrics
            .as_ref()
            .is_none_or(|metrics| metrics.iter().any(|key| key.as_str() == metric)),
    }
}

async fn planned_metrics(
    context: &SessionContext,
    plan: &MeasurementPlan,
    up_to_epoch: i64,
) -> Result<Vec<MetricDefinition>, PipelineError> {
    let mut metrics: BTreeMap<MetricKey, MetricDefinition> = BTreeMap::new();
    if plan.discovery {
        let sql =
            format!("select distinct event from events where event is not null and epoch <= {up_to_epoch}");
        for batch in query(context, &sql).await?.collect().await? {
            let reader = Reader::new(&batch)?;
            let names =
                (0..batch.num_rows()).filter_map(|row| EventName::new(reader.text("event", row)).ok());
            for metric in names.flat_map(|name| MetricDefinition::discovered(&name)) {
                metrics.insert(metric.key.clone(), metric);
            }
        }
    }
    metrics.extend(
        plan.metrics
            .iter()
            .map(|metric| (metric.key.clone(), metric.clone())),
    );
    Ok(metrics.into_values().collect())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The metrics as rows of SQL: metric, event, kind, window in microseconds.
fn metric_values(metrics: &[MetricDefinition]) -> String {
    let row = |metric: &MetricDefinition| {
        let window = metric
            .conversion_window_seconds
            .map_or(NO_WINDOW_MICROS, |seconds| i64::from(seconds) * 1_000_000);
        let (key, event) = (quoted(metric.key.as_str()), quoted(metric.event.as_str()));
        format!("({key}, {event}, {}, {window})", quoted(metric.kind.as_str()))
    };
    metrics.iter().map(row).collect::<Vec<_>>().join(", ")
}

/// The common beginning of all queries: exposures, first exposures, tracks and metrics.
fn common(metrics: &str, up_to_epoch: i64) -> String {
    format!(
        "with exposures as (select experiment, variant, user_id, ts, event_id from events where type = 'exposure' and \
         epoch <= {up_to_epoch}), \
         earliest as (select experiment, user_id, min(ts) as ts, min(variant) <> max(variant) as crossover from exposures \
         group by experiment, user_id), \
         firsts as (select e.experiment, e.user_id, e.ts, min(e.event_id) as event_id, bool_or(f.crossover) as crossover from \
         exposures e join earliest f on e.experiment = f.experiment and e.user_id = f.user_id and e.ts = f.ts \
         group by e.experiment, e.user_id, e.ts), \
         first as (select f.experiment, f.user_id, f.ts, e.variant, f.crossover from firsts f join exposures e on \
         f.experiment = e.experiment and f.user_id = e.user_id and f.event_id = e.event_id), \
         tracks as (select user_id, ts, event, value from events where type = 'track' and epoch <= {up_to_epoch}), \
         metrics(metric, event, kind, window_micros) as (values {metrics})"
    )
}

/// The value of a user for a metric: one row per user and whatever else is grouped by.
fn user_value() -> &'static str {
    "case m.kind when 'sum' then sum(t.value) when 'count' then cast(count(*) as double) else 1.0 end as x"
}

fn counted() -> &'static str {
    "from tracks t join metrics m on m.event = t.event join first f on f.user_id = t.user_id where t.ts >= f.ts and \
     arrow_cast(t.ts, 'Int64') - arrow_cast(f.ts, 'Int64') < m.window_micros"
}

fn windows_sql(seconds: i32, metrics: &str, up_to_epoch: i64) -> String {
    let (common, value, counted) = (common(metrics, up_to_epoch), user_value(), counted());
    // Whole microseconds, because `date_bin` works in nanoseconds, which end with the year 2262; and two remainders,
    // because the first has the sign of its time.
    let size = i64::from(seconds) * 1_000_000;
    let ts = "arrow_cast(t.ts, 'Int64')";
    format!(
        "{common}, per_user as (select f.experiment, f.variant, m.metric, m.kind, {ts} - (({ts} % {size} + {size}) % {size}) \
         as start, t.user_id, {value} {counted} group by f.experiment, f.variant, m.metric, \
         m.kind, start, t.user_id) select experiment, variant, metric, arrow_cast(start, 'Timestamp(Microsecond, Some(\"UTC\"))') \
         as start, count(*) as units, avg(x) as mean, var_pop(x) * count(*) as m2 from per_user group by experiment, variant, \
         metric, start"
    )
}

fn window_row(reader: &Reader, row: usize, seconds: i32) -> WindowRow {
    WindowRow {
        start: reader.time("start", row),
        seconds,
        experiment: reader.text("experiment", row).into(),
        variant: reader.text("variant", row).into(),
        metric: reader.text("metric", row).into(),
        moments: Moments {
            n: reader.count("units", row),
            mean: reader.float("mean", row),
            m2: reader.float("m2", row),
        },
    }
}

async fn first_exposures(
    context: &SessionContext,
    up_to_epoch: i64,
) -> Result<Vec<(String, String, u64, u64)>, PipelineError> {
    let common = common("('', '', '', 0)", up_to_epoch);
    let sql = format!(
        "{common} select experiment, variant, count(*) as users, sum(case when crossover then 1 else 0 end) as crossovers \
         from first group by experiment, variant"
    );
    let mut found = Vec::new();
    for batch in query(context, &sql).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        found.extend((0..batch.num_rows()).map(|row| {
            let (experiment, variant) = (
                reader.text("experiment", row).to_owned(),
                reader.text("variant", row).to_owned(),
            );
            (
                experiment,
                variant,
                reader.count("users", row),
                reader.count("crossovers", row),
            )
        }));
    }
    Ok(found)
}

/// Summaries over all exposed users: those with events as found, the others as zeros.
async fn summary_rows(
    context: &SessionContext,
    metrics: &[MetricDefinition],
    list: &str,
    exposures: &[(String, String, u64, u64)],
    up_to_epoch: i64,
) -> Result<Vec<SummaryRow>, PipelineError> {
    let caps: Vec<String> = metrics
        .iter()
        .filter_map(|metric| Some((metric, metric.cap?)))
        .map(|(metric, cap)| format!("when {} then least(x, {cap:?})", quoted(metric.key.as_str())))
        .collect();
    let capped = if caps.is_empty() {
        "x".to_owned()
    } else {
        format!("case metric {} else x end", caps.join(" "))
    };
    let (common, value, counted) = (common(list, up_to_epoch), user_value(), counted());
    let sql = format!(
        "{common}, per_user as (select f.experiment, f.variant, m.metric, m.kind, t.user_id, {value} {counted} and not \
         f.crossover group by f.experiment, f.variant, m.metric, m.kind, t.user_id), capped as (select experiment, variant, \
         metric, {capped} as x from per_user) select experiment, variant, metric, count(*) as units, avg(x) as mean, \
         var_pop(x) * count(*) as m2 from capped group by experiment, variant, metric"
    );
    let mut found: BTreeMap<(String, String, String), Moments> = BTreeMap::new();
    for batch in query(context, &sql).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        for row in 0..batch.num_rows() {
            let moments = Moments {
                n: reader.count("units", row),
                mean: reader.float("mean", row),
                m2: reader.float("m2", row),
            };
            let text = |name| reader.text(name, row).to_owned();
            found.insert((text("experiment"), text("variant"), text("metric")), moments);
        }
    }
    let mut rows = Vec::new();
    for (experiment, variant, users, crossovers) in exposures {
        let exposed = users - crossovers;
        for metric in metrics {
            let key = (experiment.clone(), variant.clone(), metric.key.to_string());
            let counted = found.get(&key).copied().unwrap_or_default();
            let zeros = Moments {
                n: exposed.saturating_sub(counted.n),
                mean: 0.0,
                m2: 0.0,
            };
            let (experiment, variant, metric) = key;
            rows.push(SummaryRow {
                experiment,
                variant,
                metric,
                exposed,
                units: counted.n,
                moments: counted.merged(zeros),
            });
        }
    }
    Ok(rows)
}
