//! Confidence sequences for the mean of values that are known to lie between 0 and 1.
//!
//! Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2024; arXiv:2010.09686).
//! Nothing but the bounds is assumed: no normality, no identical distribution, only the same mean. Values from another
//! known range are carried over by (x − low)/(high − low). [`BettingSequence`] is the tightest and costs one pass over
//! a grid of means per value; the two closed forms cost a few operations.

use crate::error::{StatsError, check_rate};
use crate::estimate::Interval;

/// Candidate means lie this far apart, and the interval is widened by one step to be right between them.
const GRID_STEPS: usize = 1_000;

/// The share of what could be lost at once that a bet may risk.
const LARGEST_BET: f64 = 0.5;

/// A state that takes bounded values one by one and gives an interval that is valid after each.
///
/// For every candidate mean m it bets against m in both directions; a candidate that has lost so often that the capital
/// reached 2/alpha leaves the interval ("hedged capital", section 4.4).
#[derive(Debug, Clone, PartialEq)]
pub struct BettingSequence {
    alpha: f64,
    /// ln of the capital that bets on a mean above and below each candidate.
    log_capital: Vec<[f64; 2]>,
    bets: Bets,
}

/// The predictable size of the next bet: about √(2 ln(1/α) / (σ̂²·t·ln(1 + t))).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bets {
    log_one_over_alpha: f64,
    count: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Bets {
    fn new(alpha: f64) -> Self {
        Self {
            log_one_over_alpha: -alpha.ln(),
            count: 0.0,
            sum: 0.0,
            sum_of_squares: 0.0,
        }
    }

    /// The size of the bet on the next value, from the values before it and one made up with mean ½ and variance ¼.
    fn next(&self) -> f64 {
        let step = self.count + 1.0;
        let variance = (0.25 + self.sum_of_squares) / step;
        (2.0 * self.log_one_over_alpha / (step * step.ln_1p() * variance)).sqrt()
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        let mean = (0.5 + self.sum) / (self.count + 1.0);
        self.sum_of_squares += (value - mean) * (value - mean);
    }
}

impl BettingSequence {
    /// Before the first value.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when alpha is not strictly between 0 and 1.
    pub fn new(alpha: f64) -> Result<Self, StatsError> {
        check_rate("alpha", alpha)?;
        Ok(Self {
            alpha,
            log_capital: vec![[0.0; 2]; GRID_STEPS + 1],
            bets: Bets::new(alpha / 2.0),
        })
    }

    /// Takes the next value.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when it does not lie between 0 and 1; the state is then unchanged.
    pub fn observe(&mut self, value: f64) -> Result<(), StatsError> {
        check_unit(value)?;
        let bet = self.bets.next();
        for (index, [above, below]) in self.log_capital.iter_mut().enumerate() {
            let mean = index as f64 / GRID_STEPS as f64;
            let gain = value - mean;
            // A bet is cut where it could lose more than its share at once; against a mean of 0 nothing is lost.
            *above += gamble(bet.min(LARGEST_BET / mean), gain);
            *below += gamble(bet.min(LARGEST_BET / (1.0 - mean)), -gain);
        }
        self.bets.add(value);
        Ok(())
    }

    /// The interval after the values so far.
    pub fn interval(&self) -> Interval {
        // Each direction owns half of the starting capital.
        let limit = (2.0 / self.alpha).ln();
        let inside = |capital: &[f64; 2]| capital[0].max(capital[1]) <= limit;
        let first = self.log_capital.iter().position(inside);
        let last = self.log_capital.iter().rposition(inside);
        let (low, high) = match (first, last) {
            (Some(first), Some(last)) => (first.saturating_sub(1), (last + 1).min(GRID_STEPS)),
            // Only possible when the values do not share a mean: nothing is left to exclude.
            _ => (0, GRID_STEPS),
        };
        Interval::new(
            low as f64 / GRID_STEPS as f64,
            high as f64 / GRID_STEPS as f64,
            1.0 - self.alpha,
        )
    }
}

