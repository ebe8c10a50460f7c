//! Quantiles: intervals from order statistics, exact for independent values and cluster-aware for users with several.
//!
//! The interval is a pair of ranks, so it holds for any continuous distribution and carries the metric's unit along.

use serde::Serialize;

use super::contrast::{ArmValue, Contrast};
use super::ratio;
use super::sample::{JointSample, PlainSums, too_few};
use crate::error::{StatsError, check_rate};
use crate::estimate::Interval;
use crate::special::beta::Share;
use crate::special::{discrete, normal};

/// Ranks, counted from 1, whose values bound a quantile; an end is absent where the sample is too small for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RankInterval {
    /// The rank of the lower bound; absent when even the smallest value may lie above the quantile.
    pub lower: Option<u64>,
    /// The rank of the upper bound; absent when even the largest value may lie below the quantile.
    pub upper: Option<u64>,
    /// The exact coverage; absent without both bounds.
    pub coverage: Option<f64>,
    /// The lower rank by the normal approximation, not rounded.
    pub normal_lower: f64,
    /// The upper rank by the normal approximation, not rounded.
    pub normal_upper: f64,
    /// Independent values from which the normal approximation has both ranks inside the sample.
    pub least_units: f64,
}

/// The ranks that bound the `q`-quantile of `n` independent values.
///
/// # Errors
/// [`StatsError::TooFewUnits`] without a value, or an input error.
pub fn ranks(n: u64, q: f64, alpha: f64) -> Result<RankInterval, StatsError> {
    check_rate("q", q)?;
    check_rate("alpha", alpha)?;
    if n == 0 {
        return Err(too_few("the sample", 0, 1));
    }
    let (units, share) = (n as f64, Share::new(q));
    let z = normal::isf(0.5 * alpha);
    let below = smallest_count(units, share, 0.5 * alpha);
    let above = smallest_count_from_above(units, share, 0.5 * alpha) + 1.0;
    let lower = (below >= 1.0).then_some(below as u64);
    let upper = (above <= units).then_some(above as u64);
    let coverage = lower.zip(upper).map(|(low, high)| {
        let missed_low = discrete::ln_binomial_tails(low as f64 - 1.0, units, share)
            .lower
            .exp();
        let missed_high = discrete::ln_binomial_tails(high as f64 - 1.0, units, share)
            .upper
            .exp();
        1.0 - missed_low - missed_high
    });
    let spread = z * (units * q * share.y).sqrt();
    Ok(RankInterval {
        lower,
        upper,
        coverage,
        normal_lower: units * q - spread,
        normal_upper: units * q + spread,
        least_units: z * z * q.max(share.y) / q.min(share.y),
    })
}

/// The smallest k with P(X ≤ k) ≥ p for a small p.
fn smallest_count(n: f64, share: Share, p: f64) -> f64 {
    let reached = |k: f64| discrete::ln_binomial_tails(k, n, share).lower >= p.ln();
    bisect(n, reached)
}

/// The smallest k with P(X > k) ≤ p for a small p.
fn smallest_count_from_above(n: f64, share: Share, p: f64) -> f64 {
    let reached = |k: f64| discrete::ln_binomial_tails(k, n, share).upper <= p.ln();
    bisect(n, reached)
}

/// The smallest k from 0 to n that `reached` holds for, which holds from there on.
fn bisect(n: f64, reached: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (-1.0, n);
    while high - low > 1.0 {
        let middle = ((low + high) / 2.0).floor();
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The `q`-quantile of sorted values: the smallest value with at least the share q at or below it.
pub fn of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let n = sorted.len();
    if n == 0 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    // A share that should land on a whole rank must not miss it by rounding.
    let rank = (q * n as f64 - 1e-9).ceil().clamp(1.0, n as f64);
    sorted.get(rank as usize - 1).copied()
}

/// A quantile with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QuantileEstimate {
    /// The quantile.
    pub estimate: f64,
    /// The interval; an end is absent where the sample is too small for it.
    pub interval: Interval,
    /// The standard error read off the interval of the normal approximation; absent where that leaves the sample.
    pub standard_error: Option<f64>,
}

/// The `q`-quantile of independent values.
///
/// # Errors
/// [`StatsError::TooFewUnits`] without a value, or an input error, also for a value that is not a finite number.
pub fn estimate(values: &[f64], q: f64, alpha: f64) -> Result<QuantileEstimate, StatsError> {
    let sorted = sorted(values)?;
    let ranks = ranks(sorted.len() as u64, q, alpha)?;
    let at = |rank: u64| sorted[rank as usize - 1];
    let estimate = of_sorted(&sorted, q).ok_or_else(|| too_few("the sample", 0, 1))?;
    Ok(QuantileEstimate {
        estimate,
        interval: Interval {
            lower: ranks.lower.map(at),
            upper: ranks.upper.map(at),
            level: 1.0 - alpha,
        },
        standard_error: spread_between(&sorted, ranks.normal_lower, ranks.normal_upper, alpha),
    })
}

