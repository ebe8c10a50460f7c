//! Power of the Poisson bootstrap from buckets of earlier data: by the normal limit, and by seeded simulation.
//!
//! Size and effect are found by the normal limit with the delta method's variance of a bucket; the simulation then draws
//! buckets from the earlier data, moves those of the treatment by the effect, and counts the intervals that leave 0 out.

use serde::Serialize;

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::design::means::TwoMeans;
use crate::error::{StatsError, check_finite};
use crate::frequentist::bootstrap::{Bucket, Resampling, Statistic, poisson};
use crate::frequentist::sample::too_few;
use crate::random::SplitMix;

/// The most bucket draws of one simulation: a second or two of work.
pub const MAX_SIMULATED_DRAWS: u64 = 200_000_000;

/// The most simulated experiments.
pub const MAX_EXPERIMENTS: u64 = 100_000;

/// What rounding leaves of buckets that agree, over the statistic.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// How to simulate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulation {
    /// How many experiments; 0 for none, then the normal limit stands alone.
    pub experiments: u64,
    /// What each of them resamples, and the seed of all.
    pub resampling: Resampling,
}

/// A design of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BootstrapDesign {
    /// What was found by the normal limit; units are buckets in each arm.
    #[serde(flatten)]
    pub solved: Solved,
    /// The share of simulated experiments that were decided; absent without simulation.
    pub power_simulated: Option<f64>,
    /// Its Monte Carlo standard error.
    pub monte_carlo_error: Option<f64>,
}

/// Finds what is left out of buckets in each arm, effect and power.
///
/// # Errors
/// [`StatsError::TooFewUnits`], [`StatsError::ZeroVariance`], [`StatsError::TooLarge`] for a simulation beyond
/// [`MAX_SIMULATED_DRAWS`], or an input error.
pub fn solve(pilot: &[Bucket], how: Simulation, known: Known) -> Result<BootstrapDesign, StatsError> {
    let arm = Pilot::new(pilot, how.resampling.statistic)?;
    let alpha = how.resampling.alpha;
    let curve = Curve {
        at: &|units, effect| arm.test(effect, alpha).power_normal(units, effect),
        least_units: 2.0,
        most_units: MOST_UNITS,
        small_effect: 1e-3 * (arm.variance / known.units.unwrap_or(1.0)).sqrt(),
        most_effect: f64::INFINITY,
        whole: false,
    };
    let solved = curve.solve(known)?;
    let simulated = (how.experiments > 0)
        .then(|| simulate(pilot, how, solved))
        .transpose()?;
    Ok(BootstrapDesign {
        solved,
        power_simulated: simulated,
        monte_carlo_error: simulated.map(|share| (share * (1.0 - share) / how.experiments as f64).sqrt()),
    })
}

/// Earlier buckets as one arm.
struct Pilot {
    statistic: Statistic,
    /// The variance of one bucket's part in the statistic without an effect.
    variance: f64,
}

impl Pilot {
    fn new(pilot: &[Bucket], statistic: Statistic) -> Result<Self, StatsError> {
        if pilot.len() < 2 {
            return Err(too_few("pilot", pilot.len() as u64, 2));
        }
        for bucket in pilot {
            check_finite("pilot", bucket.numerator)?;
            check_finite("pilot", bucket.denominator)?;
        }
        let n = pilot.len() as f64;
        let denominator = pilot.iter().map(|bucket| bucket.denominator).sum::<f64>() / n;
        let numerator = pilot.iter().map(|bucket| bucket.numerator).sum::<f64>() / n;
        let ratio = numerator / denominator;
        let (scale, size) = match statistic {
            Statistic::Difference => (denominator, ratio),
            Statistic::RelativeLift => (numerator, 1.0),
        };
        if !(ratio.is_finite() && scale.abs() > 0.0) {
            return Err(StatsError::UndefinedDenominator { arm: "pilot" });
        }
        let squares: f64 = pilot
            .iter()
            .map(|bucket| ((bucket.numerator - ratio * bucket.denominator) / scale).powi(2))
            .sum();
        let variance = squares / (n - 1.0);
        // Buckets that agree leave rounding errors.
        if variance > (ROUNDING * size).powi(2) {
            Ok(Self { statistic, variance })
        } else {
            Err(StatsError::ZeroVariance)
        }
    }

