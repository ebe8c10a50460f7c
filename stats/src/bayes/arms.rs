//! Two or more arms: which is best, and what a wrong choice is expected to cost.

use serde::Serialize;

use super::posterior::Posterior;
use crate::error::StatsError;
use crate::special::normal;
use crate::special::quadrature::integrate;
use crate::special::roots::{Bracket, brent};

/// Panels between two neighbouring support points.
const PANELS: u32 = 3;

/// The most arms of a comparison.
pub const MAX_ARMS: usize = 100;

/// What is believed of one arm among all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ArmChance {
    /// The chance that its parameter is the largest.
    pub best: f64,
    /// What choosing it is expected to cost against the best, in the unit of the parameter.
    pub expected_loss: f64,
}

/// A treatment against a control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairChance {
    /// The chance that the treatment's parameter is larger.
    pub treatment_better: f64,
    /// The chance that the control's parameter is larger.
    pub control_better: f64,
    /// What staying with the control is expected to cost.
    pub loss_of_control: f64,
    /// What choosing the treatment is expected to cost.
    pub loss_of_treatment: f64,
}

/// The chance to be best and the expected loss of every arm; all posteriors are of one kind.
///
/// # Errors
/// [`StatsError::InvalidInput`] for fewer than two arms, kinds that differ, or parameters out of range;
/// [`StatsError::TooLarge`] beyond [`MAX_ARMS`].
pub fn compare(arms: &[Posterior]) -> Result<Vec<ArmChance>, StatsError> {
    check(arms)?;
    let arms = &centred(arms);
    let grid = grid(arms.iter());
    let chances = (0..arms.len()).map(|index| {
        let others_below = |u: f64| below_all(arms, index, u);
        let best = over(&grid, |u| arms[index].density(u) * others_below(u));
        // max − own is positive where the own parameter is below a point and some other is above it.
        let cost = |u: f64| {
            let above_any = if arms.len() == 2 {
                arms[1 - index].tails(u).upper
            } else {
                1.0 - others_below(u)
            };
            arms[index].slope(u) * arms[index].tails(u).lower * above_any
        };
        ArmChance {
            best: best.clamp(0.0, 1.0),
            expected_loss: over(&grid, cost),
        }
    });
    Ok(chances.collect())
}

/// The comparison of two arms.
///
/// # Errors
/// As [`compare`].
pub fn compare_pair(control: &Posterior, treatment: &Posterior) -> Result<PairChance, StatsError> {
    let chances = compare(&[control.clone(), treatment.clone()])?;
    Ok(PairChance {
        treatment_better: chances[1].best,
        control_better: chances[0].best,
        loss_of_control: chances[0].expected_loss,
        loss_of_treatment: chances[1].expected_loss,
    })
}

/// The chance that the treatment's parameter exceeds the control's by less than `difference`.
///
/// # Errors
/// As [`compare`].
pub fn difference_below(
    control: &Posterior,
    treatment: &Posterior,
    difference: f64,
) -> Result<f64, StatsError> {
    let arms = [control.clone(), treatment.clone()];
    check(&arms)?;
    if let (Posterior::Normal { mean, sd }, Posterior::Normal { mean: other, sd: its }) = (control, treatment)
    {
        return Ok(normal::cdf((difference - (other - mean)) / sd.hypot(*its)));
    }
    // The narrower arm is the variable of integration, so that the other's distribution is smooth against it.
    let grid = grid(arms.iter());
    let shifted = |u: f64| {
        treatment
            .tails(treatment.point(control.value(u) + difference))
            .lower
    };
    let moved = |u: f64| {
        control
            .tails(control.point(treatment.value(u) - difference))
            .upper
    };
    let spread = |arm: &Posterior| {
        let support = arm.support();
        arm.value(support.high) - arm.value(support.low)
    };
    let chance = if spread(control) < spread(treatment) {
        over(&grid, |u| control.density(u) * shifted(u))
    } else {
        over(&grid, |u| treatment.density(u) * moved(u))
    };
    Ok(chance.clamp(0.0, 1.0))
}

/// The difference that is exceeded with chance 1 − `p`.
///
/// # Errors
/// As [`compare`].
pub fn difference_quantile(control: &Posterior, treatment: &Posterior, p: f64) -> Result<f64, StatsError> {
    crate::error::check_rate("p", p)?;
    let arms = [control.clone(), treatment.clone()];
    check(&arms)?;
    let [[low, high], [other_low, other_high]] = [control, treatment].map(|arm| {
        let support = arm.support();
        [arm.value(support.low), arm.value(support.high)]
    });
    let bracket = Bracket::new(other_low - high, other_high - low);
    let tolerance = 1e-12 * (bracket.high - bracket.low);
    brent("credible difference", bracket, tolerance, |difference| {
        difference_below(control, treatment, difference).unwrap_or(f64::NAN) - p
    })
}

/// Normal posteriors moved so that the first is at 0: at an offset of 1e9 a grid of points would lose its digits.
fn centred(arms: &[Posterior]) -> Vec<Posterior> {
    let Some(Posterior::Normal { mean: centre, .. }) = arms.first() else {
        return arms.to_vec();
    };
    let moved = |arm: &Posterior| match arm {
        Posterior::Normal { mean, sd } => Posterior::Normal {
            mean: mean - centre,
            sd: *sd,
        },
        other => other.clone(),
    };
    arms.iter().map(moved).collect()
}

