//! Adjusted p-values: reject what is at most alpha.
//!
//! Bonferroni, Šidák, Holm (1979), Holm–Šidák, Hochberg (1988) and Hommel (1988) hold the chance of any false discovery;
//! Benjamini–Hochberg (1995) and Benjamini–Yekutieli (2001) hold the expected share of false discoveries. Bonferroni,
//! Holm and Benjamini–Yekutieli hold whatever the dependence; Hochberg, Hommel and Benjamini–Hochberg hold for
//! independent and positively dependent tests.

use crate::error::StatsError;

/// More hypotheses than this are refused: Hommel's method works on all pairs.
pub const MAX_HOMMEL: usize = 20_000;

/// Checks a list of p-values.
///
/// # Errors
/// [`StatsError::InvalidInput`] for one outside 0 to 1.
pub fn check_p_values(p_values: &[f64]) -> Result<(), StatsError> {
    if p_values.iter().all(|p| (0.0..=1.0).contains(p)) {
        Ok(())
    } else {
        Err(StatsError::invalid("p", "must lie between 0 and 1"))
    }
}

/// The positions of `values` from the smallest to the largest.
pub fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    order
}

/// m·p, at most 1.
///
/// # Errors
/// When a p-value lies outside 0 to 1, as for all functions here.
pub fn bonferroni(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    let m = p_values.len() as f64;
    Ok(p_values.iter().map(|p| (m * p).min(1.0)).collect())
}

/// 1 − (1 − p)ᵐ: exact for independent tests.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn sidak(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    let m = p_values.len() as f64;
    Ok(p_values.iter().map(|p| sidak_of(*p, m)).collect())
}

/// 1 − (1 − p)ᵐ without losing a small p.
fn sidak_of(p: f64, m: f64) -> f64 {
    -(m * (-p).ln_1p()).exp_m1()
}

/// Holm's step-down: the k-th smallest times m − k + 1, never below the one before.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    step_down(p_values, |p, left| left * p)
}

/// Holm's step-down with Šidák's formula.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn holm_sidak(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    step_down(p_values, sidak_of)
}

fn step_down(p_values: &[f64], adjust: fn(f64, f64) -> f64) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    let m = p_values.len();
    let mut adjusted = vec![0.0; m];
    let mut so_far: f64 = 0.0;
    for (rank, index) in ascending(p_values).into_iter().enumerate() {
        so_far = so_far.max(adjust(p_values[index], (m - rank) as f64)).min(1.0);
        adjusted[index] = so_far;
    }
    Ok(adjusted)
}

/// Hochberg's step-up: Holm's multipliers, taken from the largest p-value down.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let m = p_values.len();
    step_up(p_values, |rank| (m - rank) as f64)
}

/// Benjamini and Hochberg's step-up: the k-th smallest times m/k.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let m = p_values.len() as f64;
    step_up(p_values, |rank| m / (rank + 1) as f64)
}

/// Benjamini and Yekutieli's step-up: Benjamini–Hochberg times 1 + ½ + … + 1/m, for any dependence.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn benjamini_yekutieli(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let m = p_values.len() as f64;
    let harmonic: f64 = (1..=p_values.len()).map(|k| 1.0 / k as f64).sum();
    step_up(p_values, |rank| harmonic * m / (rank + 1) as f64)
}

fn step_up(p_values: &[f64], factor: impl Fn(usize) -> f64) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut so_far: f64 = 1.0;
    for (rank, index) in ascending(p_values).into_iter().enumerate().rev() {
        so_far = so_far.min(factor(rank) * p_values[index]);
        adjusted[index] = so_far;
    }
    Ok(adjusted)
}

