//! The classical families with equally spaced looks: Pocock, O'Brien and Fleming, Wang and Tsiatis.

use serde::Serialize;

use super::walk::{Stop, exits};
use super::{MAX_LOOKS, Sides};
use crate::error::{StatsError, check_finite, check_rate};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// Wang and Tsiatis' shape for boundaries that stay level.
pub const POCOCK: f64 = 0.5;

/// Wang and Tsiatis' shape for boundaries that fall like 1/√t.
pub const OBRIEN_FLEMING: f64 = 0.0;

/// A number of looks that is certainly refused; larger ones need not be told apart.
pub const LOOKS_BEYOND_ANY: u64 = MAX_LOOKS as u64 + 1;

/// A two-sided design with equally spaced looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassicalDesign {
    /// The boundary at the last look.
    pub constant: f64,
    /// The boundaries of |Z|, constant·(k/K)^(shape − ½).
    pub bounds: Vec<f64>,
}

/// The most looks whose common constant is searched for, some tenths of a second of work.
pub const MAX_EVEN_LOOKS: usize = 100;

/// The design of `looks` looks that holds `alpha` over both sides; `shape` is Wang and Tsiatis' Δ.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn design(looks: usize, alpha: f64, shape: f64) -> Result<ClassicalDesign, StatsError> {
    check_rate("alpha_two_sided", alpha)?;
    check_finite("delta", shape)?;
    if looks > MAX_EVEN_LOOKS {
        return Err(StatsError::TooLarge {
            what: "the number of looks K",
            size: looks as u64,
            limit: MAX_EVEN_LOOKS as u64,
        });
    }
    if looks == 0 || shape.abs() > 1.0 {
        return Err(StatsError::invalid(
            "K",
            "must be at least one look, and delta from -1 to 1",
        ));
    }
    let information = equal_information(looks);
    let excess = |constant: f64| {
        let stops: Vec<Stop> = bounds(&information, constant, shape).map(symmetric).collect();
        exits(&information, &stops, 0.0)
            .iter()
            .map(|exit| exit.lower + exit.upper)
            .sum::<f64>()
            - alpha
    };
    // One look alone spends too much, and with every look at Bonferroni's share too little is spent.
    let low = normal::isf(alpha / 2.0);
    let high = normal::isf(alpha / (2.0 * looks as f64)) * (looks as f64).powf((shape - 0.5).max(0.0)) + 1e-9;
    let constant = if looks == 1 {
        low
    } else {
        brent(
            "group-sequential constant",
            Bracket::new(low, high),
            1e-12,
            excess,
        )?
    };
    Ok(ClassicalDesign {
        constant,
        bounds: bounds(&information, constant, shape).collect(),
    })
}

/// `looks` equal steps up to 1.
pub fn equal_information(looks: usize) -> Vec<f64> {
    (1..=looks).map(|look| look as f64 / looks as f64).collect()
}

/// The stop at |Z| = `bound`.
pub fn symmetric(bound: f64) -> Stop {
    Stop {
        lower: Some(-bound),
        upper: Some(bound),
    }
}

fn bounds(information: &[f64], constant: f64, shape: f64) -> impl Iterator<Item = f64> {
    information
        .iter()
        .map(move |fraction| constant * fraction.powf(shape - 0.5))
}

impl ClassicalDesign {
    /// The stops of the design.
    pub fn stops(&self, sides: Sides) -> Vec<Stop> {
        let keep = |stop: Stop| Stop {
            lower: stop.lower.filter(|_| sides == Sides::Two),
            ..stop
        };
        self.bounds.iter().copied().map(symmetric).map(keep).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_the_published_ones() {
        // Jennison and Turnbull (2000), tables 2.1 and 2.3, alpha 0.05.
        for (looks, pocock, obrien_fleming) in [(2, 2.178, 1.977), (5, 2.413, 2.040), (10, 2.555, 2.087)] {
            assert!((design(looks, 0.05, POCOCK).unwrap().constant - pocock).abs() < 1e-3);
            assert!((design(looks, 0.05, OBRIEN_FLEMING).unwrap().constant - obrien_fleming).abs() < 1e-3);
        }
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(
            design(0, 0.05, 0.5).is_err()
                && design(2, 1.0, 0.5).is_err()
                && design(2, 0.05, f64::NAN).is_err()
        );
        assert!((design(1, 0.05, 0.0).unwrap().constant - 1.959_963_984_540_054).abs() < 1e-12);
        assert!(design(20, 0.9, 0.5).unwrap().constant > 0.0);
    }
}
