//! Power and sample size of designs that look more than once.
//!
//! Everything is computed by the same integration over looks as the boundaries ([`crate::sequential::group::walk`]),
//! so that the power of an anytime-valid interval is exact for the looks named, not an approximation from its width.

use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::sequential::asymptotic::two_sided_critical_value;
use crate::sequential::group::classical::{ClassicalDesign, equal_information, symmetric};
use crate::sequential::group::walk::{Exit, Stop, exits};
use crate::sequential::group::{Sides, check_information};
use crate::special::logs::ln_add_exp;
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// The most conversions a sign-walk design is looked for.
const MAX_CONVERSIONS: u64 = 200_000;

/// The most steps over all leads together, a second or two of work: as many as a walk of 200 000 conversions needs.
const MAX_WALK_STEPS: u64 = 40_000_000;

/// The power of a design and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SequentialPower {
    /// The mean of Z at full information that is found with the wanted power.
    pub drift: f64,
    /// Full information over that of one test at the end with the same error rate and power.
    pub inflation_factor: f64,
    /// The mean information used when the effect is there, over that of the one test.
    pub expected_under_effect: f64,
    /// The mean information used when there is no effect, over that of the one test.
    pub expected_under_null: f64,
}

/// What a sequential design must deliver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The two-sided error rate that the stops were made for.
    pub alpha: f64,
    /// The wanted power.
    pub power: f64,
}

/// The drift, inflation and mean cost of two-sided stops at the given information fractions.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range, [`StatsError::NoSolution`] when no effect is found
/// with the wanted power.
pub fn power_of_stops(
    information: &[f64],
    stops: &[Stop],
    target: Target,
) -> Result<SequentialPower, StatsError> {
    check_information(information)?;
    check_rate("alpha", target.alpha)?;
    check_rate("power", target.power)?;
    if information.len() != stops.len() {
        return Err(StatsError::invalid("stops", "must be one per look"));
    }
    let fixed = normal::isf(target.alpha / 2.0) + normal::isf(1.0 - target.power);
    let found = |drift: f64| {
        exits(information, stops, drift)
            .iter()
            .map(|exit| exit.upper)
            .sum::<f64>()
    };
    let bracket = Bracket::new(0.0, 10.0 * fixed.abs() + 10.0);
    let drift = brent("drift", bracket, 1e-11, |drift| found(drift) - target.power)?;
    let inflation_factor = (drift / fixed).powi(2);
    Ok(SequentialPower {
        drift,
        inflation_factor,
        expected_under_effect: inflation_factor
            * mean_information(information, &exits(information, stops, drift)),
        expected_under_null: inflation_factor
            * mean_information(information, &exits(information, stops, 0.0)),
    })
}

/// The mean information at which a design ends, the last look ending what is left.
pub(super) fn mean_information(information: &[f64], exits: &[Exit]) -> f64 {
    let mut left = 1.0;
    let mut mean = 0.0;
    let mut before = 0.0;
    for (fraction, exit) in information.iter().zip(exits) {
        mean += left * (fraction - before);
        left -= exit.lower + exit.upper;
        before = *fraction;
    }
    mean
}

/// The power of a classical two-sided design with equally spaced looks.
///
/// # Errors
/// As [`power_of_stops`].
pub fn power_of_classical(design: &ClassicalDesign, target: Target) -> Result<SequentialPower, StatsError> {
    power_of_stops(
        &equal_information(design.bounds.len()),
        &design.stops(Sides::Two),
        target,
    )
}

/// How an anytime-valid interval will be watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watching {
    /// The number of evenly spaced looks up to the end.
    pub looks: usize,
    /// The planned number of units, at which the interval is tightest, over the number at the end.
    pub planned_share: f64,
}

/// The stops that an asymptotic confidence sequence amounts to at the given looks.
fn confidence_sequence_stops(watching: Watching, alpha: f64) -> Vec<Stop> {
    let twice = -2.0 * alpha.ln();
    let factor = (twice + twice.ln_1p()) / watching.planned_share;
    let bound = |fraction: &f64| symmetric(two_sided_critical_value(fraction * factor, alpha));
    equal_information(watching.looks).iter().map(bound).collect()
}

/// The power of a two-sided asymptotic confidence sequence when the effect is `drift` standard errors at the end.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn confidence_sequence_power(drift: f64, watching: Watching, alpha: f64) -> Result<f64, StatsError> {
    check_watching(watching, alpha)?;
    check_positive("drift", drift.abs())?;
    let stops = confidence_sequence_stops(watching, alpha);
    let ended = exits(&equal_information(watching.looks), &stops, drift.abs());
    Ok(ended.iter().map(|exit| exit.upper).sum())
}

/// What it takes for an asymptotic confidence sequence to exclude "no effect" with the wanted power.
///
/// # Errors
/// As [`power_of_stops`].
pub fn confidence_sequence_design(watching: Watching, target: Target) -> Result<SequentialPower, StatsError> {
    check_rate("alpha", target.alpha)?;
    check_watching(watching, target.alpha)?;
    let information = equal_information(watching.looks);
    power_of_stops(
        &information,
        &confidence_sequence_stops(watching, target.alpha),
        target,
    )
}

