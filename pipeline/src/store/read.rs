//! The newest summaries, read from the lake alone.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use domain::metric::MeasurementPlan;
use domain::results::{ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};

use crate::PipelineError;
use crate::engine::SummaryRow;
use crate::lake::Lake;
use crate::schema::Table;
use crate::seals::Seals;
use crate::state;

/// A row of `summaries` and the commit that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSummary {
    /// The row.
    pub row: SummaryRow,
    /// Event time up to which it is complete.
    pub as_of: Timestamp,
    /// The commit.
    pub epoch: i64,
}

/// The newest row of each key of `summaries`; with `as_of`, the newest that is not after it.
///
/// # Errors
/// When the table cannot be read.
pub async fn summaries(
    context: &SessionContext,
    as_of: Option<Timestamp>,
) -> Result<Vec<StoredSummary>, PipelineError> {
    let limit = as_of.map_or_else(String::new, |as_of| {
        format!(" where as_of <= timestamp '{as_of}'")
    });
    let sql = format!(
        "with kept as (select * from summaries{limit}), newest as (select experiment, variant, metric, max(epoch) as epoch \
         from kept group by experiment, variant, metric) select kept.as_of, kept.experiment, kept.variant, kept.metric, \
         kept.exposed, kept.units, kept.mean, kept.m2, kept.epoch from kept join newest on kept.experiment = \
         newest.experiment and kept.variant = newest.variant and kept.metric = newest.metric and kept.epoch = newest.epoch"
    );
    let mut rows = Vec::new();
    for batch in super::query(context, &sql).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        rows.extend((0..batch.num_rows()).map(|row| reader.summary(row)));
    }
    Ok(rows)
}

/// Columns of a query's answer, with the view types of DataFusion turned into plain ones.
pub(crate) struct Reader {
    batch: RecordBatch,
}

impl Reader {
    pub(crate) fn new(batch: &RecordBatch) -> Result<Self, PipelineError> {
        let error = |source| PipelineError::Columns {
            table: Table::Summaries.name(),
            source,
        };
        let mut columns = Vec::new();
        for column in batch.columns() {
            columns.push(match column.data_type() {
                arrow::datatypes::DataType::Utf8View | arrow::datatypes::DataType::Dictionary(..) => {
                    arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).map_err(error)?
                }
                _ => std::sync::Arc::clone(column),
            });
        }
        let schema = batch.schema();
        let named = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .zip(columns);
        Ok(Self {
            batch: RecordBatch::try_from_iter(named).map_err(error)?,
        })
    }

    fn column(&self, name: &str) -> &dyn Array {
        self.batch
            .column_by_name(name)
            .expect("the query names its columns")
            .as_ref()
    }

    pub(crate) fn text(&self, name: &str, row: usize) -> &str {
        self.column(name).as_string::<i32>().value(row)
    }

    pub(crate) fn integer(&self, name: &str, row: usize) -> i64 {
        self.column(name).as_primitive::<Int64Type>().value(row)
    }

    pub(crate) fn float(&self, name: &str, row: usize) -> f64 {
        let column = self.column(name).as_primitive::<Float64Type>();
        if column.is_null(row) {
            0.0
        } else {
            column.value(row)
        }
    }

    pub(crate) fn time(&self, name: &str, row: usize) -> Timestamp {
        Timestamp(
            self.column(name)
                .as_primitive::<TimestampMicrosecondType>()
                .value(row),
        )
    }

    pub(crate) fn count(&self, name: &str, row: usize) -> u64 {
        u64::try_from(self.integer(name, row)).unwrap_or_default()
    }

    fn summary(&self, row: usize) -> StoredSummary {
        let exposed = self.count("exposed", row);
        StoredSummary {
            row: SummaryRow {
                experiment: self.text("experiment", row).into(),
                variant: self.text("variant", row).into(),
                metric: self.text("metric", row).into(),
                exposed,
                units: self.count("units", row),
                moments: Moments {
                    n: exposed,
                    mean: self.float("mean", row),
                    m2: self.float("m2", row),
                },
            },
            as_of: self.time("as_of", row),
            epoch: self.integer("epoch", row),
        }
    }
}

