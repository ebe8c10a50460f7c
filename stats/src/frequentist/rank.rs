//! The Mann–Whitney U test: does a value drawn from the treatment tend to exceed one drawn from the control?
//!
//! The answer is about the chance of exceeding, not about means. Ties are counted by half and taken into the variance.

use serde::Serialize;

use crate::error::{StatsError, check_rate};
use crate::estimate::{Interval, PValue};
use crate::frequentist::sample::too_few;
use crate::special::logs::ln_add_exp;
use crate::special::{gamma, normal};

/// The exact distribution is computed up to this product of sample sizes, about a millisecond of work.
pub const EXACT_LIMIT: usize = 10_000;

/// The test of two samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MannWhitney {
    /// Pairs in which the treatment's value is greater, ties counting one half.
    pub u: f64,
    /// U over the number of pairs: the chance that the treatment exceeds the control.
    pub chance_greater: f64,
    /// The standardised statistic without continuity correction; absent when all values are equal.
    pub z: Option<f64>,
    /// The two-sided normal p-value with continuity correction; 1 when all values are equal.
    pub p_corrected: f64,
    /// Its decimal logarithm, right where the p-value is too small to hold.
    pub log10_p_corrected: f64,
    /// The two-sided normal p-value without it; absent when all values are equal.
    pub p_normal: Option<f64>,
    /// The two-sided exact p-value; absent with ties or above [`EXACT_LIMIT`].
    pub p_exact: Option<f64>,
    /// The standard error of the chance, whatever the two distributions are; absent below two values in an arm.
    pub standard_error: Option<f64>,
    /// The interval of the chance; absent without a standard error above 0, as where the samples do not overlap.
    pub interval: Option<Interval>,
}

/// Compares two samples by rank, with an interval of level 1 − `alpha` for the chance that the treatment exceeds.
///
/// The standard error is that of placements (DeLong, DeLong and Clarke-Pearson, Biometrics 1988), which unlike the test's
/// does not take the distributions as equal; the interval is built for the logit of the chance and stays within 0 and 1.
///
/// # Errors
/// [`StatsError::TooFewUnits`] for an empty sample, an input error for a value that is not a finite number or alpha.
pub fn mann_whitney(control: &[f64], treatment: &[f64], alpha: f64) -> Result<MannWhitney, StatsError> {
    check_rate("alpha", alpha)?;
    for (sample, arm) in [(control, "control"), (treatment, "treatment")] {
        if sample.is_empty() {
            return Err(too_few(arm, 0, 1));
        }
        if sample.iter().any(|value| !value.is_finite()) {
            return Err(StatsError::invalid(arm, "must be finite numbers"));
        }
    }
    let (left, right) = (control.len() as f64, treatment.len() as f64);
    let ranked = rank_sum(control, treatment);
    let u = ranked.treatment_ranks - 0.5 * right * (right + 1.0);
    let total = left + right;
    let pairs = left * right;
    let variance = if total > 1.0 {
        pairs / 12.0 * ((total + 1.0) - ranked.ties / (total * (total - 1.0)))
    } else {
        0.0
    };
    let deviation = u - 0.5 * pairs;
    let spread = variance.max(0.0).sqrt();
    let varies = spread > 1e-9 * pairs.sqrt();
    let z = varies.then(|| deviation / spread);
    let no_ties = ranked.ties <= 0.0;
    let chance_greater = u / pairs;
    let corrected = PValue::from_ln(if varies {
        ln_corrected(deviation, spread)
    } else {
        0.0
    });
    let standard_error = ranked.placement_variance(left, right).map(f64::sqrt);
    Ok(MannWhitney {
        u,
        chance_greater,
        standard_error,
        interval: standard_error
            .filter(|error| *error > 0.0)
            .and_then(|error| logit_interval(chance_greater, error, alpha)),
        z,
        p_corrected: corrected.p,
        log10_p_corrected: corrected.log10,
        p_normal: z.map(normal::two_sided),
        p_exact: (no_ties && control.len() * treatment.len() <= EXACT_LIMIT)
            .then(|| exact(u, control.len(), treatment.len())),
    })
}