/// The same sequence for a single question: does the interval leave this mean out?
#[derive(Debug, Clone, PartialEq)]
pub struct MeanTest {
    limit: f64,
    /// The candidates next above and next below the mean, against which is bet upwards and downwards.
    candidates: [f64; 2],
    log_capital: [f64; 2],
    bets: Bets,
}

impl MeanTest {
    /// Before the first value.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when the mean or alpha is not strictly between 0 and 1.
    pub fn new(mean: f64, alpha: f64) -> Result<Self, StatsError> {
        check_rate("mean", mean)?;
        check_rate("alpha", alpha)?;
        let steps = GRID_STEPS as f64;
        // The interval's ends stand one step outside the candidates that are left, so that the nearest candidate on the other
        // side of the mean must have left too; capital falls with the distance, so that it is the last to go.
        let mut above = (mean * steps).floor() + 1.0;
        while (above - 1.0) / steps > mean {
            above -= 1.0;
        }
        while above / steps <= mean {
            above += 1.0;
        }
        let mut below = (mean * steps).ceil() - 1.0;
        while (below + 1.0) / steps < mean {
            below += 1.0;
        }
        while below / steps >= mean {
            below -= 1.0;
        }
        Ok(Self {
            limit: (2.0 / alpha).ln(),
            candidates: [above / steps, below / steps],
            log_capital: [0.0; 2],
            bets: Bets::new(alpha / 2.0),
        })
    }

    /// Takes the next value and says whether the interval leaves the mean out now.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when it does not lie between 0 and 1; the state is then unchanged.
    pub fn observe(&mut self, value: f64) -> Result<bool, StatsError> {
        check_unit(value)?;
        let bet = self.bets.next();
        let [above, below] = self.candidates;
        self.log_capital[0] += gamble(bet.min(LARGEST_BET / above), value - above);
        self.log_capital[1] += gamble(bet.min(LARGEST_BET / (1.0 - below)), below - value);
        self.bets.add(value);
        Ok(self.log_capital.iter().any(|capital| *capital > self.limit))
    }
}

/// ln of what one unit of capital becomes.
fn gamble(bet: f64, gain: f64) -> f64 {
    // An unlimited bet that cannot lose (a candidate mean at the end of the range) stays as it is when nothing moves.
    if gain.abs() < f64::MIN_POSITIVE {
        0.0
    } else {
        (bet * gain).ln_1p()
    }
}

/// The intervals after each value by the predictable-mixture empirical Bernstein bound (their theorem 2).
///
/// # Errors
/// [`StatsError::InvalidInput`] when a value does not lie between 0 and 1, or alpha is out of range.
pub fn empirical_bernstein(values: &[f64], alpha: f64) -> Result<Vec<Interval>, StatsError> {
    both_sides(values, alpha, bernstein_lower)
}

/// The intervals after each value by the predictable-mixture Hoeffding bound (their proposition 1).
///
/// # Errors
/// As [`empirical_bernstein`].
pub fn hoeffding(values: &[f64], alpha: f64) -> Result<Vec<Interval>, StatsError> {
    both_sides(values, alpha, hoeffding_lower)
}

fn both_sides(
    values: &[f64],
    alpha: f64,
    lower_bounds: fn(&[f64], f64) -> Vec<f64>,
) -> Result<Vec<Interval>, StatsError> {
    check_rate("alpha", alpha)?;
    for value in values {
        check_unit(*value)?;
    }
    let mirrored: Vec<f64> = values.iter().map(|value| 1.0 - value).collect();
    let lower = lower_bounds(values, alpha / 2.0);
    let upper = lower_bounds(&mirrored, alpha / 2.0);
    let interval = |(low, high): (f64, f64)| Interval::new(low.max(0.0), (1.0 - high).min(1.0), 1.0 - alpha);
    Ok(lower.into_iter().zip(upper).map(interval).collect())
}

