//! What to report when a group-sequential trial has stopped: the plain estimate is biased away from 0 by the stopping.
//!
//! p-value, median-unbiased estimate and interval by the stage-wise ordering (Tsiatis, Rosner and Mehta 1984: stopping
//! earlier for effect is more extreme), the bias-adjusted mean (Whitehead 1986), and the repeated confidence interval
//! that holds at every look whether one stops or not (Jennison and Turnbull 1989).

use serde::Serialize;

use super::check_information;
use super::walk::{Exit, Stop, Walk, exits};
use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::estimate::Interval;
use crate::special::roots::{Bracket, brent};

/// A trial that stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stopped<'a> {
    /// The information fractions of the planned looks.
    pub information: &'a [f64],
    /// The stops of these looks; at the last everything stops.
    pub stops: &'a [Stop],
    /// The index of the look at which it stopped.
    pub stopped_at: usize,
    /// The estimate when it stopped.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// What is known of the effect after stopping.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AdjustedEstimate {
    /// The plain estimate, biased.
    pub estimate: f64,
    /// The effect that would be exceeded as often as not.
    pub median_unbiased: f64,
    /// The effect for which the plain estimate is what is to be expected.
    pub bias_adjusted: f64,
    /// The interval by the stage-wise ordering.
    pub interval: Interval,
    /// The one-sided p-value against "no effect or a negative one".
    pub p_value_one_sided: f64,
    /// The two-sided p-value.
    pub p_value_two_sided: f64,
    /// The repeated confidence interval at the last look's upper boundary; absent when that look has none.
    pub repeated_interval: Option<Interval>,
}

/// The farthest drift that is looked for, in standard errors from the observed Z.
const FARTHEST: f64 = 12.0;

/// The adjusted analysis with an interval of level 1 − `alpha`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range or the lists differ in length.
pub fn adjusted(trial: Stopped<'_>, alpha: f64) -> Result<AdjustedEstimate, StatsError> {
    check_information(trial.information)?;
    check_rate("alpha", alpha)?;
    check_finite("estimate", trial.estimate)?;
    check_positive("standard_error", trial.standard_error)?;
    if trial.stops.len() != trial.information.len() || trial.stopped_at >= trial.stops.len() {
        return Err(StatsError::invalid(
            "stops",
            "must be one per look, and the trial must have stopped at one of them",
        ));
    }
    let (earlier, last) = (trial.stopped_at, trial.information[trial.stopped_at]);
    let path = Path {
        information: trial.information,
        stops: trial.stops,
        earlier,
        z: trial.estimate / trial.standard_error,
    };
    // A drift is the mean of Z at full information; one unit of it is this much effect.
    let scale = trial.standard_error * last.sqrt();
    let centre = path.z / last.sqrt();
    let reach = FARTHEST / last.sqrt() + centre.abs();
    let bracket = Bracket::new(centre - reach, centre + reach);
    let drift_at = |share: f64| {
        brent("adjusted interval", bracket, 1e-10, |drift| {
            path.upwards(drift) - share
        })
    };
    let bias_adjusted = brent("bias-adjusted mean", bracket, 1e-10, |drift| {
        path.mean_estimate(drift) - centre
    })?;
    let upwards = path.upwards(0.0);
    let downwards = path.downwards(0.0);
    let bound = trial.stops[earlier].upper;
    Ok(AdjustedEstimate {
        estimate: trial.estimate,
        median_unbiased: drift_at(0.5)? * scale,
        bias_adjusted: bias_adjusted * scale,
        interval: Interval::new(
            drift_at(alpha / 2.0)? * scale,
            drift_at(1.0 - alpha / 2.0)? * scale,
            1.0 - alpha,
        ),
        p_value_one_sided: upwards.clamp(0.0, 1.0),
        p_value_two_sided: (2.0 * upwards.min(downwards)).clamp(0.0, 1.0),
        repeated_interval: bound
            .map(|bound| Interval::around(trial.estimate, bound * trial.standard_error, 1.0 - alpha)),
    })
}

struct Path<'a> {
    information: &'a [f64],
    stops: &'a [Stop],
    earlier: usize,
    z: f64,
}

