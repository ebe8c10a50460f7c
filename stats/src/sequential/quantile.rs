//! Confidence sequences for a quantile, and a test that two quantiles agree, both valid at every look.
//!
//! Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification"
//! (Bernoulli 2022; arXiv:1906.09712). They hold for any distribution, with ties and jumps: only the ranks count.
//! Values are independent; for several values per user take one per user.

use serde::Serialize;

use super::mixture::{BetaBinomial, Mixture, STITCH_POWER, STITCH_RATIO, Stitch, zeta};
use crate::error::{StatsError, check_positive, check_rate};
use crate::estimate::Interval;
use crate::special::roots::{Bracket, brent, minimize};

/// The alpha that mixtures are tuned for; the answer's own alpha may differ.
const TUNED_FOR: f64 = 0.05;

/// The order statistics (1-based) between which the quantile lies at every look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RankInterval {
    /// The rank of the lower end; none when there is no lower end yet.
    pub lower: Option<u64>,
    /// The rank of the upper end; none when there is no upper end yet.
    pub upper: Option<u64>,
}

/// The ranks that hold the quantile `q` of the population at every number of values, tightest at `planned`.
///
/// Each end is the one-sided beta–binomial mixture bound at alpha/2 on how far a count may stray from n·q.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn ranks(n: u64, q: f64, planned: f64, alpha: f64) -> Result<RankInterval, StatsError> {
    check_rate("quantile_p", q)?;
    check_rate("alpha", alpha)?;
    check_positive("t_opt", planned)?;
    if n == 0 {
        return Ok(RankInterval {
            lower: None,
            upper: None,
        });
    }
    let count = n as f64;
    // At most n·q + up values lie strictly below the quantile, and at least n·q − down at or below it.
    let Strays { up, down } = strays(count, q, planned, alpha)?;
    let lower = (count * q - down).ceil();
    let upper = (count * q + up).floor() + 1.0;
    Ok(RankInterval {
        lower: (lower >= 1.0).then_some(lower as u64),
        upper: (upper <= count).then_some(upper as u64),
    })
}

/// How far the number of values below the quantile may stray from n·q at any look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strays {
    /// Upwards, in values.
    pub up: f64,
    /// Downwards, in values.
    pub down: f64,
}

/// How far `count` values may stray from the quantile `q` of the population, tightest at `planned`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn strays(count: f64, q: f64, planned: f64, alpha: f64) -> Result<Strays, StatsError> {
    let variance = q * (1.0 - q);
    let stray = |g: f64, h: f64| {
        let mixture = BetaBinomial::one_sided(planned * variance, TUNED_FOR, g, h)?;
        Mixture::BetaBinomial(mixture).bound(count * variance, alpha / 2.0)
    };
    Ok(Strays {
        up: stray(q, 1.0 - q)?,
        down: stray(1.0 - q, q)?,
    })
}

/// The interval for the quantile `q` from values in ascending order.
///
/// # Errors
/// As [`ranks`], and when the values are not ascending numbers.
pub fn interval(sorted: &[f64], q: f64, planned: f64, alpha: f64) -> Result<Interval, StatsError> {
    check_sorted("values", sorted)?;
    let ranks = ranks(sorted.len() as u64, q, planned, alpha)?;
    let value = |rank: Option<u64>| rank.and_then(|rank| sorted.get(rank as usize - 1).copied());
    Ok(Interval {
        lower: value(ranks.lower),
        upper: value(ranks.upper),
        level: 1.0 - alpha,
    })
}

/// The anytime-valid p-value that both arms have the same quantile `q`.
///
/// The product of both arms' two-sided evidence is least at the best common quantile; 1 over it is the p-value.
///
/// # Errors
/// As [`interval`], and when an arm is empty.
pub fn two_sample_p_value(
    control: &[f64],
    treatment: &[f64],
    q: f64,
    planned: f64,
) -> Result<f64, StatsError> {
    check_rate("quantile_p", q)?;
    check_positive("t_opt", planned)?;
    let mixture = Mixture::BetaBinomial(BetaBinomial::two_sided(
        planned * q * (1.0 - q),
        TUNED_FOR,
        q,
        1.0 - q,
    )?);
    let arms = [
        RankEvidence::new("a_values", control, q, mixture)?,
        RankEvidence::new("b_values", treatment, q, mixture)?,
    ];
    // Left of both arms' likeliest quantiles both evidences fall, right of both they rise.
    let [one, two] = [arms[0].likeliest_value(), arms[1].likeliest_value()];
    let (from, to) = (one.min(two), one.max(two));
    let mut least = f64::INFINITY;
    for arm in &arms {
        let start = arm.sorted.partition_point(|value| *value < from);
        for value in arm.sorted[start..].iter().take_while(|value| **value <= to) {
            least = least.min(arms[0].at(*value) + arms[1].at(*value));
        }
    }
    Ok((-least).exp().min(1.0))
}

