//! Curved boundaries that a sum of increments crosses at any time with probability at most alpha.
//!
//! Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of
//! Statistics 2021; arXiv:1810.08240). Each mixture turns a sum `s` with accumulated variance `v` into an e-value whose
//! mean is at most 1 under the hypothesis; its boundary is the sum at which the e-value reaches 1/alpha. Stitching
//! gives a closed form with the rate of the iterated logarithm.

use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::special::beta::{Share, ln_beta, ln_beta_tails};
use crate::special::gamma::{ln_gamma, ln_gamma_tails};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// Doublings until a boundary must be bracketed: from the smallest to the largest `f64` there are 2100.
const MAX_DOUBLINGS: u32 = 2_100;

/// A mixture over effect sizes, tuned to be tightest at one accumulated variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mixture {
    /// Normal increments (or sub-Gaussian ones), deviations to both sides.
    NormalTwoSided {
        /// The precision of the mixing normal.
        rho: f64,
    },
    /// Normal increments, deviations upwards.
    NormalOneSided {
        /// The precision of the mixing half-normal.
        rho: f64,
    },
    /// Sub-exponential increments of scale `c`: upwards jumps of unbounded size.
    GammaExponential {
        /// The shape parameter of the mixing gamma distribution times c².
        rho: f64,
        /// The scale.
        c: f64,
    },
    /// Sub-Poisson increments of scale `c`: upwards jumps of at most c.
    GammaPoisson {
        /// The shape parameter of the mixing gamma distribution times c².
        rho: f64,
        /// The scale.
        c: f64,
    },
    /// Increments between −g and h, as of a success indicator minus its chance.
    BetaBinomial(BetaBinomial),
}

/// The range and the prior of a beta–binomial mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaBinomial {
    /// How far an increment can go down.
    pub g: f64,
    /// How far it can go up.
    pub h: f64,
    /// The prior's weight.
    pub r: f64,
    /// Whether only deviations upwards count.
    pub one_sided: bool,
}

/// The precision that makes the two-sided normal mixture tightest at `best_variance`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn best_rho_two_sided(best_variance: f64, alpha: f64) -> Result<f64, StatsError> {
    check_positive("v_opt", best_variance)?;
    check_rate("alpha_opt", alpha)?;
    let twice = -2.0 * alpha.ln();
    Ok(best_variance / (twice + twice.ln_1p()))
}

/// The precision that makes the one-sided mixtures tightest at `best_variance`; `alpha` lies below one half.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn best_rho_one_sided(best_variance: f64, alpha: f64) -> Result<f64, StatsError> {
    best_rho_two_sided(best_variance, 2.0 * alpha)
}

impl BetaBinomial {
    /// The mixture for increments between −g and h, tightest at `best_variance`.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when an argument is out of range.
    pub fn two_sided(best_variance: f64, alpha: f64, g: f64, h: f64) -> Result<Self, StatsError> {
        Self::tuned(best_rho_two_sided(best_variance, alpha)?, g, h, false)
    }

    /// The same for deviations upwards alone.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when an argument is out of range.
    pub fn one_sided(best_variance: f64, alpha: f64, g: f64, h: f64) -> Result<Self, StatsError> {
        Self::tuned(best_rho_one_sided(best_variance, alpha)?, g, h, true)
    }

    fn tuned(rho: f64, g: f64, h: f64, one_sided: bool) -> Result<Self, StatsError> {
        check_positive("g", g)?;
        check_positive("h", h)?;
        // The prior needs some weight however early the boundary is to be tightest.
        let r = (rho - g * h).max(1e-3 * g * h);
        Ok(Self { g, h, r, one_sided })
    }

    fn log_e(&self, s: f64, v: f64) -> f64 {
        let Self { g, h, r, .. } = *self;
        let range = g + h;
        let after = self.ln_incomplete_beta((r + v - g * s) / (g * range), (r + v + h * s) / (h * range));
        let before = self.ln_incomplete_beta(r / (g * range), r / (h * range));
        v / (g * h) * range.ln() - (v + h * s) / (h * range) * g.ln() - (v - g * s) / (g * range) * h.ln()
            + after
            - before
    }