impl Path<'_> {
    /// The walk before the last look, with what ended before.
    fn before_last(&self, drift: f64) -> (Walk, Vec<Exit>) {
        let mut walk = Walk::new(drift);
        let mut ended = Vec::with_capacity(self.earlier);
        for look in 0..self.earlier {
            ended.push(walk.exit(self.information[look], self.stops[look]));
            walk = walk.advance(
                self.information[look],
                self.stops[look],
                self.information.get(look + 1).copied(),
            );
        }
        (walk, ended)
    }

    /// The chance of an outcome at least as far up.
    fn upwards(&self, drift: f64) -> f64 {
        let (walk, ended) = self.before_last(drift);
        ended.iter().map(|exit| exit.upper).sum::<f64>() + walk.above(self.information[self.earlier], self.z)
    }

    /// The chance of an outcome at least as far down.
    fn downwards(&self, drift: f64) -> f64 {
        let (walk, ended) = self.before_last(drift);
        ended.iter().map(|exit| exit.lower).sum::<f64>() + walk.below(self.information[self.earlier], self.z)
    }

    /// The mean of the estimated drift over all trials of the plan, its last look ending those that are left.
    fn mean_estimate(&self, drift: f64) -> f64 {
        let mut stops = self.stops.to_vec();
        if let Some(last) = stops.last_mut() {
            *last = Stop {
                lower: Some(0.0),
                upper: Some(0.0),
            };
        }
        let ended = exits(self.information, &stops, drift);
        ended
            .iter()
            .zip(self.information)
            .map(|(exit, t)| (exit.lower_score + exit.upper_score) / t)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::normal;

    fn trial<'a>(information: &'a [f64], stops: &'a [Stop], stopped_at: usize, z: f64) -> Stopped<'a> {
        Stopped {
            information,
            stops,
            stopped_at,
            estimate: z * 0.2,
            standard_error: 0.2,
        }
    }

    #[test]
    fn a_single_look_needs_no_adjustment() {
        let stops = [Stop {
            lower: Some(-1.96),
            upper: Some(1.96),
        }];
        let answer = adjusted(trial(&[1.0], &stops, 0, 2.5), 0.05).unwrap();
        assert!((answer.median_unbiased - 0.5).abs() < 1e-8 && (answer.bias_adjusted - 0.5).abs() < 1e-8);
        assert!((answer.p_value_one_sided - normal::sf(2.5)).abs() < 1e-14);
        assert!((answer.interval.lower.unwrap() - (0.5 - 0.2 * 1.959_963_984_540_054)).abs() < 1e-8);
    }

    #[test]
    fn adjustment_pulls_an_early_stop_towards_no_effect() {
        let stops = [Stop {
            lower: Some(-2.2),
            upper: Some(2.2),
        }; 4];
        let information = [0.25, 0.5, 0.75, 1.0];
        let answer = adjusted(trial(&information, &stops, 1, 2.4), 0.05).unwrap();
        assert!(answer.median_unbiased < answer.estimate && answer.bias_adjusted < answer.estimate);
        assert!(
            answer.interval.contains(answer.median_unbiased) && answer.p_value_one_sided > normal::sf(2.4)
        );
        let mirrored = adjusted(trial(&information, &stops, 1, -2.4), 0.05).unwrap();
        assert!((mirrored.median_unbiased + answer.median_unbiased).abs() < 1e-8);
        assert!((mirrored.interval.lower.unwrap() + answer.interval.upper.unwrap()).abs() < 1e-8);
        assert!((mirrored.p_value_two_sided - answer.p_value_two_sided).abs() < 1e-12);
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        let stops = [Stop::default(); 2];
        assert!(adjusted(trial(&[0.5], &stops, 0, 1.0), 0.05).is_err());
        assert!(adjusted(trial(&[], &[], 0, 1.0), 0.05).is_err());
        assert!(adjusted(trial(&[0.5, 1.0], &stops, 0, f64::NAN), 0.05).is_err());
        assert!(adjusted(trial(&[0.5, 1.0], &stops, 2, 1.0), 0.05).is_err());
    }
}
