//! Storey's q-values (2002): Benjamini–Hochberg sharpened by an estimate of the share of true null hypotheses.

use serde::Serialize;

use super::adjust::{ascending, check_p_values};
use crate::error::{StatsError, check_rate};

/// The λ that is used unless another is given: p-values above one half are mostly those of true null hypotheses.
pub const DEFAULT_LAMBDA: f64 = 0.5;

/// q-values with the share of true null hypotheses they rest on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QValues {
    /// The estimated share of true null hypotheses, at most 1.
    pub pi0: f64,
    /// A q-value per hypothesis: the smallest false-discovery rate at which it is among the discoveries.
    pub q: Vec<f64>,
}

/// The q-values of independent or weakly dependent tests.
///
/// # Errors
/// When a p-value lies outside 0 to 1 or λ does not lie between them.
pub fn q_values(p_values: &[f64], lambda: f64) -> Result<QValues, StatsError> {
    check_p_values(p_values)?;
    check_rate("lambda", lambda)?;
    let m = p_values.len() as f64;
    let above = p_values.iter().filter(|p| **p >= lambda).count() as f64;
    let pi0 = if m > 0.0 {
        (above / (m * (1.0 - lambda))).min(1.0)
    } else {
        1.0
    };
    let mut q = vec![0.0; p_values.len()];
    let mut so_far: f64 = 1.0;
    for (rank, index) in ascending(p_values).into_iter().enumerate().rev() {
        so_far = so_far.min(pi0 * m * p_values[index] / (rank + 1) as f64);
        q[index] = so_far;
    }
    Ok(QValues { pi0, q })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benjamini_and_hochbergs_fifteen_get_sharper() {
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719,
            0.6528, 0.759, 1.0,
        ];
        let answer = q_values(&p, 0.5).unwrap();
        assert!((answer.pi0 - 8.0 / 15.0).abs() < 1e-12);
        assert!((answer.q[4] - 0.032_16).abs() < 1e-10);
    }
}
