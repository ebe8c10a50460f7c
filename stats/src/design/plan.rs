//! One plan for every kind of metric, goal and way of looking: what is left out of effect, units and power is found.
//!
//! A comparison with the control is described by the variance of one unit's value, by the error rate that is left for it
//! after correction, and by how often it is looked at ([`Looking`]). Its power is then a function of the number of units
//! and of the effect; size and effect are roots of that function, so that the three answers always agree with each other.
//! Means that are looked at once use the t-test; everything else uses the normal limit.

mod looking;
mod metric;

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_positive, check_rate, is_positive};
use crate::frequentist::contrast::Alternative;
use crate::multiple::dunnett;
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

pub use looking::{Looking, MAX_PLANNED_LOOKS};
pub use metric::{Metric, RatioMoments};

use super::means::TwoMeans;
use metric::{Arm, Spread};

/// The most units of all arms together that are looked for.
const MOST_UNITS: f64 = 1e15;

/// The most arms of one plan, as in Dunnett's test.
const MAX_ARMS: usize = dunnett::MAX_TREATMENTS + 1;

/// Degrees of freedom that stand for a known variance.
const MANY_UNITS: f64 = 1e9;

/// Expected users with the rarer outcome in the smallest arm below which the normal limit is not to be trusted.
const ENOUGH_EVENTS: f64 = 10.0;

/// Units in the smallest arm below which a mean looked at more than once is not to be trusted.
const ENOUGH_UNITS: f64 = 100.0;

/// What is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// That there is an effect.
    Superiority,
    /// That the treatment is not worse than the control by the margin.
    NonInferiority,
    /// That treatment and control differ by less than the margin either way, by two one-sided tests.
    Equivalence,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// How the error rate is shared among comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Every comparison has the whole error rate.
    None,
    /// The error rate over the number of comparisons; what Holm's method starts from.
    Bonferroni,
    /// As much more than Bonferroni as independent comparisons allow.
    Sidak,
    /// Dunnett's joint distribution over the arms, Bonferroni over the metrics.
    Dunnett,
}

/// An experiment that is to be planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is measured.
    pub metric: Metric,
    /// What is to be shown.
    pub goal: Goal,
    /// Which way is good, and which way an effect is looked for.
    pub better: Better,
    /// Whether superiority is tested in the good direction alone; the other goals always are.
    pub one_sided: bool,
    /// When the data are looked at.
    pub looking: Looking,
    /// The error rate over all comparisons.
    pub alpha: f64,
    /// How it is shared.
    pub correction: Correction,
    /// Traffic shares of all arms, the control first, in any unit.
    pub shares: Vec<f64>,
    /// The number of metrics that are decided on.
    pub metrics: u64,
    /// The share of the variance that adjustment for covariates leaves, 1 without.
    pub variance_left: f64,
}

/// What is known; exactly one of effect, units and power is absent.
///
/// Under [`Goal::NonInferiority`] and [`Goal::Equivalence`] the margin takes the part of the effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Treatment minus control for superiority, the margin otherwise.
    pub effect: Option<f64>,
    /// The units of all arms together.
    pub units: Option<f64>,
    /// The power of one comparison with the smallest treatment.
    pub power: Option<f64>,
    /// The true difference that is believed in when a margin is planned for; 0 as a rule.
    pub true_difference: f64,
}

/// What was left out and found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The effect, or the margin.
    Effect,
    /// The units.
    Units,
    /// The power.
    Power,
}

