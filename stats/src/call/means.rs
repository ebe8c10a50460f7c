//! Means by name: Welch and pooled t, equivalence, post-stratification.

use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::named::{complete, completed};
use super::{number, numbers};
use crate::error::{StatsError, check_rate};
use crate::estimate::{ArmUnits, Estimate, Interval};
use crate::frequentist::contrast::{Alternative, Contrast, Question};
use crate::frequentist::sample::{PlainSums, Sample};
use crate::frequentist::{equivalence, mean, relative, stratified, winsorized};

/// The status of a result in which a part is absent, in the words of the reference cases.
pub fn status(error: &StatsError) -> &'static str {
    match error {
        StatsError::TooFewUnits { .. } => "insufficient_n",
        StatsError::BaselineNotPositive { .. } => "zero_baseline",
        other => other.code(),
    }
}

/// An interval as a pair; an absent end is infinite.
pub fn pair(interval: Interval) -> Value {
    numbers(&[
        interval.lower.unwrap_or(f64::NEG_INFINITY),
        interval.upper.unwrap_or(f64::INFINITY),
    ])
}

/// The plain sums of an arm, whose fields carry `prefix`.
pub fn sums(arm: &Inputs<'_>, prefix: &str) -> Result<PlainSums, StatsError> {
    Ok(PlainSums {
        n: arm.count("n")?,
        sum: arm.finite(&format!("{prefix}sum"))?,
        sum_squares: arm.not_negative(&format!("{prefix}sum_squares"))?,
    })
}

/// An arm from sums, from moments (`n`, `mean`, `var`), or from `values`.
pub fn sample(arm: &Inputs<'_>) -> Result<Sample, StatsError> {
    if arm.has("values") {
        return Ok(winsorized::cap(&arm.finites("values")?, winsorized::Caps::default())?.sample);
    }
    if arm.has("mean") {
        let n = arm.count("n")?;
        return Ok(Sample::from_variance(
            n,
            arm.finite("mean")?,
            arm.not_negative("var")?,
        ));
    }
    Sample::from_sums(sums(arm, "")?)
}

/// The direction that is asked about: `two_sided`, `greater` or `less`.
pub fn alternative(inputs: &Inputs<'_>) -> Result<Alternative, StatsError> {
    match inputs.raw("alternative").map(Value::as_str) {
        None | Some(Some("two_sided")) => Ok(Alternative::TwoSided),
        Some(Some("greater")) => Ok(Alternative::Greater),
        Some(Some("less")) => Ok(Alternative::Less),
        Some(_) => Err(StatsError::invalid(
            "alternative",
            "must be two_sided, greater or less",
        )),
    }
}

/// Welch's t-test from sums.
pub fn welch(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    t_test(inputs, mean::welch_contrast, mean::welch)
}

/// The pooled t-test from sums.
pub fn pooled(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    t_test(inputs, mean::pooled_contrast, mean::pooled)
}

fn t_test(
    inputs: &Inputs<'_>,
    test: fn(&Sample, &Sample) -> Result<Contrast, StatsError>,
    whole: fn(&Sample, &Sample, Question) -> Result<Estimate, StatsError>,
) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let question = Question {
        alpha,
        alternative: alternative(inputs)?,
    };
    let control = sample(&inputs.object("control")?)?;
    let treatment = sample(&inputs.object("treatment")?)?;
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("mean_c", number(control.mean.to_f64()));
    put("mean_t", number(treatment.mean.to_f64()));
    put("var_c", number(control.raw_variance()));
    put("var_t", number(treatment.raw_variance()));
    put("diff", number(mean::difference(&control, &treatment)));
    put(
        "ill_conditioned",
        json!(control.ill_conditioned || treatment.ill_conditioned),
    );
    match test(&control, &treatment) {
        Err(error) => {
            put("status", json!(status(&error)));
            let units = ArmUnits {
                control: control.n,
                treatment: treatment.n,
            };
            complete(&mut result, &Estimate::absent("t_test", units, error));
        }
        Ok(contrast) => {
            put("status", json!("ok"));
            let p_value = contrast.p_value(Alternative::TwoSided);
            put("se", number(contrast.standard_error));
            put("t", number(contrast.statistic()));
            put("df", number(contrast.df));
            put("p_two_sided", number(p_value.p));
            put("p_greater", number(contrast.p_value(Alternative::Greater).p));
            put("p_less", number(contrast.p_value(Alternative::Less).p));
            put("log10_p", number(p_value.log10));
            let margin = contrast.margin(alpha)?;
            let interval = Interval::around(contrast.difference, margin, 1.0 - alpha);
            put("ci95", pair(interval));
            let arms = [
                mean::arm_value(&control, "control")?,
                mean::arm_value(&treatment, "treatment")?,
            ];
            match relative::delta(arms[0], arms[1], contrast.difference, alpha) {
                Ok(change) => {
                    put("rel_lift", number(change.estimate));
                    put("rel_lift_se_delta", number(change.standard_error));
                }
                Err(error) => {
                    put("rel_status", json!(status(&error)));
                }
            }
            complete(&mut result, &whole(&control, &treatment, question)?);
        }
    }
    Ok(Value::Object(result))
}