fn bernstein_lower(values: &[f64], alpha: f64) -> Vec<f64> {
    let mut bets = Bets::new(alpha);
    let (mut cost, mut weights, mut weighted, mut plain_mean) = (-alpha.ln(), 0.0, 0.0, 0.0);
    let mut bounds = Vec::with_capacity(values.len());
    for value in values {
        let bet = bets.next().min(LARGEST_BET);
        cost += (value - plain_mean) * (value - plain_mean) * (-(-bet).ln_1p() - bet);
        weights += bet;
        weighted += bet * value;
        bets.add(*value);
        plain_mean = bets.sum / bets.count;
        bounds.push((weighted - cost) / weights);
    }
    bounds
}

fn hoeffding_lower(values: &[f64], alpha: f64) -> Vec<f64> {
    let (mut cost, mut weights, mut weighted) = (-alpha.ln(), 0.0, 0.0);
    let mut bounds = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let step = index as f64 + 1.0;
        let bet = (-8.0 * alpha.ln() / (step * step.ln_1p())).sqrt().min(1.0);
        cost += bet * bet / 8.0;
        weights += bet;
        weighted += bet * value;
        bounds.push((weighted - cost) / weights);
    }
    bounds
}

fn check_unit(value: f64) -> Result<(), StatsError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(StatsError::invalid("x", "must lie between 0 and 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn betting(values: &[f64]) -> Interval {
        let mut sequence = BettingSequence::new(0.05).unwrap();
        values.iter().for_each(|value| sequence.observe(*value).unwrap());
        sequence.interval()
    }

    #[test]
    fn betting_is_tighter_than_the_closed_forms_and_all_hold_the_mean() {
        let values: Vec<f64> = (0..500).map(|index| 0.3 + 0.2 * f64::from(index % 2)).collect();
        let widths = [
            betting(&values),
            empirical_bernstein(&values, 0.05).unwrap()[499],
            hoeffding(&values, 0.05).unwrap()[499],
        ]
        .map(|interval| {
            assert!(interval.contains(0.4), "{interval:?}");
            interval.upper.unwrap() - interval.lower.unwrap()
        });
        assert!(widths[0] < widths[1] && widths[1] < widths[2], "{widths:?}");
    }

    #[test]
    fn mirrored_values_give_the_mirrored_interval() {
        let values = [0.0, 0.2, 0.1, 0.0, 0.9, 0.0, 0.3, 0.0, 0.0, 0.1];
        let mirrored = values.map(|value| 1.0 - value);
        let (one, two) = (betting(&values), betting(&mirrored));
        assert!((one.lower.unwrap() + two.upper.unwrap() - 1.0).abs() < 1e-12);
        let (one, two) = (
            empirical_bernstein(&values, 0.05).unwrap(),
            empirical_bernstein(&mirrored, 0.05).unwrap(),
        );
        assert!((one[9].upper.unwrap() + two[9].lower.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn capital_has_mean_one_at_every_candidate() {
        // What must never change: over all sequences of eight tosses with chance m, the capital against m has mean 1.
        let index = 300;
        let chance: f64 = index as f64 / GRID_STEPS as f64;
        let mut mean = [0.0; 2];
        for bits in 0..256_u32 {
            let mut sequence = BettingSequence::new(0.05).unwrap();
            let mut probability = 1.0;
            for toss in 0..8 {
                let hit = bits >> toss & 1 == 1;
                probability *= if hit { chance } else { 1.0 - chance };
                sequence.observe(f64::from(u8::from(hit))).unwrap();
            }
            for (mean, log) in mean.iter_mut().zip(sequence.log_capital[index]) {
                *mean += probability * log.exp();
            }
        }
        assert!(
            (mean[0] - 1.0).abs() < 1e-12 && (mean[1] - 1.0).abs() < 1e-12,
            "{mean:?}"
        );
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let mut sequence = BettingSequence::new(0.05).unwrap();
        for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(sequence.observe(value).is_err() && hoeffding(&[value], 0.05).is_err());
        }
        assert_eq!(sequence, BettingSequence::new(0.05).unwrap());
        assert!(BettingSequence::new(f64::NAN).is_err());
        assert_eq!(betting(&[]).lower, Some(0.0));
        assert!(empirical_bernstein(&[], 0.05).unwrap().is_empty());
    }
}
