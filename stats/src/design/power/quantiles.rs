//! Power of a difference of quantiles, by the normal limit of the sample quantile.

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::design::means::TwoMeans;
use crate::error::{StatsError, check_positive, check_rate};
use crate::frequentist::quantile;

/// The variance of one unit's part in the `q`-quantile, q·(1 − q)/f², from the density f at the quantile.
///
/// # Errors
/// [`StatsError::InvalidInput`] for a value out of range.
pub fn variance_from_density(q: f64, density: f64) -> Result<f64, StatsError> {
    check_rate("q", q)?;
    check_positive("density", density)?;
    Ok(q * (1.0 - q) / (density * density))
}

/// The same from earlier values: the standard error that the analysis would report, squared, times their number.
///
/// # Errors
/// [`StatsError::TooFewUnits`] when the values are too few for the quantile, [`StatsError::ZeroVariance`] when ranks
/// around it hold one value.
pub fn variance_from_pilot(q: f64, values: &[f64]) -> Result<f64, StatsError> {
    let estimate = quantile::estimate(values, q, 0.05)?;
    let error = estimate.standard_error.ok_or_else(|| {
        let least = quantile::ranks(values.len() as u64, q, 0.05).map_or(2.0, |ranks| ranks.least_units);
        crate::frequentist::sample::too_few("pilot", values.len() as u64, least.ceil() as u64)
    })?;
    if error > 0.0 {
        Ok(error * error * values.len() as f64)
    } else {
        Err(StatsError::ZeroVariance)
    }
}

/// Finds what is left out of units, difference and power for two quantiles with one variance per unit.
///
/// # Errors
/// As the crate's other designs: an input out of range, or no solution.
pub fn solve(variance: f64, alpha: f64, allocation: f64, known: Known) -> Result<Solved, StatsError> {
    let test = TwoMeans {
        allocation,
        ..TwoMeans::equal(variance, alpha)
    };
    let curve = Curve {
        at: &|units, effect| test.power_normal(units, effect),
        least_units: 2.0,
        most_units: MOST_UNITS,
        small_effect: 1e-3 * (variance / known.units.unwrap_or(1.0)).sqrt(),
        most_effect: f64::INFINITY,
        whole: false,
    };
    curve.solve(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::normal;

    #[test]
    fn the_median_of_normal_values_needs_half_pi_times_the_units_of_the_mean() {
        // The efficiency of the median at the normal distribution is 2/π (Fisher 1920).
        let variance = variance_from_density(0.5, normal::pdf(0.0)).unwrap();
        let known = Known {
            units: None,
            effect: Some(0.1),
            power: Some(0.9),
        };
        let median = solve(variance, 0.05, 1.0, known).unwrap().units;
        let mean = TwoMeans::equal(1.0, 0.05).sample_size_normal(0.1, 0.9).unwrap();
        assert!((median / mean / std::f64::consts::FRAC_PI_2 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_pilot_gives_the_variance_of_the_density() {
        let values: Vec<f64> = (1..=20_000)
            .map(|rank| normal::quantile(f64::from(rank) / 20_001.0))
            .collect();
        for q in [0.25_f64, 0.5, 0.9] {
            let truth = variance_from_density(q, normal::pdf(normal::quantile(q))).unwrap();
            let found = variance_from_pilot(q, &values).unwrap();
            assert!((found / truth - 1.0).abs() < 0.02, "{q} {found} {truth}");
            // Milliseconds instead of seconds: the variance takes the square of the unit.
            let scaled: Vec<f64> = values.iter().map(|value| value * 1e3).collect();
            let scaled = variance_from_pilot(q, &scaled).unwrap();
            assert!((scaled / found / 1e6 - 1.0).abs() < 1e-12);
        }
        assert!(variance_from_pilot(0.999, &values[..50]).is_err());
        assert_eq!(
            variance_from_pilot(0.5, &[1.0; 100]),
            Err(StatsError::ZeroVariance)
        );
    }
}