/// The units per arm, arms of one size, for an effect on values with this variance in each arm.
///
/// # Errors
/// As [`power_of_stops`], and when variance or effect are not above 0.
pub fn confidence_sequence_sample_size(
    effect: f64,
    variance: f64,
    watching: Watching,
    target: Target,
) -> Result<f64, StatsError> {
    check_positive("variance", variance)?;
    check_positive("effect", effect.abs())?;
    let design = confidence_sequence_design(watching, target)?;
    Ok(2.0 * variance * (design.drift / effect).powi(2))
}

fn check_watching(watching: Watching, alpha: f64) -> Result<(), StatsError> {
    check_rate("alpha", alpha)?;
    check_positive("planned_share", watching.planned_share)?;
    check_information(&equal_information(watching.looks))
}

/// A design that counts conversions: stop when the treatment is ahead by `lead`, or at `conversions` in all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SignWalk {
    /// Stop for the control after this many conversions of both arms.
    pub conversions: u64,
    /// Stop for the treatment when it has this many more than the control.
    pub lead: u64,
    /// The chance of choosing the treatment when there is no effect.
    pub type_one_error: f64,
    /// The chance of choosing the treatment when the effect is there.
    pub power: f64,
}

/// The shortest sign walk for equal traffic that holds `alpha` one-sided and finds a relative increase with `power`.
///
/// Miller, "Simple sequential A/B testing" (2015): with rare conversions each is the treatment's with probability
/// (1 + lift)/(2 + lift), and the chance to be `lead` ahead within N is that of a gambler's ruin.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range, [`StatsError::TooLarge`] for a lift so small that
/// more than 200 000 conversions are needed.
pub fn sign_walk(relative_lift: f64, alpha: f64, power: f64) -> Result<SignWalk, StatsError> {
    check_positive("relative_mde", relative_lift)?;
    check_rate("alpha", alpha)?;
    check_rate("power", power)?;
    let treatment_share = (1.0 + relative_lift) / (2.0 + relative_lift);
    let mut steps = 0_u64;
    let mut at = |lead: u64| -> Result<Option<SignWalk>, StatsError> {
        let mut null = Ruin::new(lead, 0.5);
        let mut effect = Ruin::new(lead, treatment_share);
        while effect.reached < power && null.reached < alpha {
            steps += 1;
            if steps > MAX_WALK_STEPS {
                return Err(StatsError::TooLarge {
                    what: "the number of steps",
                    size: steps,
                    limit: MAX_WALK_STEPS,
                });
            }
            if null.conversions > MAX_CONVERSIONS {
                return Err(StatsError::TooLarge {
                    what: "the number of conversions",
                    size: null.conversions,
                    limit: MAX_CONVERSIONS,
                });
            }
            null.grow();
            effect.grow();
        }
        Ok((null.reached < alpha).then_some(SignWalk {
            conversions: null.last,
            lead,
            type_one_error: null.reached,
            power: effect.reached,
        }))
    };
    // A larger lead is reached by chance less often: doubled until one does, then halved down to the least that does.
    let (mut fails, mut holds) = (0, 1);
    let mut found = loop {
        if let Some(design) = at(holds)? {
            break design;
        }
        (fails, holds) = (holds, 2 * holds);
    };
    while found.lead - fails > 1 {
        let middle = fails + (found.lead - fails) / 2;
        match at(middle)? {
            Some(design) => found = design,
            None => fails = middle,
        }
    }
    Ok(found)
}

/// The chance that a walk has ever been `lead` ahead, step by step.
struct Ruin {
    lead: u64,
    log_share: f64,
    log_rest: f64,
    /// The number of steps of the next term.
    conversions: u64,
    /// The number of steps of the last term added.
    last: u64,
    log_term: f64,
    reached: f64,
}

impl Ruin {
    fn new(lead: u64, share: f64) -> Self {
        Self {
            lead,
            log_share: share.ln(),
            log_rest: (-share).ln_1p(),
            conversions: lead,
            last: 0,
            log_term: lead as f64 * share.ln(),
            reached: 0.0,
        }
    }

    /// Adds the chance of first being `lead` ahead after `conversions` steps: (d/n)·C(n, (n+d)/2)·pᵘ·qᵛ.
    fn grow(&mut self) {
        self.reached += self.log_term.exp();
        self.last = self.conversions;
        let (n, d) = (self.conversions as f64, self.lead as f64);
        let (up, down) = ((n + d) / 2.0, (n - d) / 2.0);
        // Two more steps: C(n+2, up+1)/C(n, up) and the factor d/n.
        let ratio = (n + 2.0) * (n + 1.0) / ((up + 1.0) * (down + 1.0)) * n / (n + 2.0);
        self.log_term += ratio.ln() + self.log_share + self.log_rest;
        self.conversions += 2;
    }
}

