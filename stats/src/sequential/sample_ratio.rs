//! Sample-ratio mismatch that may be watched: a multinomial against a Dirichlet mixture.
//!
//! Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022). Under the planned shares θ the
//! counts are multinomial; the alternative mixes over shares with a Dirichlet prior around the planned ones. The Bayes
//! factor is an e-value that depends on the counts alone, so the order of arrival does not matter. A chi-square test
//! repeated 250 times at 0.05 raises a false alarm in nearly half of all sound experiments; this one in at most 5 %.

use serde::Serialize;

use crate::error::{StatsError, check_positive};
use crate::special::gamma::stirling_error;
use crate::special::logs::ln_1p_minus;

/// The prior's weight in units: 1 000 finds a 51:49 split after some 20 000 users.
pub const DEFAULT_CONCENTRATION: f64 = 1_000.0;

/// The alpha at which traffic is held: one sound experiment in a thousand.
pub const DEFAULT_ALPHA: f64 = 0.001;

/// The evidence against the planned shares at one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SampleRatioEvidence {
    /// The natural logarithm of the Bayes factor, an e-value.
    pub log_bayes_factor: f64,
    /// min(1, 1/e) at this look; the smallest so far is valid too.
    pub p_value: f64,
}

/// The evidence in `counts` against shares proportional to `weights`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when the lists differ in length, have fewer than two arms, or a weight or the
/// concentration is not above 0.
pub fn evidence(
    counts: &[u64],
    weights: &[f64],
    concentration: f64,
) -> Result<SampleRatioEvidence, StatsError> {
    check_positive("dirichlet_concentration", concentration)?;
    if counts.len() != weights.len() || counts.len() < 2 {
        return Err(StatsError::invalid(
            "weights",
            "must be one per arm, and there must be two arms or more",
        ));
    }
    for weight in weights {
        check_positive("weights", *weight)?;
    }
    let total_weight: f64 = weights.iter().sum();
    let units: f64 = counts.iter().map(|count| *count as f64).sum();
    // The gamma functions by Stirling's formula, its large terms cancelled by hand: what is left of them is a deviance.
    let (prior, posterior) = (concentration, concentration + units);
    let mut log = 0.5 * (posterior / prior).ln() - stirling_error(posterior) + stirling_error(prior);
    for (count, weight) in counts.iter().zip(weights) {
        let share = weight / total_weight;
        let (before, after) = (prior * share, prior * share + *count as f64);
        log += deviance(after, posterior * share) - 0.5 * (after / before).ln() + stirling_error(after)
            - stirling_error(before);
    }
    Ok(SampleRatioEvidence {
        log_bayes_factor: log,
        p_value: (-log.max(0.0)).exp(),
    })
}

/// a·ln(a/e) − a + e for observed a and expected e, without cancellation.
fn deviance(observed: f64, expected: f64) -> f64 {
    let excess = (observed - expected) / expected;
    expected * ((1.0 + excess) * ln_1p_minus(excess) + excess * excess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::gamma::ln_gamma;

    #[test]
    fn agrees_with_the_gamma_functions_written_out() {
        let (counts, weights, k) = ([130_u64, 70, 45], [2.0, 1.0, 1.0], 50.0);
        let direct =
            counts
                .iter()
                .zip(weights)
                .fold(ln_gamma(50.0) - ln_gamma(295.0), |sum, (count, weight)| {
                    let (prior, count) = (k * weight / 4.0, *count as f64);
                    sum + ln_gamma(prior + count) - ln_gamma(prior) - count * (weight / 4.0).ln()
                });
        let answer = evidence(&counts, &weights, k).unwrap().log_bayes_factor;
        assert!((answer - direct).abs() < 1e-11, "{answer} {direct}");
    }

    #[test]
    fn mean_evidence_is_one_under_the_planned_shares() {
        // What must never change: over all outcomes of six users, each with its chance, the mean is exactly 1.
        let mut mean = 0.0;
        let mut probability = 0.7_f64.powi(6);
        for first in 0..=6_u64 {
            mean += probability
                * evidence(&[first, 6 - first], &[0.3, 0.7], 10.0)
                    .unwrap()
                    .log_bayes_factor
                    .exp();
            probability *= (6 - first) as f64 / (first + 1) as f64 * 0.3 / 0.7;
        }
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn scale_of_weights_and_order_of_arms_do_not_matter() {
        let one = evidence(&[1_000, 900, 10], &[0.5, 0.45, 0.05], 1_000.0).unwrap();
        let two = evidence(&[10, 1_000, 900], &[5.0, 50.0, 45.0], 1_000.0).unwrap();
        assert!((one.log_bayes_factor - two.log_bayes_factor).abs() < 1e-10);
        let billions = evidence(&[1_000_000_000, 1_000_300_000], &[1.0, 1.0], 1_000.0).unwrap();
        assert!((billions.log_bayes_factor - 14.4).abs() < 2.0, "{billions:?}");
    }

    #[test]
    fn what_cannot_be_asked_has_a_reason() {
        assert!(evidence(&[1], &[1.0], 1.0).is_err() && evidence(&[1, 2], &[1.0], 1.0).is_err());
        assert!(
            evidence(&[1, 2], &[1.0, 0.0], 1.0).is_err() && evidence(&[1, 2], &[1.0, 1.0], f64::NAN).is_err()
        );
        let nobody = evidence(&[0, 0], &[1.0, 1.0], 10.0).unwrap();
        assert!(nobody.log_bayes_factor.abs() < 1e-14);
    }
}