/// The evidence of one arm against each value being its quantile.
struct RankEvidence<'a> {
    sorted: &'a [f64],
    q: f64,
    mixture: Mixture,
    /// The share below at which the evidence is least.
    likeliest: f64,
}

impl<'a> RankEvidence<'a> {
    fn new(field: &'static str, sorted: &'a [f64], q: f64, mixture: Mixture) -> Result<Self, StatsError> {
        check_sorted(field, sorted)?;
        if sorted.is_empty() {
            return Err(StatsError::TooFewUnits {
                arm: field,
                units: 0,
                needed: 1,
            });
        }
        let mut arm = Self {
            sorted,
            q,
            mixture,
            likeliest: q,
        };
        arm.likeliest = minimize(Bracket::new(0.0, 1.0), 1e-9, |share| arm.log_e(share));
        Ok(arm)
    }

    fn likeliest_value(&self) -> f64 {
        let rank = (self.likeliest * self.sorted.len() as f64).ceil() as usize;
        self.sorted[rank.clamp(1, self.sorted.len()) - 1]
    }

    /// The least evidence over all shares that `value` leaves open: those from strictly below it to at or below it.
    fn at(&self, value: f64) -> f64 {
        let n = self.sorted.len() as f64;
        let below = self.sorted.partition_point(|other| *other < value) as f64 / n;
        let at_or_below = self.sorted.partition_point(|other| *other <= value) as f64 / n;
        self.log_e(self.likeliest.clamp(below, at_or_below))
    }

    fn log_e(&self, share: f64) -> f64 {
        let n = self.sorted.len() as f64;
        self.mixture
            .log_e((share - self.q) * n, self.q * (1.0 - self.q) * n)
    }
}

fn check_sorted(field: &'static str, values: &[f64]) -> Result<(), StatsError> {
    if values.iter().any(|value| value.is_nan()) || values.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(StatsError::invalid(field, "must be numbers in ascending order"));
    }
    Ok(())
}

/// How far a count at or below the quantile may stray from n·q, for all quantiles at once (their theorem 3).
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn double_stitching_bound(q: f64, t: f64, alpha: f64, planned: f64) -> Result<f64, StatsError> {
    /// The fineness of the grid of quantiles.
    const DELTA: f64 = 0.5;
    check_rate("quantile_p", q)?;
    check_positive("t", t)?;
    check_rate("alpha", alpha)?;
    check_positive("t_opt", planned)?;
    let time = t.max(planned);
    let logit = q.ln() - (-q).ln_1p();
    let nearest = if q >= 0.5 {
        q
    } else {
        let moved = logit + 2.0 * DELTA * (planned * STITCH_RATIO / time).sqrt();
        (1.0 / (1.0 + (-moved).exp())).min(0.5)
    };
    let variance = nearest * (1.0 - nearest);
    let grid_index = (time / planned).sqrt() * logit.abs() / (2.0 * DELTA) + 1.0;
    let zeta = zeta(STITCH_POWER);
    let ell = STITCH_POWER * (STITCH_RATIO * time / planned).ln().ln()
        + STITCH_POWER * grid_index.ln()
        + (2.0 * zeta * (2.0 * zeta + 1.0) / (alpha * STITCH_RATIO.ln().powf(STITCH_POWER))).ln();
    let scale = (1.0 - 2.0 * q) / 3.0;
    Ok(DELTA * (STITCH_RATIO * time * variance / planned).sqrt()
        + Stitch::new().at(variance * time, scale, ell))
}

