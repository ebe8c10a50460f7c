//! The chance to notice that arms do not hold their planned shares of traffic.
//!
//! Pearson's statistic under other shares is noncentral chi-square with λ = n·Σ(actual − planned)²/planned (Cohen 1988).

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::error::{StatsError, check_positive, check_rate};
use crate::special::{chi2, discrete};

/// Planned and actual traffic of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// What was planned, on any scale.
    pub planned: Vec<f64>,
    /// What arrives, on any scale.
    pub actual: Vec<f64>,
}

impl Shares {
    /// λ of one unit.
    fn distance(&self) -> Result<f64, StatsError> {
        if self.planned.len() != self.actual.len() || self.planned.len() < 2 {
            return Err(StatsError::invalid(
                "actual",
                "must be one per arm, of at least 2 arms",
            ));
        }
        for (planned, actual) in self.planned.iter().zip(&self.actual) {
            check_positive("planned", *planned)?;
            crate::error::check_not_negative("actual", *actual)?;
        }
        let planned: f64 = self.planned.iter().sum();
        let actual = check_positive("actual", self.actual.iter().sum())?;
        let pairs = self.planned.iter().zip(&self.actual);
        Ok(pairs
            .map(|(left, right)| {
                let (left, right) = (left / planned, right / actual);
                (right - left) * (right - left) / left
            })
            .sum())
    }
}

/// Finds the units of all arms together, or the chance to notice; the effect of [`Known`] is not read.
///
/// # Errors
/// [`StatsError::NoSolution`] when the shares are the planned ones, or an input error.
pub fn solve(shares: &Shares, alpha: f64, known: Known) -> Result<Solved, StatsError> {
    check_rate("alpha", alpha)?;
    let distance = shares.distance()?;
    let df = shares.planned.len() as f64 - 1.0;
    let critical = chi2::isf(alpha, df);
    let curve = Curve {
        at: &|units, distance| Ok(noncentral_sf(critical, df, units * distance)),
        least_units: 1.0,
        most_units: MOST_UNITS,
        small_effect: 1.0,
        most_effect: f64::INFINITY,
        whole: false,
    };
    curve.solve(Known {
        effect: Some(distance),
        ..known
    })
}

/// Terms on either side of the most likely one: twelve standard deviations of the Poisson weight.
const REACH: f64 = 12.0;

/// λ beyond which the power differs from 1 by less than 10⁻³⁰⁰ for every error rate in use.
const CERTAIN: f64 = 1e5;

/// P(X > x) of the noncentral chi-square distribution: a Poisson mixture of central tails, all terms positive.
pub(super) fn noncentral_sf(x: f64, df: f64, lambda: f64) -> f64 {
    let mean = 0.5 * lambda;
    if lambda > CERTAIN && x < 0.1 * lambda {
        return 1.0;
    }
    let reach = REACH * mean.sqrt() + 40.0;
    let first = (mean - reach).max(0.0).floor();
    let mut sum = 0.0;
    let mut k = first;
    while k <= mean + reach {
        sum += discrete::ln_poisson_pmf(k, mean).exp() * chi2::sf(x, df + 2.0 * k);
        k += 1.0;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(actual: f64) -> Shares {
        Shares {
            planned: vec![1.0, 1.0],
            actual: vec![actual, 1.0 - actual],
        }
    }

    #[test]
    fn noncentral_tails_hold() {
        // Truth: scipy.stats.ncx2.sf and mpmath.
        for (x, df, lambda, truth) in NONCENTRAL {
            let found = noncentral_sf(x, df, lambda);
            assert!(
                (found / truth - 1.0).abs() < 1e-10,
                "{x} {df} {lambda}: {found:e} {truth:e}"
            );
        }
    }

    #[test]
    fn a_shift_of_one_point_needs_many_users() {
        let size = Known {
            units: None,
            effect: None,
            power: Some(0.9),
        };
        let sized = solve(&halves(0.51), 0.001, size).unwrap();
        // One degree of freedom is a two-sided normal test: (z₀.₉₉₉₅ + z₀.₉)²/(2·0.01)² without the far side.
        let z = crate::special::normal::isf(0.0005) + crate::special::normal::quantile(0.9);
        assert!((sized.units / (z / 0.02).powi(2) - 1.0).abs() < 1e-6, "{sized:?}");
        assert!(matches!(
            solve(&halves(0.5), 0.001, size),
            Err(StatsError::NoSolution { .. })
        ));
        let power = Known {
            units: Some(5_000.0),
            effect: None,
            power: None,
        };
        assert!((solve(&halves(0.5), 0.001, power).unwrap().power - 0.001).abs() < 1e-12);
    }

    const NONCENTRAL: [(f64, f64, f64, f64); 5] = [
        (10.83, 1.0, 20.0, 0.881_246_187_383_179_6),
        (3.841, 2.0, 0.5, 0.216_329_189_441_852_34),
        (18.467, 4.0, 300.0, 1.0),
        (12.0, 3.0, 1e-9, 0.007_383_160_519_062_08),
        (7.0, 1.0, 2000.0, 1.0),
    ];
}
