//! How soon the betting confidence sequence of a bounded mean leaves out a hypothesised mean: by seeded simulation.
//!
//! Values are drawn from a pilot, or from a beta distribution with the mean and deviation given. One simulation answers
//! for every number of values up to the last: power at the end, and the values after which the wanted share of runs had
//! left the mean out.

use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::random::SplitMix;
use crate::sequential::bounded::MeanTest;
use crate::special::beta::beta_quantile;

/// The most simulated values of one call: a second of work.
pub const MAX_SIMULATED_VALUES: u64 = 10_000_000;

/// Values that stand for a beta distribution: its quantiles at the middles of as many equal shares.
const QUANTILES: usize = 4_096;

/// Halvings of the range in which a detectable mean is looked for.
const HALVINGS: u64 = 12;

/// A sequence that is to be simulated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Betting {
    /// The mean that is to be left out, between 0 and 1.
    pub null: f64,
    /// The last value's number.
    pub values: u64,
    /// The error rate over all values.
    pub alpha: f64,
    /// The wanted power.
    pub power: f64,
    /// Simulated runs.
    pub experiments: u64,
    /// The seed; the same seed gives the same answer.
    pub seed: u64,
}

/// How soon the mean is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LeftOut {
    /// The mean of the values drawn.
    pub mean: f64,
    /// The chance that the hypothesised mean was left out at or before the last value.
    pub power: f64,
    /// Its Monte Carlo standard error.
    pub monte_carlo_error: f64,
    /// Values after which the wanted share of runs had left it out; absent when fewer did.
    pub units: Option<u64>,
    /// Values after which half of the runs had; absent when fewer did.
    pub median_units: Option<u64>,
}

/// Values with this mean and standard deviation: quantiles of a beta distribution.
///
/// # Errors
/// [`StatsError::InvalidInput`] for a mean outside 0 to 1, or a deviation that no distribution on 0 to 1 has.
pub fn population(mean: f64, deviation: f64) -> Result<Vec<f64>, StatsError> {
    check_rate("mean", mean)?;
    check_positive("sd", deviation)?;
    let most = mean * (1.0 - mean);
    let size = most / (deviation * deviation) - 1.0;
    if size.is_nan() || size <= 0.0 {
        return Err(StatsError::invalid("sd", "must be below √(mean·(1 − mean))"));
    }
    let at = |index: usize| (index as f64 + 0.5) / QUANTILES as f64;
    let quantile = |index: usize| beta_quantile(size * mean, size * (1.0 - mean), at(index)).x;
    let values: Vec<f64> = (0..QUANTILES).map(quantile).collect();
    if values.iter().any(|value| value.is_nan()) {
        return Err(StatsError::NotConverged {
            what: "a quantile of the beta distribution",
        });
    }
    Ok(values)
}

/// Simulates the sequence on values drawn from a population.
///
/// # Errors
/// [`StatsError::TooLarge`] beyond [`MAX_SIMULATED_VALUES`], [`StatsError::InvalidInput`] for a value outside 0 to 1 or an
/// argument out of range.
pub fn simulate(plan: &Betting, population: &[f64]) -> Result<LeftOut, StatsError> {
    check(plan, 1)?;
    if population.is_empty() {
        return Err(StatsError::invalid("pilot", "must not be empty"));
    }
    let mut random = SplitMix::new(plan.seed);
    let mut stops = Vec::new();
    for _ in 0..plan.experiments {
        let mut test = MeanTest::new(plan.null, plan.alpha)?;
        for count in 1..=plan.values {
            if test.observe(population[random.index(population.len())])? {
                stops.push(count);
                break;
            }
        }
    }
    stops.sort_unstable();
    let experiments = plan.experiments as f64;
    let after = |share: f64| {
        let rank = (share * experiments).ceil().max(1.0) as usize;
        stops.get(rank - 1).copied()
    };
    let power = stops.len() as f64 / experiments;
    Ok(LeftOut {
        mean: population.iter().sum::<f64>() / population.len() as f64,
        power,
        monte_carlo_error: (power * (1.0 - power) / experiments).sqrt(),
        units: after(plan.power),
        median_units: after(0.5),
    })
}