/// A plan with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// What was found.
    pub found: Found,
    /// Treatment minus control for superiority, the margin otherwise.
    pub effect: f64,
    /// The same relative to the control, where the control's value is known.
    pub relative_effect: Option<f64>,
    /// The power.
    pub power: f64,
    /// The units of all arms together, not rounded.
    pub units: f64,
    /// Whole units per arm, the control first.
    pub units_per_arm: Vec<u64>,
    /// The sum of these.
    pub total_units: u64,
    /// The number of comparisons among which the error rate is shared.
    pub comparisons: u64,
    /// The error rate of each.
    pub alpha_per_comparison: f64,
    /// The standard error of the difference at the end.
    pub standard_error: f64,
    /// The units over those of one look at the end with the same error rate and power.
    pub inflation: Option<f64>,
    /// Mean units until the end when the effect is there, for a design that may end early.
    pub expected_units_under_effect: Option<f64>,
    /// What the answer rests on.
    pub assumptions: Vec<String>,
    /// What a reader should know about this plan in particular.
    pub warnings: Vec<String>,
}

/// Finds what is left out.
///
/// # Errors
/// [`StatsError::InvalidInput`] names what is out of range, or says that not exactly one thing was left out;
/// [`StatsError::NoSolution`] when no number of units or no effect is enough.
///
/// # Example
/// ```
/// use stats::design::plan::{Better, Correction, Goal, Known, Looking, Metric, Plan, solve};
/// let plan = Plan {
///     metric: Metric::Proportion { baseline: 0.2 },
///     goal: Goal::Superiority,
///     better: Better::Higher,
///     one_sided: false,
///     looking: Looking::Once,
///     alpha: 0.05,
///     correction: Correction::None,
///     shares: vec![1.0, 1.0],
///     metrics: 1,
///     variance_left: 1.0,
/// };
/// let known = Known { effect: Some(0.05), units: None, power: Some(0.8), true_difference: 0.0 };
/// assert_eq!(solve(&plan, known)?.units_per_arm, [1094, 1094]);
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn solve(plan: &Plan, known: Known) -> Result<Planned, StatsError> {
    let comparison = Comparison::new(plan, known.true_difference)?;
    let (found, effect, units) = match (known.effect, known.units, known.power) {
        (Some(effect), Some(units), None) => (Found::Power, effect, units),
        (Some(effect), None, Some(power)) => (Found::Units, effect, comparison.units(effect, power)?),
        (None, Some(units), Some(power)) => (Found::Effect, comparison.effect(units, power)?, units),
        _ => {
            return Err(StatsError::invalid(
                "the plan",
                "must leave out exactly one of effect, units and power: the one to find",
            ));
        }
    };
    let power = comparison.power(units, effect)?;
    comparison.planned(found, effect, units, power)
}

/// The comparison of the control with the smallest treatment: what is enough for it is enough for all.
struct Comparison<'a> {
    plan: &'a Plan,
    /// The control's share of all units.
    control: f64,
    /// The smallest treatment's share of all units.
    treatment: f64,
    count: u64,
    alpha: f64,
    true_difference: f64,
}

impl<'a> Comparison<'a> {
    fn new(plan: &'a Plan, true_difference: f64) -> Result<Self, StatsError> {
        check_rate("alpha", plan.alpha)?;
        check_finite("true_difference", true_difference)?;
        plan.metric.check()?;
        plan.looking.check()?;
        if !(plan.variance_left > 0.0 && plan.variance_left <= 1.0) {
            return Err(StatsError::invalid(
                "variance_left",
                "must be above 0 and at most 1",
            ));
        }
        if !(2..=MAX_ARMS).contains(&plan.shares.len()) {
            return Err(StatsError::invalid("shares", "must be those of 2 to 101 arms"));
        }
        for share in &plan.shares {
            check_positive("shares", *share)?;
        }
        if plan.metrics == 0 {
            return Err(StatsError::invalid("metrics", "must be at least 1"));
        }
        let total: f64 = plan.shares.iter().sum();
        let smallest = plan.shares[1..].iter().copied().fold(f64::INFINITY, f64::min);
        let treatments = plan.shares.len() as u64 - 1;
        let mut comparison = Self {
            plan,
            control: plan.shares[0] / total,
            treatment: smallest / total,
            count: treatments.saturating_mul(plan.metrics),
            alpha: plan.alpha,
            true_difference,
        };
        comparison.alpha = comparison.shared_alpha()?;
        Ok(comparison)
    }

