//! A confidence sequence for one proportion: the interval covers the chance of success at every number of trials.
//!
//! It inverts the two-sided beta–binomial mixture of Howard et al. (2021): a chance p is in the interval as long as the
//! e-value against it stays below 1/alpha. Exact for independent trials, however rare the successes.

use super::mixture::{BetaBinomial, Mixture};
use crate::error::{StatsError, check_positive, check_rate};
use crate::estimate::Interval;
use crate::special::roots::{Bracket, brent};

/// The alpha that the mixture is tuned for; the interval's own alpha may differ.
const TUNED_FOR: f64 = 0.05;

/// ln of an e-value that refutes at every alpha that `f64` holds, small enough to interpolate with.
const REFUTED: f64 = 1_000.0;

/// The interval after `trials` with `successes`, tightest at `planned_trials`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when there are no trials, more successes than trials, or an argument is out of range.
pub fn interval(
    successes: u64,
    trials: u64,
    planned_trials: f64,
    alpha: f64,
) -> Result<Interval, StatsError> {
    check_rate("alpha", alpha)?;
    check_positive("planned_trials", planned_trials)?;
    if trials == 0 || successes > trials {
        return Err(StatsError::invalid(
            "successes",
            "must be at most the trials, of which there must be some",
        ));
    }
    let n = trials as f64;
    let rate = successes as f64 / n;
    let excess = |chance: f64| log_e(rate, n, planned_trials, chance) + alpha.ln();
    let lower = if successes == 0 {
        0.0
    } else {
        edge(0.0, rate, excess)
    };
    let upper = if successes == trials {
        1.0
    } else {
        edge(rate, 1.0, excess)
    };
    Ok(Interval::new(lower.min(rate), upper.max(rate), 1.0 - alpha))
}

/// ln of the e-value against the chance `chance` after `trials` with the share `rate` of successes.
fn log_e(rate: f64, trials: f64, planned_trials: f64, chance: f64) -> f64 {
    let variance = chance * (1.0 - chance);
    if variance <= 0.0 {
        // A chance of 0 or 1 is refuted by the first observation of the other kind, and by nothing else.
        return if (rate - chance).abs() > 0.0 { REFUTED } else { 0.0 };
    }
    match BetaBinomial::two_sided(variance * planned_trials, TUNED_FOR, chance, 1.0 - chance) {
        Ok(mixture) => Mixture::BetaBinomial(mixture).log_e((rate - chance) * trials, variance * trials),
        Err(_) => REFUTED,
    }
}

/// Where the evidence crosses its threshold between the observed rate and an end of the unit interval.
fn edge(low: f64, high: f64, excess: impl Fn(f64) -> f64) -> f64 {
    // The observed rate itself is never refuted, so that a failed bracket can only mean the far end.
    let far = if excess(low) > 0.0 { low } else { high };
    brent(
        "confidence sequence",
        Bracket::new(low, high),
        1e-13 * high,
        excess,
    )
    .unwrap_or(far)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(successes: u64, trials: u64) -> [f64; 2] {
        let interval = interval(successes, trials, 100.0, 0.05).unwrap();
        [interval.lower.unwrap(), interval.upper.unwrap()]
    }

    #[test]
    fn successes_and_failures_mirror_each_other() {
        for (successes, trials) in [(0, 10), (3, 10), (1, 1_000), (500, 1_000)] {
            let ([low, high], [other_low, other_high]) =
                (ends(successes, trials), ends(trials - successes, trials));
            let gap = (low + other_high - 1.0).abs().max((high + other_low - 1.0).abs());
            assert!(
                gap < 1e-9,
                "{successes} of {trials}: {low} {high} {other_low} {other_high}"
            );
        }
    }

    #[test]
    fn one_trial_leaves_everything_open_and_a_billion_nothing() {
        let [low, high] = ends(1, 1);
        assert!(low < 1e-6 && high > 1.0 - 1e-12);
        let [low, high] = ends(1_000, 1_000_000_000);
        assert!(low > 8e-7 && high < 1.3e-6, "{low} {high}");
        assert!(interval(2, 1, 10.0, 0.05).is_err() && interval(0, 0, 10.0, 0.05).is_err());
        assert!(interval(1, 2, f64::NAN, 0.05).is_err() && interval(1, 2, 10.0, 1.0).is_err());
    }
}
