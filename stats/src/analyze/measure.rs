//! What is compared of a metric: two means, two ratios, or two means adjusted for what was known before exposure.
//!
//! The summaries say which: a metric with a denominator is a ratio, one with a covariate is adjusted. Everything after
//! this (intervals, looks, beliefs, decisions) takes the contrast that stands here and does not ask again.

use domain::results::{AnalysisPlan, MetricSummary, SecondValue};

use super::adjustment::{self, Adjustment};
use crate::error::{StatsError, check_finite};
use crate::estimate::Estimate;
use crate::frequentist::contrast::{ArmValue, Contrast, Question};
use crate::frequentist::cuped::AdjustedLift;
use crate::frequentist::sample::JointSample;
use crate::frequentist::{cuped, mean, ratio};

/// A sum of products may be larger than its factors allow by this share: rounding.
const ROUNDING: f64 = 1e-9;

/// A denominator with a larger standard error than this share of itself makes the delta method unsafe (Cochran 1977,
/// Sampling Techniques, section 6.4: coefficients of variation below 10 %).
const SAFE_DENOMINATOR: f64 = 0.1;

/// What is compared of a metric in two arms.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The method by name.
    method: &'static str,
    /// Treatment minus control.
    pub contrast: Contrast,
    /// The control's mean or ratio, without adjustment.
    pub control: ArmValue,
    /// The treatment's mean or ratio, without adjustment.
    pub treatment: ArmValue,
    /// What lifts are, where they are adjusted; absent without adjustment, and for a control of 0.
    pub lift: Option<AdjustedLift>,
    /// What became of the covariate, where there is one.
    pub adjustment: Option<Adjustment>,
}

impl Measured {
    /// The test for one look.
    ///
    /// # Errors
    /// When alpha does not lie between 0 and 1.
    pub fn estimate(&self, question: Question) -> Result<Estimate, StatsError> {
        Ok(Estimate {
            assumptions: self.assumptions(),
            warnings: mean::few_units(self.contrast.units).into_iter().collect(),
            ..self.contrast.estimate(self.method, question)?
        })
    }

    /// What the test for one look rests on.
    pub fn assumptions(&self) -> &'static [&'static str] {
        match self.method {
            "ratio_delta" => ratio::ASSUMPTIONS,
            "cuped" => cuped::ASSUMPTIONS,
            _ => mean::ASSUMPTIONS,
        }
    }

    /// Whether the effect is adjusted for a covariate.
    pub fn is_adjusted(&self) -> bool {
        self.adjustment
            .as_ref()
            .is_some_and(|adjustment| adjustment.applied)
    }

    /// The share of the difference's variance that adjustment has left.
    pub fn variance_left(&self) -> f64 {
        let gone = self.adjustment.as_ref().and_then(|made| made.variance_reduction);
        1.0 - gone.unwrap_or(0.0)
    }
}

/// What is compared of a metric between the control and a variant.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two users in an arm, [`StatsError::ZeroVariance`] when neither arm varies,
/// [`StatsError::UndefinedDenominator`] for a ratio over 0, [`StatsError::NegativeVariance`] for moments that contradict
/// each other, [`StatsError::InvalidInput`] for a denominator that is not known of every user.
pub fn measure(
    plan: &AnalysisPlan,
    control: &MetricSummary,
    treatment: &MetricSummary,
) -> Result<Measured, StatsError> {
    if is_ratio(control) || is_ratio(treatment) {
        return ratios(control, treatment);
    }
    let (left, right) = (control.moments.into(), treatment.moments.into());
    let plain = Measured {
        method: "welch_t",
        contrast: mean::welch_contrast(&left, &right)?,
        control: mean::arm_value(&left, "control")?,
        treatment: mean::arm_value(&right, "treatment")?,
        lift: None,
        adjustment: None,
    };
    if control.pair.is_none() && treatment.pair.is_none() {
        return Ok(plain);
    }
    Ok(with_covariate(plan, &plain, control, treatment))
}

/// Whether a metric is a ratio of two values of a user.
pub fn is_ratio(summary: &MetricSummary) -> bool {
    summary
        .pair
        .is_some_and(|pair| pair.value == SecondValue::Denominator)
}