/// The plan that the lake was last measured by; discovery alone before the first commit.
///
/// # Errors
/// When the state beside the tables cannot be read.
pub async fn plan(lake: &Lake) -> Result<MeasurementPlan, PipelineError> {
    match lake.epoch(Table::Events).await? {
        Some(epoch) => Ok(state::read_manifest(lake.root(), epoch).await?.plan),
        None => Ok(MeasurementPlan::discover()),
    }
}

/// The seals of a lake.
///
/// # Errors
/// When the state beside the tables cannot be read.
pub async fn seals(lake: &Lake) -> Result<Seals, PipelineError> {
    Seals::read(lake.root()).await
}

/// What the lake says of every experiment, or as it stood at some event time. A sealed experiment is given as it was sealed; it
/// is left out where its rows are gone too, and at a time before its seal, when nobody can say who saw several variants.
///
/// # Errors
/// When the tables cannot be read.
pub async fn experiments(
    lake: &Lake,
    as_of: Option<Timestamp>,
) -> Result<BTreeMap<ExperimentKey, ExperimentSummary>, PipelineError> {
    let context = super::session(lake).await?;
    let (plan, seals) = (plan(lake).await?, seals(lake).await?);
    let plan = seals.over(&plan);
    let mut found: BTreeMap<ExperimentKey, ExperimentSummary> = BTreeMap::new();
    let measured = |stored: &StoredSummary| {
        let row = &stored.row;
        plan.measures(&row.experiment, &row.metric) && !plan.is_sealed(&row.experiment)
    };
    for stored in summaries(&context, as_of).await?.into_iter().filter(measured) {
        let keys = (
            ExperimentKey::new(&stored.row.experiment),
            VariantKey::new(&stored.row.variant),
        );
        let (Ok(experiment), Ok(variant), Ok(metric)) = (keys.0, keys.1, MetricKey::new(&stored.row.metric))
        else {
            continue;
        };
        let kind = crate::batch::kind_of(&plan, &metric);
        let summary = found
            .entry(experiment.clone())
            .or_insert_with(|| ExperimentSummary {
                experiment,
                as_of: stored.as_of,
                epoch: stored.epoch,
                arms: Vec::new(),
                crossover_users: 0,
            });
        summary.as_of = summary.as_of.max(stored.as_of);
        summary.epoch = summary.epoch.max(stored.epoch);
        let metric_summary = MetricSummary {
            kind,
            units: stored.row.units,
            moments: stored.row.moments,
            pair: None,
        };
        match summary.arms.iter_mut().find(|arm| arm.variant == variant) {
            Some(arm) => {
                arm.exposed = arm.exposed.max(stored.row.exposed);
                arm.metrics.insert(metric, metric_summary);
            }
            None => summary.arms.push(ArmSummary {
                variant,
                exposed: stored.row.exposed,
                metrics: BTreeMap::from([(metric, metric_summary)]),
            }),
        }
    }
    for (experiment, users) in crossovers(&context, as_of).await? {
        if let Some(summary) = ExperimentKey::new(&experiment)
            .ok()
            .and_then(|key| found.get_mut(&key))
        {
            summary.crossover_users = users;
        }
    }
    for summary in found.values_mut() {
        summary
            .arms
            .sort_by(|left, right| left.variant.cmp(&right.variant));
    }
    seals.complete(&mut found);
    found.retain(|key, summary| !plan.is_sealed(key.as_str()) || as_of.is_none_or(|at| summary.as_of <= at));
    Ok(found)
}

async fn crossovers(
    context: &SessionContext,
    as_of: Option<Timestamp>,
) -> Result<Vec<(String, u64)>, PipelineError> {
    let limit = as_of.map_or_else(String::new, |as_of| format!(" and ts <= timestamp '{as_of}'"));
    let sql = format!(
        "select experiment, count(distinct user_id) as users from first_exposures where crossover{limit} group by experiment"
    );
    let mut found = Vec::new();
    for batch in super::query(context, &sql).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        found.extend((0..batch.num_rows()).map(|row| {
            (
                reader.text("experiment", row).to_owned(),
                reader.count("users", row),
            )
        }));
    }
    Ok(found)
}
