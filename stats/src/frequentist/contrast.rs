//! The difference of two independent estimates: standard error, test statistic, p-values, interval.

use serde::Serialize;

use crate::error::{StatsError, check_rate};
use crate::estimate::{ArmUnits, Estimate, Interval, PValue, known};
use crate::special::student_t;

/// What is computed of Student's t distribution.
pub(crate) const TAIL: &str = "the tail of Student's t distribution";

/// Which way an effect would be news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// Either way.
    #[default]
    TwoSided,
    /// The treatment is greater.
    Greater,
    /// The treatment is less.
    Less,
}

/// What is asked of a test: an error rate and a direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// The error rate, between 0 and 1; intervals have the level 1 − alpha.
    pub alpha: f64,
    /// The direction; one-sided intervals have one end.
    pub alternative: Alternative,
}

impl Question {
    /// The two-sided question at an error rate.
    pub fn two_sided(alpha: f64) -> Self {
        Self {
            alpha,
            alternative: Alternative::TwoSided,
        }
    }
}

/// One arm's estimate of a mean, a rate or a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmValue {
    /// The estimate.
    pub value: f64,
    /// The variance of the estimate.
    pub variance: f64,
    /// The degrees of freedom of that variance; infinite when it is known.
    pub df: f64,
    /// The number of units behind it.
    pub units: u64,
}

/// The difference of two independent estimates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// Treatment minus control.
    pub difference: f64,
    /// The standard error of the difference, above 0.
    pub standard_error: f64,
    /// The degrees of freedom of the standard error (Welch and Satterthwaite); infinite for a normal test.
    pub df: f64,
    /// Units per arm.
    pub units: ArmUnits,
}

impl Contrast {
    /// The difference of two arms with unequal variances, its degrees of freedom after Welch (1947).
    ///
    /// # Errors
    /// [`StatsError::ZeroVariance`] when neither arm varies.
    pub fn welch(control: ArmValue, treatment: ArmValue, difference: f64) -> Result<Self, StatsError> {
        let total = control.variance + treatment.variance;
        if total.is_nan() || total <= 0.0 {
            return Err(StatsError::ZeroVariance);
        }
        // Shares of the variance instead of variances: their squares neither vanish nor overflow.
        let (left, right) = (control.variance / total, treatment.variance / total);
        Ok(Self {
            difference,
            standard_error: total.sqrt(),
            df: 1.0 / (left * left / control.df + right * right / treatment.df),
            units: ArmUnits {
                control: control.units,
                treatment: treatment.units,
            },
        })
    }

    /// The same contrast judged by the normal distribution.
    #[must_use]
    pub fn normal(self) -> Self {
        Self {
            df: f64::INFINITY,
            ..self
        }
    }

    /// The difference in standard errors.
    pub fn statistic(&self) -> f64 {
        self.difference / self.standard_error
    }

    /// The natural logarithm of the p-value against a difference of `null`.
    pub fn ln_p_against(&self, null: f64, alternative: Alternative) -> f64 {
        let statistic = (self.difference - null) / self.standard_error;
        match alternative {
            Alternative::TwoSided => student_t::ln_two_sided(statistic, self.df),
            Alternative::Greater => student_t::ln_sf(statistic, self.df),
            Alternative::Less => student_t::ln_sf(-statistic, self.df),
        }
    }

    /// The p-value against no difference.
    pub fn p_value(&self, alternative: Alternative) -> PValue {
        PValue::from_ln(self.ln_p_against(0.0, alternative))
    }

    /// Half the width of the two-sided interval.
    ///
    /// # Errors
    /// When `alpha` is not between 0 and 1, and [`StatsError::NotConverged`] where the tail cannot be computed.
    pub fn margin(&self, alpha: f64) -> Result<f64, StatsError> {
        check_rate("alpha", alpha)?;
        known(TAIL, student_t::isf(0.5 * alpha, self.df) * self.standard_error)
    }

    /// The interval for the difference.
    ///
    /// # Errors
    /// When `alpha` is not between 0 and 1, and [`StatsError::NotConverged`] where the tail cannot be computed.
    pub fn interval(&self, question: Question) -> Result<Interval, StatsError> {
        let level = 1.0 - check_rate("alpha", question.alpha)?;
        let one_sided = || {
            known(
                TAIL,
                student_t::isf(question.alpha, self.df) * self.standard_error,
            )
        };
        Ok(match question.alternative {
            Alternative::TwoSided => Interval::around(self.difference, self.margin(question.alpha)?, level),
            Alternative::Greater => Interval::new(self.difference - one_sided()?, f64::INFINITY, level),
            Alternative::Less => Interval::new(f64::NEG_INFINITY, self.difference + one_sided()?, level),
        })
    }

    /// The whole answer.
    ///
    /// # Errors
    /// When `alpha` is not between 0 and 1, and [`StatsError::NotConverged`] where the tail cannot be computed.
    pub fn estimate(&self, method: &'static str, question: Question) -> Result<Estimate, StatsError> {
        let p_value = PValue::known(TAIL, self.ln_p_against(0.0, question.alternative))?;
        Ok(Estimate {
            estimate: Some(self.difference),
            standard_error: Some(self.standard_error),
            interval: Some(self.interval(question)?),
            p_value: Some(p_value.p),
            log10_p: Some(p_value.log10),
            ..Estimate::empty(method, self.units)
        })
    }
}