/// The logarithm of the p-value of a deviation moved by one half towards 0.
fn ln_corrected(deviation: f64, spread: f64) -> f64 {
    let z = (deviation.abs() - 0.5) / spread;
    // Beyond the middle the tail is more than one half, and twice of it at most 1.
    if z <= 0.0 { 0.0 } else { normal::ln_two_sided(z) }
}

/// The interval of a chance, built on its logit; none at 0 and 1.
fn logit_interval(chance: f64, standard_error: f64, alpha: f64) -> Option<Interval> {
    let product = chance * (1.0 - chance);
    let center = (chance / (1.0 - chance)).ln();
    let margin = normal::isf(alpha / 2.0) * standard_error / product;
    let back = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    (product > 0.0).then(|| Interval::new(back(center - margin), back(center + margin), 1.0 - alpha))
}

struct Ranked {
    treatment_ranks: f64,
    /// Σ(t³ − t) over groups of t equal values.
    ties: f64,
    /// How the share of the other arm below a value varies, for the values of the control and of the treatment.
    placements: [Spread; 2],
}

impl Ranked {
    /// The variance of the chance; nothing below two values in an arm.
    fn placement_variance(&self, left: f64, right: f64) -> Option<f64> {
        let part = |spread: &Spread, n: f64| (n > 1.0).then(|| spread.m2 / ((n - 1.0) * n));
        Some(part(&self.placements[0], left)? + part(&self.placements[1], right)?)
    }
}

/// A mean and a centred second moment, updated value by value.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    n: f64,
    mean: f64,
    m2: f64,
}

impl Spread {
    /// Takes `count` values that are all `value`.
    fn add(&mut self, value: f64, count: f64) {
        if count > 0.0 {
            let total = self.n + count;
            let distance = value - self.mean;
            self.m2 += distance * distance * (self.n * count / total);
            self.mean += distance * (count / total);
            self.n = total;
        }
    }
}

fn rank_sum(control: &[f64], treatment: &[f64]) -> Ranked {
    let mut values: Vec<(f64, bool)> = control.iter().map(|value| (*value, false)).collect();
    values.extend(treatment.iter().map(|value| (*value, true)));
    values.sort_by(|left, right| left.0.partial_cmp(&right.0).unwrap_or(std::cmp::Ordering::Equal));
    let (mut treatment_ranks, mut ties) = (0.0, 0.0);
    let mut placements = [Spread::default(); 2];
    // Values of the control and of the treatment that lie below the group.
    let mut below = [0.0, 0.0];
    let sizes = [control.len() as f64, treatment.len() as f64];
    for group in
        values.chunk_by(|left, right| left.0.partial_cmp(&right.0) == Some(std::cmp::Ordering::Equal))
    {
        let size = group.len() as f64;
        let treated = group.iter().filter(|(_, treated)| *treated).count() as f64;
        let own = [size - treated, treated];
        treatment_ranks += (below[0] + below[1] + 0.5 * (size + 1.0)) * treated;
        ties += size * size * size - size;
        for arm in 0..2 {
            let other = 1 - arm;
            placements[arm].add((below[other] + 0.5 * own[other]) / sizes[other], own[arm]);
        }
        below = [below[0] + own[0], below[1] + own[1]];
    }
    Ranked {
        treatment_ranks,
        ties,
        placements,
    }
}

