//! When the data are looked at, and what that does to the power of a test.

use crate::error::{StatsError, check_positive};
use crate::sequential::asymptotic::{one_sided_critical_value, tuning_factor, two_sided_critical_value};
use crate::sequential::group::bounds::bounds;
use crate::sequential::group::classical::equal_information;
use crate::sequential::group::spending::Spending;
use crate::sequential::group::walk::{Stop, exits};
use crate::sequential::group::{Sides, check_information};
use crate::special::normal;

use super::super::sequential::mean_information;

/// The most looks of a plan: a look a day for a year.
pub const MAX_PLANNED_LOOKS: usize = 366;

/// When the data are looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Looking {
    /// Once, at the end.
    Once,
    /// At every look up to the end, with an asymptotic confidence sequence.
    ConfidenceSequence {
        /// The number of evenly spaced looks.
        looks: usize,
        /// The units at which the sequence is tightest over the units at the end; 1 as a rule.
        planned_share: f64,
    },
    /// At every look up to the end, with the mixture sequential probability ratio test whose mixing deviation is the
    /// effect planned for.
    MixtureTest {
        /// The number of evenly spaced looks.
        looks: usize,
    },
    /// At a few looks, with boundaries from a spending function.
    GroupSequential {
        /// The shares of all information at the looks; the last is 1.
        information: Vec<f64>,
        /// How the error is spent.
        spending: Spending,
    },
}

/// How a watched design ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ends {
    /// The chance of showing the effect.
    pub power: f64,
    /// The mean share of all information that is used.
    pub mean_information: f64,
}

impl Looking {
    pub(super) fn check(&self) -> Result<(), StatsError> {
        match self {
            Self::Once => Ok(()),
            Self::ConfidenceSequence { looks, planned_share } => {
                check_positive("planned_share", *planned_share)?;
                check_looks(*looks)
            }
            Self::MixtureTest { looks } => check_looks(*looks),
            Self::GroupSequential {
                information,
                spending,
            } => {
                check_looks(information.len())?;
                check_information(information)?;
                if information.last().is_some_and(|last| (last - 1.0).abs() > 1e-9) {
                    return Err(StatsError::invalid("information", "must end at 1"));
                }
                spending.check()
            }
        }
    }

    /// The power when the estimate lies `shift` standard errors from what is to be excluded, and the test takes the
    /// standard error `widening` times as large as it is.
    pub(super) fn power(
        &self,
        shift: f64,
        widening: f64,
        alpha: f64,
        one_sided: bool,
    ) -> Result<f64, StatsError> {
        let critical = normal::isf(if one_sided { alpha } else { 0.5 * alpha });
        if *self == Self::Once {
            let far = if one_sided {
                0.0
            } else {
                normal::sf(critical * widening + shift)
            };
            return Ok((normal::sf(critical * widening - shift) + far).min(1.0));
        }
        let drift = shift - critical * (widening - 1.0);
        Ok(self.ends(drift, alpha, one_sided)?.map_or(0.0, |ends| ends.power))
    }

    /// How the design ends when the mean of Z at the end is `drift`; absent for one look.
    pub(super) fn ends(&self, drift: f64, alpha: f64, one_sided: bool) -> Result<Option<Ends>, StatsError> {
        let (information, stops) = match self {
            Self::Once => return Ok(None),
            Self::ConfidenceSequence { looks, planned_share } => {
                let tuned = if one_sided { 2.0 * alpha } else { alpha };
                let factor = tuning_factor(tuned) / planned_share;
                watched(*looks, factor, alpha, one_sided)
            }
            // The ratio of the mixing variance to the estimate's is the square of the drift at the end.
            Self::MixtureTest { looks } => {
                watched(*looks, drift.powi(2).max(f64::MIN_POSITIVE), alpha, one_sided)
            }
            Self::GroupSequential {
                information,
                spending,
            } => {
                let (side_alpha, sides) = if one_sided {
                    (alpha, Sides::One)
                } else {
                    (0.5 * alpha, Sides::Two)
                };
                let bounds = bounds(information, *spending, side_alpha, sides)?;
                let stops = bounds.iter().map(|bound| bound.stop(sides)).collect();
                (information.clone(), stops)
            }
        };
        let ended = exits(&information, &stops, drift);
        Ok(Some(Ends {
            power: ended.iter().map(|exit| exit.upper).sum(),
            mean_information: mean_information(&information, &ended),
        }))
    }

    /// What is taken for granted about looking.
    pub(super) fn assumption(&self) -> String {
        match self {
            Self::Once => "the data are looked at once, at the end".to_owned(),
            Self::ConfidenceSequence { looks, planned_share } => format!(
                "{looks} evenly spaced looks with an asymptotic confidence sequence that is tightest at {planned_share} \
                 of the units"
            ),
            Self::MixtureTest { looks } => format!(
                "{looks} evenly spaced looks with the mixture sequential probability ratio test, whose mixing deviation \
                 is the effect"
            ),
            Self::GroupSequential {
                information,
                spending,
            } => format!("{} looks with {}", information.len(), named(*spending)),
        }
    }
}

fn named(spending: Spending) -> String {
    match spending {
        Spending::ObrienFleming => "O'Brien-Fleming spending".to_owned(),
        Spending::Pocock => "Pocock spending".to_owned(),
        Spending::Power { rho } => format!("power spending, exponent {rho}"),
        Spending::HwangShihDecani { gamma } => format!("Hwang-Shih-DeCani spending, gamma {gamma}"),
    }
}

/// The stops of a normal or half-normal mixture at evenly spaced looks.
fn watched(looks: usize, factor: f64, alpha: f64, one_sided: bool) -> (Vec<f64>, Vec<Stop>) {
    let information = equal_information(looks);
    let stop = |fraction: &f64| {
        let q = fraction * factor;
        if one_sided {
            return Stop {
                lower: None,
                upper: Some(one_sided_critical_value(q, alpha)),
            };
        }
        let bound = two_sided_critical_value(q, alpha);
        Stop {
            lower: Some(-bound),
            upper: Some(bound),
        }
    };
    let stops = information.iter().map(stop).collect();
    (information, stops)
}

fn check_looks(looks: usize) -> Result<(), StatsError> {
    if (1..=MAX_PLANNED_LOOKS).contains(&looks) {
        Ok(())
    } else {
        Err(StatsError::invalid("looks", "must be from 1 to 366"))
    }
}
