//! Power of the quantile confidence sequence: how soon it leaves out a reference value, looked at again and again.
//!
//! The sequence leaves out a value when the number of values below it strays too far from q·n. That number is a random
//! walk whose drift is the share that really lies below the value, less q; its path over the looks is integrated as for
//! group-sequential designs, by the normal limit.

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::error::{StatsError, check_rate};
use crate::sequential::group::classical::equal_information;
use crate::sequential::group::walk::{Stop, exits};
use crate::sequential::quantile::strays;

/// The most looks of one design: half a second of work to find a size.
pub const MAX_LOOKS: usize = 50;

/// The fewest values: the normal limit needs some on both sides.
const LEAST_UNITS: f64 = 20.0;

/// A watched quantile that is to be planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileSequence {
    /// The quantile, between 0 and 1.
    pub q: f64,
    /// Evenly spaced looks up to the last value.
    pub looks: usize,
    /// The number of values at which the sequence is tightest, over the number at the end.
    pub planned_share: f64,
    /// The error rate over all looks.
    pub alpha: f64,
}

impl QuantileSequence {
    /// Finds what is left out of values, the share below the reference value less q, and power.
    ///
    /// # Errors
    /// As the crate's other designs: an input out of range, or no solution.
    pub fn solve(&self, known: Known) -> Result<Solved, StatsError> {
        check_rate("q", self.q)?;
        check_rate("alpha", self.alpha)?;
        crate::error::check_positive("planned_share", self.planned_share)?;
        if !(1..=MAX_LOOKS).contains(&self.looks) {
            return Err(StatsError::invalid("looks", "must be from 1 to 50"));
        }
        let curve = Curve {
            at: &|units, effect| self.power(units, effect),
            least_units: LEAST_UNITS,
            most_units: MOST_UNITS,
            small_effect: 1e-6 * (1.0 - self.q),
            most_effect: (1.0 - self.q) * (1.0 - 1e-9),
            whole: false,
        };
        curve.solve(known)
    }

    fn power(&self, units: f64, effect: f64) -> Result<f64, StatsError> {
        let share = check_rate("share_below", self.q + effect)?;
        let information = equal_information(self.looks);
        let spread = (share * (1.0 - share)).sqrt();
        let mut stops = Vec::with_capacity(self.looks);
        for fraction in &information {
            let count = units * fraction;
            let strays = strays(count, self.q, self.planned_share * units, self.alpha)?;
            stops.push(Stop {
                lower: Some(-strays.down / (spread * count.sqrt())),
                upper: Some(strays.up / (spread * count.sqrt())),
            });
        }
        let exits = exits(&information, &stops, units.sqrt() * effect / spread);
        Ok(exits
            .iter()
            .map(|exit| exit.lower + exit.upper)
            .sum::<f64>()
            .min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix;
    use crate::sequential::quantile;

    const PLAN: QuantileSequence = QuantileSequence {
        q: 0.5,
        looks: 10,
        planned_share: 1.0,
        alpha: 0.05,
    };

    #[test]
    fn the_sequence_leaves_the_value_out_as_often_as_planned() {
        let known = Known {
            units: None,
            effect: Some(0.06),
            power: Some(0.8),
        };
        let solved = PLAN.solve(known).unwrap();
        let last = (solved.units / 10.0).ceil() as usize * 10;
        let mut random = SplitMix::new(11);
        let (runs, mut found) = (1_500, 0);
        for _ in 0..runs {
            // Uniform values, of which 0.56 is the share below the value 0.56: is it left out of the median's interval?
            let mut values: Vec<f64> = (0..last).map(|_| random.uniform()).collect();
            let left_out = (1..=10).any(|look| {
                let seen = &mut values[..last / 10 * look];
                seen.sort_by(f64::total_cmp);
                let interval = quantile::interval(seen, 0.5, last as f64, 0.05).unwrap();
                interval.is_below(0.56) || interval.is_above(0.56)
            });
            found += usize::from(left_out);
        }
        let measured = found as f64 / f64::from(runs);
        // Three standard errors of the simulation, and values that come in whole numbers.
        assert!((measured - 0.8).abs() < 0.04, "{measured} {solved:?}");
    }

    #[test]
    fn a_far_quantile_needs_more_values_and_all_three_agree() {
        let size = |q: f64| {
            let known = Known {
                units: None,
                effect: Some(0.02),
                power: Some(0.9),
            };
            QuantileSequence { q, ..PLAN }.solve(known).unwrap().units
        };
        assert!(size(0.5) > size(0.9) && size(0.9) > 1_000.0);
        let found = PLAN
            .solve(Known {
                units: Some(2_000.0),
                effect: None,
                power: Some(0.8),
            })
            .unwrap();
        let back = PLAN
            .solve(Known {
                units: Some(2_000.0),
                effect: Some(found.effect),
                power: None,
            })
            .unwrap();
        assert!((back.power - 0.8).abs() < 1e-9, "{found:?} {back:?}");
    }

    #[test]
    fn without_a_difference_little_more_than_nothing_is_found() {
        let none = Known {
            units: Some(5_000.0),
            effect: Some(0.0),
            power: None,
        };
        assert!(PLAN.solve(none).unwrap().power < 0.05);
        let beyond = Known {
            effect: Some(0.5),
            ..none
        };
        assert!(matches!(PLAN.solve(beyond), Err(StatsError::InvalidInput { .. })));
    }
}
