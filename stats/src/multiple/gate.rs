//! Goals before secondary metrics, and error rates shared out between groups of metrics.

use serde::Serialize;

use super::adjust;
use crate::error::{StatsError, check_rate};

/// Adjusted p-values through gates: a family counts only when the families before it were all won.
///
/// Serial gatekeeping (Westfall and Krishen 2001): each family is adjusted by Holm, and no adjusted p-value of a later
/// family is below the largest one of the families before it. The chance of any false discovery over all families
/// stays at alpha without splitting it.
///
/// # Errors
/// When a p-value lies outside 0 to 1.
pub fn serial_gate(families: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, StatsError> {
    let mut gate: f64 = 0.0;
    let mut answer = Vec::with_capacity(families.len());
    for family in families {
        let adjusted: Vec<f64> = adjust::holm(family)?.into_iter().map(|p| p.max(gate)).collect();
        gate = adjusted.iter().copied().fold(gate, f64::max);
        answer.push(adjusted);
    }
    Ok(answer)
}

/// Error rates of single comparisons when alpha is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SharedAlpha {
    /// For each comparison on a primary metric; absent without one.
    pub primary_alpha: Option<f64>,
    /// For each comparison on another metric; absent without one.
    pub secondary_alpha: Option<f64>,
}

/// Bonferroni in two tiers: a share of alpha for primary metrics, the rest for secondary ones, each split evenly.
///
/// # Errors
/// When alpha or the share do not lie between 0 and 1.
pub fn tiers(
    alpha: f64,
    primary_share: f64,
    primary: u64,
    secondary: u64,
) -> Result<SharedAlpha, StatsError> {
    check_rate("alpha", alpha)?;
    if !(0.0..=1.0).contains(&primary_share) {
        return Err(StatsError::invalid("primary_share", "must lie between 0 and 1"));
    }
    let split = |share: f64, count: u64| (count > 0).then(|| alpha * share / count as f64);
    Ok(SharedAlpha {
        primary_alpha: split(primary_share, primary),
        secondary_alpha: split(1.0 - primary_share, secondary),
    })
}

/// Error rates for a decision that needs one success metric to win and every guardrail to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DecisionRule {
    /// For each superiority test: alpha over the number of success metrics, for one false win is enough.
    pub alpha_superiority: f64,
    /// For each non-inferiority test: alpha, for all of them must pass.
    pub alpha_noninferiority: f64,
    /// For each test's power: beta over the number of guardrails plus one, for all of them must pass.
    pub beta_adjusted: f64,
}

/// The rates of Schultzberg, Ankargren and Frånberg (2024, arXiv:2402.11609).
///
/// # Errors
/// When alpha or beta do not lie between 0 and 1.
pub fn decision_rule(
    alpha: f64,
    beta: f64,
    successes: u64,
    guardrails: u64,
) -> Result<DecisionRule, StatsError> {
    check_rate("alpha", alpha)?;
    check_rate("beta", beta)?;
    Ok(DecisionRule {
        alpha_superiority: alpha / successes.max(1) as f64,
        alpha_noninferiority: alpha,
        beta_adjusted: beta / (guardrails as f64 + 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_goal_closes_the_gate() {
        let answer = serial_gate(&[vec![0.01, 0.2], vec![0.001]]).unwrap();
        assert_eq!(answer, [vec![0.02, 0.2], vec![0.2]]);
        let open = serial_gate(&[vec![0.01], vec![0.001, 0.03]]).unwrap();
        assert_eq!(open[1], [0.01, 0.03]);
    }

    #[test]
    fn shares_are_split_evenly_within_a_tier() {
        let shared = tiers(0.05, 0.5, 1, 9).unwrap();
        assert!((shared.secondary_alpha.unwrap() - 0.025 / 9.0).abs() < 1e-15);
        assert_eq!(tiers(0.05, 1.0, 1, 0).unwrap().secondary_alpha, None);
    }
}
