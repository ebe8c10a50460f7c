//! Sample-ratio mismatch at one look: do the arms hold the shares of traffic that were planned?
//!
//! Pearson's chi-square, the likelihood ratio (G), and the exact binomial test for two arms, with each arm's residual
//! so that the arm at fault can be named. For looking again and again use [`crate::sequential::sample_ratio`].

use serde::Serialize;

use crate::error::{StatsError, check_not_negative};
use crate::special::beta::Share;
use crate::special::logs::ln_add_exp;
use crate::special::{chi2, discrete};

/// The error rate at which a mismatch is reported: sound experiments are many and a mismatch is rare.
pub const DEFAULT_ALPHA: f64 = 0.001;

/// Below this expected count chi-square is only a rough guide.
const FEW_EXPECTED: f64 = 5.0;

/// Two-arm samples up to this size get the exact test: it walks over all outcomes.
pub const EXACT_LIMIT: u64 = 20_000_000;

/// One arm's part in a mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ArmShare {
    /// Units seen.
    pub observed: u64,
    /// Units expected from the planned shares.
    pub expected: f64,
    /// (observed − expected) over its standard deviation: beyond ±3 the arm stands out. Absent without expectation.
    pub residual: Option<f64>,
}

/// How the observed shares fit the planned ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleRatio {
    /// Pearson's statistic.
    pub chi2: f64,
    /// The likelihood-ratio statistic.
    pub g: f64,
    /// Arms with a planned share, minus 1.
    pub df: u64,
    /// The p-value of Pearson's statistic.
    pub p_value: f64,
    /// Its decimal logarithm.
    pub log10_p: f64,
    /// The p-value of the likelihood ratio.
    pub g_p_value: f64,
    /// The p-value of the exact binomial test, for two arms where it was asked for.
    pub exact_p_value: Option<f64>,
    /// Each arm's part.
    pub arms: Vec<ArmShare>,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// Tests observed units against planned shares, which may be on any scale; two arms exactly as well.
///
/// # Errors
/// As [`pearson`].
pub fn check(observed: &[u64], weights: &[f64]) -> Result<SampleRatio, StatsError> {
    Ok(SampleRatio {
        exact_p_value: exact_two_arms(observed, weights)?,
        ..pearson(observed, weights)?
    })
}

/// The same without the exact test, which takes most of the time.
///
/// An arm of weight 0 takes part in nothing but must be empty; it does not count as a degree of freedom.
///
/// # Errors
/// [`StatsError::InvalidInput`] for lists that differ in length, fewer than two arms with a weight, a weight that is
/// negative, or units in an arm of weight 0.
pub fn pearson(observed: &[u64], weights: &[f64]) -> Result<SampleRatio, StatsError> {
    let total_weight = check_inputs(observed, weights)?;
    let total: f64 = observed.iter().map(|units| *units as f64).sum();
    let live = weights.iter().filter(|weight| **weight > 0.0).count();
    let (mut statistic, mut likelihood) = (0.0, 0.0);
    let mut arms = Vec::with_capacity(observed.len());
    for (units, weight) in observed.iter().zip(weights) {
        let share = weight / total_weight;
        let expected = total * share;
        let excess = *units as f64 - expected;
        if expected > 0.0 {
            statistic += excess * excess / expected;
            likelihood += likelihood_term(*units as f64, expected);
        }
        let spread = (expected * (1.0 - share)).sqrt();
        arms.push(ArmShare {
            observed: *units,
            expected,
            residual: (spread > 0.0).then(|| excess / spread),
        });
    }
    let df = (live - 1) as f64;
    let ln_p = chi2::ln_sf(statistic, df);
    let few = arms
        .iter()
        .any(|arm| arm.expected > 0.0 && arm.expected < FEW_EXPECTED);
    Ok(SampleRatio {
        chi2: statistic,
        g: 2.0 * likelihood.max(0.0),
        df: live as u64 - 1,
        p_value: ln_p.exp(),
        log10_p: ln_p * std::f64::consts::LOG10_E,
        g_p_value: chi2::sf(2.0 * likelihood.max(0.0), df),
        exact_p_value: None,
        arms,
        warnings: if few {
            vec!["an arm expects fewer than 5 units: read the exact p-value where there is one".to_owned()]
        } else {
            Vec::new()
        },
    })
}

fn check_inputs(observed: &[u64], weights: &[f64]) -> Result<f64, StatsError> {
    if observed.len() != weights.len() {
        return Err(StatsError::invalid("weights", "must be one per arm"));
    }
    for (units, weight) in observed.iter().zip(weights) {
        check_not_negative("weights", *weight)?;
        if *weight <= 0.0 && *units > 0 {
            return Err(StatsError::invalid(
                "observed",
                "holds units in an arm whose weight is 0",
            ));
        }
    }
    let total: f64 = weights.iter().sum();
    if weights.iter().filter(|weight| **weight > 0.0).count() < 2 || !total.is_finite() {
        return Err(StatsError::invalid(
            "weights",
            "must have at least two arms above 0",
        ));
    }
    Ok(total)
}

