//! Two Poisson rates: exact conditional tests, score and square-root tests, and the exact interval for their ratio.
//!
//! Given the total, the treatment's count is binomial with the treatment's share of exposure, which makes the exact
//! test a binomial one. No rate is divided by, so a count of 0 in either arm is an ordinary case.

use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::estimate::{Interval, PValue, known};
use crate::special::beta::{Share, beta_isf, beta_quantile};
use crate::special::gamma::gamma_quantile;
use crate::special::{discrete, normal};
use crate::srm::ln_binomial_two_sided;

/// What the exact tests are made of.
const TAIL: &str = "the tail of the binomial distribution";

/// What the exact intervals are made of.
const LIMIT: &str = "the exact limit of a rate";

/// Events over exposure in one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventCount {
    /// Events.
    pub events: u64,
    /// What the events are counted over: users, sessions, hours.
    pub exposure: f64,
}

/// A normal test of two rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateTest {
    /// The statistic.
    pub z: f64,
    /// The two-sided p-value.
    pub p_value: f64,
}

/// The comparison of two rates; everything but the rates is absent without an event.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateComparison {
    /// Events per exposure in the control.
    pub rate_control: f64,
    /// Events per exposure in the treatment.
    pub rate_treatment: f64,
    /// Treatment rate over control rate; absent when the control has no event.
    pub rate_ratio: Option<f64>,
    /// The evidence; absent when there is no event at all.
    pub tests: Option<RateTests>,
}

/// The tests of two rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateTests {
    /// Exact, two-sided: all splits of the total that are no more likely.
    pub exact_two_sided: PValue,
    /// Exact, two-sided: twice the smaller side.
    pub exact_central: f64,
    /// Exact, against a greater treatment.
    pub exact_greater: PValue,
    /// Exact, against a lesser treatment.
    pub exact_less: PValue,
    /// The score test.
    pub score: RateTest,
    /// The test on square roots, whose variance does not depend on the rate (Huffman 1984).
    pub square_root: RateTest,
    /// The exact interval for the ratio; an end is absent where the control's count is 0.
    pub ratio_interval: Interval,
}

/// Compares two Poisson rates.
///
/// # Errors
/// When an exposure is not above 0 or alpha does not lie between 0 and 1.
pub fn compare(control: EventCount, treatment: EventCount, alpha: f64) -> Result<RateComparison, StatsError> {
    check_positive("exposure_control", control.exposure)?;
    check_positive("exposure_treatment", treatment.exposure)?;
    check_rate("alpha", alpha)?;
    let [rate_control, rate_treatment] = [control, treatment].map(|arm| arm.events as f64 / arm.exposure);
    let share = Share::of(treatment.exposure, control.exposure);
    let total = control.events + treatment.events;
    Ok(RateComparison {
        rate_control,
        rate_treatment,
        rate_ratio: (control.events > 0).then(|| rate_treatment / rate_control),
        tests: (total > 0)
            .then(|| tests(control, treatment, share, alpha))
            .transpose()?,
    })
}

fn tests(
    control: EventCount,
    treatment: EventCount,
    share: Share,
    alpha: f64,
) -> Result<RateTests, StatsError> {
    let total = control.events + treatment.events;
    let (x, n) = (treatment.events as f64, total as f64);
    let greater = PValue::known(TAIL, discrete::ln_binomial_tails(x - 1.0, n, share).upper)?;
    let less = PValue::known(TAIL, discrete::ln_binomial_tails(x, n, share).lower)?;
    let excess = x * share.y - control.events as f64 * share.x;
    let score = excess / (n * share.x * share.y).sqrt();
    let weight = (share.x / share.y).sqrt();
    let roots = (x + 0.375).sqrt() - weight * (control.events as f64 + 0.375).sqrt();
    let square_root = 2.0 * roots / weight.hypot(1.0);
    Ok(RateTests {
        exact_two_sided: PValue::known(TAIL, ln_binomial_two_sided(treatment.events, total, share))?,
        exact_central: (2.0 * greater.p.min(less.p)).min(1.0),
        exact_greater: greater,
        exact_less: less,
        score: rate_test(score),
        square_root: rate_test(square_root),
        ratio_interval: ratio_interval(control, treatment, alpha)?,
    })
}