    /// Whether one side alone is tested.
    fn is_one_sided(&self) -> bool {
        self.plan.one_sided || self.plan.goal != Goal::Superiority
    }

    fn shared_alpha(&self) -> Result<f64, StatsError> {
        let (alpha, count) = (self.plan.alpha, self.count as f64);
        match self.plan.correction {
            Correction::None => Ok(alpha),
            Correction::Bonferroni => Ok(alpha / count),
            Correction::Sidak => Ok(-((-alpha).ln_1p() / count).exp_m1()),
            Correction::Dunnett => {
                let rho = self.treatment / (self.treatment + self.control);
                let (alternative, sides) = if self.is_one_sided() {
                    (Alternative::Greater, 1.0)
                } else {
                    (Alternative::TwoSided, 2.0)
                };
                let shape = dunnett::Shape {
                    treatments: self.plan.shares.len() - 1,
                    df: MANY_UNITS,
                    rho,
                    alternative,
                };
                let critical = dunnett::critical_value(shape, alpha / self.plan.metrics as f64)?;
                Ok(sides * normal::sf(critical))
            }
        }
    }

    /// The distance between what is believed and what is to be excluded, in the direction of success.
    fn distance(&self, effect: f64) -> f64 {
        let upwards = |difference: f64| match self.plan.better {
            Better::Higher => difference,
            Better::Lower => -difference,
        };
        match self.plan.goal {
            Goal::Superiority if !self.plan.one_sided => effect.abs(),
            Goal::Superiority => upwards(effect),
            Goal::NonInferiority => effect + upwards(self.true_difference),
            Goal::Equivalence => effect - self.true_difference.abs(),
        }
    }

    /// The difference between the arms that the variances are taken at.
    fn difference(&self, effect: f64) -> f64 {
        if self.plan.goal == Goal::Superiority {
            effect
        } else {
            self.true_difference
        }
    }

    /// The variance of the difference times the number of units: as it is, and as a test of no effect takes it.
    fn spread(&self, effect: f64) -> Result<Spread, StatsError> {
        let arms = [self.control, self.treatment].map(|share| Arm { share });
        let spread = self.plan.metric.spread(self.difference(effect), arms)?;
        let left = self.plan.variance_left;
        Ok(Spread {
            true_variance: spread.true_variance * left,
            // Only superiority is tested against "no difference", where both arms have one rate.
            null_variance: if self.plan.goal == Goal::Superiority {
                spread.null_variance * left
            } else {
                spread.true_variance * left
            },
        })
    }

    fn check_effect(&self, effect: f64) -> Result<(), StatsError> {
        check_finite("effect", effect)?;
        if self.plan.goal != Goal::Superiority {
            check_positive("margin", effect)?;
        }
        Ok(())
    }

    fn power(&self, units: f64, effect: f64) -> Result<f64, StatsError> {
        self.check_effect(effect)?;
        check_positive("units", units)?;
        if units * self.control.min(self.treatment) <= 1.0 {
            return Err(StatsError::invalid("units", "must be above 1 in each arm"));
        }
        self.power_unchecked(units, effect, &self.plan.looking)
    }

    fn power_unchecked(&self, units: f64, effect: f64, looking: &Looking) -> Result<f64, StatsError> {
        let spread = self.spread(effect)?;
        let one = |distance: f64| {
            if *looking == Looking::Once
                && let Some([control, treatment]) = self.plan.metric.constant_variances()
            {
                return self
                    .t_test([control, treatment])
                    .power(units * self.control, distance);
            }
            let shift = distance / (spread.true_variance / units).sqrt();
            let widening = (spread.null_variance / spread.true_variance).sqrt();
            looking.power(shift, widening, self.alpha, self.is_one_sided())
        };
        if self.plan.goal != Goal::Equivalence {
            return one(self.distance(effect));
        }
        // Two one-sided tests: both must succeed, and they never both fail once there is any power.
        let both = one(effect - self.true_difference)? + one(effect + self.true_difference)? - 1.0;
        Ok(both.max(0.0))
    }

