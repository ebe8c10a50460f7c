//! Ratio metrics and covariate adjustment by name.

use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::means::{Origin, contrast_result, pair, status, sums};
use super::named::{complete, completed};
use super::{number, numbers};
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate, Interval};
use crate::frequentist::contrast::{Alternative, ArmValue, Contrast, Question};
use crate::frequentist::cuped::{self, MultiSample, Quantity};
use crate::frequentist::relative::{self, FiellerSet};
use crate::frequentist::sample::{JointSample, Sample};
use crate::frequentist::{bootstrap, mean, ratio};

fn joint(arm: &Inputs<'_>, x: &str, y: &str) -> Result<JointSample, StatsError> {
    JointSample::from_sums(sums(arm, x)?, sums(arm, y)?, arm.finite("cross_sum")?)
}

/// The answer where an arm has no estimate.
fn failed(error: StatsError, control: &JointSample, treatment: &JointSample) -> Value {
    let units = ArmUnits {
        control: control.n(),
        treatment: treatment.n(),
    };
    let result = json!({"status": status(&error)});
    completed(result, &Estimate::absent("delta_method", units, error))
}

/// A ratio metric by the delta method.
pub fn ratio_metric_delta(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let (left, right) = (inputs.object("control")?, inputs.object("treatment")?);
    let (control, treatment) = (joint(&left, "num_", "den_")?, joint(&right, "num_", "den_")?);
    let arms = ratio::arm_ratio(&control, "control")
        .and_then(|control| ratio::arm_ratio(&treatment, "treatment").map(|treatment| [control, treatment]));
    let [control, treatment] = match arms {
        Ok(arms) => arms,
        Err(error) => return Ok(failed(error, &control, &treatment)),
    };
    let mut result = comparison(
        control.arm,
        treatment.arm,
        treatment.arm.value - control.arm.value,
        alpha,
    )?;
    for (name, value) in [
        ("R_control", control.arm.value),
        ("R_treatment", treatment.arm.value),
        ("var_R_control", control.arm.variance),
        ("var_R_treatment", treatment.arm.variance),
    ] {
        result.insert(name.to_owned(), number(value));
    }
    Ok(Value::Object(result))
}

/// Everything about two estimates and their difference.
fn comparison(
    control: ArmValue,
    treatment: ArmValue,
    difference: f64,
    alpha: f64,
) -> Result<Map<String, Value>, StatsError> {
    let mut result = Map::new();
    let units = ArmUnits {
        control: control.units,
        treatment: treatment.units,
    };
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("diff", number(difference));
    let contrast = match Contrast::welch(control, treatment, difference) {
        Ok(contrast) => contrast,
        Err(error) => {
            put("status", json!(status(&error)));
            complete(&mut result, &Estimate::absent("delta_method", units, error));
            return Ok(result);
        }
    };
    let normal = contrast.normal();
    put("status", json!("ok"));
    put("se", number(contrast.standard_error));
    put("z", number(contrast.statistic()));
    put("p_normal", number(normal.p_value(Alternative::TwoSided).p));
    put(
        "log10_p_normal",
        number(normal.p_value(Alternative::TwoSided).log10),
    );
    put(
        "ci95_normal",
        pair(Interval::around(difference, normal.margin(alpha)?, 1.0 - alpha)),
    );
    put("welch_df", number(contrast.df));
    put("p_welch", number(contrast.p_value(Alternative::TwoSided).p));
    match relative::delta(control, treatment, difference, alpha) {
        Err(error) => {
            put("rel", Value::Null);
            put("rel_status", json!(status(&error)));
        }
        Ok(change) => {
            put("rel", number(change.estimate));
            put("rel_se_delta", number(change.standard_error));
            put("rel_ci95_delta_normal", pair(change.interval));
        }
    }
    if let Ok(change) = relative::log_delta(control, treatment, difference, alpha) {
        put("log_se", number(change.standard_error));
        put("rel_ci95_logdelta_normal", pair(change.interval));
    }
    if let Ok(fieller) = relative::fieller(control, treatment, alpha) {
        put("fieller_g", number(fieller.g));
        let set = match fieller.set {
            FiellerSet::Between(interval) => pair(interval),
            FiellerSet::Outside(_) | FiellerSet::Everything => json!("unbounded"),
        };
        put("fieller_rel_ci95", set);
        put("fieller_set", json!(fieller.set));
    }
    let named = Estimate {
        assumptions: ratio::ASSUMPTIONS,
        ..contrast.estimate("delta_method", Question::two_sided(alpha))?
    };
    complete(&mut result, &named);
    Ok(result)
}

/// A relative change from two estimates and their standard errors: delta method, logarithm and Fieller.
pub fn relative_change(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let arm = |field: &str| {
        let arm = inputs.object(field)?;
        Ok::<_, StatsError>(ArmValue {
            value: arm.finite("estimate")?,
            variance: arm.not_negative("se")?.powi(2),
            df: f64::INFINITY,
            units: arm.count_or("n", 0)?,
        })
    };
    let (control, treatment) = (arm("control")?, arm("treatment")?);
    let alpha = inputs.rate_or("alpha", 0.05)?;
    comparison(control, treatment, treatment.value - control.value, alpha).map(Value::Object)
}

