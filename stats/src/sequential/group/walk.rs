//! The distribution of a trial's path over its looks, by numerical integration look after look.
//!
//! Armitage, McPherson and Rowe (1969). The score S = Z·√t is a Brownian motion with drift: between looks it gains a
//! normal increment with mean drift·Δt and variance Δt. [`Walk`] holds the density of S over the paths that went on, as
//! masses at the points of Gauss–Legendre panels that are narrow against the increments.

use crate::special::normal;
use crate::special::quadrature;

/// Standard deviations of the score beyond which a path is not followed; the tail there is below 10⁻¹⁸.
const REACH: f64 = 9.0;

/// Panels of 24 points are at most this many increments wide: the error is then below 10⁻¹⁰.
const PANEL_WIDTH: f64 = 12.5;

/// Increments of more than this many standard deviations are left out; their density is below 10⁻¹⁸.
const KERNEL_REACH: f64 = 9.0;

/// The paths that have not stopped, seen from the last look.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    drift: f64,
    information: f64,
    points: Vec<Point>,
    /// Whether the points are mirror images around 0, in their order.
    symmetric: bool,
}

/// A share of the paths near one score.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    score: f64,
    mass: f64,
}

/// Where a design stops at a look, on the scale of Z; a side without a bound does not stop.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stop {
    /// Stop when Z is at or below this.
    pub lower: Option<f64>,
    /// Stop when Z is at or above this.
    pub upper: Option<f64>,
}

/// The share of paths that end at a look, with the sum of their scores.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Exit {
    /// How many leave downwards.
    pub lower: f64,
    /// How many leave upwards.
    pub upper: f64,
    /// The mean score of those that leave downwards, times their share.
    pub lower_score: f64,
    /// The mean score of those that leave upwards, times their share.
    pub upper_score: f64,
}

impl Walk {
    /// All paths before the first look; `drift` is the mean of Z when all information is there.
    pub fn new(drift: f64) -> Self {
        Self {
            drift,
            information: 0.0,
            points: vec![Point {
                score: 0.0,
                mass: 1.0,
            }],
            symmetric: drift.abs() < f64::MIN_POSITIVE,
        }
    }

    /// The share of all paths that come to the next look and have Z at or above `bound` there.
    pub fn above(&self, information: f64, bound: f64) -> f64 {
        let step = self.step(information);
        let limit = bound * information.sqrt();
        self.points
            .iter()
            .map(|point| point.mass * normal::sf(step.deviation(limit, point.score)))
            .sum()
    }

    /// The share of all paths that come to the next look and have Z at or below `bound` there.
    pub fn below(&self, information: f64, bound: f64) -> f64 {
        let step = self.step(information);
        let limit = bound * information.sqrt();
        self.points
            .iter()
            .map(|point| point.mass * normal::cdf(step.deviation(limit, point.score)))
            .sum()
    }

    /// The density of Z at the next look, of all paths that come to it.
    pub fn density(&self, information: f64, bound: f64) -> f64 {
        let step = self.step(information);
        let limit = bound * information.sqrt();
        let sum: f64 = self
            .points
            .iter()
            .map(|point| point.mass * normal::pdf(step.deviation(limit, point.score)))
            .sum();
        sum * information.sqrt() / step.sd
    }

    /// What ends at the next look.
    pub fn exit(&self, information: f64, stop: Stop) -> Exit {
        let step = self.step(information);
        let mut exit = Exit::default();
        for point in &self.points {
            let mean = point.score + step.gain;
            if let Some(bound) = stop.upper {
                let deviation = step.deviation(bound * information.sqrt(), point.score);
                let share = normal::sf(deviation);
                exit.upper += point.mass * share;
                exit.upper_score += point.mass * (mean * share + step.sd * normal::pdf(deviation));
            }
            if let Some(bound) = stop.lower {
                let deviation = step.deviation(bound * information.sqrt(), point.score);
                let share = normal::cdf(deviation);
                exit.lower += point.mass * share;
                exit.lower_score += point.mass * (mean * share - step.sd * normal::pdf(deviation));
            }
        }
        exit
    }

