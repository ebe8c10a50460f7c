//! The posterior distribution of one arm, with its tails on a scale on which it is close to normal.

use crate::error::{StatsError, check_finite, check_positive};
use crate::estimate::known;
use crate::special::beta::{Share, beta_quantile, ln_beta_tails, ln_beta_terms};
use crate::special::gamma::{gamma_quantile, ln_gamma_tails, ln_gamma_terms};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// The density beyond which a posterior is not followed has fallen by e to this power, below 10⁻¹⁸.
const DEPTH: f64 = 42.0;

/// The distribution of an arm's parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Posterior {
    /// A rate between 0 and 1.
    Beta {
        /// Successes plus their prior count.
        a: f64,
        /// Failures plus their prior count.
        b: f64,
    },
    /// A mean.
    Normal {
        /// The centre.
        mean: f64,
        /// The standard deviation.
        sd: f64,
    },
    /// A rate of events per exposure.
    Gamma {
        /// Events plus their prior count.
        shape: f64,
        /// Exposure plus its prior.
        rate: f64,
    },
    /// A positive mean whose logarithm is a mixture of normals; weights add up to 1.
    LogMixture {
        /// The parts.
        parts: Vec<NormalPart>,
    },
}

/// One part of a mixture of normals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalPart {
    /// Its share.
    pub weight: f64,
    /// Its centre.
    pub mean: f64,
    /// Its standard deviation.
    pub sd: f64,
}

/// Both tails of a posterior at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tails {
    /// The chance of less.
    pub lower: f64,
    /// The chance of more.
    pub upper: f64,
}

/// Where most of a posterior lies on its working scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Support {
    pub low: f64,
    pub mode: f64,
    pub high: f64,
}