    fn t_test(&self, variances: [f64; 2]) -> TwoMeans {
        TwoMeans {
            variance_control: variances[0] * self.plan.variance_left,
            variance_treatment: variances[1] * self.plan.variance_left,
            allocation: self.treatment / self.control,
            alpha: self.alpha,
            alternative: if self.is_one_sided() {
                Alternative::Greater
            } else {
                Alternative::TwoSided
            },
        }
    }

    /// The units of all arms together with which `effect` is found with the given power.
    fn units(&self, effect: f64, power: f64) -> Result<f64, StatsError> {
        self.check_effect(effect)?;
        check_rate("power", power)?;
        self.units_looking(effect, power, &self.plan.looking)
    }

    fn units_looking(&self, effect: f64, power: f64, looking: &Looking) -> Result<f64, StatsError> {
        let distance = self.distance(effect);
        if !is_positive(distance) {
            return Err(no_units());
        }
        let least = (1.0 + 1e-9) / self.control.min(self.treatment);
        let gap = |units: f64| {
            self.power_unchecked(units, effect, looking)
                .map(|found| found - power)
        };
        if gap(2.0 * least)? >= 0.0 {
            return Ok(2.0 * least);
        }
        let z = normal::isf(self.alpha) + normal::quantile(power).max(0.0);
        let guess = self.spread(effect)?.true_variance * (z / distance).powi(2);
        let mut high = guess.max(4.0 * least);
        while gap(high)? < 0.0 {
            high *= 2.0;
            if high.is_nan() || high > MOST_UNITS {
                return Err(no_units());
            }
        }
        let mut low = high / 2.0;
        while low > 2.0 * least && gap(low)? >= 0.0 {
            low /= 2.0;
        }
        let bracket = Bracket::new(low.max(2.0 * least).ln(), high.ln());
        let root = brent("the number of units", bracket, 1e-12, |ln_units| {
            gap(ln_units.exp()).unwrap_or(f64::NAN)
        })?;
        Ok(root.exp())
    }

    /// The smallest effect, or margin, that is found with the given power.
    fn effect(&self, units: f64, power: f64) -> Result<f64, StatsError> {
        check_positive("units", units)?;
        check_rate("power", power)?;
        if units * self.control.min(self.treatment) <= 1.0 {
            return Err(StatsError::invalid("units", "must be above 1 in each arm"));
        }
        let downwards = self.plan.goal == Goal::Superiority && self.plan.better == Better::Lower;
        let sign = if downwards { -1.0 } else { 1.0 };
        let room = if self.plan.goal == Goal::Superiority {
            self.plan.metric.room(sign)
        } else {
            f64::INFINITY
        };
        let gap = |size: f64| {
            self.power_unchecked(units, sign * size, &self.plan.looking)
                .map(|found| found - power)
        };
        // In units of the standard error without an effect: the answer is a few of them.
        let scale = (self.spread(0.0)?.true_variance / units).sqrt();
        let mut high = self.true_difference.abs() + 4.0 * scale;
        while high < room && gap(high)? < 0.0 {
            high *= 2.0;
            if !high.is_finite() {
                return Err(no_effect());
            }
        }
        let high = high.min(room * (1.0 - 1e-12));
        if gap(high)? < 0.0 {
            return Err(no_effect());
        }
        let size = brent(
            "the detectable effect",
            Bracket::new(high * 1e-12, high),
            1e-14 * high,
            |size| gap(size).unwrap_or(f64::NAN),
        )?;
        Ok(sign * size)
    }

