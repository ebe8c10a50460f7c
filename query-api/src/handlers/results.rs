//! What came out of an experiment, as of the last commit.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use control::ControlError;
use control::store::planned_shares;
use domain::experiment::discovered_control;
use domain::results::{AnalysisPlan, ExperimentSummary, sealed_warning};
use domain::{ExperimentKey, MetricKey, Timestamp, VariantKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stats::analyze::Looks;
use utoipa::{IntoParams, ToSchema};

use crate::extract::{ApiQuery, PathKey};
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;

/// Which results are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResultsQuery {
    /// Only this metric; its p-values stay adjusted over all metrics.
    #[param(value_type = Option<crate::wire::Key>, example = "revenue")]
    metric: Option<String>,
}

/// An analysis; when there is none, `metrics` is empty and `reason` says why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Results)]
pub struct ResultsDocument {
    /// The experiment, or the flag with a measured rollout.
    #[schema(example = "checkout")]
    pub experiment: String,
    /// Event time up to which it is complete.
    #[schema(format = DateTime)]
    pub as_of: String,
    /// The commit.
    #[schema(example = 40)]
    pub epoch: i64,
    /// What a reader must know before anything else: that the experiment is sealed, a sample-ratio mismatch, and so on.
    pub warnings: Vec<String>,
    /// The arm that the others are compared with.
    #[schema(required = false, example = "three-pages")]
    pub control: String,
    /// The error rate.
    #[schema(required = false, example = 0.05)]
    pub alpha: f64,
    /// How it is held over all comparisons: `none`, `holm` or `benjamini_hochberg`.
    #[schema(required = false, example = "holm")]
    pub correction: String,
    /// Users at which the anytime-valid intervals are tightest.
    #[schema(required = false, example = 10_000)]
    pub planned_units: u64,
    /// What decisions rest on, as planned: `sequential`, `fixed_horizon`, `group_sequential` or `bayesian`.
    #[schema(required = false, example = "sequential")]
    pub method: String,
    /// The looks that were taken, each with its `units`, `information`, `as_of` and `epoch`, for methods that decide at
    /// looks.
    #[schema(required = false, value_type = Vec<Object>)]
    pub looks: Vec<Value>,
    /// Users in all at which the next look is due; absent when there is none left or none is needed.
    #[schema(required = false, example = 8_000)]
    pub next_look: Option<u64>,
    /// Each arm's `variant`, `exposed` users, and those `expected` from the planned shares.
    #[schema(value_type = Vec<Object>)]
    pub arms: Vec<Value>,
    /// Users seen with more than one variant, left out of every arm.
    pub crossover_users: u64,
    /// Whether the arms hold their planned shares of traffic: `verdict` is `ok`, `mismatch` or `unknown`.
    #[schema(required = false, value_type = Object)]
    pub sample_ratio: Value,
    /// Each metric with its means per arm and, per comparison with the control, estimates, intervals and the decision.
    #[schema(value_type = Vec<Object>)]
    pub metrics: Vec<Value>,
    /// Why there is no analysis.
    pub reason: Option<AbsenceReason>,
}

/// Why a number cannot be given.
#[derive(Debug, Serialize, ToSchema)]
pub struct AbsenceReason {
    /// The word that programs compare.
    #[schema(example = "no_exposures")]
    code: &'static str,
    /// What it means.
    #[schema(example = "nobody has been exposed to the experiment yet")]
    message: String,
}

/// What is said when there is no analysis.
#[derive(Debug, Serialize)]
struct Absent {
    experiment: ExperimentKey,
    as_of: Timestamp,
    epoch: i64,
    warnings: [String; 0],
    arms: Vec<ExposedArm>,
    crossover_users: u64,
    metrics: [Value; 0],
    reason: AbsenceReason,
}

#[derive(Debug, Serialize)]
struct ExposedArm {
    variant: VariantKey,
    exposed: u64,
}

/// Read the results of an experiment
///
/// As of the engine's last commit, without waiting. Decisions rest on the method that the experiment plans: the intervals
/// marked anytime-valid, which hold at every look; what was known at the planned looks; or the posterior. A number that
/// cannot be computed is null and has a reason beside it.
#[utoipa::path(get, path = "/api/v1/experiments/{key}/results", tag = "results", operation_id = "get_results",
    params(ResultsQuery), responses((status = 200, body = ResultsDocument, description = "The analysis.")))]