/// Covariate adjustment with one covariate.
pub fn cuped_mean(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let (left, right) = (inputs.object("control")?, inputs.object("treatment")?);
    let (control, treatment) = (joint(&left, "post_", "pre_")?, joint(&right, "post_", "pre_")?);
    let mut result = Map::new();
    for (name, slope) in [
        ("theta_total", cuped::Slope::Total),
        ("theta_within", cuped::Slope::Within),
    ] {
        let adjusted = match cuped::adjust(&control, &treatment, slope) {
            Ok(adjusted) => adjusted,
            Err(error) => return Ok(failed(error, &control, &treatment)),
        };
        result.insert(name.to_owned(), Value::Object(adjusted_result(&adjusted, alpha)?));
    }
    let plain = |sample: &Sample, arm| mean::arm_value(sample, arm);
    let difference = mean::difference(&control.x, &treatment.x);
    let unadjusted = comparison(
        plain(&control.x, "control")?,
        plain(&treatment.x, "treatment")?,
        difference,
        alpha,
    )?;
    result.insert("unadjusted".to_owned(), Value::Object(unadjusted));
    let within = cuped::adjust(&control, &treatment, cuped::Slope::Within)?;
    let contrast = Contrast::welch(within.control, within.treatment, within.difference);
    let units = ArmUnits {
        control: control.n(),
        treatment: treatment.n(),
    };
    let named = contrast
        .and_then(|contrast| contrast.estimate("cuped", Question::two_sided(alpha)))
        .unwrap_or_else(|error| Estimate::absent("cuped", units, error));
    complete(
        &mut result,
        &Estimate {
            assumptions: cuped::ASSUMPTIONS,
            ..named
        },
    );
    Ok(Value::Object(result))
}

fn adjusted_result(adjusted: &cuped::AdjustedMeans, alpha: f64) -> Result<Map<String, Value>, StatsError> {
    let mut result = comparison(adjusted.control, adjusted.treatment, adjusted.difference, alpha)?;
    let mut put = |name: &str, value: f64| result.insert(name.to_owned(), number(value));
    put("theta", adjusted.theta);
    put("adj_mean_control", adjusted.control.value);
    put("adj_mean_treatment", adjusted.treatment.value);
    if let Some(reduction) = adjusted.variance_reduction {
        put("variance_reduction", reduction);
    }
    if let Some(lift) = adjusted.lift {
        put("rel_unadjusted_denominator", lift.estimate);
        put("rel_unadj_se_exact_delta", lift.standard_error);
        put("rel_unadj_se_growthbook", lift.standard_error_equal_covariates);
    }
    Ok(result)
}

/// Covariate adjustment with several covariates, for a mean or a ratio.
pub fn cuped_covariates(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let arm = |field: &str| {
        let arm = inputs.object(field)?;
        let mut cross = Vec::new();
        for row in arm.list("cross_moments")? {
            let row = row
                .as_array()
                .ok_or_else(|| StatsError::invalid("cross_moments", "must be rows of numbers"))?;
            cross.extend(row.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)));
        }
        Ok::<_, StatsError>(MultiSample {
            n: arm.count("n")?,
            means: arm.finites("means")?,
            cross,
        })
    };
    let covariates = inputs
        .objects("covariates")?
        .iter()
        .map(quantity)
        .collect::<Result<Vec<_>, _>>()?;
    let outcome = quantity(&inputs.object("outcome")?)?;
    let adjusted = cuped::adjust_many(&arm("control")?, &arm("treatment")?, outcome, &covariates)?;
    let mut result = contrast_result(&adjusted.contrast, alpha, Origin::Adjusted)?;
    result["theta"] = numbers(&adjusted.slopes);
    result["variance_reduction"] = adjusted.variance_reduction.map_or(Value::Null, number);
    Ok(result)
}

/// `{"mean": index}` or `{"numerator": index, "denominator": index}`.
fn quantity(inputs: &Inputs<'_>) -> Result<Quantity, StatsError> {
    let index = |field: &str| {
        inputs
            .count(field)
            .map(|index| index.min(u64::from(u32::MAX)) as usize)
    };
    if inputs.has("mean") {
        return index("mean").map(Quantity::Mean);
    }
    Ok(Quantity::Ratio {
        numerator: index("numerator")?,
        denominator: index("denominator")?,
    })
}

/// The Poisson bootstrap on buckets, each a pair [numerator, denominator].
pub fn poisson_bootstrap(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let statistic = if inputs.flag_or("relative", false)? {
        bootstrap::Statistic::RelativeLift
    } else {
        bootstrap::Statistic::Difference
    };
    let how = bootstrap::Resampling {
        statistic,
        alpha: inputs.rate_or("alpha", 0.05)?,
        replicates: inputs.count_or("replicates", 2_000)?,
        seed: inputs.count_or("seed", 0)?,
    };
    let (control, treatment) = (buckets(inputs, "control")?, buckets(inputs, "treatment")?);
    let answer = bootstrap::poisson(&control, &treatment, how)?;
    let units = ArmUnits {
        control: control.len() as u64,
        treatment: treatment.len() as u64,
    };
    let named = Estimate {
        standard_error: Some(answer.standard_error),
        interval: Some(answer.interval),
        assumptions: &[
            "buckets are independent of each other and hold whole units",
            "enough buckets that their resampling resembles new data",
        ],
        ..Estimate::empty("poisson_bootstrap", units)
    };
    let result = json!({
        "estimate": number(answer.estimate),
        "se": number(answer.standard_error),
        "ci95": pair(answer.interval),
        "replicates": answer.replicates,
        "warnings": answer.warnings,
    });
    Ok(completed(result, &named))
}

/// A list of buckets, each as numerator and denominator.
pub fn buckets(inputs: &Inputs<'_>, field: &str) -> Result<Vec<bootstrap::Bucket>, StatsError> {
    let pairs = inputs.list(field)?.iter().map(|pair| {
        let part = |index: usize| pair.get(index).and_then(Value::as_f64);
        match (part(0), part(1)) {
            (Some(numerator), Some(denominator)) => Ok(bootstrap::Bucket {
                numerator,
                denominator,
            }),
            _ => Err(StatsError::invalid(field, "must be a list of pairs of numbers")),
        }
    });
    pairs.collect()
}