    fn ln_incomplete_beta(&self, a: f64, b: f64) -> f64 {
        // Increments within their range cannot have summed up to this.
        if a.is_nan() || b.is_nan() || a <= 0.0 || b <= 0.0 {
            return f64::NAN;
        }
        if self.one_sided {
            ln_beta(a, b) + ln_beta_tails(a, b, Share::of(self.h, self.g)).lower
        } else {
            ln_beta(a, b)
        }
    }
}

impl Mixture {
    /// ln of the e-value of a sum `s` with accumulated variance `v`.
    ///
    /// Not a number outside the mixture's domain (v below 0, a sum that the range does not allow).
    pub fn log_e(&self, s: f64, v: f64) -> f64 {
        match *self {
            Self::NormalTwoSided { rho } => normal_log_e(s, v, rho),
            Self::NormalOneSided { rho } => {
                std::f64::consts::LN_2 + normal_log_e(s, v, rho) + normal::ln_cdf(s / (v + rho).sqrt())
            }
            Self::GammaExponential { rho, c } => {
                let (prior, shape) = (rho / (c * c), (v + rho) / (c * c));
                let sum = s / c + v / (c * c);
                let constant = prior * prior.ln() - ln_gamma(prior) - ln_gamma_tails(prior, prior).lower;
                constant + ln_gamma(shape) + ln_gamma_tails(shape, sum + prior).lower
                    - shape * (sum + prior).ln()
                    + sum
            }
            Self::GammaPoisson { rho, c } => {
                let (prior, rate) = (rho / (c * c), (v + rho) / (c * c));
                let shape = s / c + rate;
                let constant = prior * prior.ln() - ln_gamma(prior) - ln_gamma_tails(prior, prior).upper;
                constant + ln_gamma(shape) + ln_gamma_tails(shape, rate).upper - shape * rate.ln()
                    + v / (c * c)
            }
            Self::BetaBinomial(mixture) => mixture.log_e(s, v),
        }
    }

    /// The sum at accumulated variance `v` that is reached at any time with probability at most `alpha`.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when an argument is out of range, [`StatsError::NoSolution`] when no sum is enough.
    pub fn bound(&self, v: f64, alpha: f64) -> Result<f64, StatsError> {
        check_positive("v", v)?;
        check_rate("alpha", alpha)?;
        let threshold = -alpha.ln();
        if let Self::NormalTwoSided { rho } = *self {
            return Ok(((v + rho) * ((v / rho).ln_1p() + 2.0 * threshold)).sqrt());
        }
        let gap = |s: f64| self.log_e(s, v) - threshold;
        let high = match *self {
            // A sum cannot exceed the range of its increments, so a boundary beyond that is never crossed.
            Self::BetaBinomial(mixture) => {
                let largest = v / mixture.g;
                if gap(largest) < 0.0 {
                    return Ok(largest);
                }
                largest
            }
            _ => bracket(v, gap)?,
        };
        brent("mixture boundary", Bracket::new(0.0, high), 1e-14 * high, gap)
    }
}

fn normal_log_e(s: f64, v: f64, rho: f64) -> f64 {
    -0.5 * (v / rho).ln_1p() + s * s / (2.0 * (v + rho))
}

fn bracket(start: f64, gap: impl Fn(f64) -> f64) -> Result<f64, StatsError> {
    let mut high = start;
    for _ in 0..MAX_DOUBLINGS {
        if gap(high) > 0.0 {
            return Ok(high);
        }
        high *= 2.0;
    }
    Err(StatsError::NoSolution {
        what: "mixture boundary",
        why: "no sum is enough evidence at this variance",
    })
}

/// The stitched boundary: closed form, growing like the square root of v·ln ln v.
///
/// `smallest_variance` is where it starts to be tight and `c` the scale of the increments, 0 when sub-Gaussian.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn stitching_bound(v: f64, alpha: f64, smallest_variance: f64, c: f64) -> Result<f64, StatsError> {
    check_positive("v", v)?;
    check_rate("alpha", alpha)?;
    check_positive("v_min", smallest_variance)?;
    check_finite("c", c)?;
    let stitch = Stitch::new();
    let variance = v.max(smallest_variance);
    let epochs = (STITCH_RATIO * variance / smallest_variance).ln();
    let ell = STITCH_POWER * epochs.ln() + (zeta(STITCH_POWER) / STITCH_RATIO.ln().powf(STITCH_POWER)).ln()
        - alpha.ln();
    Ok(stitch.at(variance, c, ell))
}