    fn planned(&self, found: Found, effect: f64, units: f64, power: f64) -> Result<Planned, StatsError> {
        let total: f64 = self.plan.shares.iter().sum();
        // A size found by search may lie a rounding error above a whole number.
        let whole = |share: &f64| (units * share / total - 1e-6).ceil() as u64;
        let units_per_arm: Vec<u64> = self.plan.shares.iter().map(whole).collect();
        let spread = self.spread(effect)?;
        let expected = |ends: looking::Ends| units * ends.mean_information;
        let shift = self.distance(effect) / (spread.true_variance / units).sqrt();
        let inflation =
            if self.plan.looking == Looking::Once || !is_positive(power - self.alpha) || power >= 1.0 {
                None
            } else {
                let once = self.units_looking(effect, power, &Looking::Once);
                once.ok().map(|once| units / once)
            };
        Ok(Planned {
            found,
            effect,
            relative_effect: self
                .plan
                .metric
                .baseline()
                .filter(|baseline| baseline.abs() > 0.0)
                .map(|baseline| effect / baseline.abs()),
            power,
            units,
            total_units: units_per_arm.iter().sum(),
            units_per_arm,
            comparisons: self.count,
            alpha_per_comparison: self.alpha,
            standard_error: (spread.true_variance / units).sqrt(),
            inflation,
            expected_units_under_effect: self
                .plan
                .looking
                .ends(shift, self.alpha, self.is_one_sided())?
                .map(expected),
            assumptions: self.assumptions(),
            warnings: self.warnings(effect, units),
        })
    }

    fn assumptions(&self) -> Vec<String> {
        let mut assumptions = vec!["units are independent of each other".to_owned()];
        assumptions.push(self.plan.metric.assumption());
        assumptions.push(self.plan.looking.assumption());
        let side = match (self.plan.goal, self.plan.one_sided) {
            (Goal::Superiority, false) => "the test of superiority is two-sided",
            (Goal::Superiority, true) => "the test of superiority is one-sided, in the good direction",
            (Goal::NonInferiority, _) => "the test of non-inferiority is one-sided",
            (Goal::Equivalence, _) => "equivalence is shown by two one-sided tests",
        };
        assumptions.push(side.to_owned());
        if self.count > 1 {
            let how = match self.plan.correction {
                Correction::None => "each with the whole error rate",
                Correction::Bonferroni => "Bonferroni over all of them",
                Correction::Sidak => "Šidák over all of them",
                Correction::Dunnett => "Dunnett over the arms and Bonferroni over the metrics",
            };
            assumptions.push(format!(
                "{} comparisons, {how}; the power is that of one of them",
                self.count
            ));
        }
        if self.plan.variance_left < 1.0 {
            assumptions.push(format!(
                "covariates remove {:.1}% of the variance",
                100.0 * (1.0 - self.plan.variance_left)
            ));
        }
        assumptions
    }

    fn warnings(&self, effect: f64, units: f64) -> Vec<String> {
        let mut warnings = Vec::new();
        let smallest = units * self.control.min(self.treatment);
        if let Some(events) = self.plan.metric.events_per_unit(self.difference(effect)) {
            if events * smallest < ENOUGH_EVENTS {
                warnings.push(format!(
                    "the smallest arm expects {:.1} of the rarer outcome, fewer than {ENOUGH_EVENTS}: use an exact test, \
                     and take this plan for a rough one",
                    events * smallest
                ));
            }
        } else if self.plan.looking != Looking::Once && smallest < ENOUGH_UNITS {
            warnings.push(format!(
                "the smallest arm has {smallest:.0} units, fewer than {ENOUGH_UNITS}: too few for the normal limit"
            ));
        }
        warnings
    }
}

fn no_units() -> StatsError {
    StatsError::NoSolution {
        what: "the number of units",
        why: "the effect is 0, against the tested direction, not inside the margin, or too small for any number",
    }
}

fn no_effect() -> StatsError {
    StatsError::NoSolution {
        what: "the detectable effect",
        why: "even the largest possible one is not found with so few units",
    }
}

#[cfg(test)]
mod tests;