/// Hommel's method, the closed test with Simes' inequality (algorithm of Wright 1992).
///
/// # Errors
/// When a p-value lies outside 0 to 1, or [`StatsError::TooLarge`] above [`MAX_HOMMEL`] hypotheses.
pub fn hommel(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    check_p_values(p_values)?;
    let m = p_values.len();
    if m > MAX_HOMMEL {
        return Err(StatsError::TooLarge {
            what: "the number of hypotheses",
            size: m as u64,
            limit: MAX_HOMMEL as u64,
        });
    }
    if m < 2 {
        return Ok(p_values.to_vec());
    }
    let order = ascending(p_values);
    let sorted: Vec<f64> = order.iter().map(|index| p_values[*index]).collect();
    let simes = sorted
        .iter()
        .enumerate()
        .map(|(rank, p)| m as f64 * p / (rank + 1) as f64)
        .fold(f64::INFINITY, f64::min);
    let mut adjusted = vec![simes; m];
    for size in (2..m).rev() {
        let keep = m - size + 1;
        let smallest = sorted[keep..]
            .iter()
            .enumerate()
            .map(|(index, p)| size as f64 * p / (index + 2) as f64)
            .fold(f64::INFINITY, f64::min);
        let last = (size as f64 * sorted[keep - 1]).min(smallest);
        for (index, value) in adjusted.iter_mut().enumerate() {
            let candidate = if index < keep {
                (size as f64 * sorted[index]).min(smallest)
            } else {
                last
            };
            *value = value.max(candidate);
        }
    }
    let mut answer = vec![0.0; m];
    for (rank, index) in order.into_iter().enumerate() {
        answer[index] = adjusted[rank].max(sorted[rank]).min(1.0);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: &[f64], right: &[f64]) -> bool {
        left.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn published_examples_hold() {
        // Holm's worked example, and R's p.adjust on five p-values.
        assert!(close(
            &holm(&[0.01, 0.04, 0.03, 0.005]).unwrap(),
            &[0.03, 0.06, 0.06, 0.02]
        ));
        let p = [0.01, 0.02, 0.03, 0.04, 0.05];
        assert!(close(&hommel(&p).unwrap(), &[0.05; 5]));
        assert!(close(&hochberg(&p).unwrap(), &[0.05; 5]));
        assert!(close(&benjamini_hochberg(&p).unwrap(), &[0.05; 5]));
        assert!((benjamini_yekutieli(&p).unwrap()[0] - 0.05 * 137.0 / 60.0).abs() < 1e-14);
        assert!((sidak(&[1e-20, 0.5]).unwrap()[0] - 2e-20).abs() < 1e-34);
    }

    #[test]
    fn what_is_not_a_probability_is_refused() {
        for bad in [f64::NAN, -0.1, 1.1] {
            assert!(hommel(&[0.1, bad]).is_err() && holm(&[bad]).is_err());
        }
        assert_eq!(holm(&[]).unwrap(), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn stronger_promises_cost_more(p in prop::collection::vec(0.0_f64..=1.0, 1..40)) {
            // What must never change: Hommel ≤ Hochberg ≤ Holm ≤ Bonferroni, and BH ≤ Hommel, in every place.
            let [b, h, c, m, f] = [bonferroni, holm, hochberg, hommel, benjamini_hochberg].map(|method| method(&p).unwrap());
            for index in 0..p.len() {
                prop_assert!(f[index] <= m[index] + 1e-12 && m[index] <= c[index] + 1e-12);
                prop_assert!(c[index] <= h[index] + 1e-12 && h[index] <= b[index] + 1e-12);
                prop_assert!(p[index] <= f[index] + 1e-12);
            }
        }

        #[test]
        fn order_of_hypotheses_does_not_matter(p in prop::collection::vec(0.0_f64..=1.0, 1..20)) {
            let mut turned = p.clone();
            turned.reverse();
            for method in [holm, hommel, benjamini_yekutieli] {
                let (one, mut two) = (method(&p).unwrap(), method(&turned).unwrap());
                two.reverse();
                prop_assert!(close(&one, &two));
            }
        }
    }
}
