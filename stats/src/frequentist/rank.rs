//! The Mann–Whitney U test: does a value drawn from the treatment tend to exceed one drawn from the control?
//!
//! The answer is about the chance of exceeding, not about means. Ties are counted by half and taken into the variance.

use serde::Serialize;

use crate::error::StatsError;
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
    /// The two-sided normal p-value without it; absent when all values are equal.
    pub p_normal: Option<f64>,
    /// The two-sided exact p-value; absent with ties or above [`EXACT_LIMIT`].
    pub p_exact: Option<f64>,
}

/// Compares two samples by rank.
///
/// # Errors
/// [`StatsError::TooFewUnits`] for an empty sample, an input error for a value that is not a finite number.
pub fn mann_whitney(control: &[f64], treatment: &[f64]) -> Result<MannWhitney, StatsError> {
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
    Ok(MannWhitney {
        u,
        chance_greater: u / pairs,
        z,
        p_corrected: if varies { corrected(deviation, spread) } else { 1.0 },
        p_normal: z.map(normal::two_sided),
        p_exact: (no_ties && control.len() * treatment.len() <= EXACT_LIMIT)
            .then(|| exact(u, control.len(), treatment.len())),
    })
}

/// The p-value of a deviation moved by one half towards 0.
fn corrected(deviation: f64, spread: f64) -> f64 {
    let z = (deviation.abs() - 0.5) / spread;
    // Beyond the middle the tail is more than one half, and twice of it at most 1.
    if z <= 0.0 { 1.0 } else { normal::two_sided(z) }
}

struct Ranked {
    treatment_ranks: f64,
    /// Σ(t³ − t) over groups of t equal values.
    ties: f64,
}

fn rank_sum(control: &[f64], treatment: &[f64]) -> Ranked {
    let mut values: Vec<(f64, bool)> = control.iter().map(|value| (*value, false)).collect();
    values.extend(treatment.iter().map(|value| (*value, true)));
    values.sort_by(|left, right| left.0.partial_cmp(&right.0).unwrap_or(std::cmp::Ordering::Equal));
    let (mut treatment_ranks, mut ties) = (0.0, 0.0);
    for group in
        values.chunk_by(|left, right| left.0.partial_cmp(&right.0) == Some(std::cmp::Ordering::Equal))
    {
        let first = (group.as_ptr() as usize - values.as_ptr() as usize) / size_of::<(f64, bool)>();
        let size = group.len() as f64;
        let rank = first as f64 + 0.5 * (size + 1.0);
        treatment_ranks += rank * group.iter().filter(|(_, treated)| *treated).count() as f64;
        ties += size * size * size - size;
    }
    Ranked {
        treatment_ranks,
        ties,
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
        let answer = mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
        assert!((answer.p_exact.unwrap() - 0.1).abs() < 1e-14);
        assert!((answer.u - 9.0).abs() < 1e-14);
    }

    #[test]
    fn swapping_arms_and_any_rising_scale_change_nothing() {
        let (a, b) = ([0.3, 1.2, 5.0, 0.7, 2.0], [2.0, 0.1, 6.0, 8.0, 2.5, 9.0]);
        let one = mann_whitney(&a, &b).unwrap();
        let two = mann_whitney(&b, &a).unwrap();
        assert!((one.p_corrected - two.p_corrected).abs() < 1e-15);
        let three = mann_whitney(&a.map(f64::exp), &b.map(f64::exp)).unwrap();
        assert_eq!(one, three);
    }

    #[test]
    fn equal_values_are_no_evidence() {
        let answer = mann_whitney(&[2.0; 4], &[2.0; 5]).unwrap();
        assert_eq!((answer.z, answer.p_normal), (None, None));
        assert!((answer.chance_greater - 0.5).abs() < 1e-15);
        assert!(mann_whitney(&[], &[1.0]).is_err() && mann_whitney(&[f64::NAN], &[1.0]).is_err());
    }
}
