//! The Poisson bootstrap on summaries: units are kept in buckets, and each replicate takes every bucket a random
//! number of times.
//!
//! Poisson(1) counts need no pass over the data for each replicate and no common total (Chamandy et al. 2012). A
//! bucket is a random group of units, as hashing makes them; with a few hundred buckets per arm the bootstrap is that of
//! their means. It serves statistics that have no formula, and checks those that have one.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_rate};
use crate::estimate::Interval;
use crate::frequentist::quantile::of_sorted;
use crate::frequentist::sample::too_few;
use crate::random::SplitMix;

/// Fewer buckets than this in an arm give a rough interval.
pub const FEW_BUCKETS: usize = 50;

/// The most replicates of one call, and the most bucket draws: about a second of work.
pub const MAX_REPLICATES: u64 = 100_000;

/// The most bucket draws of one call.
pub const MAX_DRAWS: u64 = 200_000_000;

/// The sums of one bucket of units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Σ of the metric, or of the numerator.
    pub numerator: f64,
    /// The number of units, or Σ of the denominator.
    pub denominator: f64,
}

/// What is resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Treatment minus control.
    Difference,
    /// Treatment over control, minus 1.
    RelativeLift,
}

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// What is resampled.
    pub statistic: Statistic,
    /// The error rate of the interval.
    pub alpha: f64,
    /// How many replicates; 2 000 for an interval at 95 %.
    pub replicates: u64,
    /// The seed; the same seed gives the same answer.
    pub seed: u64,
}

/// The bootstrap's answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bootstrap {
    /// The statistic of the data.
    pub estimate: f64,
    /// The standard deviation over replicates.
    pub standard_error: f64,
    /// The percentile interval.
    pub interval: Interval,
    /// Replicates that had a value: one without a denominator has none.
    pub replicates: u64,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// Resamples the ratio of sums in both arms.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two buckets in an arm, [`StatsError::TooLarge`], [`StatsError::UndefinedDenominator`], or an input
/// error.
pub fn poisson(control: &[Bucket], treatment: &[Bucket], how: Resampling) -> Result<Bootstrap, StatsError> {
    check(control, treatment, how)?;
    let once = |buckets: &[Bucket]| {
        buckets
            .iter()
            .fold((0.0, 0.0), |sum, bucket| add(sum, bucket, 1.0))
    };
    let estimate = statistic(once(control), once(treatment), how.statistic)
        .ok_or(StatsError::UndefinedDenominator { arm: "an arm" })?;
    let mut random = SplitMix::new(how.seed);
    let mut values = Vec::with_capacity(how.replicates as usize);
    for _ in 0..how.replicates {
        let left = resample(control, &mut random);
        let right = resample(treatment, &mut random);
        values.extend(statistic(left, right, how.statistic));
    }
    if values.len() < 2 {
        return Err(StatsError::UndefinedDenominator {
            arm: "every replicate",
        });
    }
    values.sort_by(f64::total_cmp);
    let moments = domain::Moments::from_values(&values);
    let end = |q: f64| of_sorted(&values, q).unwrap_or(f64::NAN);
    let few = control.len().min(treatment.len()) < FEW_BUCKETS;
    Ok(Bootstrap {
        estimate,
        standard_error: moments.variance().unwrap_or(0.0).sqrt(),
        interval: Interval::new(end(0.5 * how.alpha), end(1.0 - 0.5 * how.alpha), 1.0 - how.alpha),
        replicates: values.len() as u64,
        warnings: if few {
            vec![format!(
                "an arm has fewer than {FEW_BUCKETS} buckets: the interval is rough"
            )]
        } else {
            Vec::new()
        },
    })
}

fn check(control: &[Bucket], treatment: &[Bucket], how: Resampling) -> Result<(), StatsError> {
    check_rate("alpha", how.alpha)?;
    for (buckets, arm) in [(control, "control"), (treatment, "treatment")] {
        if buckets.len() < 2 {
            return Err(too_few(arm, buckets.len() as u64, 2));
        }
        for bucket in buckets {
            check_finite(arm, bucket.numerator)?;
            check_finite(arm, bucket.denominator)?;
        }
    }
    let draws = how
        .replicates
        .saturating_mul((control.len() + treatment.len()) as u64);
    for (what, size, limit) in [
        ("the number of replicates", how.replicates, MAX_REPLICATES),
        ("the number of draws", draws, MAX_DRAWS),
    ] {
        if size > limit {
            return Err(StatsError::TooLarge { what, size, limit });
        }
    }
    Ok(())
}

fn resample(buckets: &[Bucket], random: &mut SplitMix) -> (f64, f64) {
    buckets
        .iter()
        .fold((0.0, 0.0), |sum, bucket| add(sum, bucket, random.poisson_one()))
}

fn add(sum: (f64, f64), bucket: &Bucket, times: f64) -> (f64, f64) {
    (
        bucket.numerator.mul_add(times, sum.0),
        bucket.denominator.mul_add(times, sum.1),
    )
}

fn statistic(control: (f64, f64), treatment: (f64, f64), statistic: Statistic) -> Option<f64> {
    let (left, right) = (control.0 / control.1, treatment.0 / treatment.1);
    let value = match statistic {
        Statistic::Difference => right - left,
        Statistic::RelativeLift => right / left - 1.0,
    };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(count: u32, shift: f64) -> Vec<Bucket> {
        (0..count)
            .map(|index| Bucket {
                numerator: shift * 10.0 + f64::from(index * 7919 % 101) / 10.0,
                denominator: 10.0,
            })
            .collect()
    }

    fn how(seed: u64) -> Resampling {
        Resampling {
            statistic: Statistic::Difference,
            alpha: 0.05,
            replicates: 2_000,
            seed,
        }
    }

    #[test]
    fn the_spread_is_that_of_the_formula() {
        let (control, treatment) = (buckets(400, 1.0), buckets(300, 1.2));
        let answer = poisson(&control, &treatment, how(1)).unwrap();
        let of = |buckets: &[Bucket]| {
            let means: Vec<f64> = buckets
                .iter()
                .map(|bucket| bucket.numerator / bucket.denominator)
                .collect();
            let moments = domain::Moments::from_values(&means);
            moments.variance().unwrap() / moments.n as f64
        };
        let truth = (of(&control) + of(&treatment)).sqrt();
        // Two thousand replicates know a standard error to about 1.6 %; five of those.
        assert!(
            (answer.standard_error / truth - 1.0).abs() < 0.08,
            "{answer:?} {truth}"
        );
        assert!(answer.interval.contains(answer.estimate));
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let (control, treatment) = (buckets(60, 1.0), buckets(60, 1.2));
        let one = poisson(&control, &treatment, how(7)).unwrap();
        assert_eq!(one, poisson(&control, &treatment, how(7)).unwrap());
        assert_ne!(one, poisson(&control, &treatment, how(8)).unwrap());
    }

    #[test]
    fn too_much_and_too_little_are_refused() {
        let some = buckets(60, 1.0);
        assert!(poisson(&some[..1], &some, how(1)).is_err());
        let many = Resampling {
            replicates: 1 << 40,
            ..how(1)
        };
        assert!(matches!(
            poisson(&some, &some, many),
            Err(StatsError::TooLarge { .. })
        ));
    }
}
