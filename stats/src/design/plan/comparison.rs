//! The comparison that decides a plan: its power as a function of units and effect, and the roots of that function.

use super::super::means::TwoMeans;
use super::looking::{Ends, Looking};
use super::metric::{Arm, Spread};
use super::{Better, Correction, Found, Goal, Plan, Planned};
use crate::error::{StatsError, check_finite, check_positive, check_rate, is_positive};
use crate::frequentist::contrast::Alternative;
use crate::multiple::dunnett;
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

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

/// The comparison of the control with the smallest treatment: what is enough for it is enough for all.
pub(super) struct Comparison<'a> {
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
    pub(super) fn new(plan: &'a Plan, true_difference: f64) -> Result<Self, StatsError> {
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

    pub(super) fn power(&self, units: f64, effect: f64) -> Result<f64, StatsError> {
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
    pub(super) fn units(&self, effect: f64, power: f64) -> Result<f64, StatsError> {
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
    pub(super) fn effect(&self, units: f64, power: f64) -> Result<f64, StatsError> {
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

    pub(super) fn planned(
        &self,
        found: Found,
        effect: f64,
        units: f64,
        power: f64,
    ) -> Result<Planned, StatsError> {
        let total: f64 = self.plan.shares.iter().sum();
        // What is needed is rounded up, what there is down; a size found by search may miss a whole number by a rounding error.
        let whole = |share: &f64| {
            let part = units * share / total;
            if found == Found::Units {
                (part - 1e-6).ceil() as u64
            } else {
                (part + 1e-6).floor() as u64
            }
        };
        let units_per_arm: Vec<u64> = self.plan.shares.iter().map(whole).collect();
        let spread = self.spread(effect)?;
        let expected = |ends: Ends| units * ends.mean_information;
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