/// o·ln(o/e) − o + e without cancellation: the sum over arms is half of G.
fn likelihood_term(observed: f64, expected: f64) -> f64 {
    if observed <= 0.0 {
        return expected;
    }
    let excess = (observed - expected) / expected;
    // (1 + x)·ln(1 + x) − x, with the logarithm taken apart where x is small.
    expected * ((1.0 + excess) * crate::special::logs::ln_1p_minus(excess) + excess * excess)
}

fn exact_two_arms(observed: &[u64], weights: &[f64]) -> Result<Option<f64>, StatsError> {
    check_inputs(observed, weights)?;
    if observed.len() != 2 || weights.iter().any(|weight| *weight <= 0.0) {
        return Ok(None);
    }
    let units = observed[0] + observed[1];
    if units == 0 || units > EXACT_LIMIT {
        return Ok(None);
    }
    Ok(Some(binomial_two_sided(
        observed[0],
        units,
        Share::of(weights[0], weights[1]),
    )))
}

/// The exact two-sided binomial p-value: the sum over all outcomes that are no more likely than the one seen.
pub fn binomial_two_sided(successes: u64, trials: u64, share: Share) -> f64 {
    ln_binomial_two_sided(successes, trials, share).exp()
}

/// Its natural logarithm, for p-values below the smallest `f64`.
pub fn ln_binomial_two_sided(successes: u64, trials: u64, share: Share) -> f64 {
    let (k, n) = (successes as f64, trials as f64);
    // Outcomes within rounding of the observed probability count as equally likely, as R and SciPy do.
    let limit = discrete::ln_binomial_pmf(k, n, share) + 1e-7;
    let mean = n * share.x;
    if (k - mean).abs() < 1e-12 * mean.max(1.0) {
        return 0.0;
    }
    let both = |lower: f64, upper: f64| {
        let sum = ln_add_exp(lower, upper);
        // Not `min`, which would answer a p-value of 1 in place of no number.
        if sum > 0.0 { 0.0 } else { sum }
    };
    let mode = ((n + 1.0) * share.x).floor().min(n);
    if k < mean {
        let first = first_unlikely(mode, n, limit, |x| discrete::ln_binomial_pmf(x, n, share));
        let lower = discrete::ln_binomial_tails(k, n, share).lower;
        let upper = discrete::ln_binomial_tails(first - 1.0, n, share).upper;
        both(lower, upper)
    } else {
        // The other side mirrored: failures instead of successes.
        let mirrored = share.swapped();
        let first = first_unlikely(n - mode, n, limit, |x| discrete::ln_binomial_pmf(x, n, mirrored));
        let lower = discrete::ln_binomial_tails(k - 1.0, n, share).upper;
        let upper = discrete::ln_binomial_tails(first - 1.0, n, mirrored).upper;
        both(lower, upper)
    }
}

/// The first count from `mode` on, up to `n` + 1, that is less likely than the limit; probabilities fall on the way.
fn first_unlikely(mode: f64, n: f64, limit: f64, ln_pmf: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (mode - 1.0, n + 1.0);
    while high - low > 1.0 {
        let middle = ((low + high) / 2.0).floor();
        if ln_pmf(middle) <= limit {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_mismatch_is_found() {
        // Fabijan et al. (KDD 2019): 821 588 against 815 482, p = 1.8e-6.
        let ratio = check(&[821_588, 815_482], &[0.5, 0.5]).unwrap();
        assert!((ratio.p_value - 1.8218e-6).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.exact_p_value.unwrap() / ratio.p_value - 1.0).abs() < 0.01);
        assert!(ratio.arms[0].residual.unwrap() > 4.0);
    }

    #[test]
    fn an_arm_without_traffic_is_no_degree_of_freedom() {
        let two = check(&[60, 40], &[1.0, 1.0]).unwrap();
        let three = check(&[60, 40, 0], &[1.0, 1.0, 0.0]).unwrap();
        assert_eq!((two.df, two.p_value), (three.df, three.p_value));
        assert!(check(&[60, 40, 1], &[1.0, 1.0, 0.0]).is_err());
    }

    #[test]
    fn scale_of_weights_and_order_of_arms_do_not_matter() {
        let one = check(&[120, 60, 20], &[0.6, 0.3, 0.1]).unwrap();
        let two = check(&[20, 120, 60], &[1.0, 6.0, 3.0]).unwrap();
        assert!((one.p_value - two.p_value).abs() < 1e-12);
    }

    #[test]
    fn the_exact_test_counts_every_outcome() {
        // Ten throws of a fair coin with one head: 2·(1 + 10)/1024.
        let p = binomial_two_sided(1, 10, Share::new(0.5));
        assert!((p - 22.0 / 1024.0).abs() < 1e-14);
        assert!((binomial_two_sided(5, 10, Share::new(0.5)) - 1.0).abs() < 1e-14);
    }
}
