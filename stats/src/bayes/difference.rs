//! The difference of two arms as one answer: mean, spread, credible interval, chances and expected losses.

use super::arms::{compare_pair, difference_quantile};
use super::effect::EffectPosterior;
use super::posterior::Posterior;
use crate::error::{StatsError, check_rate};
use crate::estimate::{ArmUnits, Belief, Estimate, Interval};
use crate::special::normal;

/// What a posterior rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "units are independent of each other and follow the family that was named",
    "the prior was chosen before the data were seen",
    "a posterior holds no error rate over repeated looks and is not corrected for many comparisons",
];

/// Treatment minus control with a credible interval of level 1 − `alpha`; both posteriors are of one kind.
///
/// Posteriors are taken as independent. A spread that is not finite is absent.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range or the kinds differ; [`StatsError::NotConverged`] or
/// [`StatsError::NoSolution`] when the interval lies too far out to be found.
pub fn difference(
    control: &Posterior,
    treatment: &Posterior,
    units: ArmUnits,
    alpha: f64,
) -> Result<Estimate, StatsError> {
    check_rate("alpha", alpha)?;
    let pair = compare_pair(control, treatment)?;
    let ends = [0.5 * alpha, 1.0 - 0.5 * alpha].map(|p| match near_normal(control, treatment) {
        Some(cumulants) => Ok(cumulants.quantile(p)),
        None => difference_quantile(control, treatment, p),
    });
    let [lower, upper] = ends;
    let spread = control.standard_deviation().hypot(treatment.standard_deviation());
    let mean = treatment.mean() - control.mean();
    Ok(Estimate {
        estimate: mean.is_finite().then_some(mean),
        standard_error: spread.is_finite().then_some(spread),
        interval: Some(Interval::new(lower?, upper?, 1.0 - alpha)),
        posterior: Some(Belief {
            chance_to_win: pair.treatment_better,
            chance_to_lose: pair.control_better,
            loss_of_control: pair.loss_of_control,
            loss_of_treatment: pair.loss_of_treatment,
        }),
        assumptions: ASSUMPTIONS,
        ..Estimate::empty(method_of(control), units)
    })
}

/// The posterior of an effect, known in closed form, as such an answer.
pub fn of_effect(effect: &EffectPosterior, units: ArmUnits) -> Estimate {
    Estimate {
        estimate: Some(effect.mean),
        standard_error: Some(effect.sd),
        interval: Some(effect.interval),
        posterior: Some(Belief {
            chance_to_win: effect.chance_to_win,
            chance_to_lose: 10.0_f64.powf(effect.log10_chance_worse),
            loss_of_control: effect.loss_of_control,
            loss_of_treatment: effect.loss_of_treatment,
        }),
        assumptions: ASSUMPTIONS,
        ..Estimate::empty("normal_normal", units)
    }
}

/// The first four cumulants of a difference, its skewness and excess relative to its spread.
#[derive(Debug, Clone, Copy)]
struct Cumulants {
    mean: f64,
    sd: f64,
    skewness: f64,
    excess: f64,
}

/// A difference no more skewed than this has its quantiles from four cumulants to some 10⁻⁸ of its spread.
const NEARLY_SYMMETRIC: f64 = 2e-3;

/// The same for its excess: that of a million units.
const NEARLY_MESOKURTIC: f64 = 1e-5;

/// The cumulants of a difference that is so near to normal that nothing more is needed: from millions of units on.
fn near_normal(control: &Posterior, treatment: &Posterior) -> Option<Cumulants> {
    let (left, right) = (cumulants(control)?, cumulants(treatment)?);
    let sd = left.sd.hypot(right.sd);
    let (u, v) = (left.sd / sd, right.sd / sd);
    let difference = Cumulants {
        mean: right.mean - left.mean,
        sd,
        skewness: right.skewness * v.powi(3) - left.skewness * u.powi(3),
        excess: right.excess * v.powi(4) + left.excess * u.powi(4),
    };
    // What each arm adds counts, so that two arms do not hide each other's skewness.
    let skewness = (left.skewness * u.powi(3))
        .abs()
        .max((right.skewness * v.powi(3)).abs());
    let excess = (left.excess * u.powi(4))
        .abs()
        .max((right.excess * v.powi(4)).abs());
    (skewness <= NEARLY_SYMMETRIC && excess <= NEARLY_MESOKURTIC).then_some(difference)
}