/// The radius of a band around the empirical distribution function that holds at every point and every time from
/// `first_time` on (their theorem 2, the law of the iterated logarithm); none before.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range; `rate` must exceed √½.
pub fn empirical_process_bound(
    t: f64,
    alpha: f64,
    first_time: f64,
    rate: f64,
) -> Result<Option<f64>, StatsError> {
    check_positive("t", t)?;
    check_rate("alpha", alpha)?;
    check_positive("t_min", first_time)?;
    if !(rate.is_finite() && rate > std::f64::consts::FRAC_1_SQRT_2) {
        return Err(StatsError::invalid(
            "A",
            "must be a finite number above the square root of one half",
        ));
    }
    if t < first_time {
        return Ok(None);
    }
    let constant = empirical_process_constant(alpha, rate)?;
    Ok(Some(
        rate * (((t / first_time).ln().ln_1p() + constant) / t).sqrt(),
    ))
}

/// The smallest C for which the chance of ever leaving the band is at most alpha.
fn empirical_process_constant(alpha: f64, rate: f64) -> Result<f64, StatsError> {
    let gap = |c: f64| {
        let room = |eta: f64| (eta / 2.0).sqrt() + (2.0 * (eta - 1.0) / c).sqrt() - rate;
        let largest = brent("epoch ratio", Bracket::new(1.0, 2.0 * rate * rate), 1e-14, room).unwrap_or(1.0);
        let log_error = |eta: f64| {
            let slack = rate - (2.0 * (eta - 1.0) / c).sqrt();
            let gamma_squared = 2.0 / eta * slack * slack;
            if gamma_squared <= 1.0 || eta <= 1.0 {
                return 1e6;
            }
            4.0_f64.ln() - gamma_squared * c + (1.0 / ((gamma_squared - 1.0) * eta.ln())).ln_1p()
        };
        let best = minimize(Bracket::new(1.0, largest), 1e-10, log_error);
        alpha.ln() - log_error(best)
    };
    // The error falls faster than exp(−C/2), so that C is at most a few times the logarithm of alpha.
    brent(
        "band constant",
        Bracket::new(1e-3, 100.0 - 100.0 * alpha.ln() / (rate * rate - 0.5)),
        1e-13,
        gap,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_enclose_the_quantile_and_close_in_on_it() {
        let widths = [100_u64, 10_000, 1_000_000].map(|n| {
            let ranks = ranks(n, 0.9, 10_000.0, 0.05).unwrap();
            let (lower, upper) = (
                ranks.lower.unwrap() as f64,
                ranks.upper.map_or(n as f64, |upper| upper as f64),
            );
            assert!(lower < 0.9 * n as f64 && upper > 0.9 * n as f64);
            (upper - lower) / n as f64
        });
        assert!(widths[0] > widths[1] && widths[1] > widths[2], "{widths:?}");
        assert_eq!(ranks(3, 0.99, 100.0, 0.05).unwrap().upper, None);
        assert_eq!(ranks(0, 0.5, 100.0, 0.05).unwrap().lower, None);
    }

    #[test]
    fn the_unit_of_the_values_does_not_matter_and_ties_do_no_harm() {
        let control: Vec<f64> = (0..400).map(|index| f64::from(index / 7)).collect();
        let treatment: Vec<f64> = (0..300).map(|index| f64::from(index / 4)).collect();
        let p = two_sample_p_value(&control, &treatment, 0.5, 100.0).unwrap();
        let in_milliseconds = |values: &[f64]| values.iter().map(|value| value * 1e3).collect::<Vec<_>>();
        let scaled = two_sample_p_value(
            &in_milliseconds(&control),
            &in_milliseconds(&treatment),
            0.5,
            100.0,
        )
        .unwrap();
        let swapped = two_sample_p_value(&treatment, &control, 0.5, 100.0).unwrap();
        assert!(
            p < 1.0 && (p - scaled).abs() < 1e-12 && (p - swapped).abs() < 1e-12,
            "{p}"
        );
        let same = vec![3.0; 500];
        assert!((two_sample_p_value(&same, &same, 0.9, 100.0).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(interval(&same, 0.5, 100.0, 0.05).unwrap().lower, Some(3.0));
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(
            interval(&[2.0, 1.0], 0.5, 10.0, 0.05).is_err()
                && interval(&[f64::NAN], 0.5, 10.0, 0.05).is_err()
        );
        assert!(two_sample_p_value(&[], &[1.0], 0.5, 10.0).is_err());
        assert!(
            ranks(10, 1.0, 10.0, 0.05).is_err() && double_stitching_bound(0.5, f64::NAN, 0.05, 1.0).is_err()
        );
        assert!(empirical_process_bound(10.0, 0.05, 1.0, 0.5).is_err());
        assert_eq!(empirical_process_bound(1.0, 0.05, 100.0, 0.85), Ok(None));
    }
}
