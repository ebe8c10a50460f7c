//! e-BH: false-discovery control for e-values under any dependence and any stopping (Wang and Ramdas 2022).

use serde::Serialize;

use super::adjust::ascending;
use crate::error::{StatsError, check_rate};

/// What e-BH discovers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Discoveries {
    /// How many.
    pub count: usize,
    /// Whether each hypothesis is among them.
    pub rejected: Vec<bool>,
}

/// The k hypotheses with the largest e-values, for the largest k with k·e₍ₖ₎/m ≥ 1/alpha; from logarithms.
///
/// # Errors
/// When alpha does not lie between 0 and 1 or a logarithm is not a number.
pub fn e_bh(ln_e_values: &[f64], alpha: f64) -> Result<Discoveries, StatsError> {
    check_rate("alpha", alpha)?;
    if ln_e_values.iter().any(|ln_e| ln_e.is_nan()) {
        return Err(StatsError::invalid("e", "must be numbers of at least 0"));
    }
    let m = ln_e_values.len() as f64;
    let order: Vec<usize> = ascending(ln_e_values).into_iter().rev().collect();
    let enough = |(rank, index): (usize, &usize)| {
        // A hair of rounding must not decide about an e-value that sits on the border.
        ln_e_values[*index] + ((rank + 1) as f64).ln() >= (m / alpha).ln() - 1e-12
    };
    let count = order
        .iter()
        .enumerate()
        .filter(|pair| enough(*pair))
        .map(|(rank, _)| rank + 1)
        .max()
        .unwrap_or(0);
    let mut rejected = vec![false; ln_e_values.len()];
    for index in &order[..count] {
        rejected[*index] = true;
    }
    Ok(Discoveries { count, rejected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_pooled_over_hypotheses() {
        let ln = |e: [f64; 4]| e.map(f64::ln);
        assert_eq!(e_bh(&ln([80.0, 1.0, 1.0, 1.0]), 0.05).unwrap().count, 1);
        assert_eq!(e_bh(&ln([79.0, 1.0, 1.0, 1.0]), 0.05).unwrap().count, 0);
        // Two of 40 count although neither reaches 80 alone.
        let two = e_bh(&ln([40.0, 0.0, 1.0, 40.0]), 0.05).unwrap();
        assert_eq!(two.rejected, [true, false, false, true]);
        assert!(e_bh(&[f64::NAN], 0.05).is_err());
    }
}
