//! The mean of an arm whose traffic share was changed on the way.
//!
//! Pooling all users of an arm is biased: an arm that looked bad by chance got less traffic and could not recover, and
//! users of different days are mixed in different shares. Shares are constant within a *batch*; three estimates undo
//! what changed between batches.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_not_negative};
use crate::estimate::Interval;
use crate::special::normal;

/// One arm in one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch {
    /// Users of all arms in the batch.
    pub traffic: u64,
    /// The arm's share of the traffic in the batch, above 0.
    pub share: f64,
    /// Users of the arm.
    pub n: u64,
    /// The mean of their values.
    pub mean: f64,
    /// Their centred second moment.
    pub m2: f64,
}

/// An estimate of an arm's mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ArmEstimate {
    /// The estimate.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its interval.
    pub interval: Interval,
}

/// The estimates that a change of shares does not bias.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CorrectedEstimates {
    /// Each user weighs 1 over the share of the arm (Horvitz and Thompson 1952): unbiased, wide when a share is small.
    pub inverse_propensity: ArmEstimate,
    /// Batch means weighed by the traffic of the batch: free of differences between days. The one to show.
    pub stratified: ArmEstimate,
    /// Batch means weighed by traffic times √share (Hadad et al. 2021): normal even when a share went to 0. Right when
    /// the mean does not change over time.
    pub adaptively_weighted: ArmEstimate,
}

/// All three estimates with intervals of level 1 − `alpha`.
///
/// # Errors
/// [`StatsError::TooFewUnits`] when a batch holds fewer than two users of the arm, [`StatsError::InvalidInput`] when a
/// number is out of range.
pub fn corrected(batches: &[Batch], alpha: f64) -> Result<CorrectedEstimates, StatsError> {
    crate::error::check_rate("alpha", alpha)?;
    check(batches)?;
    Ok(CorrectedEstimates {
        inverse_propensity: inverse_propensity(batches, alpha),
        stratified: weighted(batches, alpha, |batch| batch.traffic as f64),
        adaptively_weighted: weighted(batches, alpha, |batch| batch.traffic as f64 * batch.share.sqrt()),
    })
}

fn check(batches: &[Batch]) -> Result<(), StatsError> {
    if batches.is_empty() {
        return Err(StatsError::invalid("batches", "must not be empty"));
    }
    for batch in batches {
        check_finite("mean", batch.mean)?;
        check_not_negative("m2", batch.m2)?;
        if !(batch.share > 0.0 && batch.share <= 1.0) {
            return Err(StatsError::invalid("share", "must be above 0 and at most 1"));
        }
        if batch.n > batch.traffic {
            return Err(StatsError::invalid(
                "n",
                "must be at most the traffic of the batch",
            ));
        }
        if batch.n < 2 {
            return Err(StatsError::TooFewUnits {
                arm: "a batch of the arm",
                units: batch.n,
                needed: 2,
            });
        }
    }
    Ok(())
}

fn weighted(batches: &[Batch], alpha: f64, weight: impl Fn(&Batch) -> f64) -> ArmEstimate {
    let total: f64 = batches.iter().map(&weight).sum();
    let (mut estimate, mut variance) = (0.0, 0.0);
    for batch in batches {
        let (share, n) = (weight(batch) / total, batch.n as f64);
        estimate += share * batch.mean;
        variance += share * share * batch.m2 / ((n - 1.0) * n);
    }
    answer(estimate, variance, alpha)
}

fn inverse_propensity(batches: &[Batch], alpha: f64) -> ArmEstimate {
    let traffic: f64 = batches.iter().map(|batch| batch.traffic as f64).sum();
    let scores = batches
        .iter()
        .map(|batch| (batch.traffic as f64, batch.n as f64 / batch.share, batch));
    let estimate = scores
        .clone()
        .map(|(_, weight, batch)| weight * batch.mean)
        .sum::<f64>()
        / traffic;
    // A user's score is value/share with the arm and 0 without it; its variance is taken within each batch.
    let spread = |(users, weight, batch): (f64, f64, &Batch)| {
        let mean = weight * batch.mean / users;
        let squares = (batch.m2 + batch.n as f64 * batch.mean * batch.mean) / (batch.share * batch.share);
        (squares - users * mean * mean).max(0.0)
    };
    let variance = scores.map(spread).sum::<f64>() / (traffic * traffic);
    answer(estimate, variance, alpha)
}

fn answer(estimate: f64, variance: f64, alpha: f64) -> ArmEstimate {
    let standard_error = variance.sqrt();
    ArmEstimate {
        estimate,
        standard_error,
        interval: Interval::around(estimate, normal::isf(alpha / 2.0) * standard_error, 1.0 - alpha),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(traffic: u64, share: f64, mean: f64) -> Batch {
        let n = (traffic as f64 * share) as u64;
        Batch {
            traffic,
            share,
            n,
            mean,
            m2: 4.0 * (n - 1) as f64,
        }
    }

    #[test]
    fn a_good_day_with_little_traffic_for_the_arm_counts_in_full() {
        // What must never change: shares do not decide how much a day weighs.
        let batches = [batch(1_000, 0.8, 1.0), batch(1_000, 0.1, 3.0)];
        let answer = corrected(&batches, 0.05).unwrap();
        assert!((answer.stratified.estimate - 2.0).abs() < 1e-12);
        assert!((answer.inverse_propensity.estimate - 2.0).abs() < 1e-12);
        let pooled = (800.0 + 300.0) / 900.0;
        assert!((answer.adaptively_weighted.estimate - pooled).abs() > 0.1 && pooled < 1.3);
        assert!(answer.inverse_propensity.standard_error > answer.stratified.standard_error);
    }

    #[test]
    fn constant_shares_make_all_three_the_plain_mean() {
        let batches = [batch(1_000, 0.5, 1.0), batch(3_000, 0.5, 2.0)];
        let answer = corrected(&batches, 0.05).unwrap();
        for part in [
            answer.inverse_propensity,
            answer.stratified,
            answer.adaptively_weighted,
        ] {
            assert!((part.estimate - 1.75).abs() < 1e-12);
        }
        assert!((answer.stratified.standard_error - (4.0_f64 / 2_000.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        let good = batch(100, 0.5, 1.0);
        assert!(corrected(&[], 0.05).is_err() && corrected(&[good], 0.0).is_err());
        assert!(corrected(&[Batch { share: 0.0, ..good }], 0.05).is_err());
        assert!(corrected(&[Batch { n: 1, ..good }], 0.05).is_err());
        assert!(
            corrected(
                &[Batch {
                    mean: f64::NAN,
                    ..good
                }],
                0.05
            )
            .is_err()
        );
    }
}
