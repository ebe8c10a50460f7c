//! Boundaries from a spending function, for whatever looks there are.

use serde::Serialize;

use super::spending::Spending;
use super::walk::{Stop, Walk};
use super::{Sides, check_information};
use crate::error::{StatsError, check_rate};
use crate::special::normal;
use crate::special::roots::Slope;

/// Below this an error share has no boundary: it is as good as never.
const LEAST_SHARE: f64 = 1e-290;

/// Newton steps until a boundary must have settled; a dozen is usual.
const MAX_STEPS: u32 = 100;

/// A boundary has settled when a step is smaller than this: what is left is of the size of its square.
const SETTLED: f64 = 1e-7;

/// The boundary at one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LookBound {
    /// The information fraction.
    pub information: f64,
    /// The error spent so far, per side.
    pub cumulative_alpha: f64,
    /// Stop when Z reaches this; absent when there is nothing to spend at this look.
    pub z: Option<f64>,
    /// The one-sided p-value at the boundary.
    pub nominal_p: Option<f64>,
}

impl LookBound {
    /// The stop that the boundary stands for.
    pub fn stop(&self, sides: Sides) -> Stop {
        Stop {
            lower: self.z.filter(|_| sides == Sides::Two).map(|z| -z),
            upper: self.z,
        }
    }
}

/// The boundaries at the given information fractions that spend `alpha_per_side` on each side.
///
/// Boundaries depend on the looks up to theirs alone, so that a later look may be added or moved at any time. A
/// fraction above 1 spends what is left once.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range; `alpha_per_side` must lie below one half.
///
/// # Example
/// ```
/// use stats::sequential::group::{Sides, bounds::bounds, spending::Spending};
/// let bounds = bounds(&[0.5, 1.0], Spending::ObrienFleming, 0.025, Sides::Two)?;
/// assert!((bounds[0].z.unwrap_or(0.0) - 2.9626).abs() < 1e-4);
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn bounds(
    information: &[f64],
    spending: Spending,
    alpha_per_side: f64,
    sides: Sides,
) -> Result<Vec<LookBound>, StatsError> {
    check_information(information)?;
    check_rate("alpha_per_side", 2.0 * alpha_per_side)?;
    spending.check()?;
    let mut walk = Walk::new(0.0);
    let mut spent = 0.0;
    let mut bounds = Vec::with_capacity(information.len());
    for (look, fraction) in information.iter().enumerate() {
        let cumulative_alpha = spending.spent(*fraction, alpha_per_side);
        let z = upper_bound(&walk, *fraction, cumulative_alpha - spent);
        spent = cumulative_alpha;
        let bound = LookBound {
            information: *fraction,
            cumulative_alpha,
            z,
            nominal_p: z.map(normal::sf),
        };
        if let Some(following) = information.get(look + 1) {
            walk = walk.advance(*fraction, bound.stop(sides), Some(*following));
        }
        bounds.push(bound);
    }
    Ok(bounds)
}

/// The Z above which the share `share` of all paths is found at the next look.
pub(super) fn upper_bound(walk: &Walk, information: f64, share: f64) -> Option<f64> {
    if share.is_nan() || share < LEAST_SHARE {
        return None;
    }
    // In the logarithm the function is close to a parabola, on which Newton's method is quick.
    let target = share.ln();
    let gap = |z: f64| {
        let above = walk.above(information, z);
        Slope {
            value: target - above.ln(),
            slope: walk.density(information, z) / above,
        }
    };
    settle(normal::isf(share), gap)
}

/// The Z below which the share `share` of all paths is found at the next look.
pub(super) fn lower_bound(walk: &Walk, information: f64, share: f64, start: f64) -> Option<f64> {
    if share.is_nan() || share < LEAST_SHARE {
        return None;
    }
    let target = share.ln();
    let gap = |z: f64| {
        let below = walk.below(information, z);
        Slope {
            value: below.ln() - target,
            slope: walk.density(information, z) / below,
        }
    };
    settle(start, gap)
}

/// The root of an increasing function that bends one way all along, by Newton's method.
///
/// Logarithms of normal tails do, so that at most the first step goes too far; steps are kept short for the case that
/// the tail has underflowed there.
fn settle(start: f64, gap: impl Fn(f64) -> Slope) -> Option<f64> {
    let mut z = start;
    for _ in 0..MAX_STEPS {
        let Slope { value, slope } = gap(z);
        let step = value / slope;
        let step = if step.is_finite() {
            step.clamp(-2.0, 2.0)
        } else {
            value.signum()
        };
        z -= step;
        if step.abs() < SETTLED {
            return Some(z);
        }
    }
    // Only possible when no path is left that could cross.
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::group::walk::exits;

    #[test]
    fn the_boundary_spends_exactly_what_the_function_allows() {
        // What must never change: the chance of stopping up to each look is the cumulative alpha.
        let information = [0.1, 0.3, 0.35, 0.8, 1.0];
        for spending in [
            Spending::ObrienFleming,
            Spending::Pocock,
            Spending::Power { rho: 3.0 },
        ] {
            for sides in [Sides::One, Sides::Two] {
                let bounds = bounds(&information, spending, 0.025, sides).unwrap();
                let stops: Vec<Stop> = bounds.iter().map(|bound| bound.stop(sides)).collect();
                let mut crossed = 0.0;
                for (exit, bound) in exits(&information, &stops, 0.0).iter().zip(&bounds) {
                    crossed += exit.upper;
                    assert!((crossed - bound.cumulative_alpha).abs() < 1e-10);
                }
            }
        }
    }

    #[test]
    fn what_is_beyond_the_plan_is_spent_once() {
        let bounds = bounds(&[0.5, 1.2, 1.4], Spending::Pocock, 0.025, Sides::Two).unwrap();
        assert!(bounds[1].z.is_some() && (bounds[1].cumulative_alpha - 0.025).abs() < 1e-15);
        assert_eq!(bounds[2].z, None);
    }

    #[test]
    fn a_later_look_does_not_move_an_earlier_boundary() {
        let few = bounds(&[0.3, 0.6, 1.0], Spending::Pocock, 0.025, Sides::Two).unwrap();
        let more = bounds(&[0.3, 0.6, 0.7, 0.9, 1.0], Spending::Pocock, 0.025, Sides::Two).unwrap();
        assert!((few[1].z.unwrap() - more[1].z.unwrap()).abs() < 1e-8);
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        for information in [
            vec![],
            vec![0.5, 0.5],
            vec![0.0, 1.0],
            vec![f64::NAN],
            vec![0.5; 2_000],
        ] {
            assert!(bounds(&information, Spending::Pocock, 0.025, Sides::Two).is_err());
        }
        assert!(bounds(&[1.0], Spending::Pocock, 0.5, Sides::Two).is_err());
        assert!(bounds(&[1.0], Spending::Power { rho: -1.0 }, 0.025, Sides::Two).is_err());
        // Nearly no information at the first look leaves nearly nothing to spend, and no boundary.
        assert_eq!(
            bounds(&[1e-4, 1.0], Spending::ObrienFleming, 0.025, Sides::Two).unwrap()[0].z,
            None
        );
    }
}