/// Equivalence and non-inferiority of two means with equal variances given.
pub fn tost(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (alpha, margin) = (inputs.rate_or("alpha", 0.05)?, inputs.positive("margin")?);
    let variance = inputs.not_negative("var_each")?;
    let arm = |field: &str, mean: f64| {
        Ok::<_, StatsError>(Sample::from_variance(inputs.count(field)?, mean, variance))
    };
    let difference = inputs.finite("diff")?;
    let contrast = mean::welch_contrast(&arm("n_control", 0.0)?, &arm("n_treatment", difference)?)?;
    let answer = equivalence::tost(&contrast, margin, alpha)?;
    let one_sided = |better| equivalence::non_inferiority(&contrast, margin, alpha, better);
    let named = Estimate {
        interval: Some(answer.interval),
        p_value: Some(answer.p_value.p),
        log10_p: Some(answer.p_value.log10),
        assumptions: mean::ASSUMPTIONS,
        ..contrast.estimate("tost", Question::two_sided(2.0 * alpha.min(0.499_999)))?
    };
    let result = json!({
        "se": number(contrast.standard_error),
        "df": number(contrast.df),
        "t_lower": number(answer.t_lower),
        "t_upper": number(answer.t_upper),
        "p_lower": number(answer.p_lower.p),
        "p_upper": number(answer.p_upper.p),
        "p_tost": number(answer.p_value.p),
        "equivalent": answer.equivalent,
        "p_noninferior_higher_is_better": number(one_sided(Alternative::Greater)?.p_value.p),
        "p_noninferior_lower_is_better": number(one_sided(Alternative::Less)?.p_value.p),
        "ci90": pair(answer.interval),
    });
    Ok(completed(result, &named))
}

/// Differences within strata, weighted.
pub fn post_stratified(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = check_rate("alpha", inputs.rate_or("alpha", 0.05)?)?;
    let mut strata = Vec::new();
    for stratum in inputs.objects("strata")? {
        strata.push(stratified::Stratum {
            control: sample(&stratum.object("control")?)?,
            treatment: sample(&stratum.object("treatment")?)?,
            weight: stratum
                .has("weight")
                .then(|| stratum.not_negative("weight"))
                .transpose()?,
        });
    }
    contrast_result(&stratified::contrast(&strata)?, alpha, Origin::PostStratified)
}

/// Winsorized means with caps given or at quantiles of both arms together.
pub fn winsorized_means(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let (control, treatment) = (inputs.finites("control")?, inputs.finites("treatment")?);
    let caps = if inputs.has("lower_cap") || inputs.has("upper_cap") {
        winsorized::Caps {
            lower: inputs
                .has("lower_cap")
                .then(|| inputs.finite("lower_cap"))
                .transpose()?,
            upper: inputs
                .has("upper_cap")
                .then(|| inputs.finite("upper_cap"))
                .transpose()?,
        }
    } else {
        let lower = inputs.finite_or("lower_quantile", 0.0)?;
        winsorized::caps_at(
            &control,
            &treatment,
            lower,
            inputs.finite_or("upper_quantile", 0.999)?,
        )?
    };
    let (left, right) = (
        winsorized::cap(&control, caps)?,
        winsorized::cap(&treatment, caps)?,
    );
    let mut result = contrast_result(
        &mean::welch_contrast(&left.sample, &right.sample)?,
        alpha,
        Origin::Winsorized,
    )?;
    result["caps"] = json!(caps);
    result["mean_c"] = number(left.sample.mean.to_f64());
    result["mean_t"] = number(right.sample.mean.to_f64());
    result["moved_control"] = json!(left.moved);
    result["moved_treatment"] = json!(right.moved);
    Ok(result)
}

/// The method behind a contrast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Differences within strata.
    PostStratified,
    /// Means of capped values.
    Winsorized,
    /// Means or ratios adjusted for covariates.
    Adjusted,
    /// Quantiles.
    Quantiles,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::PostStratified => "post_stratified",
            Self::Winsorized => "winsorized_means",
            Self::Adjusted => "cuped",
            Self::Quantiles => "quantile_difference",
        }
    }

    fn assumptions(self) -> &'static [&'static str] {
        match self {
            Self::PostStratified => &[
                "a unit's stratum was known before exposure and cannot be touched by the treatment",
                "each stratum's means are nearly normal",
                "looked at once, when the planned number of units is reached",
            ],
            Self::Winsorized => &[
                "the caps were chosen before the arms were compared, or from both arms together",
                "the effect is that on the capped values",
                "looked at once, when the planned number of units is reached",
            ],
            Self::Adjusted => crate::frequentist::cuped::ASSUMPTIONS,
            Self::Quantiles => &[
                "values are independent of each other",
                "enough values on both sides of the quantile for a normal limit",
                "looked at once, when the planned number of units is reached",
            ],
        }
    }
}

/// A contrast as an object.
pub fn contrast_result(contrast: &Contrast, alpha: f64, origin: Origin) -> Result<Value, StatsError> {
    let p_value = contrast.p_value(Alternative::TwoSided);
    let result = json!({
        "diff": number(contrast.difference),
        "se": number(contrast.standard_error),
        "t": number(contrast.statistic()),
        "df": number(contrast.df),
        "p_two_sided": number(p_value.p),
        "log10_p": number(p_value.log10),
        "ci95": pair(Interval::around(contrast.difference, contrast.margin(alpha)?, 1.0 - alpha)),
    });
    let named = Estimate {
        assumptions: origin.assumptions(),
        ..contrast.estimate(origin.name(), Question::two_sided(alpha))?
    };
    Ok(completed(result, &named))
}
