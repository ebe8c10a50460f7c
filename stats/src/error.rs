//! Why a number cannot be given: the one error of this crate.
//!
//! Every variant is a reason a reader can act on. The same value is an error where a whole method fails, and a
//! `reason` inside a result where only a part of it is absent.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Why a method, or a part of its result, has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// The values do not vary, so that there is no scale to judge a difference by.
    #[error("the values have no variance")]
    ZeroVariance,
    /// A variance or an interval needs more units than there are.
    #[error("{arm} has {units} units and at least {needed} are needed")]
    TooFewUnits {
        /// The arm, group or sample.
        arm: &'static str,
        /// How many it has.
        units: u64,
        /// How many are needed.
        needed: u64,
    },
    /// A relative change needs a baseline above 0.
    #[error("a relative change needs a baseline above 0, and it is {baseline}")]
    BaselineNotPositive {
        /// The control's mean or rate.
        baseline: f64,
    },
    /// A ratio's denominator is 0, or does not differ from 0.
    #[error("the denominator of the ratio in {arm} is 0")]
    UndefinedDenominator {
        /// The arm.
        arm: &'static str,
    },
    /// The interval is the whole line or the outside of an interval: the baseline does not differ from 0.
    #[error("the baseline does not differ from 0, so that the interval of the ratio has no bounds")]
    UnboundedInterval,
    /// The sums have lost the digits that the variance is made of.
    #[error("the sums of {field} are too large against its variance to tell it from rounding")]
    IllConditioned {
        /// The value.
        field: String,
    },
    /// A sum of squares is smaller than the mean allows, or a covariance larger than the variances allow.
    #[error("the sums of {field} contradict each other: the variance they give is below 0")]
    NegativeVariance {
        /// The value.
        field: String,
    },
    /// The covariates explain each other completely.
    #[error("the covariates are collinear")]
    Collinear,
    /// No value meets the demand, such as a sample size for an effect of 0.
    #[error("{what} has no solution: {why}")]
    NoSolution {
        /// What was looked for.
        what: &'static str,
        /// Why there is none.
        why: &'static str,
    },
    /// A computation would take longer, or more memory, than this crate spends.
    #[error("{what} is {size} and at most {limit} are worked on")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A loop met its iteration limit before its tolerance.
    #[error("{what} did not converge")]
    NotConverged {
        /// What was computed.
        what: &'static str,
    },
    /// An input is missing, of the wrong type, or out of its range.
    #[error("{field} {problem}")]
    InvalidInput {
        /// The input's name.
        field: String,
        /// What is wrong with it, as the end of a sentence that starts with its name.
        problem: String,
    },
    /// No method has this name.
    #[error("there is no method {name}; the nearest are {nearest}, and `methods` lists all")]
    UnknownMethod {
        /// The name asked for.
        name: String,
        /// The nearest names.
        nearest: String,
    },
}

impl StatsError {
    /// An input error from a name and the end of the sentence.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidInput {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The reason as one word for machines; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ZeroVariance => "zero_variance",
            Self::TooFewUnits { .. } => "too_few_units",
            Self::BaselineNotPositive { .. } => "baseline_not_positive",
            Self::UndefinedDenominator { .. } => "undefined_denominator",
            Self::UnboundedInterval => "unbounded_interval",
            Self::IllConditioned { .. } => "ill_conditioned",
            Self::NegativeVariance { .. } => "negative_variance",
            Self::Collinear => "collinear",
            Self::NoSolution { .. } => "no_solution",
            Self::TooLarge { .. } => "too_large",
            Self::NotConverged { .. } => "not_converged",
            Self::InvalidInput { .. } => "invalid_input",
            Self::UnknownMethod { .. } => "unknown_method",
        }
    }
}

impl Serialize for StatsError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("StatsError", 2)?;
        object.serialize_field("code", self.code())?;
        object.serialize_field("message", &self.to_string())?;
        object.end()
    }
}

/// Whether a number is above 0; not-a-number is not.
pub fn is_positive(value: f64) -> bool {
    value > 0.0
}

/// Checks that an input is a finite number.
///
/// # Errors
/// [`StatsError::InvalidInput`] names the field.
pub fn check_finite(field: &str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::invalid(field, "must be a finite number"))
    }
}

/// Checks that an input is a finite number above 0.
///
/// # Errors
/// [`StatsError::InvalidInput`] names the field.
pub fn check_positive(field: &str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(StatsError::invalid(field, "must be a finite number above 0"))
    }
}

/// Checks that an input is a finite number of at least 0.
///
/// # Errors
/// [`StatsError::InvalidInput`] names the field.
pub fn check_not_negative(field: &str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(StatsError::invalid(
            field,
            "must be a finite number of at least 0",
        ))
    }
}

/// Checks that an input lies strictly between 0 and 1, as an error rate or a power does.
///
/// # Errors
/// [`StatsError::InvalidInput`] names the field.
pub fn check_rate(field: &str, value: f64) -> Result<f64, StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(StatsError::invalid(field, "must lie strictly between 0 and 1"))
    }
}