/// Wald's boundaries on the likelihood ratio: reject above `upper`, accept below `lower`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WaldBounds {
    /// (1 − beta)/alpha.
    pub upper: f64,
    /// beta/(1 − alpha).
    pub lower: f64,
}

/// The boundaries of the sequential probability ratio test (Wald 1947).
///
/// # Errors
/// [`StatsError::InvalidInput`] unless alpha, beta and their sum lie strictly between 0 and 1.
pub fn wald_bounds(alpha: f64, beta: f64) -> Result<WaldBounds, StatsError> {
    check_rate("alpha", alpha)?;
    check_rate("beta", beta)?;
    check_rate("alpha + beta", alpha + beta)?;
    Ok(WaldBounds {
        upper: (1.0 - beta) / alpha,
        lower: beta / (1.0 - alpha),
    })
}

/// The power that is left for an effect after some looks found nothing: the chance to exclude "no effect" later.
///
/// `z_so_far` is Z at the information fraction `so_far` below 1, `drift` the mean of Z at full information that is
/// believed in, `final_bound` the boundary at the end.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range.
pub fn conditional_power(
    z_so_far: f64,
    so_far: f64,
    drift: f64,
    final_bound: f64,
) -> Result<f64, StatsError> {
    check_rate("so_far", so_far)?;
    crate::error::check_finite("z_so_far", z_so_far)?;
    crate::error::check_finite("drift", drift)?;
    crate::error::check_finite("final_bound", final_bound)?;
    let left = 1.0 - so_far;
    let centre = z_so_far * so_far.sqrt() + drift * left;
    let above = normal::ln_sf((final_bound - centre) / left.sqrt());
    let below = normal::ln_sf((final_bound + centre) / left.sqrt());
    Ok(ln_add_exp(above, below).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::group::classical::{self, OBRIEN_FLEMING, POCOCK};

    const TARGET: Target = Target {
        alpha: 0.05,
        power: 0.9,
    };

    #[test]
    fn inflation_factors_are_the_published_ones() {
        // Jennison and Turnbull (2000), tables 2.2 and 2.4, alpha 0.05, power 0.9, five looks.
        for (shape, published) in [(POCOCK, 1.207), (OBRIEN_FLEMING, 1.026)] {
            let design = classical::design(5, 0.05, shape).unwrap();
            let power = power_of_classical(&design, TARGET).unwrap();
            assert!(
                (power.inflation_factor - published).abs() < 1e-3,
                "{}",
                power.inflation_factor
            );
        }
    }

    #[test]
    fn one_look_is_the_ordinary_test_and_more_looks_cost_more() {
        let design = classical::design(1, 0.05, POCOCK).unwrap();
        let power = power_of_classical(&design, TARGET).unwrap();
        assert!((power.inflation_factor - 1.0).abs() < 1e-3);
        let watched = |looks| {
            let watching = Watching {
                looks,
                planned_share: 1.0,
            };
            confidence_sequence_design(watching, TARGET)
                .unwrap()
                .inflation_factor
        };
        // More looks give more chances to find the effect, so less information is needed for the same power.
        assert!(watched(1) > watched(5) && watched(5) > watched(50) && watched(50) > 1.0);
    }

    #[test]
    fn the_confidence_sequence_has_the_power_it_was_designed_for() {
        let watching = Watching {
            looks: 20,
            planned_share: 0.5,
        };
        let design = confidence_sequence_design(watching, TARGET).unwrap();
        let power = confidence_sequence_power(design.drift, watching, 0.05).unwrap();
        assert!((power - 0.9).abs() < 1e-8);
        let units = confidence_sequence_sample_size(0.1, 4.0, watching, TARGET).unwrap();
        let scaled = confidence_sequence_sample_size(100.0, 4e6, watching, TARGET).unwrap();
        assert!((units / scaled - 1.0).abs() < 1e-12 && units > 8_000.0);
    }

    #[test]
    fn the_published_sign_walk_is_found() {
        // A relative increase of 20 %: 808 conversions, 56 ahead (Miller 2015).
        let design = sign_walk(0.2, 0.05, 0.8).unwrap();
        assert_eq!((design.conversions, design.lead), (808, 56));
        assert!(design.type_one_error < 0.05 && design.power >= 0.8);
        assert!(sign_walk(1e-4, 0.05, 0.8).is_err() && sign_walk(f64::NAN, 0.05, 0.8).is_err());
    }

    #[test]
    fn conditional_power_moves_with_what_was_seen() {
        let at = |z: f64| conditional_power(z, 0.5, 2.8, 1.96).unwrap();
        assert!(at(0.0) < at(1.0) && at(1.0) < at(2.0) && at(2.0) < 1.0);
        assert!(conditional_power(1.0, 1.0, 0.0, 1.0).is_err());
        assert!(wald_bounds(0.6, 0.5).is_err() && wald_bounds(0.05, 0.2).unwrap().upper > 15.99);
    }
}