pub async fn results(
    State(state): State<Arc<ApiState>>,
    PathKey(experiment): PathKey<ExperimentKey>,
    ApiQuery(query): ApiQuery<ResultsQuery>,
) -> ApiResult<Response> {
    let metric = query.metric.as_deref().map(MetricKey::new).transpose();
    let metric = metric.map_err(|error| Problem::new(Code::InvalidQuery, error.to_string()))?;
    let view = state.results.view();
    let summary = view.experiments.get(&experiment).cloned();
    let plan = plan(&state, &experiment, summary.as_deref()).await?;
    let sealed = view.sealed.get(&experiment).copied();
    let Some(summary) = summary else {
        let (code, message) = match sealed {
            None => ("no_exposures", "nobody has been exposed to the experiment yet"),
            Some(_) => (
                "expired",
                "its events and what was computed from them are older than the retention",
            ),
        };
        let reason = AbsenceReason {
            code,
            message: message.to_owned(),
        };
        return Ok(Json(Absent {
            experiment,
            as_of: view.as_of,
            epoch: view.epoch,
            warnings: [],
            arms: Vec::new(),
            crossover_users: 0,
            metrics: [],
            reason,
        })
        .into_response());
    };
    // Looks are kept when they are reached, so that reading results often is not looking often.
    let looks = if plan.looks.is_empty() {
        Vec::new()
    } else {
        state.store.planned_looks(&experiment).await?
    };
    // Many metrics in many arms take longer than an event loop may wait.
    let analyzed = tokio::task::spawn_blocking({
        let summary = Arc::clone(&summary);
        move || stats::analyze::analyze_looks(&plan, &summary, Looks::Taken(&looks))
    });
    match analyzed.await.map_err(Problem::internal)? {
        Ok(mut analysis) => {
            analysis.warnings.splice(..0, sealed.map(sealed_warning));
            answer(analysis, metric.as_ref())
        }
        Err(error) => Ok(Json(absent(&summary, error.code(), &error)).into_response()),
    }
}

/// What the analysis shall do: as planned, or as for any experiment that was only seen.
async fn plan(
    state: &ApiState,
    experiment: &ExperimentKey,
    summary: Option<&ExperimentSummary>,
) -> ApiResult<AnalysisPlan> {
    match (state.store.analysis_plan(experiment).await, summary) {
        (Err(ControlError::NotFound { .. }), Some(summary)) => {
            let variants: Vec<VariantKey> = summary.arms.iter().map(|arm| arm.variant.clone()).collect();
            let control = discovered_control(&variants);
            let control = control.ok_or_else(|| Problem::not_found("experiment", experiment.as_str()))?;
            Ok(AnalysisPlan::unplanned(control.clone()))
        }
        (Err(ControlError::NotFound { .. }), None) => {
            Err(Problem::not_found("experiment", experiment.as_str()))
        }
        (plan, summary) => {
            let mut plan = plan?;
            let phases = state.store.phases(experiment).await?;
            // Where weights have changed, the shares that were planned are those of all phases together.
            if let Some(shares) = summary.and_then(|summary| planned_shares(&phases, summary)) {
                plan.weights = shares;
            }
            Ok(plan)
        }
    }
}

fn answer(mut analysis: stats::analyze::Analysis, metric: Option<&MetricKey>) -> ApiResult<Response> {
    if let Some(metric) = metric {
        analysis.metrics.retain(|found| found.metric == *metric);
        if analysis.metrics.is_empty() {
            let detail = format!(
                "metric {metric} is not measured in experiment {}",
                analysis.experiment
            );
            return Err(Problem::new(Code::NotFound, detail));
        }
    }
    Ok(Json(analysis).into_response())
}

fn absent(summary: &ExperimentSummary, code: &'static str, why: &stats::StatsError) -> Absent {
    let arms = summary.arms.iter().map(|arm| ExposedArm {
        variant: arm.variant.clone(),
        exposed: arm.exposed,
    });
    Absent {
        experiment: summary.experiment.clone(),
        as_of: summary.as_of,
        epoch: summary.epoch,
        warnings: [],
        arms: arms.collect(),
        crossover_users: summary.crossover_users,
        metrics: [],
        reason: AbsenceReason {
            code,
            message: why.to_string(),
        },
    }
}