/// The interval of the difference of two rates, treatment minus control, of level 1 − `alpha`.
///
/// Exact limits of each rate (Garwood 1936), put together by recovering variances from them (Zou and Donner, Statistics in
/// Medicine 2008): there is one also where no event was seen.
///
/// # Errors
/// When an exposure is not above 0 or alpha does not lie between 0 and 1.
pub fn difference_interval(
    control: EventCount,
    treatment: EventCount,
    alpha: f64,
) -> Result<Interval, StatsError> {
    check_positive("exposure_control", control.exposure)?;
    check_positive("exposure_treatment", treatment.exposure)?;
    check_rate("alpha", alpha)?;
    let [(left, left_low, left_high), (right, right_low, right_high)] = [control, treatment].map(|arm| {
        let events = arm.events as f64;
        let low = if arm.events == 0 {
            0.0
        } else {
            gamma_quantile(events, 0.5 * alpha)
        };
        let high = gamma_quantile(events + 1.0, 1.0 - 0.5 * alpha);
        let [rate, low, high] = [events, low, high].map(|count| count / arm.exposure);
        (rate, low, high)
    });
    let difference = right - left;
    Ok(Interval::new(
        known(LIMIT, difference - (right - right_low).hypot(left_high - left))?,
        known(LIMIT, difference + (right_high - right).hypot(left - left_low))?,
        1.0 - alpha,
    ))
}

fn rate_test(z: f64) -> RateTest {
    RateTest {
        z,
        p_value: normal::two_sided(z),
    }
}

/// Clopper and Pearson's interval for the treatment's share of events, turned into a ratio of rates.
fn ratio_interval(control: EventCount, treatment: EventCount, alpha: f64) -> Result<Interval, StatsError> {
    let (x, rest) = (treatment.events as f64, control.events as f64);
    let scale = control.exposure / treatment.exposure;
    let ratio = |share: Share| known(LIMIT, share.x / share.y * scale);
    let lower = if treatment.events == 0 {
        0.0
    } else {
        ratio(beta_quantile(x, rest + 1.0, 0.5 * alpha))?
    };
    let upper = if control.events == 0 {
        f64::INFINITY
    } else {
        ratio(beta_isf(x + 1.0, rest, 0.5 * alpha))?
    };
    Ok(Interval::new(lower, upper, 1.0 - alpha))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(events: u64, exposure: f64) -> EventCount {
        EventCount { events, exposure }
    }

    #[test]
    fn a_worked_example_holds() {
        // R: poisson.test(c(25, 10), c(1000, 1000)): p = 0.01667, interval 1.15962 to 5.83271.
        let tests = compare(arm(10, 1000.0), arm(25, 1000.0), 0.05)
            .unwrap()
            .tests
            .unwrap();
        assert!((tests.exact_two_sided.p - 0.016_673_847_8).abs() < 1e-9);
        assert!((tests.ratio_interval.lower.unwrap() - 1.159_618_97).abs() < 1e-7);
        assert!((tests.ratio_interval.upper.unwrap() - 5.832_713_2).abs() < 1e-6);
    }

    #[test]
    fn no_event_in_one_arm_is_evidence_and_no_event_at_all_is_none() {
        let quiet = compare(arm(0, 10_000.0), arm(300, 10_000.0), 0.05).unwrap();
        assert_eq!(quiet.rate_ratio, None);
        let tests = quiet.tests.unwrap();
        assert!((tests.exact_greater.log10 + 300.0 * 2.0_f64.log10()).abs() < 1e-9);
        assert_eq!(tests.ratio_interval.upper, None);
        assert_eq!(compare(arm(0, 1.0), arm(0, 1.0), 0.05).unwrap().tests, None);
    }

    #[test]
    fn the_unit_of_exposure_does_not_matter() {
        let one = compare(arm(3, 2.0), arm(9, 5.0), 0.1).unwrap().tests.unwrap();
        let two = compare(arm(3, 2e9), arm(9, 5e9), 0.1).unwrap().tests.unwrap();
        assert!((one.exact_two_sided.p - two.exact_two_sided.p).abs() < 1e-14);
        assert!((one.square_root.z - two.square_root.z).abs() < 1e-12);
    }
}
