//! Power of the Mann–Whitney test; the effect is the chance that a treatment value exceeds a control value, less ½.

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::error::{StatsError, check_positive, check_rate};
use crate::special::normal;

/// Finds what is left out of units, effect and power (Noether 1987).
///
/// # Errors
/// As the crate's other designs: an input out of range, or no solution.
pub fn solve(alpha: f64, allocation: f64, known: Known) -> Result<Solved, StatsError> {
    check_rate("alpha", alpha)?;
    check_positive("ratio_n2_over_n1", allocation)?;
    let critical = normal::isf(0.5 * alpha);
    let control = 1.0 / (1.0 + allocation);
    let at = |units: f64, effect: f64| {
        if effect.abs() > 0.5 {
            return Err(StatsError::invalid("effect", "must lie between -0.5 and 0.5"));
        }
        let total = units / control;
        let shift = (12.0 * control * (1.0 - control) * total).sqrt() * effect;
        Ok(normal::sf(critical - shift) + normal::sf(critical + shift))
    };
    let curve = Curve {
        at: &at,
        least_units: 2.0,
        most_units: MOST_UNITS,
        small_effect: 1e-9,
        most_effect: 0.5,
        whole: false,
    };
    curve.solve(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Known = Known {
        units: None,
        effect: Some(0.1),
        power: Some(0.8),
    };

    #[test]
    fn noethers_size_is_met_and_all_three_agree() {
        // Noether's formula leaves the far side out: (z₀.₉₇₅ + z₀.₈)²/(6·0.1²) = 130.8 per group.
        let sized = solve(0.05, 1.0, SIZE).unwrap();
        assert!((sized.units - 130.814).abs() < 0.01, "{sized:?}");
        let found = solve(
            0.05,
            1.0,
            Known {
                units: Some(sized.units),
                effect: None,
                power: Some(0.8),
            },
        );
        assert!((found.unwrap().effect - 0.1).abs() < 1e-9);
    }

    #[test]
    fn the_test_itself_finds_as_often_as_planned() {
        // A second reference: normal values apart by a shift, whose chance to exceed is Φ(shift/√2).
        let mut random = crate::random::SplitMix::new(21);
        for (control, allocation, shift) in [(80, 1.0, 0.45), (120, 0.5, 0.4)] {
            let chance = normal::cdf(shift / f64::sqrt(2.0));
            let known = Known {
                units: Some(f64::from(control)),
                effect: Some(chance - 0.5),
                power: None,
            };
            let promised = solve(0.05, allocation, known).unwrap().power;
            let (runs, mut found) = (2_000, 0);
            for _ in 0..runs {
                let mut draw = |count: f64, shift: f64| -> Vec<f64> {
                    let value = |_| shift + normal::quantile(random.uniform());
                    (0..count as usize).map(value).collect()
                };
                let (left, right) = (
                    draw(f64::from(control), 0.0),
                    draw(f64::from(control) * allocation, shift),
                );
                let answer = crate::frequentist::rank::mann_whitney(&left, &right, 0.05).unwrap();
                found += usize::from(answer.p_normal.unwrap() < 0.05);
            }
            let measured = found as f64 / f64::from(runs);
            // Four standard errors of the simulation; Noether takes the variance under no effect.
            assert!(
                (measured - promised).abs() < 4.0 * 0.0095,
                "{measured} {promised}"
            );
        }
    }

    #[test]
    fn no_effect_has_no_size_and_the_error_rate_as_power() {
        let none = Known {
            effect: Some(0.0),
            ..SIZE
        };
        assert!(matches!(
            solve(0.05, 1.0, none),
            Err(StatsError::NoSolution { .. })
        ));
        let power = Known {
            units: Some(40.0),
            effect: Some(0.0),
            power: None,
        };
        assert!((solve(0.05, 1.0, power).unwrap().power - 0.05).abs() < 1e-14);
        let too_few = Known {
            units: Some(2.0),
            effect: None,
            power: Some(0.99),
        };
        assert!(solve(0.05, 1.0, too_few).is_err());
    }
}
