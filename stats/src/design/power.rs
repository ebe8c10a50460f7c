//! Power, size and detectable effect of the tests that [`super::plan`] does not hold: what is left out is found.
//!
//! Each test gives its power as a function of units and effect; size and effect are roots of it, so that the three
//! answers agree. Units are those of the control unless a test says otherwise.

pub mod belief;
pub mod betting;
pub mod bootstrap;
pub mod exact;
pub mod guardrail;
pub mod interaction;
pub mod many_to_one;
pub mod quantile_sequence;
pub mod quantiles;
pub mod ranks;
pub mod sample_ratio;

use serde::Serialize;

use super::plan::Found;
use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::special::roots::{Bracket, brent};

/// What is known; exactly one is absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Units in the control.
    pub units: Option<f64>,
    /// The effect, in the test's own terms.
    pub effect: Option<f64>,
    /// The power.
    pub power: Option<f64>,
}

/// Nothing left open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Solved {
    /// What was found.
    pub found: Found,
    /// Units in the control, not rounded unless only whole numbers have a power.
    pub units: f64,
    /// The effect.
    pub effect: f64,
    /// The power at both.
    pub power: f64,
}

/// The power of a test, and where it may be asked for.
pub(super) struct Curve<'a> {
    /// Power from units in the control and the effect.
    pub at: &'a dyn Fn(f64, f64) -> Result<f64, StatsError>,
    /// The fewest units.
    pub least_units: f64,
    /// The most units.
    pub most_units: f64,
    /// An effect that is too small to be found, above 0.
    pub small_effect: f64,
    /// The largest effect.
    pub most_effect: f64,
    /// Whether units are whole.
    pub whole: bool,
}

/// The most units that are looked for where a test sets no limit.
pub(super) const MOST_UNITS: f64 = 1e15;

impl Curve<'_> {
    /// Finds what is left out.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] for a value out of range or when not exactly one is left out,
    /// [`StatsError::NoSolution`] when nothing within the limits is enough.
    pub(super) fn solve(&self, known: Known) -> Result<Solved, StatsError> {
        if let Some(units) = known.units {
            check_positive("n", units)?;
            if units < self.least_units || units > self.most_units {
                return Err(StatsError::invalid(
                    "n",
                    format!("must be from {} to {}", self.least_units, self.most_units),
                ));
            }
        }
        if let Some(power) = known.power {
            check_rate("power", power)?;
        }
        if let Some(effect) = known.effect {
            check_finite("effect", effect)?;
        }
        let (found, units, effect) = match (known.units, known.effect, known.power) {
            (Some(units), Some(effect), None) => (Found::Power, units, effect),
            (None, Some(effect), Some(power)) => (Found::Units, self.units(effect, power)?, effect),
            (Some(units), None, Some(power)) => (Found::Effect, units, self.effect(units, power)?),
            _ => {
                return Err(StatsError::invalid(
                    "the design",
                    "must leave out exactly one of n, effect and power: the one to find",
                ));
            }
        };
        Ok(Solved {
            found,
            units,
            effect,
            power: (self.at)(units, effect)?,
        })
    }

    /// The fewest units with the power.
    fn units(&self, effect: f64, power: f64) -> Result<f64, StatsError> {
        let enough = |units: f64| Ok::<bool, StatsError>((self.at)(units, effect)? >= power);
        if enough(self.least_units)? {
            return Ok(self.least_units);
        }
        let (mut low, mut high) = (self.least_units, 2.0 * self.least_units);
        while !enough(high.min(self.most_units))? {
            if high >= self.most_units {
                return Err(StatsError::NoSolution {
                    what: "the number of units",
                    why: "the effect is 0, against the tested direction, or too small for the most units allowed",
                });
            }
            low = high;
            high *= 2.0;
        }
        high = high.min(self.most_units);
        if self.whole {
            let (mut low, mut high) = (low.floor(), high.ceil());
            while high - low > 1.0 {
                let middle = (0.5 * (low + high)).floor();
                if enough(middle)? {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            return Ok(high);
        }
        brent(
            "the number of units",
            Bracket::new(low.ln(), high.ln()),
            1e-13,
            |ln_units| (self.at)(ln_units.exp(), effect).map_or(f64::NAN, |found| found - power),
        )
        .map(f64::exp)
    }

    /// The smallest effect above 0 with the power.
    fn effect(&self, units: f64, power: f64) -> Result<f64, StatsError> {
        let gap = |effect: f64| (self.at)(units, effect).map(|found| found - power);
        let most = self.most_effect.min(f64::MAX / 4.0);
        let mut high = self.small_effect.min(most);
        let mut low = 0.0;
        while gap(high)? < 0.0 {
            if high >= most {
                return Err(StatsError::NoSolution {
                    what: "the detectable effect",
                    why: "even the largest possible one is not found with so few units",
                });
            }
            low = high;
            high = (2.0 * high).min(most);
        }
        brent(
            "the detectable effect",
            Bracket::new(low, high),
            1e-13 * high,
            |effect| gap(effect).unwrap_or(f64::NAN),
        )
    }
}