impl Posterior {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] names the parameter that is out of range.
    pub fn check(&self) -> Result<(), StatsError> {
        match self {
            Self::Beta { a, b } => check_positive("a", *a).and(check_positive("b", *b)).map(drop),
            Self::Normal { mean, sd } => check_finite("mean", *mean)
                .and(check_positive("sd", *sd))
                .map(drop),
            Self::Gamma { shape, rate } => check_positive("shape", *shape)
                .and(check_positive("rate", *rate))
                .map(drop),
            Self::LogMixture { parts } => parts.iter().try_for_each(|part| {
                check_positive("weight", part.weight)?;
                check_finite("mean", part.mean)?;
                check_positive("sd", part.sd).map(drop)
            }),
        }
    }

    /// The mean of the parameter.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Beta { a, b } => a / (a + b),
            Self::Normal { mean, .. } => *mean,
            Self::Gamma { shape, rate } => shape / rate,
            Self::LogMixture { parts } => parts
                .iter()
                .map(|part| part.weight * (part.mean + 0.5 * part.sd * part.sd).exp())
                .sum(),
        }
    }

    /// The standard deviation of the parameter; infinite where a heavy tail has none that `f64` can hold.
    pub fn standard_deviation(&self) -> f64 {
        match self {
            Self::Beta { a, b } => (a / (a + b) * (b / (a + b)) / (a + b + 1.0)).sqrt(),
            Self::Normal { sd, .. } => *sd,
            Self::Gamma { shape, rate } => shape.sqrt() / rate,
            Self::LogMixture { parts } => {
                let centre = self.mean();
                let spread = |part: &NormalPart| {
                    let squared = part.sd * part.sd;
                    let mean = (part.mean + 0.5 * squared).exp();
                    part.weight * (mean * mean * squared.exp_m1() + (mean - centre).powi(2))
                };
                let variance: f64 = parts.iter().map(spread).sum();
                // Infinite means less each other are not a number; the tail is what makes them so.
                if variance.is_nan() {
                    f64::INFINITY
                } else {
                    variance.sqrt()
                }
            }
        }
    }

    /// The value that the parameter is below with chance `p`, between 0 and 1.
    ///
    /// # Errors
    /// [`StatsError::NotConverged`] or [`StatsError::NoSolution`] when it is too far out to be found.
    pub fn quantile(&self, p: f64) -> Result<f64, StatsError> {
        match self {
            Self::Beta { a, b } => known("a quantile of the beta distribution", beta_quantile(*a, *b, p).x),
            Self::Normal { mean, sd } => Ok(mean + sd * normal::quantile(p)),
            Self::Gamma { shape, rate } => known(
                "a quantile of the gamma distribution",
                gamma_quantile(*shape, p) / rate,
            ),
            Self::LogMixture { parts } => {
                let ends = parts
                    .iter()
                    .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], part| {
                        let at = part.mean + part.sd * normal::quantile(p);
                        [low.min(at), high.max(at)]
                    });
                let bracket = Bracket::new(ends[0] - 1e-9, ends[1] + 1e-9);
                Ok(brent("quantile", bracket, 1e-13, |u| self.tails(u).lower - p)?.exp())
            }
        }
    }

    /// The parameter at point `u` of the working scale: logit, identity or logarithm.
    pub(super) fn value(&self, u: f64) -> f64 {
        match self {
            Self::Beta { .. } => logistic(u).x,
            Self::Normal { .. } => u,
            Self::Gamma { .. } | Self::LogMixture { .. } => u.exp(),
        }
    }

    /// The point of the working scale for a parameter, −∞ or ∞ at and beyond the ends of its range.
    pub(super) fn point(&self, value: f64) -> f64 {
        match self {
            Self::Beta { .. } if value <= 0.0 => f64::NEG_INFINITY,
            Self::Beta { .. } if value >= 1.0 => f64::INFINITY,
            Self::Beta { .. } => value.ln() - (-value).ln_1p(),
            Self::Normal { .. } => value,
            Self::Gamma { .. } | Self::LogMixture { .. } if value <= 0.0 => f64::NEG_INFINITY,
            Self::Gamma { .. } | Self::LogMixture { .. } => value.ln(),
        }
    }

    /// How fast the parameter grows along the working scale.
    pub(super) fn slope(&self, u: f64) -> f64 {
        match self {
            Self::Beta { .. } => {
                let share = logistic(u);
                share.x * share.y
            }
            Self::Normal { .. } => 1.0,
            Self::Gamma { .. } | Self::LogMixture { .. } => u.exp(),
        }
    }

    /// Both tails at a point of the working scale.
    pub(super) fn tails(&self, u: f64) -> Tails {
        if u.is_infinite() {
            let above = if u > 0.0 { 1.0 } else { 0.0 };
            return Tails {
                lower: above,
                upper: 1.0 - above,
            };
        }
        match self {
            Self::Beta { a, b } => {
                let tails = ln_beta_tails(*a, *b, logistic(u));
                Tails {
                    lower: tails.lower.exp(),
                    upper: tails.upper.exp(),
                }
            }
            Self::Normal { mean, sd } => normal_tails((u - mean) / sd),
            Self::Gamma { shape, rate } => {
                let tails = ln_gamma_tails(*shape, rate * u.exp());
                Tails {
                    lower: tails.lower.exp(),
                    upper: tails.upper.exp(),
                }
            }
            Self::LogMixture { parts } => {
                let mut sum = Tails {
                    lower: 0.0,
                    upper: 0.0,
                };
                for part in parts {
                    let tails = normal_tails((u - part.mean) / part.sd);
                    sum.lower += part.weight * tails.lower;
                    sum.upper += part.weight * tails.upper;
                }
                sum
            }
        }
    }

    /// The density along the working scale.
    pub(super) fn density(&self, u: f64) -> f64 {
        match self {
            Self::Beta { a, b } => ln_beta_terms(*a, *b, logistic(u)).exp(),
            Self::Normal { mean, sd } => normal::pdf((u - mean) / sd) / sd,
            Self::Gamma { shape, rate } => ln_gamma_terms(*shape, rate * u.exp()).exp(),
            Self::LogMixture { parts } => parts
                .iter()
                .map(|part| part.weight * normal::pdf((u - part.mean) / part.sd) / part.sd)
                .sum(),
        }
    }

    /// Where the posterior lies on the working scale.
    pub(super) fn support(&self) -> Support {
        let reach = (2.0 * DEPTH).sqrt();
        match self {
            Self::Normal { mean, sd } => Support {
                low: mean - reach * sd,
                mode: *mean,
                high: mean + reach * sd,
            },
            Self::LogMixture { parts } => {
                let low = parts
                    .iter()
                    .map(|part| part.mean - reach * part.sd)
                    .fold(f64::INFINITY, f64::min);
                let high = parts
                    .iter()
                    .map(|part| part.mean + reach * part.sd)
                    .fold(f64::NEG_INFINITY, f64::max);
                let mode = parts.iter().map(|part| part.weight * part.mean).sum();
                Support { low, mode, high }
            }
            Self::Beta { a, b } => {
                let (mode, total) = ((a / b).ln(), a + b);
                // Relative to its mode the log density is a·d − (a + b)·ln(1 + p·(eᵈ − 1)), p = a/(a + b).
                let fall = |d: f64| -> f64 {
                    let log = if d > 30.0 {
                        d + (a / total).ln()
                    } else {
                        (a / total * d.exp_m1()).ln_1p()
                    };
                    DEPTH + a * d - total * log
                };
                let sd = (total / (a * b)).sqrt();
                Support {
                    low: mode - edge(|d| fall(-d), sd),
                    mode,
                    high: mode + edge(fall, sd),
                }
            }
            Self::Gamma { shape, rate } => {
                let mode = (shape / rate).ln();
                let fall = |d: f64| DEPTH - shape * (d.exp_m1() - d);
                let sd = 1.0 / shape.sqrt();
                Support {
                    low: mode - edge(|d| fall(-d), sd),
                    mode,
                    high: mode + edge(fall, sd),
                }
            }
        }
    }
}

/// How far from the mode a log-concave density has fallen by the full depth.
fn edge(fall: impl Fn(f64) -> f64, sd: f64) -> f64 {
    let mut distance = sd;
    for _ in 0..200 {
        if fall(distance) < 0.0 {
            break;
        }
        distance *= 1.5;
    }
    distance
}

fn logistic(u: f64) -> Share {
    let (small, large) = {
        let power = (-u.abs()).exp();
        (power / (1.0 + power), 1.0 / (1.0 + power))
    };
    if u > 0.0 {
        Share { x: large, y: small }
    } else {
        Share { x: small, y: large }
    }
}

fn normal_tails(z: f64) -> Tails {
    Tails {
        lower: normal::cdf(z),
        upper: normal::sf(z),
    }
}
