//! A whole analysis by name.

use serde_json::Value;

use super::inputs::Inputs;
use crate::analyze::by_name::{Request, analyze_request};
use crate::error::StatsError;

/// Analyses an experiment from a plan and a summary.
pub(super) fn analysis(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let required = |field: &str| {
        inputs
            .raw(field)
            .ok_or_else(|| StatsError::invalid(field, "is missing"))
    };
    let looks = inputs.has("looks").then(|| inputs.list("looks")).transpose()?;
    let answer = analyze_request(&Request {
        plan: required("plan")?,
        summary: required("summary")?,
        looks,
    })?;
    serde_json::to_value(answer)
        .map_err(|cause| StatsError::invalid("the analysis", format!("cannot be shown: {cause}")))
}
