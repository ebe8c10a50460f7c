//! What is measured: the value of one unit, its variance, and how far it can move.

use crate::error::{StatsError, check_finite, check_not_negative, check_positive, check_rate};

/// The moments of a ratio metric's parts over units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioMoments {
    /// The mean of the numerator.
    pub numerator_mean: f64,
    /// Its standard deviation.
    pub numerator_sd: f64,
    /// The mean of the denominator.
    pub denominator_mean: f64,
    /// Its standard deviation.
    pub denominator_sd: f64,
    /// The correlation of the two.
    pub correlation: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// The share of units with an event.
    Proportion {
        /// The control's share.
        baseline: f64,
    },
    /// The mean of a value.
    Mean {
        /// The standard deviation over units.
        sd: f64,
        /// The control's mean, if effects are to be told relative to it.
        baseline: Option<f64>,
    },
    /// A sum over units divided by another, by the delta method.
    Ratio(RatioMoments),
    /// Events per unit of exposure.
    Count {
        /// The control's rate.
        baseline: f64,
        /// The exposure of one unit.
        exposure: f64,
        /// The variance of a unit's count over its mean: 1 for Poisson counts, more when units differ.
        dispersion: f64,
    },
}

/// One arm of a comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    /// Its share of all units.
    pub share: f64,
}

/// Variances of a difference, times the number of all units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// With each arm's own variance.
    pub true_variance: f64,
    /// As a test of no effect takes it, with the variance at the common rate.
    pub null_variance: f64,
}

impl Metric {
    pub(super) fn check(&self) -> Result<(), StatsError> {
        match self {
            Self::Proportion { baseline } => check_rate("baseline", *baseline).map(drop),
            Self::Mean { sd, baseline } => {
                check_positive("sd", *sd)?;
                check_finite("baseline", baseline.unwrap_or(0.0)).map(drop)
            }
            Self::Ratio(moments) => moments.check(),
            Self::Count {
                baseline,
                exposure,
                dispersion,
            } => {
                check_positive("baseline", *baseline)?;
                check_positive("exposure", *exposure)?;
                check_positive("dispersion", *dispersion).map(drop)
            }
        }
    }

    /// The control's value, where it is known.
    pub fn baseline(&self) -> Option<f64> {
        match self {
            Self::Proportion { baseline } | Self::Count { baseline, .. } => Some(*baseline),
            Self::Mean { baseline, .. } => *baseline,
            Self::Ratio(moments) => Some(moments.ratio()),
        }
    }

    /// How far the treatment can be from the control in a direction, 1 or −1.
    pub(super) fn room(&self, sign: f64) -> f64 {
        match self {
            Self::Proportion { baseline } if sign > 0.0 => 1.0 - baseline,
            Self::Proportion { baseline } => *baseline,
            Self::Count { baseline, .. } if sign < 0.0 => *baseline,
            _ => f64::INFINITY,
        }
    }

    /// The variances of both arms where an effect does not change them.
    pub(super) fn constant_variances(&self) -> Option<[f64; 2]> {
        match self {
            Self::Mean { sd, .. } => Some([sd * sd; 2]),
            Self::Ratio(moments) => Some([moments.variance(); 2]),
            Self::Proportion { .. } | Self::Count { .. } => None,
        }
    }

    /// The variance of treatment minus control when they differ by `difference`.
    pub(super) fn spread(&self, difference: f64, arms: [Arm; 2]) -> Result<Spread, StatsError> {
        let [control, treatment] = arms.map(|arm| arm.share);
        let shares = 1.0 / control + 1.0 / treatment;
        if let Some([left, right]) = self.constant_variances() {
            let variance = left / control + right / treatment;
            return Ok(Spread {
                true_variance: variance,
                null_variance: variance,
            });
        }
        let baseline = self.baseline().unwrap_or(f64::NAN);
        let moved = baseline + difference;
        if !(moved > 0.0 && (moved < 1.0 || !matches!(self, Self::Proportion { .. }))) {
            return Err(StatsError::invalid(
                "effect",
                match self {
                    Self::Proportion { .. } => "must leave the treatment's rate between 0 and 1",
                    _ => "must leave the treatment's rate above 0",
                },
            ));
        }
        let common = (control * baseline + treatment * moved) / (control + treatment);
        Ok(Spread {
            true_variance: self.variance_at(baseline) / control + self.variance_at(moved) / treatment,
            null_variance: self.variance_at(common) * shares,
        })
    }

    fn variance_at(&self, value: f64) -> f64 {
        match self {
            Self::Proportion { .. } => value * (1.0 - value),
            Self::Count {
                exposure, dispersion, ..
            } => value * dispersion / exposure,
            Self::Mean { sd, .. } => sd * sd,
            Self::Ratio(moments) => moments.variance(),
        }
    }

    /// How often the rarer outcome is seen in a unit; absent for metrics that do not count.
    pub(super) fn events_per_unit(&self, difference: f64) -> Option<f64> {
        match self {
            Self::Proportion { baseline } => {
                let moved = baseline + difference;
                Some(baseline.min(1.0 - baseline).min(moved.min(1.0 - moved)))
            }
            Self::Count {
                baseline, exposure, ..
            } => Some(exposure * baseline.min(baseline + difference)),
            Self::Mean { .. } | Self::Ratio(_) => None,
        }
    }

    /// What is taken for granted about the metric.
    pub(super) fn assumption(&self) -> String {
        match self {
            Self::Proportion { baseline } => format!(
                "{baseline} of the control's units have an event; the z-test uses the pooled rate for superiority"
            ),
            Self::Mean { sd, .. } => format!("the standard deviation is {sd} in every arm"),
            Self::Ratio(moments) => format!(
                "by the delta method one unit's ratio has the standard deviation {:.6} in every arm",
                moments.variance().sqrt()
            ),
            Self::Count {
                exposure, dispersion, ..
            } => format!(
                "a unit is exposed for {exposure}, and the variance of its count is {dispersion} times the mean"
            ),
        }
    }
}

impl RatioMoments {
    fn check(&self) -> Result<(), StatsError> {
        check_finite("numerator_mean", self.numerator_mean)?;
        check_not_negative("numerator_sd", self.numerator_sd)?;
        check_positive("denominator_mean", self.denominator_mean)?;
        check_not_negative("denominator_sd", self.denominator_sd)?;
        if !(-1.0..=1.0).contains(&self.correlation) {
            return Err(StatsError::invalid(
                "parts_correlation",
                "must lie between -1 and 1",
            ));
        }
        if self.variance() > 0.0 {
            Ok(())
        } else {
            Err(StatsError::ZeroVariance)
        }
    }

    fn ratio(&self) -> f64 {
        self.numerator_mean / self.denominator_mean
    }

    /// The variance of one unit's linearised ratio (Deng, Knoblich and Lu 2018).
    fn variance(&self) -> f64 {
        let moved = self.ratio() * self.denominator_sd;
        let squares = self.numerator_sd * self.numerator_sd + moved * moved
            - 2.0 * self.correlation * self.numerator_sd * moved;
        squares.max(0.0) / (self.denominator_mean * self.denominator_mean)
    }
}