/// The variance grows by this factor from one stitched piece to the next.
pub(super) const STITCH_RATIO: f64 = 2.0;
/// Piece k gets an error share proportional to k to the minus this.
pub(super) const STITCH_POWER: f64 = 1.4;

/// The constants of a stitched boundary.
pub(super) struct Stitch {
    k1: f64,
    k2: f64,
}

impl Stitch {
    pub(super) fn new() -> Self {
        Self {
            k1: (STITCH_RATIO.powf(0.25) + STITCH_RATIO.powf(-0.25)) / std::f64::consts::SQRT_2,
            k2: (STITCH_RATIO.sqrt() + 1.0) / 2.0,
        }
    }

    pub(super) fn at(&self, variance: f64, c: f64, ell: f64) -> f64 {
        let linear = self.k2 * c * ell;
        (self.k1 * self.k1 * variance * ell + linear * linear).sqrt() + linear
    }
}

/// Riemann's ζ at s > 1, by Euler and Maclaurin's summation.
pub(super) fn zeta(s: f64) -> f64 {
    /// Terms summed by hand; the correction terms then fall below 10⁻¹⁸.
    const TERMS: u32 = 20;
    /// B₂ₖ/(2k)!.
    const COEFFICIENTS: [f64; 6] = [
        1.0 / 12.0,
        -1.0 / 720.0,
        1.0 / 30_240.0,
        -1.0 / 1_209_600.0,
        1.0 / 47_900_160.0,
        -691.0 / 1_307_674_368_000.0,
    ];
    let n = f64::from(TERMS);
    let head: f64 = (1..TERMS).map(|k| f64::from(k).powf(-s)).sum();
    let mut sum = head + n.powf(1.0 - s) / (s - 1.0) + 0.5 * n.powf(-s);
    let mut rising = s * n.powf(-s - 1.0);
    for (index, coefficient) in COEFFICIENTS.iter().enumerate() {
        sum += coefficient * rising;
        let k = 2.0 * index as f64;
        rising *= (s + k + 1.0) * (s + k + 2.0) / (n * n);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeta_agrees_with_known_values() {
        assert!((zeta(2.0) - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-15);
        assert!((zeta(1.4) - 3.105_547_277_977_71).abs() < 1e-12, "{}", zeta(1.4));
    }

    #[test]
    fn every_boundary_is_where_its_evidence_reaches_one_over_alpha() {
        // What must never change: boundary and e-value are one thing said twice.
        let rho = best_rho_one_sided(100.0, 0.05).unwrap();
        let mixtures = [
            Mixture::NormalTwoSided { rho },
            Mixture::NormalOneSided { rho },
            Mixture::GammaExponential { rho, c: 2.0 },
            Mixture::GammaPoisson { rho, c: 2.0 },
            Mixture::BetaBinomial(BetaBinomial::two_sided(100.0, 0.05, 0.2, 0.8).unwrap()),
            Mixture::BetaBinomial(BetaBinomial::one_sided(100.0, 0.05, 0.2, 0.8).unwrap()),
        ];
        for mixture in mixtures {
            for (v, alpha) in [(50.0, 0.05), (1e4, 1e-6), (1e6, 0.3)] {
                let bound = mixture.bound(v, alpha).unwrap();
                assert!(
                    (mixture.log_e(bound, v) + alpha.ln()).abs() < 1e-5,
                    "{mixture:?} {v}"
                );
                assert!(mixture.bound(2.0 * v, alpha).unwrap() > bound);
            }
            assert!(mixture.bound(f64::NAN, 0.05).is_err() && mixture.bound(1.0, 0.0).is_err());
        }
    }

    #[test]
    fn beta_binomial_evidence_has_mean_one() {
        // What must never change: over ten tosses the mean over all outcomes is exactly 1.
        let chance = 0.3_f64;
        let mixture =
            Mixture::BetaBinomial(BetaBinomial::two_sided(5.0, 0.05, chance, 1.0 - chance).unwrap());
        let mut mean = 0.0;
        let mut probability = (1.0 - chance).powi(10);
        for hits in 0..=10 {
            let hits = f64::from(hits);
            mean += probability
                * mixture
                    .log_e(hits - 10.0 * chance, 10.0 * chance * (1.0 - chance))
                    .exp();
            probability *= (10.0 - hits) / (hits + 1.0) * chance / (1.0 - chance);
        }
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }
}