fn check(arms: &[Posterior]) -> Result<(), StatsError> {
    if arms.len() < 2 {
        return Err(StatsError::invalid("arms", "must be at least two"));
    }
    if arms.len() > MAX_ARMS {
        return Err(StatsError::TooLarge {
            what: "the number of arms",
            size: arms.len() as u64,
            limit: MAX_ARMS as u64,
        });
    }
    let kind = std::mem::discriminant(&arms[0]);
    for arm in arms {
        arm.check()?;
        if std::mem::discriminant(arm) != kind {
            return Err(StatsError::invalid(
                "arms",
                "must all have the same kind of posterior",
            ));
        }
    }
    Ok(())
}

/// The points between which every arm is smooth, ascending.
fn grid<'a>(arms: impl Iterator<Item = &'a Posterior>) -> Vec<f64> {
    let mut points = Vec::new();
    for arm in arms {
        let support = arm.support();
        // Half way out the density has fallen by a third of its logarithm; finer where it changes most.
        let between = |end: f64, share: f64| support.mode + share * (end - support.mode);
        points.extend([
            support.low,
            between(support.low, 0.4),
            between(support.low, 0.15),
            support.mode,
        ]);
        points.extend([
            between(support.high, 0.15),
            between(support.high, 0.4),
            support.high,
        ]);
    }
    points.sort_by(f64::total_cmp);
    points
}

fn over(grid: &[f64], function: impl Fn(f64) -> f64) -> f64 {
    let mut sum = 0.0;
    for pair in grid.windows(2) {
        if pair[1] > pair[0] {
            sum += integrate(pair[0], pair[1], PANELS, &function);
        }
    }
    sum
}

/// The chance that every arm but one is below a point.
fn below_all(arms: &[Posterior], but: usize, u: f64) -> f64 {
    let mut product = 1.0;
    for (index, arm) in arms.iter().enumerate() {
        if index != but {
            product *= arm.tails(u).lower;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_offset_does_not_cost_digits() {
        let at = |offset: f64| {
            let arms = [0.0, 1.0, 2.5].map(|mean| Posterior::Normal {
                mean: offset + mean,
                sd: 1.0,
            });
            compare(&arms).unwrap()
        };
        for (near, far) in at(0.0).iter().zip(at(1e9)) {
            assert!(
                (near.best - far.best).abs() < 1e-9 && (near.expected_loss - far.expected_loss).abs() < 1e-9
            );
        }
    }

    #[test]
    fn two_normals_agree_with_the_closed_form() {
        let (one, two) = (
            Posterior::Normal { mean: 1.0, sd: 0.3 },
            Posterior::Normal { mean: 1.2, sd: 1e-4 },
        );
        let pair = compare_pair(&one, &two).unwrap();
        let z = 0.2 / 0.3_f64.hypot(1e-4);
        assert!((pair.treatment_better - crate::special::normal::cdf(z)).abs() < 1e-12);
        let gain = 0.3_f64.hypot(1e-4) * (crate::special::normal::pdf(z) - z * crate::special::normal::sf(z));
        assert!((pair.loss_of_treatment - gain).abs() < 1e-12);
        let below = difference_below(&one, &two, 0.5).unwrap();
        assert!((below - crate::special::normal::cdf(0.3 / 0.3)).abs() < 1e-6);
        let back = difference_quantile(&one, &two, below).unwrap();
        assert!((back - 0.5).abs() < 1e-9);
    }

    #[test]
    fn uniform_rates_agree_with_what_can_be_done_by_hand() {
        // Three uniform rates: each is best with chance 1/3, and the largest has mean 3/4.
        let arms = vec![Posterior::Beta { a: 1.0, b: 1.0 }; 3];
        for arm in compare(&arms).unwrap() {
            assert!((arm.best - 1.0 / 3.0).abs() < 1e-12 && (arm.expected_loss - 0.25).abs() < 1e-12);
        }
        // The difference of two uniform rates has a triangular distribution.
        let below = difference_below(&arms[0], &arms[1], 0.5).unwrap();
        assert!((below - 0.875).abs() < 1e-9, "{below}");
    }

    #[test]
    fn lopsided_arms_and_hard_parameters_stay_numbers() {
        let tiny = Posterior::Beta { a: 1e-3, b: 1e9 };
        let huge = Posterior::Beta { a: 1e9, b: 1e9 };
        let pair = compare_pair(&tiny, &huge).unwrap();
        assert!((pair.treatment_better - 1.0).abs() < 1e-9 && (pair.loss_of_control - 0.5).abs() < 1e-9);
        for bad in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert!(compare_pair(&tiny, &Posterior::Beta { a: bad, b: 1.0 }).is_err());
        }
        assert!(
            compare(std::slice::from_ref(&tiny)).is_err()
                && compare_pair(&tiny, &Posterior::Normal { mean: 0.0, sd: 1.0 }).is_err()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn chances_add_up_and_losses_differ_by_the_means(
            rates in prop::collection::vec((0.3_f64..500.0, 0.3_f64..500.0), 2..5),
        ) {
            // What must never change: one arm is best; the difference of two losses is the difference of two means.
            let arms: Vec<Posterior> = rates.iter().map(|(a, b)| Posterior::Beta { a: *a, b: *b }).collect();
            let chances = compare(&arms).unwrap();
            let total: f64 = chances.iter().map(|chance| chance.best).sum();
            prop_assert!((total - 1.0).abs() < 1e-9, "{}", total);
            for (arm, chance) in arms.iter().zip(&chances).skip(1) {
                let by_losses = chances[0].expected_loss - chance.expected_loss;
                prop_assert!((by_losses - (arm.mean() - arms[0].mean())).abs() < 1e-9);
            }
        }
    }
}
