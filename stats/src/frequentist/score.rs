//! Score intervals for the difference of two proportions: Mee (1984), and Miettinen and Nurminen (1985).
//!
//! Each candidate difference is tested with the rates that fit the data best under it, and the interval holds those
//! that are not refused. The best-fitting rates solve one equation that falls all the way, so they are found by a
//! bracketed root instead of the closed form of a cubic, which loses its digits for rare events.

use super::exact::Table;
use super::proportion::rates;
use crate::error::{StatsError, check_rate};
use crate::estimate::Interval;
use crate::special::normal;
use crate::special::roots::{Bracket, Slope, brent, newton_monotone};

/// The score interval of Mee: variance without a correction.
///
/// # Errors
/// When alpha does not lie between 0 and 1.
pub fn mee(table: &Table, alpha: f64) -> Result<Interval, StatsError> {
    interval(table, alpha, 1.0)
}

/// The score interval of Miettinen and Nurminen: Mee's with the variance times N/(N − 1).
///
/// # Errors
/// When alpha does not lie between 0 and 1.
pub fn miettinen_nurminen(table: &Table, alpha: f64) -> Result<Interval, StatsError> {
    let total = (table.control_units + table.treatment_units) as f64;
    interval(table, alpha, total / (total - 1.0))
}

fn interval(table: &Table, alpha: f64, correction: f64) -> Result<Interval, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let estimate = rates(table).difference;
    let distance = |candidate: f64| statistic(table, estimate, candidate, correction).abs() - z;
    // Where even the outermost difference is not refused, it is the end.
    let end = |outermost: f64| {
        if distance(outermost) <= 0.0 || (outermost - estimate).abs() < f64::EPSILON {
            return Ok(outermost);
        }
        brent(
            "the score interval",
            Bracket::new(estimate, outermost),
            0.0,
            distance,
        )
    };
    let nearly = 1.0 - f64::EPSILON;
    let [lower, upper] = [end(-nearly)?, end(nearly)?];
    let round = |value: f64| {
        if value.abs() >= nearly {
            value.signum()
        } else {
            value
        }
    };
    Ok(Interval::new(round(lower), round(upper), 1.0 - alpha))
}

/// The score statistic of a candidate difference.
fn statistic(table: &Table, estimate: f64, candidate: f64, correction: f64) -> f64 {
    let (left, right) = (table.control_units as f64, table.treatment_units as f64);
    let rate = constrained_rate(table, candidate);
    let other = (rate + candidate).clamp(0.0, 1.0);
    let variance = (rate * (1.0 - rate) / left + other * (1.0 - other) / right) * correction;
    let gap = estimate - candidate;
    if variance > 0.0 {
        gap / variance.sqrt()
    } else if gap.abs() > 0.0 {
        f64::INFINITY.copysign(gap)
    } else {
        0.0
    }
}

/// The control's rate that fits best when the treatment's is higher by `difference`.
fn constrained_rate(table: &Table, difference: f64) -> f64 {
    let (x0, x1) = (table.control_successes as f64, table.treatment_successes as f64);
    let (n0, n1) = (table.control_units as f64, table.treatment_units as f64);
    let (low, high) = ((-difference).max(0.0), (1.0 - difference).min(1.0));
    let start = (x0 + x1) / (n0 + n1) - difference * n1 / (n0 + n1);
    // Never at an end, where the slope is infinite and a step nothing.
    let inside = 1e-3 * (high - low);
    let start = start.clamp(low + inside, (high - inside).max(low + inside));
    // A term without successes, or without failures, is left out where it would be 0/0 at the end.
    let part = |count: f64, at: f64, power: i32| if count > 0.0 { count / at.powi(power) } else { 0.0 };
    newton_monotone(Bracket::new(low, high), start, |rate| {
        // At the ends of the range rounding must not make a share negative.
        let [rate, other] = [rate, rate + difference].map(|share| share.clamp(0.0, 1.0));
        let (rest, other_rest) = (1.0 - rate, (1.0 - rate - difference).clamp(0.0, 1.0));
        Slope {
            value: part(n0 - x0, rest, 1) + part(n1 - x1, other_rest, 1)
                - part(x0, rate, 1)
                - part(x1, other, 1),
            slope: part(n0 - x0, rest, 2)
                + part(n1 - x1, other_rest, 2)
                + part(x0, rate, 2)
                + part(x1, other, 2),
        }
    })
    .clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcombes_table_is_met() {
        // Newcombe (1998), Table II: 56 of 70 against 48 of 80, and 10 of 10 against 0 of 20.
        let check = |answer: Interval, lower: f64, upper: f64| {
            assert!((answer.lower.unwrap() - lower).abs() < 6e-5, "{answer:?}");
            assert!((answer.upper.unwrap() - upper).abs() < 6e-5, "{answer:?}");
        };
        let table = Table::new(48, 80, 56, 70).unwrap();
        check(mee(&table, 0.05).unwrap(), 0.0533, 0.3377);
        check(miettinen_nurminen(&table, 0.05).unwrap(), 0.0528, 0.3382);
    }

    #[test]
    fn swapping_arms_mirrors_the_interval() {
        for (a, b, c, d) in [(0, 10, 3, 20), (5, 50, 5, 50), (1, 1_000_000, 40, 900_000)] {
            let one = miettinen_nurminen(&Table::new(a, b, c, d).unwrap(), 0.05).unwrap();
            let two = miettinen_nurminen(&Table::new(c, d, a, b).unwrap(), 0.05).unwrap();
            let (lower, upper) = (one.lower.unwrap(), two.upper.unwrap());
            assert!((lower + upper).abs() < 1e-12, "{one:?} {two:?}");
        }
    }

    #[test]
    fn one_event_in_a_billion_keeps_its_digits() {
        // Truth: the score equation solved with 50 digits.
        let cases = [
            (
                [0, 1_000_000_000, 1, 1_000_000_000],
                -2.841_458_807_858_05e-9,
                5.664_934_243_297_439e-9,
            ),
            (
                [1, 1_000_000_000, 0, 1_000],
                -5.664_934_243_297_439e-9,
                0.003_826_757_485_555_128,
            ),
            (
                [100_000_000, 1_000_000_000, 1_000, 1_000],
                0.896_173_241_168_713_3,
                0.900_018_592_314_413_4,
            ),
        ];
        for ([x0, n0, x1, n1], lower, upper) in cases {
            let answer = mee(&Table::new(x0, n0, x1, n1).unwrap(), 0.05).unwrap();
            assert!((answer.lower.unwrap() / lower - 1.0).abs() < 1e-9, "{answer:?}");
            assert!((answer.upper.unwrap() / upper - 1.0).abs() < 1e-9, "{answer:?}");
        }
    }
}
