//! The Kruskal–Wallis test: do the values of one arm of several tend to exceed those of the others?
//!
//! The answer is about ranks, not about means. Ties share their mean rank and are taken into the variance.

use serde::Serialize;

use super::sample::too_few;
use crate::error::StatsError;
use crate::estimate::PValue;
use crate::special::chi2;

/// What the test rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "values are independent of each other",
    "at least five values in each arm, so that the statistic is nearly chi-square",
    "looked at once, when the planned number of units is reached",
];

/// Fewer values than this in an arm and the chi-square limit is rough (Kruskal and Wallis 1952).
pub const ENOUGH_VALUES: usize = 5;

/// The test of several samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KruskalWallis {
    /// The statistic, corrected for ties.
    pub h: f64,
    /// Its degrees of freedom: arms less one.
    pub df: u64,
    /// P(chi-square > h).
    pub p_value: PValue,
    /// The mean rank in each arm, from 1.
    pub mean_ranks: Vec<f64>,
}

/// Compares several samples by rank (Kruskal and Wallis, JASA 1952).
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two arms or for an empty one, [`StatsError::ZeroVariance`] when all values are equal,
/// an input error for a value that is not a finite number.
///
/// # Example
/// ```
/// let answer = stats::frequentist::kruskal_wallis::test(&[vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]])?;
/// assert!((answer.h - 32.0 / 7.0).abs() < 1e-12);
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn test(arms: &[Vec<f64>]) -> Result<KruskalWallis, StatsError> {
    if arms.len() < 2 {
        return Err(too_few("the list of arms", arms.len() as u64, 2));
    }
    let mut values: Vec<(f64, usize)> = Vec::with_capacity(arms.iter().map(Vec::len).sum());
    for (arm, sample) in arms.iter().enumerate() {
        if sample.is_empty() {
            return Err(too_few("an arm", 0, 1));
        }
        if sample.iter().any(|value| !value.is_finite()) {
            return Err(StatsError::invalid("arms", "must be finite numbers"));
        }
        values.extend(sample.iter().map(|value| (*value, arm)));
    }
    let total = values.len() as f64;
    let middle = 0.5 * (total + 1.0);
    // Ranks less their mean, so that nothing large is subtracted at the end.
    let mut sums = vec![0.0; arms.len()];
    let (mut below, mut spread) = (0.0, 0.0);
    values.sort_by(|left, right| left.0.partial_cmp(&right.0).unwrap_or(std::cmp::Ordering::Equal));
    let ties = |left: &(f64, usize), right: &(f64, usize)| {
        left.0.partial_cmp(&right.0) == Some(std::cmp::Ordering::Equal)
    };
    for group in values.chunk_by(ties) {
        let count = group.len() as f64;
        let rank = below + 0.5 * (count + 1.0) - middle;
        group.iter().for_each(|(_, arm)| sums[*arm] += rank);
        spread += count * rank * rank;
        below += count;
    }
    if spread <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let between: f64 = sums
        .iter()
        .zip(arms)
        .map(|(sum, sample)| sum * (sum / sample.len() as f64))
        .sum();
    // The spread of all ranks with their ties is the variance that H divides by.
    let h = (total - 1.0) * between / spread;
    let df = arms.len() as u64 - 1;
    let ln_p = chi2::ln_sf(h, df as f64);
    Ok(KruskalWallis {
        h,
        df,
        p_value: PValue::known("the tail of chi-square", ln_p)?,
        mean_ranks: sums
            .iter()
            .zip(arms)
            .map(|(sum, sample)| middle + sum / sample.len() as f64)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::rank::mann_whitney;

    #[test]
    fn two_arms_are_mann_whitney_without_its_continuity_correction() {
        let (left, right) = (vec![1.0, 2.0, 2.0, 5.0, 7.0, 7.0], vec![2.0, 3.0, 7.0, 8.0, 9.0]);
        let ranks = mann_whitney(&left, &right, 0.05).unwrap();
        let answer = test(&[left, right]).unwrap();
        assert!((answer.h - ranks.z.unwrap().powi(2)).abs() < 1e-12);
        assert!((answer.p_value.p - ranks.p_normal.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn only_the_order_of_values_counts() {
        let arms = [vec![1.0, 4.0, 2.5], vec![3.0, 9.0, 4.0, 1.5], vec![0.5, 0.25]];
        let base = test(&arms).unwrap();
        let other = arms
            .clone()
            .map(|arm| arm.iter().map(|value: &f64| 1e9 + value.exp()).collect());
        assert_eq!(test(&other).unwrap(), base);
        let turned = test(&[arms[2].clone(), arms[0].clone(), arms[1].clone()]).unwrap();
        assert!((turned.h - base.h).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_answer_has_a_reason() {
        assert_eq!(test(&[vec![2.0], vec![2.0, 2.0]]), Err(StatsError::ZeroVariance));
        assert!(matches!(
            test(&[vec![2.0], vec![]]),
            Err(StatsError::TooFewUnits { .. })
        ));
        assert!(matches!(test(&[vec![2.0]]), Err(StatsError::TooFewUnits { .. })));
        let missing = test(&[vec![2.0], vec![f64::NAN]]);
        assert!(matches!(missing, Err(StatsError::InvalidInput { .. })));
    }
}
