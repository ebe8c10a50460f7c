//! Traffic shares from what is believed of the arms: Thompson sampling, top-two sampling, and a floor.
//!
//! Shares are the chances to be best themselves, by quadrature, so nothing is drawn at random here and two machines
//! agree. The floor keeps every arm estimable: a share that falls to 0 can never be corrected for.

use crate::bayes::arms::compare;
use crate::bayes::posterior::Posterior;
use crate::error::{StatsError, check_rate};

/// How the chances to be best become shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The chances to be best (Thompson 1933).
    Thompson,
    /// With this probability the sampled best arm, else the best among the others (Russo 2020): finds the best arm
    /// with fewer users, since it keeps looking at the runner-up. One half is a good choice.
    TopTwo {
        /// Between 0 and 1.
        leader_share: f64,
    },
}

/// The traffic share of every arm, none below `floor`; the shares add up to 1.
///
/// # Errors
/// [`StatsError::InvalidInput`] when the floor times the number of arms exceeds 1 or an argument is out of range, and
/// as [`compare`].
pub fn shares(arms: &[Posterior], rule: Rule, floor: f64) -> Result<Vec<f64>, StatsError> {
    let best: Vec<f64> = compare(arms)?.iter().map(|chance| chance.best).collect();
    let shares = match rule {
        Rule::Thompson => best,
        Rule::TopTwo { leader_share } => top_two(&best, check_rate("leader_share", leader_share)?),
    };
    with_floor(&shares, floor)
}

/// The chance that each arm is played when a second, different best arm is sampled with probability 1 − `leader_share`.
fn top_two(best: &[f64], leader_share: f64) -> Vec<f64> {
    let rest: Vec<f64> = (0..best.len()).map(|arm| others(best, arm)).collect();
    let share = |arm: usize| {
        // The leader j gives way to i with the chance that i is best among the others.
        let challenger: f64 = (0..best.len())
            .filter(|leader| *leader != arm && rest[*leader] > 0.0)
            .map(|leader| best[leader] * best[arm] / rest[leader])
            .sum();
        leader_share * best[arm] + (1.0 - leader_share) * challenger
    };
    (0..best.len()).map(share).collect()
}

/// The chance that another arm than `arm` is best, from the others' chances and not by subtraction.
fn others(best: &[f64], arm: usize) -> f64 {
    best.iter()
        .enumerate()
        .filter(|(index, _)| *index != arm)
        .map(|(_, chance)| chance)
        .sum()
}

/// Shares in proportion to `weights`, raised to the floor where they fall below it.
///
/// # Errors
/// [`StatsError::InvalidInput`] when the floor times the number of arms exceeds 1, or a weight is negative or not
/// finite, or all are 0.
pub fn with_floor(weights: &[f64], floor: f64) -> Result<Vec<f64>, StatsError> {
    let count = weights.len() as f64;
    if !(floor >= 0.0 && floor * count <= 1.0) {
        return Err(StatsError::invalid(
            "floor",
            "must be at least 0 and leave room for every arm",
        ));
    }
    let total: f64 = weights.iter().sum();
    if weights
        .iter()
        .any(|weight| !(weight.is_finite() && *weight >= 0.0))
        || !(total.is_finite() && total > 0.0)
    {
        return Err(StatsError::invalid(
            "weights",
            "must be finite, at least 0 and not all 0",
        ));
    }
    // What the floor takes is taken from every arm alike, so that the order of the arms stays.
    Ok(weights
        .iter()
        .map(|weight| floor + (1.0 - floor * count) * weight / total)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms() -> Vec<Posterior> {
        [(30.0, 970.0), (40.0, 960.0), (45.0, 955.0)]
            .map(|(a, b)| Posterior::Beta { a, b })
            .to_vec()
    }

    #[test]
    fn better_arms_get_more_and_none_falls_below_the_floor() {
        // What must never change: shares add up to one, follow the evidence, and stay estimable.
        for rule in [Rule::Thompson, Rule::TopTwo { leader_share: 0.5 }] {
            let shares = shares(&arms(), rule, 0.05).unwrap();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(
                shares[0] < shares[1] && shares[1] < shares[2] && shares[0] >= 0.05,
                "{shares:?}"
            );
        }
    }

    #[test]
    fn top_two_never_gives_the_leader_much_more_than_its_half() {
        let certain = [(1.0, 1_000.0), (2.0, 1_000.0), (500.0, 500.0)].map(|(a, b)| Posterior::Beta { a, b });
        let top_two = shares(&certain, Rule::TopTwo { leader_share: 0.5 }, 0.0).unwrap();
        assert!((top_two[2] - 0.5).abs() < 1e-6, "{top_two:?}");
        assert!(shares(&certain, Rule::Thompson, 0.0).unwrap()[2] > 0.999_999);
    }

    #[test]
    fn order_of_the_arms_does_not_matter() {
        let mut reversed = arms();
        reversed.reverse();
        let (one, mut two) = (
            shares(&arms(), Rule::Thompson, 0.0).unwrap(),
            shares(&reversed, Rule::Thompson, 0.0).unwrap(),
        );
        two.reverse();
        assert!(
            one.iter()
                .zip(&two)
                .all(|(left, right)| (left - right).abs() < 1e-10)
        );
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(with_floor(&[1.0, 1.0], 0.6).is_err() && with_floor(&[0.0, 0.0], 0.0).is_err());
        assert!(with_floor(&[f64::NAN, 1.0], 0.0).is_err() && with_floor(&[1.0], f64::NAN).is_err());
        assert!(shares(&arms(), Rule::TopTwo { leader_share: 1.0 }, 0.0).is_err());
    }
}