    /// The normal test of the statistic when the treatment is moved by `effect`.
    fn test(&self, effect: f64, alpha: f64) -> TwoMeans {
        let grown = match self.statistic {
            Statistic::Difference => 1.0,
            // The lift's noise comes from both arms: the treatment's grows with it, and the control's is multiplied by it.
            Statistic::RelativeLift => (1.0 + effect).powi(2).max(f64::MIN_POSITIVE),
        };
        TwoMeans::equal(self.variance * grown, alpha)
    }
}

/// The share of simulated experiments whose interval leaves 0 out.
fn simulate(pilot: &[Bucket], how: Simulation, solved: Solved) -> Result<f64, StatsError> {
    let buckets = solved.units.ceil();
    let draws = buckets * 2.0 * how.experiments as f64 * how.resampling.replicates as f64;
    if how.experiments > MAX_EXPERIMENTS || draws > MAX_SIMULATED_DRAWS as f64 {
        return Err(StatsError::TooLarge {
            what: "the number of simulated bucket draws",
            size: draws.min(1e18) as u64,
            limit: MAX_SIMULATED_DRAWS,
        });
    }
    let mut random = SplitMix::new(how.resampling.seed);
    let mut decided = 0_u64;
    for _ in 0..how.experiments {
        let mut draw = |moved: bool| -> Vec<Bucket> {
            (0..buckets as usize)
                .map(|_| {
                    let bucket = pilot[random.index(pilot.len())];
                    if moved {
                        shifted(bucket, solved.effect, how.resampling.statistic)
                    } else {
                        bucket
                    }
                })
                .collect()
        };
        let (control, treatment) = (draw(false), draw(true));
        let resampling = Resampling {
            seed: random.next(),
            ..how.resampling
        };
        // An experiment whose bootstrap has no answer decides nothing.
        if let Ok(answer) = poisson(&control, &treatment, resampling)
            && !answer.interval.contains(0.0)
        {
            decided += 1;
        }
    }
    Ok(decided as f64 / how.experiments as f64)
}

/// A bucket of the treatment.
fn shifted(bucket: Bucket, effect: f64, statistic: Statistic) -> Bucket {
    let numerator = match statistic {
        Statistic::Difference => effect.mul_add(bucket.denominator, bucket.numerator),
        Statistic::RelativeLift => bucket.numerator * (1.0 + effect),
    };
    Bucket { numerator, ..bucket }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pilot() -> Vec<Bucket> {
        let mut random = SplitMix::new(11);
        (0..500)
            .map(|_| {
                let denominator = 8.0 + 4.0 * random.uniform();
                Bucket {
                    numerator: denominator * (0.5 + random.uniform()),
                    denominator,
                }
            })
            .collect()
    }

    fn how(statistic: Statistic, experiments: u64) -> Simulation {
        Simulation {
            experiments,
            resampling: Resampling {
                statistic,
                alpha: 0.05,
                replicates: 300,
                seed: 5,
            },
        }
    }

    #[test]
    fn simulation_and_normal_limit_agree() {
        for statistic in [Statistic::Difference, Statistic::RelativeLift] {
            let size = Known {
                units: None,
                effect: Some(0.12),
                power: Some(0.8),
            };
            let found = solve(&pilot(), how(statistic, 600), size).unwrap();
            // Four Monte Carlo errors, and three points for percentile intervals of few replicates and buckets.
            let simulated = found.power_simulated.unwrap();
            let allowed = 4.0 * found.monte_carlo_error.unwrap() + 0.03;
            assert!((simulated - 0.8).abs() < allowed, "{found:?}");
            assert_eq!(solve(&pilot(), how(statistic, 600), size).unwrap(), found);
        }
    }

    #[test]
    fn without_an_effect_the_error_rate_is_the_power() {
        let none = Known {
            units: Some(100.0),
            effect: Some(0.0),
            power: None,
        };
        let found = solve(&pilot(), how(Statistic::Difference, 1_000), none).unwrap();
        assert!((found.solved.power - 0.05).abs() < 1e-12);
        assert!((found.power_simulated.unwrap() - 0.05).abs() < 0.04, "{found:?}");
    }

    #[test]
    fn too_much_and_too_little_are_refused() {
        let known = Known {
            units: Some(1e6),
            effect: Some(0.1),
            power: None,
        };
        let large = solve(&pilot(), how(Statistic::Difference, 1_000), known);
        assert!(matches!(large, Err(StatsError::TooLarge { .. })));
        assert!(solve(&pilot()[..1], how(Statistic::Difference, 0), known).is_err());
        let flat = [pilot()[0]; 9];
        assert_eq!(
            solve(&flat, how(Statistic::Difference, 0), known),
            Err(StatsError::ZeroVariance)
        );
    }
}
