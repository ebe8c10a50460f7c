//! A whole analysis of a plan and a summary as JSON: the same answer as for an experiment of the engine.
//!
//! Of the plan only the control is needed: what is left out is as for an experiment that nobody planned. Of a summary the
//! arms are needed.

use domain::VariantKey;
use domain::results::{AnalysisPlan, ExperimentSummary};
use serde_json::{Map, Value, json};

use super::{Analysis, Looks, analyze_looks};
use crate::error::{StatsError, check_finite, check_positive, check_rate};

/// More arms than any experiment has.
const MAX_ARMS: usize = 1_000;

/// More metrics in an arm than any experiment has.
const MAX_METRICS: usize = 10_000;

/// Larger counts are not exact as `f64`.
const MAX_COUNT: u64 = 1 << 53;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The plan: `control` and any other field of [`AnalysisPlan`].
    pub plan: &'a Value,
    /// The summary: `arms` and any other field of [`ExperimentSummary`].
    pub summary: &'a Value,
    /// The summaries at the looks that were taken, in order; absent when these data are the only look.
    pub looks: Option<&'a [Value]>,
}

/// Analyses an experiment.
///
/// # Errors
/// [`StatsError::InvalidInput`] for a field that is unknown, of the wrong type or out of range, [`StatsError::TooLarge`] for
/// more arms, metrics or looks than are worked on, and as [`analyze_looks`].
pub fn analyze_request(request: &Request<'_>) -> Result<Analysis, StatsError> {
    let plan = plan(request.plan)?;
    let now = summary("summary", request.summary)?;
    let taken: Option<Vec<ExperimentSummary>> = request
        .looks
        .map(|looks| looks.iter().map(|look| summary("looks", look)).collect())
        .transpose()?;
    analyze_looks(&plan, &now, taken.as_deref().map_or(Looks::Now, Looks::Taken))
}

/// A plan with what it leaves out as for an experiment that nobody planned.
fn plan(given: &Value) -> Result<AnalysisPlan, StatsError> {
    let control = given.get("control").and_then(Value::as_str);
    let control = control.ok_or_else(|| StatsError::invalid("plan.control", "must be a text"))?;
    let control =
        VariantKey::new(control).map_err(|cause| StatsError::invalid("plan.control", cause.to_string()))?;
    let plan: AnalysisPlan = overlaid("plan", json!(AnalysisPlan::unplanned(control)), given)?;
    let ascends = plan.looks.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascends || plan.looks.first() == Some(&0) {
        return Err(StatsError::invalid("plan.looks", "must be above 0 and ascend"));
    }
    if let Some(beta) = plan.futility_beta {
        check_rate("plan.futility_beta", beta)?;
    }
    if let Some(prior) = plan.prior {
        check_finite("plan.prior.mean", prior.mean)?;
        check_positive("plan.prior.standard_deviation", prior.standard_deviation)?;
    }
    if let Some(region) = plan.equal_within {
        check_positive("plan.equal_within", region)?;
    }
    Ok(plan)
}

/// A summary; experiment, commit and time say only what the numbers are called.
fn summary(field: &str, given: &Value) -> Result<ExperimentSummary, StatsError> {
    let usual = json!({
        "experiment": "experiment", "as_of": "1970-01-01T00:00:00Z", "epoch": 0, "arms": [], "crossover_users": 0,
    });
    let summary: ExperimentSummary = overlaid(field, usual, given)?;
    let metrics = summary.arms.iter().map(|arm| arm.metrics.len()).max();
    for (what, size, limit) in [
        ("the number of arms", summary.arms.len(), MAX_ARMS),
        ("the number of metrics", metrics.unwrap_or(0), MAX_METRICS),
    ] {
        if size > limit {
            return Err(StatsError::TooLarge {
                what,
                size: size as u64,
                limit: limit as u64,
            });
        }
    }
    for arm in &summary.arms {
        for metric in arm.metrics.values() {
            if metric.moments.n > arm.exposed || metric.units > arm.exposed {
                return Err(StatsError::invalid(
                    field,
                    "has a metric of more users than its arm",
                ));
            }
        }
    }
    Ok(summary)
}

/// An object of a known type from one with defaults and the fields that were given.
fn overlaid<T: serde::de::DeserializeOwned>(
    field: &str,
    usual: Value,
    given: &Value,
) -> Result<T, StatsError> {
    let fields = given
        .as_object()
        .ok_or_else(|| StatsError::invalid(field, "must be an object"))?;
    check_counts(field, given)?;
    let Value::Object(mut whole) = usual else {
        return Err(StatsError::invalid(field, "must be an object"));
    };
    check_names(field, &whole, fields)?;
    whole.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    serde_json::from_value(Value::Object(whole))
        .map_err(|cause| StatsError::invalid(field, format!("cannot be read: {cause}")))
}

fn check_names(
    field: &str,
    known: &Map<String, Value>,
    given: &Map<String, Value>,
) -> Result<(), StatsError> {
    let Some(unknown) = given.keys().find(|name| !known.contains_key(*name)) else {
        return Ok(());
    };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Err(StatsError::invalid(
        format!("{field}.{unknown}"),
        format!("is not known; the fields are {}", names.join(", ")),
    ))
}

/// Refuses whole numbers that arithmetic would round.
fn check_counts(field: &str, value: &Value) -> Result<(), StatsError> {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|count| count > MAX_COUNT) => {
            Err(StatsError::invalid(field, "has a count above 2^53"))
        }
        Value::Array(list) => list.iter().try_for_each(|value| check_counts(field, value)),
        Value::Object(map) => map.values().try_for_each(|value| check_counts(field, value)),
        _ => Ok(()),
    }
}