/// The smallest mean above the hypothesised one that is left out with the wanted power.
///
/// # Errors
/// As [`simulate`], and [`StatsError::NoSolution`] when even the largest mean with the deviation is not.
pub fn detectable(plan: &Betting, deviation: f64) -> Result<LeftOut, StatsError> {
    check(plan, HALVINGS + 1)?;
    // Means from which the deviation is possible: the smaller and the larger root of m(1 − m) = sd².
    let reach = (0.25 - deviation * deviation).max(0.0).sqrt();
    let (mut low, mut high) = (plan.null, 0.5 + reach * (1.0 - 1e-9));
    let at = |mean: f64| simulate(plan, &population(mean, deviation)?);
    let mut best = if high > low {
        at(high)?
    } else {
        return Err(StatsError::invalid("sd", "must leave room for a larger mean"));
    };
    if best.power < plan.power {
        return Err(StatsError::NoSolution {
            what: "the detectable mean",
            why: "even the largest possible one is not found with so few values",
        });
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let found = match at(middle) {
            Ok(found) => found,
            // Below the smaller root no distribution has the deviation.
            Err(StatsError::InvalidInput { .. }) => {
                low = middle;
                continue;
            }
            Err(reason) => return Err(reason),
        };
        if found.power >= plan.power {
            (high, best) = (middle, found);
        } else {
            low = middle;
        }
    }
    Ok(best)
}

fn check(plan: &Betting, simulations: u64) -> Result<(), StatsError> {
    check_rate("null", plan.null)?;
    check_rate("alpha", plan.alpha)?;
    check_rate("power", plan.power)?;
    if plan.experiments == 0 || plan.values == 0 {
        return Err(StatsError::invalid(
            "n",
            "must be at least 1, as must experiments",
        ));
    }
    let size = plan
        .experiments
        .saturating_mul(plan.values)
        .saturating_mul(simulations);
    if size > MAX_SIMULATED_VALUES {
        return Err(StatsError::TooLarge {
            what: "the number of simulated values",
            size,
            limit: MAX_SIMULATED_VALUES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::bounded::BettingSequence;

    const PLAN: Betting = Betting {
        null: 0.25,
        values: 500,
        alpha: 0.05,
        power: 0.8,
        experiments: 200,
        seed: 3,
    };

    #[test]
    fn a_population_has_the_moments_asked_for() {
        let values = population(0.3, 0.2).unwrap();
        let moments = domain::Moments::from_values(&values);
        assert!((moments.mean - 0.3).abs() < 1e-4);
        assert!((moments.variance().unwrap().sqrt() - 0.2).abs() < 1e-4);
        assert!(population(0.3, 0.5).is_err() && population(1.5, 0.1).is_err());
    }

    #[test]
    fn the_test_is_the_sequence_that_leaves_the_mean_out() {
        // What must never change: a design plans the very interval that an analysis shows.
        let values = population(0.35, 0.2).unwrap();
        let mut random = SplitMix::new(9);
        for null in [0.25, 0.2504, 0.45] {
            let mut test = MeanTest::new(null, 0.05).unwrap();
            let mut sequence = BettingSequence::new(0.05).unwrap();
            for _ in 0..300 {
                let value = values[random.index(values.len())];
                sequence.observe(value).unwrap();
                let left_out = !sequence.interval().contains(null);
                assert_eq!(test.observe(value).unwrap(), left_out, "{null}");
            }
        }
    }

    #[test]
    fn a_false_mean_is_left_out_and_the_true_one_seldom() {
        let truth = simulate(&PLAN, &population(0.25, 0.2).unwrap()).unwrap();
        assert!(truth.power <= 0.05, "{truth:?}");
        let wrong = simulate(&PLAN, &population(0.32, 0.2).unwrap()).unwrap();
        assert!(
            wrong.power > 0.8 && wrong.units.unwrap() >= wrong.median_units.unwrap(),
            "{wrong:?}"
        );
        let shorter = Betting {
            values: wrong.units.unwrap(),
            ..PLAN
        };
        let again = simulate(&shorter, &population(0.32, 0.2).unwrap()).unwrap();
        assert!(
            (again.power - 0.8).abs() < 4.0 * again.monte_carlo_error,
            "{again:?}"
        );
    }

    #[test]
    fn the_detectable_mean_is_detected() {
        let plan = Betting {
            experiments: 150,
            ..PLAN
        };
        let found = detectable(&plan, 0.2).unwrap();
        assert!(
            found.power >= 0.8 && found.mean > 0.26 && found.mean < 0.34,
            "{found:?}"
        );
        let few = Betting { values: 3, ..plan };
        assert!(matches!(
            detectable(&few, 0.2),
            Err(StatsError::NoSolution { .. })
        ));
        let many = Betting {
            experiments: 1 << 40,
            ..PLAN
        };
        assert!(matches!(detectable(&many, 0.2), Err(StatsError::TooLarge { .. })));
    }
}
