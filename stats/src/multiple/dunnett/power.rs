//! The power of Dunnett's test: for one treatment, for any, for all.
//!
//! Given the pooled standard deviation and the control's noise the comparisons are independent, as in the test itself.

use serde::Serialize;

use super::Shape;
use super::family::scales;
use crate::frequentist::contrast::Alternative;
use crate::special::{noncentral, normal, quadrature};

/// Standard deviations of the control's noise that are integrated over; the rest is below 10⁻¹⁶.
const NOISE_REACH: f64 = 8.5;

/// The widest panel of the control's noise, in standard deviations of what the comparisons do not share.
const NOISE_PANEL: f64 = 3.0;

/// The narrowest panel: enough for treatments up to a hundred times as large as the control.
const NARROWEST: f64 = 0.3;

/// The chance that Dunnett's test finds what is there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reach {
    /// A given treatment.
    pub one: f64,
    /// At least one treatment, when all have the effect.
    pub any: f64,
    /// Every treatment, when all have the effect.
    pub all: f64,
}

/// The chance to find treatments that lie `shift` standard errors of a comparison from the control, in the tested
/// direction.
pub fn reach(shape: Shape, critical: f64, shift: f64) -> Reach {
    let two_sided = shape.alternative == Alternative::TwoSided;
    let (loading, rest) = (shape.rho.sqrt(), (1.0 - shape.rho).sqrt());
    let panel = (NOISE_PANEL * rest).max(NARROWEST);
    let panels = (2.0 * NOISE_REACH / panel).ceil() as u32;
    let noises = quadrature::nodes(-NOISE_REACH, NOISE_REACH, panels);
    let (mut any, mut all) = (0.0, 0.0);
    for scale in scales(shape.df) {
        let limit = critical * scale.at;
        for noise in &noises {
            let middle = shift + loading * noise.at;
            let mut tail = normal::sf((limit - middle) / rest);
            if two_sided {
                tail = (tail + normal::sf((limit + middle) / rest)).min(1.0);
            }
            let weight = scale.weight * noise.weight * normal::pdf(noise.at);
            any -= weight * (shape.treatments as f64 * (-tail).ln_1p()).exp_m1();
            all += weight * tail.powf(shape.treatments as f64);
        }
    }
    let mut one = noncentral::t_sf(critical, shape.df, shift);
    if two_sided {
        one += noncentral::t_sf(critical, shape.df, -shift);
    }
    let share = |chance: f64| chance.clamp(0.0, 1.0);
    Reach {
        one: share(one),
        any: share(any),
        all: share(all),
    }
}

#[cfg(test)]
mod tests {
    use super::super::critical_value;
    use super::*;

    fn shape(treatments: usize, df: f64, rho: f64, alternative: Alternative) -> Shape {
        Shape {
            treatments,
            df,
            rho,
            alternative,
        }
    }

    #[test]
    fn without_an_effect_any_is_the_error_rate() {
        // What must never change: power at no effect is the test's own size.
        for (treatments, df, rho) in [(2, 27.0, 0.5), (5, 1e3, 0.3), (20, 1e9, 0.8), (3, 4.0, 0.5)] {
            for alternative in [Alternative::TwoSided, Alternative::Greater] {
                let shape = shape(treatments, df, rho, alternative);
                let critical = critical_value(shape, 0.05).unwrap();
                let found = reach(shape, critical, 0.0).any;
                assert!((found - 0.05).abs() < 1e-9, "{shape:?} {found}");
            }
        }
    }

    #[test]
    fn one_treatment_is_a_t_test_and_all_lie_in_order() {
        let found = reach(shape(1, 38.0, 0.5, Alternative::TwoSided), 2.024_394_164, 3.0);
        assert!((found.one - found.any).abs() < 1e-12 && (found.one - found.all).abs() < 1e-12);
        let found = reach(shape(4, 100.0, 0.5, Alternative::TwoSided), 2.4, 3.0);
        assert!(found.all < found.one && found.one < found.any, "{found:?}");
    }

    #[test]
    fn powers_agree_with_other_integrations() {
        // Truth: known variance, one-sided, by scipy.stats.multivariate_normal.cdf with 10⁻⁹ asked for; few degrees of
        // freedom by 4 million simulated experiments (standard error at most 2.5·10⁻⁴).
        for (treatments, df, rho, two_sided, critical, shift, truth, tolerance) in TRUTH {
            let alternative = if two_sided {
                Alternative::TwoSided
            } else {
                Alternative::Greater
            };
            let found = reach(shape(treatments, df, rho, alternative), critical, shift);
            for (value, truth) in [found.one, found.any, found.all].into_iter().zip(truth) {
                assert!(
                    (value - truth).abs() < tolerance,
                    "{treatments} {df}: {found:?} {truth}"
                );
            }
        }
    }

    /// Treatments, degrees of freedom, correlation, both sides, critical value, shift, powers, tolerance.
    type Row = (usize, f64, f64, bool, f64, f64, [f64; 3], f64);

    const TRUTH: [Row; 4] = [
        (
            2,
            1e9,
            0.5,
            false,
            1.92,
            2.5,
            [0.719042691, 0.857513574, 0.580571808],
            2e-07,
        ),
        (
            4,
            1e9,
            0.3,
            false,
            2.2,
            3.0,
            [0.788144601, 0.983243409, 0.476272887],
            2e-07,
        ),
        (
            3,
            12.0,
            0.5,
            true,
            2.68,
            3.2,
            [0.694530362, 0.871419750, 0.494774750],
            0.001,
        ),
        (
            5,
            40.0,
            0.25,
            true,
            2.6,
            2.0,
            [0.287589566, 0.694279750, 0.022984750],
            0.001,
        ),
    ];
}
