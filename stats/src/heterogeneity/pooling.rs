//! Several estimates of what may be one effect: segments of one experiment, or repetitions of it.
//!
//! The test of interaction asks whether they differ at all (Cochran's Q). The pooled effect is given with a fixed and
//! with a random effect (DerSimonian and Laird 1986, interval by Hartung and Knapp 2001 and Sidik and Jonkman 2002).
//! Each estimate is also shrunk towards the pooled one by as much as it is noise: a segment chosen because it looks best
//! is then not expected to disappoint (Efron and Morris 1975).

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::estimate::Interval;
use crate::special::{chi2, normal, student_t};

/// One estimate with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The estimate.
    pub estimate: f64,
    /// Its standard error, above 0.
    pub standard_error: f64,
}

/// A pooled estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pooled {
    /// The estimate.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its interval.
    pub interval: Interval,
    /// The two-sided p-value against no effect.
    pub p_value: f64,
}

/// A segment's estimate after shrinkage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shrunk {
    /// The estimate, between its own and the pooled one.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its interval.
    pub interval: Interval,
    /// The share of its own estimate that it keeps, 0 to 1.
    pub weight: f64,
}

/// What several estimates say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heterogeneity {
    /// Cochran's Q.
    pub q: f64,
    /// Its degrees of freedom.
    pub df: u64,
    /// The p-value that all effects are one.
    pub p_value: f64,
    /// The share of the variation that is not noise, 0 to 1.
    pub i_squared: f64,
    /// The variance of the effects themselves.
    pub tau_squared: f64,
    /// One effect for all.
    pub fixed: Pooled,
    /// The mean of effects that differ.
    pub random: Pooled,
    /// Where the effect of a new segment or repetition is expected; absent for fewer than three.
    pub prediction: Option<Interval>,
    /// Every estimate, shrunk.
    pub shrunk: Vec<Shrunk>,
}

/// The joint analysis with intervals of level 1 − `alpha`.
///
/// # Errors
/// [`StatsError::InvalidInput`] for fewer than two effects or numbers out of range.
pub fn analyze(effects: &[Effect], alpha: f64) -> Result<Heterogeneity, StatsError> {
    check_rate("alpha", alpha)?;
    if effects.len() < 2 {
        return Err(StatsError::invalid("effects", "must be at least two"));
    }
    for effect in effects {
        check_finite("estimate", effect.estimate)?;
        check_positive("standard_error", effect.standard_error)?;
    }
    let df = effects.len() as f64 - 1.0;
    let precision = |effect: &Effect, tau_squared: f64| 1.0 / (effect.standard_error.powi(2) + tau_squared);
    let fixed_mean = weighted_mean(effects, |effect| precision(effect, 0.0));
    let q: f64 = effects
        .iter()
        .map(|e| ((e.estimate - fixed_mean) / e.standard_error).powi(2))
        .sum();
    let (sum, squares) = effects.iter().fold((0.0, 0.0), |(sum, squares), effect| {
        let weight = precision(effect, 0.0);
        (sum + weight, squares + weight * weight)
    });
    let tau_squared = ((q - df) / (sum - squares / sum)).max(0.0);
    let random_mean = weighted_mean(effects, |effect| precision(effect, tau_squared));
    let total: f64 = effects.iter().map(|effect| precision(effect, tau_squared)).sum();
    let scatter: f64 = effects
        .iter()
        .map(|e| precision(e, tau_squared) * (e.estimate - random_mean).powi(2))
        .sum::<f64>()
        / df;
    // Never narrower than the plain random-effect interval, as later authors advise.
    let random_error = (scatter.max(1.0) / total).sqrt();
    let z = normal::isf(alpha / 2.0);
    let shrink = |effect: &Effect| {
        let noise = effect.standard_error.powi(2);
        let weight = tau_squared / (tau_squared + noise);
        let estimate = weight * effect.estimate + (1.0 - weight) * random_mean;
        // The pooled mean is itself uncertain, which a share of 1 − weight of each estimate inherits.
        let standard_error = (weight * noise + ((1.0 - weight) * random_error).powi(2)).sqrt();
        Shrunk {
            estimate,
            standard_error,
            interval: Interval::around(estimate, z * standard_error, 1.0 - alpha),
            weight,
        }
    };
    let prediction = (effects.len() >= 3).then(|| {
        let reach = student_t::isf(alpha / 2.0, df - 1.0) * (tau_squared + random_error.powi(2)).sqrt();
        Interval::around(random_mean, reach, 1.0 - alpha)
    });
    Ok(Heterogeneity {
        q,
        df: effects.len() as u64 - 1,
        p_value: chi2::sf(q, df),
        i_squared: if q > df { (q - df) / q } else { 0.0 },
        tau_squared,
        fixed: pooled(fixed_mean, (1.0 / sum).sqrt(), z, alpha, normal::two_sided),
        random: pooled(
            random_mean,
            random_error,
            student_t::isf(alpha / 2.0, df),
            alpha,
            |t| student_t::two_sided(t, df),
        ),
        prediction,
        shrunk: effects.iter().map(shrink).collect(),
    })
}