/// The `q`-quantile of values that come in clusters: all values of all users, and how far users differ.
///
/// `below` holds per user the number of values at or below the quantile (x) and of all values (y); the noise of their
/// ratio takes the place of q·(1 − q)/n (Deng, Knoblich and Lu 2018).
///
/// # Errors
/// As [`estimate`] and [`ratio::arm_ratio`].
pub fn estimate_clustered(
    values: &[f64],
    below: &JointSample,
    q: f64,
    alpha: f64,
) -> Result<QuantileEstimate, StatsError> {
    check_rate("q", q)?;
    check_rate("alpha", alpha)?;
    let sorted = sorted(values)?;
    let estimate = of_sorted(&sorted, q).ok_or_else(|| too_few("the sample", 0, 1))?;
    let noise = ratio::arm_ratio(below, "the sample")?.arm.variance.sqrt();
    let reach = normal::isf(0.5 * alpha) * noise;
    let n = sorted.len() as f64;
    let (lower, upper) = (n * (q - reach), n * (q + reach) + 1.0);
    let at = |rank: f64| (rank >= 1.0 && rank <= n).then(|| sorted[rank as usize - 1]);
    Ok(QuantileEstimate {
        estimate,
        interval: Interval {
            lower: at(lower.floor()),
            upper: at(upper.ceil()),
            level: 1.0 - alpha,
        },
        standard_error: spread_between(&sorted, lower, upper, alpha),
    })
}

/// The `q`-quantile of values given user by user.
///
/// # Errors
/// As [`estimate_clustered`].
pub fn estimate_users(users: &[Vec<f64>], q: f64, alpha: f64) -> Result<QuantileEstimate, StatsError> {
    let values: Vec<f64> = users.iter().flatten().copied().collect();
    let middle = of_sorted(&sorted(&values)?, q).ok_or_else(|| too_few("the sample", 0, 1))?;
    let n = users.len() as u64;
    let none = PlainSums {
        n,
        sum: 0.0,
        sum_squares: 0.0,
    };
    let (mut below, mut all, mut cross) = (none, none, 0.0);
    for user in users {
        let (x, y) = (
            user.iter().filter(|value| **value <= middle).count() as f64,
            user.len() as f64,
        );
        below.sum += x;
        below.sum_squares += x * x;
        all.sum += y;
        all.sum_squares += y * y;
        cross += x * y;
    }
    estimate_clustered(&values, &JointSample::from_sums(below, all, cross)?, q, alpha)
}

/// The standard error that an interval between two ranks stands for.
fn spread_between(sorted: &[f64], lower: f64, upper: f64, alpha: f64) -> Option<f64> {
    let n = sorted.len() as f64;
    let inside = lower >= 1.0 && upper.ceil() <= n;
    let value = |rank: f64| {
        let below = sorted[rank.floor() as usize - 1];
        let above = sorted[(rank.ceil() as usize).min(sorted.len()) - 1];
        below + (above - below) * rank.fract()
    };
    inside.then(|| (value(upper) - value(lower)) / (2.0 * normal::isf(0.5 * alpha)))
}

/// The difference of two quantiles, treatment minus control.
///
/// # Errors
/// [`StatsError::TooFewUnits`] where a sample is too small for a standard error, [`StatsError::ZeroVariance`].
pub fn contrast(
    control: &QuantileEstimate,
    treatment: &QuantileEstimate,
    units: [u64; 2],
) -> Result<Contrast, StatsError> {
    let arm = |estimate: &QuantileEstimate, arm: &'static str, units: u64| {
        let standard_error = estimate
            .standard_error
            .ok_or_else(|| too_few(arm, units, units + 1))?;
        Ok(ArmValue {
            value: estimate.estimate,
            variance: standard_error * standard_error,
            df: f64::INFINITY,
            units,
        })
    };
    let left = arm(control, "control", units[0])?;
    let right = arm(treatment, "treatment", units[1])?;
    Contrast::welch(left, right, right.value - left.value).map(Contrast::normal)
}

fn sorted(values: &[f64]) -> Result<Vec<f64>, StatsError> {
    if values.iter().any(|value| !value.is_finite()) {
        return Err(StatsError::invalid("values", "must be finite numbers"));
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ten_lies_between_the_second_and_the_ninth() {
        // The textbook case: coverage 1 − 2·11/1024.
        let answer = ranks(10, 0.5, 0.05).unwrap();
        assert_eq!((answer.lower, answer.upper), (Some(2), Some(9)));
        assert!((answer.coverage.unwrap() - (1.0 - 22.0 / 1024.0)).abs() < 1e-14);
        assert_eq!(ranks(10, 0.99, 0.05).unwrap().upper, None);
    }

    #[test]
    fn quantiles_carry_the_unit_along() {
        let values: Vec<f64> = (1..=1000).map(|k| f64::from(k * 7919 % 1009)).collect();
        let scaled: Vec<f64> = values.iter().map(|value| value * 1e-3).collect();
        let (one, two) = (
            estimate(&values, 0.9, 0.05).unwrap(),
            estimate(&scaled, 0.9, 0.05).unwrap(),
        );
        assert!((one.estimate * 1e-3 - two.estimate).abs() < 1e-12);
        assert!((one.standard_error.unwrap() * 1e-3 - two.standard_error.unwrap()).abs() < 1e-12);
        assert!(contrast(&one, &one, [1000, 1000]).unwrap().difference.abs() < 1e-15);
    }

    #[test]
    fn users_with_repeated_values_widen_the_interval() {
        // Fifty users with ten equal values each: the noise is that of fifty values, not of five hundred.
        let values: Vec<f64> = (0..500).map(|index| f64::from(index / 10)).collect();
        let mut below = domain::CrossSums::default();
        for user in 0..50 {
            below.add(if user < 25 { 10.0 } else { 0.0 }, 10.0);
        }
        let joint = JointSample {
            x: below.x.moments().into(),
            y: below.y.moments().into(),
            cross: below.cross_moment_over(50),
        };
        let clustered = estimate_clustered(&values, &joint, 0.5, 0.05).unwrap();
        let naive = estimate(&values, 0.5, 0.05).unwrap();
        let width = |interval: Interval| interval.upper.unwrap() - interval.lower.unwrap();
        assert!(width(clustered.interval) > 2.5 * width(naive.interval));
    }
}