/// Both values of an arm's users.
///
/// # Errors
/// [`StatsError::InvalidInput`] without a second value, or with one that is not known of every user,
/// [`StatsError::NegativeVariance`] for moments that contradict each other.
pub fn joint(summary: &MetricSummary, value: SecondValue) -> Result<JointSample, StatsError> {
    let name = match value {
        SecondValue::Denominator => "the denominator",
        SecondValue::Covariate => "the covariate",
    };
    let pair = summary
        .pair
        .filter(|pair| pair.value == value)
        .ok_or_else(|| StatsError::invalid(name, "is not known in both arms"))?;
    if pair.moments.n != summary.moments.n {
        return Err(StatsError::invalid(name, "is not known of every user"));
    }
    check_finite(name, pair.moments.mean)?;
    check_finite(name, pair.cross)?;
    let most = summary.moments.m2.sqrt() * pair.moments.m2.sqrt();
    // Moments below 0, and a covariance beyond what the variances allow (Cauchy and Schwarz).
    if most.is_nan() || pair.cross.abs() > most * (1.0 + ROUNDING) {
        return Err(StatsError::NegativeVariance {
            field: name.to_owned(),
        });
    }
    Ok(JointSample {
        x: summary.moments.into(),
        y: pair.moments.into(),
        cross: pair.cross,
    })
}

/// Why a ratio should not be decided on, where its denominator is too noisy.
pub fn noisy_denominator(control: &MetricSummary, treatment: &MetricSummary) -> Option<String> {
    let is_noisy = |summary: &MetricSummary| {
        let Some(pair) = summary.pair.filter(|_| is_ratio(summary)) else {
            return false;
        };
        let variance = pair.moments.variance().unwrap_or(0.0);
        let noise = (variance / pair.moments.n.max(1) as f64).sqrt();
        noise > SAFE_DENOMINATOR * pair.moments.mean.abs()
    };
    (is_noisy(control) || is_noisy(treatment)).then(|| {
        "the denominator of an arm has a standard error above a tenth of itself: too noisy to decide on a ratio"
            .to_owned()
    })
}

fn ratios(control: &MetricSummary, treatment: &MetricSummary) -> Result<Measured, StatsError> {
    let left = joint(control, SecondValue::Denominator)?;
    let right = joint(treatment, SecondValue::Denominator)?;
    Ok(Measured {
        method: "ratio_delta",
        contrast: ratio::contrast(&left, &right)?,
        control: ratio::arm_ratio(&left, "control")?.arm,
        treatment: ratio::arm_ratio(&right, "treatment")?.arm,
        lift: None,
        adjustment: None,
    })
}

/// The adjusted comparison where the covariate allows it, else the plain one with the reason.
fn with_covariate(
    plan: &AnalysisPlan,
    plain: &Measured,
    control: &MetricSummary,
    treatment: &MetricSummary,
) -> Measured {
    let unadjusted = plain
        .estimate(Question::two_sided(plan.alpha))
        .unwrap_or_else(|reason| Estimate::absent(plain.method, plain.contrast.units, reason));
    let arms = joint(control, SecondValue::Covariate)
        .and_then(|left| Ok([left, joint(treatment, SecondValue::Covariate)?]));
    let arms = match arms {
        Ok(arms) => arms,
        Err(reason) => {
            return Measured {
                adjustment: Some(Adjustment::not_applied(unadjusted, reason)),
                ..plain.clone()
            };
        }
    };
    let [left, right] = &arms;
    let gap = adjustment::gap(plan, &left.y, &right.y);
    let adjusted = adjustment::adjusted(left, right);
    match adjusted {
        Ok((adjusted, contrast)) => Measured {
            method: "cuped",
            lift: adjusted.lift,
            adjustment: Some(Adjustment::applied(unadjusted, &adjusted, gap)),
            contrast,
            ..plain.clone()
        },
        Err(reason) => Measured {
            adjustment: Some(Adjustment {
                balance: gap,
                ..Adjustment::not_applied(unadjusted, reason)
            }),
            ..plain.clone()
        },
    }
}

#[cfg(test)]
mod tests;
