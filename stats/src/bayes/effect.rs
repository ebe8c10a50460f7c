//! A normal prior on an effect and a normal estimate of it: everything in closed form.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::estimate::Interval;
use crate::special::normal;

/// The prior of an effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EffectPrior {
    /// Every effect is as likely as any other.
    Flat,
    /// Effects are normal around `mean`.
    Normal {
        /// The centre.
        mean: f64,
        /// The variance, above 0.
        variance: f64,
    },
}

/// The posterior of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EffectPosterior {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
    /// The chance that the effect is above 0.
    pub chance_to_win: f64,
    /// The decimal logarithm of the chance that the effect is below 0.
    pub log10_chance_worse: f64,
    /// The equal-tailed credible interval.
    pub interval: Interval,
    /// What staying with the control is expected to cost: the mean of the effect where it is above 0.
    pub loss_of_control: f64,
    /// What choosing the treatment is expected to cost: the mean of minus the effect where it is below 0.
    pub loss_of_treatment: f64,
}

/// The posterior of an effect from its estimate and standard error, with a credible interval of level 1 − `alpha`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn posterior(
    estimate: f64,
    standard_error: f64,
    prior: EffectPrior,
    alpha: f64,
) -> Result<EffectPosterior, StatsError> {
    check_finite("effect", estimate)?;
    check_positive("se", standard_error)?;
    check_rate("alpha", alpha)?;
    let (mean, sd) = match prior {
        EffectPrior::Flat => (estimate, standard_error),
        EffectPrior::Normal { mean, variance } => {
            check_finite("prior_mean", mean)?;
            check_positive("prior_var", variance)?;
            let (squared, total) = (
                standard_error * standard_error,
                variance + standard_error * standard_error,
            );
            (
                estimate * (variance / total) + mean * (squared / total),
                (variance / total).sqrt() * standard_error,
            )
        }
    };
    let z = mean / sd;
    Ok(EffectPosterior {
        mean,
        sd,
        chance_to_win: normal::cdf(z),
        log10_chance_worse: normal::ln_sf(z) * std::f64::consts::LOG10_E,
        interval: Interval::around(mean, normal::isf(alpha / 2.0) * sd, 1.0 - alpha),
        loss_of_control: sd * mean_excess(z),
        loss_of_treatment: sd * mean_excess(-z),
    })
}

/// The chance that the effect lies between `low` and `high`: the region of practical equivalence.
pub fn chance_between(posterior: &EffectPosterior, low: f64, high: f64) -> f64 {
    normal::ln_between(
        (low - posterior.mean) / posterior.sd,
        (high - posterior.mean) / posterior.sd,
    )
    .exp()
}

/// The mean of max(Z + z, 0) for a standard normal Z: φ(z) + z·Φ(z).
fn mean_excess(z: f64) -> f64 {
    /// Below this the two terms cancel, and a series of the quotient takes over.
    const FAR: f64 = -12.0;
    if z > FAR {
        return (normal::pdf(z) + z * normal::cdf(z)).max(0.0);
    }
    let y = 1.0 / (z * z);
    normal::pdf(z) * y * (1.0 - y * (3.0 - y * (15.0 - y * (105.0 - y * 945.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_prior_is_the_limit_of_a_wide_one() {
        let flat = posterior(0.3, 0.2, EffectPrior::Flat, 0.05).unwrap();
        let wide = posterior(
            0.3,
            0.2,
            EffectPrior::Normal {
                mean: 5.0,
                variance: 1e12,
            },
            0.05,
        )
        .unwrap();
        assert!(
            (flat.mean - wide.mean).abs() < 1e-9
                && (flat.loss_of_control - wide.loss_of_control).abs() < 1e-9
        );
    }

    #[test]
    fn losses_differ_by_the_mean_and_mirror_with_the_sign() {
        for effect in [0.0, 1e-3, 2.0, -30.0, 300.0] {
            let up = posterior(effect, 0.7, EffectPrior::Flat, 0.1).unwrap();
            let down = posterior(-effect, 0.7, EffectPrior::Flat, 0.1).unwrap();
            assert!(
                (up.loss_of_control - up.loss_of_treatment - effect).abs() < 1e-12 * effect.abs().max(1.0)
            );
            assert!((up.loss_of_control - down.loss_of_treatment).abs() < 1e-15);
        }
        let [before, after] = [-11.999_9, -12.000_1].map(mean_excess);
        assert!((before / after - 1.0).abs() < 5e-3, "{before} {after}");
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(posterior(f64::NAN, 1.0, EffectPrior::Flat, 0.05).is_err());
        assert!(posterior(0.0, 0.0, EffectPrior::Flat, 0.05).is_err());
        assert!(
            posterior(
                0.0,
                1.0,
                EffectPrior::Normal {
                    mean: 0.0,
                    variance: 0.0
                },
                0.05
            )
            .is_err()
        );
        let answer = posterior(0.1, 1.0, EffectPrior::Flat, 0.05).unwrap();
        assert!((chance_between(&answer, f64::NEG_INFINITY, f64::INFINITY) - 1.0).abs() < 1e-12);
    }
}
