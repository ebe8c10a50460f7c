//! The difference of two arms as one answer: mean, spread, credible interval, chances and expected losses.

use super::arms::{compare_pair, difference_quantile};
use super::effect::EffectPosterior;
use super::posterior::Posterior;
use crate::error::{StatsError, check_rate};
use crate::estimate::{ArmUnits, Belief, Estimate, Interval};

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
    let ends = [0.5 * alpha, 1.0 - 0.5 * alpha].map(|p| difference_quantile(control, treatment, p));
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
}