/// The cumulants of an arm whose family has them in closed form.
fn cumulants(arm: &Posterior) -> Option<Cumulants> {
    let (skewness, excess) = match arm {
        Posterior::Beta { a, b } => {
            let n = a + b;
            let skewness = 2.0 * (b - a) * (n + 1.0).sqrt() / ((n + 2.0) * (a * b).sqrt());
            let top = (a - b).powi(2) * (n + 1.0) - a * b * (n + 2.0);
            (skewness, 6.0 * top / (a * b * (n + 2.0) * (n + 3.0)))
        }
        Posterior::Gamma { shape, .. } => (2.0 / shape.sqrt(), 6.0 / shape),
        Posterior::Normal { .. } => (0.0, 0.0),
        Posterior::LogMixture { .. } => return None,
    };
    let found = Cumulants {
        mean: arm.mean(),
        sd: arm.standard_deviation(),
        skewness,
        excess,
    };
    (found.sd > 0.0 && skewness.is_finite() && excess.is_finite()).then_some(found)
}

impl Cumulants {
    /// The expansion of Cornish and Fisher (1938).
    fn quantile(&self, p: f64) -> f64 {
        let z = normal::quantile(p);
        let (s, k) = (self.skewness, self.excess);
        let moved = z + s * (z * z - 1.0) / 6.0 + k * (z * z - 3.0) * z / 24.0
            - s * s * (2.0 * z * z - 5.0) * z / 36.0;
        self.mean + self.sd * moved
    }
}

fn method_of(arm: &Posterior) -> &'static str {
    match arm {
        Posterior::Beta { .. } => "beta_binomial",
        Posterior::Normal { .. } => "normal_normal",
        Posterior::Gamma { .. } => "gamma_poisson",
        Posterior::LogMixture { .. } => "log_normal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bayes::effect::{EffectPrior, posterior};

    const UNITS: ArmUnits = ArmUnits {
        control: 10,
        treatment: 10,
    };

    #[test]
    fn normal_arms_and_their_effect_are_one_answer() {
        // What must never change: quadrature over two arms and the closed form of their difference agree.
        let arm = |mean: f64, sd: f64| Posterior::Normal { mean, sd };
        let arms = difference(&arm(1.0, 0.3), &arm(1.5, 0.4), UNITS, 0.1).unwrap();
        let closed = of_effect(&posterior(0.5, 0.5, EffectPrior::Flat, 0.1).unwrap(), UNITS);
        let near = |left: f64, right: f64| assert!((left - right).abs() < 1e-9, "{left} {right}");
        near(arms.estimate.unwrap(), closed.estimate.unwrap());
        near(arms.standard_error.unwrap(), closed.standard_error.unwrap());
        let ends = |answer: &Estimate| answer.interval.map(|interval| (interval.lower, interval.upper));
        let ((low, high), (lower, upper)) = (ends(&arms).unwrap(), ends(&closed).unwrap());
        near(low.unwrap(), lower.unwrap());
        near(high.unwrap(), upper.unwrap());
        let (one, other) = (arms.posterior.unwrap(), closed.posterior.unwrap());
        near(one.chance_to_win, other.chance_to_win);
        near(one.chance_to_lose, other.chance_to_lose);
        near(one.loss_of_control, other.loss_of_control);
        near(one.loss_of_treatment, other.loss_of_treatment);
    }

    #[test]
    fn spreads_are_those_of_the_distributions() {
        // Textbook values; the mixture is one log-normal with mean e^0.5 and variance (e − 1)·e.
        let beta = Posterior::Beta { a: 2.0, b: 3.0 };
        let gamma = Posterior::Gamma {
            shape: 4.0,
            rate: 2.0,
        };
        let part = super::super::posterior::NormalPart {
            weight: 1.0,
            mean: 0.0,
            sd: 1.0,
        };
        let mixture = Posterior::LogMixture { parts: vec![part] };
        let e = std::f64::consts::E;
        for (arm, spread) in [(beta, 0.2), (gamma, 1.0), (mixture, ((e - 1.0) * e).sqrt())] {
            assert!((arm.standard_deviation() - spread).abs() < 1e-14, "{arm:?}");
        }
    }

    #[test]
    fn millions_of_units_need_four_cumulants_only() {
        // What must never change: the short way and the integral agree where the short way begins.
        let rate = |a: f64, b: f64| Posterior::Beta { a, b };
        let count = |shape: f64, rate: f64| Posterior::Gamma { shape, rate };
        for (control, treatment) in [
            (rate(1_000_000.0, 3_000_000.0), rate(1_002_000.0, 2_998_000.0)),
            (count(1_000_000.0, 1e4), count(1_500_000.0, 1.2e4)),
        ] {
            let cumulants = near_normal(&control, &treatment).unwrap();
            for p in [0.005, 0.025, 0.5, 0.975] {
                let exact = difference_quantile(&control, &treatment, p).unwrap();
                let gap = (cumulants.quantile(p) - exact).abs() / cumulants.sd;
                assert!(gap < 1e-7, "{p}: {gap:e}");
            }
        }
        assert!(near_normal(&rate(20.0, 80.0), &rate(30.0, 70.0)).is_none());
    }
}