/// The exact two-sided p-value: twice the smaller side of the distribution over all orders.
fn exact(u: f64, left: usize, right: usize) -> f64 {
    let pairs = left * right;
    let far = u.max(pairs as f64 - u).ceil() as usize;
    // Orders of both samples with a U of each value: the coefficients of Gauss's binomial, in logarithms because they
    // pass 10³⁰⁸ soon. Counted for the nearer end by symmetry, so that the sum is over few and small terms.
    let near = pairs - far;
    let counts = orders(left, right, near);
    let ln_total = gamma::ln_choose((left + right) as f64, left as f64);
    let tail = counts
        .iter()
        .fold(f64::NEG_INFINITY, |sum, term| ln_add_exp(sum, term.ln()));
    (2.0 * (tail - ln_total).exp()).min(1.0)
}

/// How many orders have U = 0, 1, …, limit: partitions of U into at most `right` parts of at most `left`.
fn orders(left: usize, right: usize, limit: usize) -> Vec<f64> {
    let mut counts = vec![0.0; limit + 1];
    counts[0] = 1.0;
    for index in 1..=right {
        // Multiply by 1 − x^(left + index), then divide by 1 − x^index.
        let high = left + index;
        for at in (high..=limit).rev() {
            counts[at] -= counts[at - high];
        }
        for at in index..=limit {
            counts[at] += counts[at - index];
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples_are_counted_out() {
        // Three against three, all greater: 2 of 20 orders are as extreme.
        let answer = mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], 0.05).unwrap();
        assert!((answer.p_exact.unwrap() - 0.1).abs() < 1e-14);
        assert!((answer.u - 9.0).abs() < 1e-14);
    }

    #[test]
    fn swapping_arms_and_any_rising_scale_change_nothing() {
        let (a, b) = ([0.3, 1.2, 5.0, 0.7, 2.0], [2.0, 0.1, 6.0, 8.0, 2.5, 9.0]);
        let one = mann_whitney(&a, &b, 0.05).unwrap();
        let two = mann_whitney(&b, &a, 0.05).unwrap();
        assert!((one.p_corrected - two.p_corrected).abs() < 1e-15);
        let three = mann_whitney(&a.map(f64::exp), &b.map(f64::exp), 0.05).unwrap();
        assert_eq!(one, three);
    }

    #[test]
    fn equal_values_are_no_evidence() {
        let answer = mann_whitney(&[2.0; 4], &[2.0; 5], 0.05).unwrap();
        assert_eq!((answer.z, answer.p_normal), (None, None));
        assert!((answer.chance_greater - 0.5).abs() < 1e-15);
        assert_eq!((answer.standard_error, answer.interval), (Some(0.0), None));
        assert!(mann_whitney(&[], &[1.0], 0.05).is_err());
        assert!(
            mann_whitney(&[f64::NAN], &[1.0], 0.05).is_err() && mann_whitney(&[1.0], &[2.0], 0.0).is_err()
        );
    }

    #[test]
    fn the_standard_error_is_that_of_placements() {
        // Against the definition pair by pair, with ties between and within the arms.
        let (a, b) = ([1.0, 2.0, 2.0, 4.0, 7.0], [2.0, 3.0, 4.0, 4.0, 9.0, 0.5]);
        let psi = |x: f64, y: f64| match y.total_cmp(&x) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let of_mean = |values: &[f64]| {
            let center = mean(values);
            let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
            squares / (values.len() as f64 - 1.0) / values.len() as f64
        };
        let left = a.map(|x| mean(&b.map(|y| psi(x, y))));
        let right = b.map(|y| mean(&a.map(|x| psi(x, y))));
        let answer = mann_whitney(&a, &b, 0.05).unwrap();
        let expected = (of_mean(&left) + of_mean(&right)).sqrt();
        assert!((answer.standard_error.unwrap() - expected).abs() < 1e-14);
        let interval = answer.interval.unwrap();
        assert!(interval.lower.unwrap() > 0.0 && interval.upper.unwrap() < 1.0);
        assert!(interval.contains(answer.chance_greater));
        let swapped = mann_whitney(&b, &a, 0.05).unwrap().interval.unwrap();
        assert!((swapped.lower.unwrap() + interval.upper.unwrap() - 1.0).abs() < 1e-14);
    }
}
