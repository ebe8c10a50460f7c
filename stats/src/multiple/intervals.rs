//! The level of each interval that matches an adjusted test: it leaves out 0 exactly when the test rejects.
//!
//! For Holm, the interval of the k-th smallest p-value has the error rate α/(m − k + 1), and those after the first
//! that is not rejected keep that one's rate, so that interval and test never disagree. For Benjamini–Hochberg,
//! discoveries get the rate R·α/m of Benjamini and Yekutieli (2005), which holds the false-coverage rate, and the
//! others α·(R + 1)/m, at which none of them leaves out 0.

use super::adjust::{ascending, check_p_values};
use crate::error::{StatsError, check_rate};

/// Error rates of the single intervals under Bonferroni.
///
/// # Errors
/// When a p-value lies outside 0 to 1 or alpha does not lie between them, as for all functions here.
pub fn bonferroni_alphas(p_values: &[f64], alpha: f64) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    check_rate("alpha", alpha)?;
    Ok(vec![alpha / p_values.len().max(1) as f64; p_values.len()])
}

/// Error rates of the single intervals under Holm.
///
/// # Errors
/// As [`bonferroni_alphas`].
pub fn holm_alphas(p_values: &[f64], alpha: f64) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    check_rate("alpha", alpha)?;
    let m = p_values.len();
    let mut alphas = vec![alpha; m];
    let (mut stopped_at, mut stopped) = (alpha / m.max(1) as f64, false);
    for (rank, index) in ascending(p_values).into_iter().enumerate() {
        if !stopped {
            stopped_at = alpha / (m - rank) as f64;
            stopped = p_values[index] > stopped_at;
        }
        alphas[index] = stopped_at;
    }
    Ok(alphas)
}

/// Error rates of the single intervals under Benjamini–Hochberg.
///
/// # Errors
/// As [`bonferroni_alphas`].
pub fn benjamini_hochberg_alphas(p_values: &[f64], alpha: f64) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    check_rate("alpha", alpha)?;
    let m = p_values.len() as f64;
    let order = ascending(p_values);
    let discoveries = order
        .iter()
        .enumerate()
        .filter(|(rank, index)| p_values[**index] <= alpha * (rank + 1) as f64 / m)
        .map(|(rank, _)| rank + 1)
        .max()
        .unwrap_or(0);
    let mut alphas = vec![0.0; p_values.len()];
    for (rank, index) in order.into_iter().enumerate() {
        let counted = if rank < discoveries {
            discoveries
        } else {
            discoveries + 1
        };
        alphas[index] = alpha * counted as f64 / m;
    }
    Ok(alphas)
}

#[cfg(test)]
mod tests {
    use super::super::adjust;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn interval_and_test_never_disagree(p in prop::collection::vec(0.0_f64..0.2, 1..30), alpha in 0.01_f64..0.2) {
            // What must never change: p ≤ its own rate exactly when the adjusted p ≤ alpha.
            let holm = (adjust::holm(&p).unwrap(), holm_alphas(&p, alpha).unwrap());
            let bh = (adjust::benjamini_hochberg(&p).unwrap(), benjamini_hochberg_alphas(&p, alpha).unwrap());
            for (adjusted, alphas) in [holm, bh] {
                for index in 0..p.len() {
                    let near = (adjusted[index] - alpha).abs() < 1e-12;
                    prop_assert!(near || (adjusted[index] <= alpha) == (p[index] <= alphas[index]));
                }
            }
        }
    }
}