    /// The paths that go on after the next look; `following` is the information at the look after it, if there is one.
    #[must_use]
    pub fn advance(&self, information: f64, stop: Stop, following: Option<f64>) -> Self {
        let step = self.step(information);
        let root = information.sqrt();
        let centre = self.drift * information;
        let low = stop
            .lower
            .map_or(f64::NEG_INFINITY, |bound| bound * root)
            .max(centre - REACH * root);
        let high = stop
            .upper
            .map_or(f64::INFINITY, |bound| bound * root)
            .min(centre + REACH * root);
        if low >= high {
            return self.at(information, Vec::new(), false);
        }
        // The integrand of the next look is a product of two normal curves, and as narrow as that.
        let precision = following.map_or(0.0, |next| 1.0 / (next - information)) + 1.0 / (step.sd * step.sd);
        let panels = ((high - low) * precision.sqrt() / PANEL_WIDTH).ceil().max(1.0) as usize;
        let half = 0.5 * (high - low) / panels as f64;
        let mut points = Vec::with_capacity(panels * quadrature::POINTS);
        for panel in 0..panels {
            let middle = low + half * (2 * panel + 1) as f64;
            points.extend(quadrature::legendre().iter().map(|node| Point {
                score: middle + half * node.at,
                mass: half * node.weight,
            }));
        }
        // Two-sided designs without drift are mirror images of themselves, and half of them is enough to know.
        let symmetric = self.symmetric && (low + high).abs() < f64::MIN_POSITIVE;
        let count = points.len();
        for index in 0..if symmetric { count / 2 } else { count } {
            points[index].mass *= self.score_density(&step, points[index].score);
            if symmetric {
                points[count - 1 - index].mass = points[index].mass;
            }
        }
        self.at(information, points, symmetric)
    }

    /// The same walk at a later look.
    fn at(&self, information: f64, points: Vec<Point>, symmetric: bool) -> Self {
        Self {
            drift: self.drift,
            information,
            points,
            symmetric,
        }
    }

    fn score_density(&self, step: &Step, score: f64) -> f64 {
        let mut sum = 0.0;
        for point in &self.points {
            let deviation = step.deviation(score, point.score);
            if deviation.abs() < KERNEL_REACH {
                sum += point.mass * (-0.5 * deviation * deviation).exp();
            }
        }
        sum / (step.sd * (2.0 * std::f64::consts::PI).sqrt())
    }

    fn step(&self, information: f64) -> Step {
        let growth = information - self.information;
        Step {
            gain: self.drift * growth,
            sd: growth.sqrt(),
        }
    }
}

/// The increment between two looks.
struct Step {
    gain: f64,
    sd: f64,
}

impl Step {
    fn deviation(&self, to: f64, from: f64) -> f64 {
        (to - from - self.gain) / self.sd
    }
}

/// What ends at each look of a design with these stops, when the mean of Z at full information is `drift`.
///
/// Both lists have one entry per look and the information is checked by [`super::check_information`].
pub fn exits(information: &[f64], stops: &[Stop], drift: f64) -> Vec<Exit> {
    let mut walk = Walk::new(drift);
    let mut exits = Vec::with_capacity(stops.len());
    for (look, (fraction, stop)) in information.iter().zip(stops).enumerate() {
        exits.push(walk.exit(*fraction, *stop));
        if let Some(following) = information.get(look + 1) {
            walk = walk.advance(*fraction, *stop, Some(*following));
        }
    }
    exits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_tests_at_five_per_cent_inflate_as_published() {
        // Armitage, McPherson and Rowe (1969), table 2.
        for (looks, published) in [
            (1, 0.05),
            (2, 0.083),
            (3, 0.107),
            (4, 0.126),
            (5, 0.142),
            (10, 0.193),
            (50, 0.320),
        ] {
            let information: Vec<f64> = (1..=looks)
                .map(|look| f64::from(look) / f64::from(looks))
                .collect();
            let z = normal::isf(0.025);
            let stops = vec![
                Stop {
                    lower: Some(-z),
                    upper: Some(z)
                };
                information.len()
            ];
            let total: f64 = exits(&information, &stops, 0.0)
                .iter()
                .map(|exit| exit.lower + exit.upper)
                .sum();
            assert!((total - published).abs() < 6e-4, "{looks}: {total}");
        }
    }

    #[test]
    fn no_path_is_lost() {
        // What must never change: exits and the paths that go on add up to one, whatever the looks and the drift.
        let information = [0.02, 0.021, 0.5, 0.500_01, 1.3];
        for drift in [-3.0, 0.0, 2.0, 12.0] {
            let stops = [Stop {
                lower: Some(-0.5),
                upper: Some(2.5),
            }; 5];
            let mut stops = stops.to_vec();
            stops[4] = Stop {
                lower: Some(1.0),
                upper: Some(1.0),
            };
            let exits = exits(&information, &stops, drift);
            let total: f64 = exits.iter().map(|exit| exit.lower + exit.upper).sum();
            let score: f64 = exits.iter().map(|exit| exit.lower_score + exit.upper_score).sum();
            let time: f64 = exits
                .iter()
                .zip(information)
                .map(|(exit, t)| (exit.lower + exit.upper) * t)
                .sum();
            assert!((total - 1.0).abs() < 1e-9, "{drift}: {total}");
            // Wald's identity: the mean score is the drift times the mean information.
            assert!((score - drift * time).abs() < 1e-8, "{drift}: {score} {time}");
        }
    }
}