fn weighted_mean(effects: &[Effect], weight: impl Fn(&Effect) -> f64) -> f64 {
    let total: f64 = effects.iter().map(&weight).sum();
    effects
        .iter()
        .map(|effect| weight(effect) / total * effect.estimate)
        .sum()
}

fn pooled(
    estimate: f64,
    standard_error: f64,
    reach: f64,
    alpha: f64,
    p_value: impl Fn(f64) -> f64,
) -> Pooled {
    Pooled {
        estimate,
        standard_error,
        interval: Interval::around(estimate, reach * standard_error, 1.0 - alpha),
        p_value: p_value(estimate / standard_error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(pairs: &[(f64, f64)]) -> Vec<Effect> {
        pairs
            .iter()
            .map(|(estimate, standard_error)| Effect {
                estimate: *estimate,
                standard_error: *standard_error,
            })
            .collect()
    }

    #[test]
    fn eight_schools_are_shrunk_almost_completely() {
        // Rubin (1981): Q = 4.71 on 7 degrees of freedom, pooled effect 7.69 with standard error 4.07, no excess variance.
        let schools = effects(&[
            (28.0, 15.0),
            (8.0, 10.0),
            (-3.0, 16.0),
            (7.0, 11.0),
            (-1.0, 9.0),
            (1.0, 11.0),
            (18.0, 10.0),
            (12.0, 18.0),
        ]);
        let answer = analyze(&schools, 0.05).unwrap();
        assert!(
            (answer.q - 4.71).abs() < 0.01 && (answer.fixed.estimate - 7.69).abs() < 0.01,
            "{answer:?}"
        );
        assert!((answer.fixed.standard_error - 4.07).abs() < 0.01 && answer.tau_squared < 1e-12);
        assert!(
            answer
                .shrunk
                .iter()
                .all(|school| (school.estimate - answer.fixed.estimate).abs() < 1e-9)
        );
    }

    #[test]
    fn estimates_that_really_differ_are_kept() {
        let answer = analyze(&effects(&[(0.0, 0.1), (5.0, 0.1), (10.0, 0.1)]), 0.05).unwrap();
        assert!(answer.p_value < 1e-100 && answer.i_squared > 0.99);
        assert!(answer.shrunk.iter().all(|segment| segment.weight > 0.99));
        assert!(answer.prediction.unwrap().contains(12.0) && answer.random.interval.contains(5.0));
    }

    #[test]
    fn the_unit_does_not_matter() {
        let base = [(1.0, 0.5), (2.0, 0.4), (0.1, 0.3)];
        let scaled = base.map(|(estimate, error)| (estimate * 1e9, error * 1e9));
        let (one, two) = (
            analyze(&effects(&base), 0.05).unwrap(),
            analyze(&effects(&scaled), 0.05).unwrap(),
        );
        assert!((one.q - two.q).abs() < 1e-9 && (one.random.p_value - two.random.p_value).abs() < 1e-12);
        assert!((one.shrunk[0].estimate * 1e9 / two.shrunk[0].estimate - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(analyze(&effects(&[(1.0, 1.0)]), 0.05).is_err());
        assert!(analyze(&effects(&[(1.0, 1.0), (1.0, 0.0)]), 0.05).is_err());
        assert!(analyze(&effects(&[(f64::NAN, 1.0), (1.0, 1.0)]), 0.05).is_err());
    }
}
