//! Special functions by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::number;
use crate::error::StatsError;
use crate::estimate::known;
use crate::special::{beta, chi2, gamma, normal, student_t};

pub(super) fn normal(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let z = inputs.number("z")?;
    Ok(json!({
        "cdf": number(normal::cdf(z)),
        "sf": number(normal::sf(z)),
        "log_sf": number(normal::ln_sf(z)),
        "two_sided_p": number(normal::two_sided(z)),
        "pdf": number(normal::pdf(z)),
    }))
}

pub(super) fn normal_quantile(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(json!({"ppf": number(normal::quantile(chance(inputs, "p")?))}))
}

pub(super) fn student_t_sf(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (t, df) = (inputs.number("t")?, inputs.positive("df")?);
    Ok(json!({
        "sf": number(student_t::sf(t, df)),
        "two_sided": number(student_t::two_sided(t, df)),
        "log10_sf": number(student_t::ln_sf(t, df) * std::f64::consts::LOG10_E),
    }))
}

pub(super) fn student_t_isf(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(json!({"t": number(student_t::isf(chance(inputs, "p")?, inputs.positive("df")?))}))
}

pub(super) fn chi2_sf(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(json!({"sf": number(chi2::sf(inputs.number("x")?, inputs.positive("df")?))}))
}

pub(super) fn beta_cdf(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (a, b) = (inputs.positive("a")?, inputs.positive("b")?);
    Ok(
        json!({"cdf": number(known("the tail of the beta distribution", beta::beta_cdf(a, b, chance(inputs, "x")?))?)}),
    )
}

/// A number from 0 to 1; one that is none is answered as none.
fn chance(inputs: &Inputs<'_>, field: &str) -> Result<f64, StatsError> {
    let value = inputs.number(field)?;
    if !(0.0..=1.0).contains(&value) && !value.is_nan() {
        return Err(StatsError::invalid(field, "must lie between 0 and 1"));
    }
    Ok(value)
}

pub(super) fn lgamma_log_choose(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (n, k) = (inputs.not_negative("n")?, inputs.not_negative("k")?);
    Ok(json!({"log_choose": number(gamma::ln_choose(n, k))}))
}

pub(super) fn lgamma(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let x = inputs.positive("x")?;
    // Close to 0 the derivative is −1/x to all digits, and of no use to anybody.
    let digamma = (x > 1e-100).then(|| number(gamma::digamma(x)));
    Ok(json!({"lgamma": number(gamma::ln_gamma(x)), "digamma": digamma}))
}
