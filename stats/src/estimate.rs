//! What every method answers with: an estimate, its interval, its evidence, and what to know about them.

use serde::Serialize;

use crate::error::StatsError;

/// An interval of confidence or credibility; a side without a bound is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end, absent when there is none.
    pub lower: Option<f64>,
    /// The upper end, absent when there is none.
    pub upper: Option<f64>,
    /// The coverage it is made for, such as 0.95.
    pub level: f64,
}

impl Interval {
    /// An interval from its ends; an end that is not finite is absent.
    pub fn new(lower: f64, upper: f64, level: f64) -> Self {
        Self {
            lower: lower.is_finite().then_some(lower),
            upper: upper.is_finite().then_some(upper),
            level,
        }
    }

    /// The interval of `estimate` ± `margin`.
    pub fn around(estimate: f64, margin: f64, level: f64) -> Self {
        Self::new(estimate - margin, estimate + margin, level)
    }

    /// Whether the whole interval lies above `value`.
    pub fn is_above(&self, value: f64) -> bool {
        self.lower.is_some_and(|lower| lower > value)
    }

    /// Whether the whole interval lies below `value`.
    pub fn is_below(&self, value: f64) -> bool {
        self.upper.is_some_and(|upper| upper < value)
    }

    /// Whether `value` lies in the interval.
    pub fn contains(&self, value: f64) -> bool {
        !self.is_above(value) && !self.is_below(value)
    }
}

/// Units in the two arms of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ArmUnits {
    /// In the control.
    pub control: u64,
    /// In the treatment.
    pub treatment: u64,
}

/// What is believed of an effect: the part of a Bayesian answer that no other method has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Belief {
    /// The chance that the effect is above 0.
    pub chance_to_win: f64,
    /// The chance that the effect is below 0, with its own digits where it is small.
    pub chance_to_lose: f64,
    /// What staying with the control is expected to cost, in the unit of the effect.
    pub loss_of_control: f64,
    /// What choosing the treatment is expected to cost, in the unit of the effect.
    pub loss_of_treatment: f64,
}

/// The answer of a method about one effect: what is absent is explained by `reason`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The method, as `docs/statistics` names it.
    pub method: &'static str,
    /// The effect, treatment minus control or treatment relative to control.
    pub estimate: Option<f64>,
    /// The standard error of the estimate.
    pub standard_error: Option<f64>,
    /// The interval, with its level.
    pub interval: Option<Interval>,
    /// The p-value against no effect; 0 only when it is smaller than the smallest positive `f64`.
    pub p_value: Option<f64>,
    /// The decimal logarithm of the p-value, exact where the p-value itself is too small to hold.
    pub log10_p: Option<f64>,
    /// The natural logarithm of the e-value against no effect, for methods that stay valid while people watch.
    pub ln_e_value: Option<f64>,
    /// What is believed of the effect, for Bayesian methods; the interval is then one of credibility.
    pub posterior: Option<Belief>,
    /// Units per arm.
    pub units: ArmUnits,
    /// What must hold for the answer to be right.
    pub assumptions: &'static [&'static str],
    /// What a reader should know about this answer in particular.
    pub warnings: Vec<String>,
    /// Why a part of the answer is absent.
    pub reason: Option<StatsError>,
}

impl Estimate {
    /// An answer with nothing in it yet.
    pub fn empty(method: &'static str, units: ArmUnits) -> Self {
        Self {
            method,
            estimate: None,
            standard_error: None,
            interval: None,
            p_value: None,
            log10_p: None,
            ln_e_value: None,
            posterior: None,
            units,
            assumptions: &[],
            warnings: Vec::new(),
            reason: None,
        }
    }

    /// An answer that is absent altogether, for `reason`.
    pub fn absent(method: &'static str, units: ArmUnits, reason: StatsError) -> Self {
        Self {
            reason: Some(reason),
            ..Self::empty(method, units)
        }
    }
}

/// A computed number, where it could be computed.
///
/// # Errors
/// [`StatsError::NotConverged`] names what is not a number.
pub fn known(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value.is_nan() {
        Err(StatsError::NotConverged { what })
    } else {
        Ok(value)
    }
}

/// A p-value with its decimal logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PValue {
    /// The p-value; 0 only below the smallest positive `f64`.
    pub p: f64,
    /// Its decimal logarithm.
    pub log10: f64,
}

impl PValue {
    /// A p-value from its natural logarithm; not a number from one that is none.
    pub fn from_ln(ln_p: f64) -> Self {
        // Not `min`, which would answer a p-value of 1 in place of no number.
        let ln_p = if ln_p > 0.0 { 0.0 } else { ln_p };
        Self {
            p: ln_p.exp(),
            log10: ln_p * std::f64::consts::LOG10_E,
        }
    }

    /// The same, where the tail that `what` names could be computed.
    ///
    /// # Errors
    /// [`StatsError::NotConverged`] for a logarithm that is not a number.
    pub fn known(what: &'static str, ln_p: f64) -> Result<Self, StatsError> {
        known(what, ln_p).map(Self::from_ln)
    }
}
