//! From counts and summaries to posteriors.

use super::posterior::{NormalPart, Posterior};
use crate::error::{StatsError, check_finite, check_not_negative, check_positive};
use crate::special::gamma::ln_gamma;
use crate::special::quadrature;

/// The most trials: the tails of a rate take as many steps as the root of their number.
const MAX_TRIALS: f64 = 1e10;

/// The rate of successes: Beta(a + successes, b + failures). a = b = 1 is the uniform prior, a = b = ½ Jeffreys'.
///
/// # Errors
/// [`StatsError::InvalidInput`] when there are more successes than trials or the prior is not above 0.
pub fn beta_binomial(successes: u64, trials: u64, prior: [f64; 2]) -> Result<Posterior, StatsError> {
    let [a, b] = prior;
    check_positive("prior", a)?;
    check_positive("prior", b)?;
    let size = a + b + trials as f64;
    if size > MAX_TRIALS {
        return Err(StatsError::TooLarge {
            what: "the number of trials with its prior",
            size: size as u64,
            limit: MAX_TRIALS as u64,
        });
    }
    let failures = trials
        .checked_sub(successes)
        .ok_or_else(|| StatsError::invalid("successes", "must be at most the trials"))?;
    Ok(Posterior::Beta {
        a: a + successes as f64,
        b: b + failures as f64,
    })
}

/// The rate of events: Gamma(shape + events, rate + exposure). Shape ½ with a rate close to 0 is Jeffreys' prior.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn gamma_poisson(events: u64, exposure: f64, shape: f64, rate: f64) -> Result<Posterior, StatsError> {
    check_not_negative("exposure", exposure)?;
    check_positive("prior_shape", shape)?;
    check_positive("prior_rate", rate)?;
    Ok(Posterior::Gamma {
        shape: shape + events as f64,
        rate: rate + exposure,
    })
}

/// A mean from its estimate with a normal prior.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn normal_mean(
    mean: f64,
    standard_error: f64,
    prior: super::effect::EffectPrior,
) -> Result<Posterior, StatsError> {
    let posterior = super::effect::posterior(mean, standard_error, prior, 0.05)?;
    Ok(Posterior::Normal {
        mean: posterior.mean,
        sd: posterior.sd,
    })
}

/// The logarithms of positive values, such as order values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogSummary {
    /// How many.
    pub n: u64,
    /// The mean of the logarithms.
    pub mean: f64,
    /// Their centred second moment Σ(ln x − mean)².
    pub m2: f64,
}

/// A normal–inverse-gamma prior on the logarithms' mean and variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogPrior {
    /// The prior mean of the logarithms.
    pub mean: f64,
    /// How many observations the prior mean counts as.
    pub weight: f64,
    /// The shape of the inverse gamma distribution of the variance.
    pub shape: f64,
    /// Its scale.
    pub scale: f64,
}

/// Points of the quadrature over the variance: two panels on either side of its mode.
const VARIANCE_PANELS: u32 = 4;

/// Standard deviations of the logarithm of the variance that are integrated over.
const VARIANCE_REACH: f64 = 9.0;

/// The mean e^(μ + σ²/2) of log-normal values, as a mixture of normals over σ² on the logarithmic scale.
///
/// Given σ², μ is normal; σ² has an inverse gamma posterior, which is integrated out by quadrature. The mean of this
/// posterior is infinite when its tail is too heavy, so compare arms by the chance to win and not by expected loss
/// unless n is large.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn log_normal_mean(values: LogSummary, prior: LogPrior) -> Result<Posterior, StatsError> {
    check_finite("mean", values.mean)?;
    check_not_negative("m2", values.m2)?;
    check_finite("prior_mean", prior.mean)?;
    check_positive("prior_weight", prior.weight)?;
    check_positive("prior_shape", prior.shape)?;
    check_positive("prior_scale", prior.scale)?;
    let n = values.n as f64;
    let weight = prior.weight + n;
    let centre = (prior.weight * prior.mean + n * values.mean) / weight;
    let shape = prior.shape + 0.5 * n;
    let gap = values.mean - prior.mean;
    let scale = prior.scale + 0.5 * values.m2 + 0.5 * prior.weight * n / weight * gap * gap;
    // With v = ln(scale/σ²) the density is that of ln Gamma(shape, 1).
    let (mode, sd) = (shape.ln(), 1.0 / shape.sqrt());
    let (low, high) = (
        mode - VARIANCE_REACH * sd.max(sd * sd),
        mode + VARIANCE_REACH * sd.min(1.0),
    );
    let half = 0.5 * (high - low) / f64::from(VARIANCE_PANELS);
    let mut parts = Vec::new();
    for panel in 0..VARIANCE_PANELS {
        let middle = low + half * f64::from(2 * panel + 1);
        for node in quadrature::legendre() {
            let v = middle + half * node.at;
            let variance = scale * (-v).exp();
            let part = NormalPart {
                weight: half * node.weight * (shape * v - v.exp() - ln_gamma(shape)).exp(),
                mean: centre + 0.5 * variance,
                sd: (variance / weight).sqrt(),
            };
            if part.weight > 1e-18 {
                parts.push(part);
            }
        }
    }
    let total: f64 = parts.iter().map(|part| part.weight).sum();
    parts.iter_mut().for_each(|part| part.weight /= total);
    let posterior = Posterior::LogMixture { parts };
    posterior.check()?;
    Ok(posterior)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bayes::arms::compare_pair;

    const PRIOR: LogPrior = LogPrior {
        mean: 0.0,
        weight: 1e-3,
        shape: 1e-3,
        scale: 1e-3,
    };

    #[test]
    fn many_log_normal_values_have_a_posterior_around_their_mean() {
        let values = LogSummary {
            n: 10_000,
            mean: 3.0,
            m2: 4_900.0,
        };
        let posterior = log_normal_mean(values, PRIOR).unwrap();
        // Large samples: ln of the mean is μ + σ²/2 = 3.245 with variance σ²/n + σ⁴/(2n).
        let middle = posterior.quantile(0.5).unwrap().ln();
        let spread = (posterior.quantile(0.975).unwrap().ln() - middle) / 1.959_964;
        assert!(
            (middle - 3.245).abs() < 1e-3
                && (spread / (0.49e-4 + 0.49 * 0.49 / 2e4_f64).sqrt() - 1.0).abs() < 0.01
        );
    }

    #[test]
    fn a_higher_log_mean_wins_and_equal_arms_tie() {
        let arm = |mean: f64| {
            log_normal_mean(
                LogSummary {
                    n: 500,
                    mean,
                    m2: 400.0,
                },
                PRIOR,
            )
            .unwrap()
        };
        assert!(compare_pair(&arm(1.0), &arm(1.3)).unwrap().treatment_better > 0.999);
        assert!((compare_pair(&arm(1.0), &arm(1.0)).unwrap().treatment_better - 0.5).abs() < 1e-9);
        for n in [0, 1, 2] {
            assert!(
                log_normal_mean(
                    LogSummary {
                        n,
                        mean: 1.0,
                        m2: 0.0
                    },
                    PRIOR
                )
                .is_ok()
                    || n == 0
            );
        }
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(beta_binomial(2, 1, [1.0, 1.0]).is_err() && beta_binomial(0, 1, [0.0, 1.0]).is_err());
        assert!(gamma_poisson(1, f64::NAN, 1.0, 1.0).is_err());
        let broken = LogSummary {
            n: 3,
            mean: f64::NAN,
            m2: 1.0,
        };
        assert!(log_normal_mean(broken, PRIOR).is_err());
    }
}
