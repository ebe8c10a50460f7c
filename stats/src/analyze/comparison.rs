//! One metric between the control and one variant.

use domain::VariantKey;
use domain::experiment::AnalysisMethod;
use domain::metric::MetricKind;
use domain::results::{AnalysisPlan, MetricSummary, SecondValue};
use serde::Serialize;

use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate, Interval, PValue};
use crate::frequentist::contrast::{ArmValue, Question};
use crate::frequentist::cuped::AdjustedLift;
use crate::frequentist::exact::{self, Table};
use crate::frequentist::{mean, ratio, relative};
use crate::sequential::asymptotic;
use crate::special::normal;

use super::adjustment::Adjustment;
use super::belief::{self, PracticalDifference};
use super::decision::{Decision, Gate};
use super::looks::PlannedEvidence;
use super::measure::{Measured, is_ratio, joint, measure, noisy_denominator};

/// Expected users with an event, in the smaller arm, from which a proportion's intervals hold at every look.
pub const ENOUGH_EVENTS: f64 = 10.0;

/// What an anytime-valid interval rests on.
const ANYTIME_ASSUMPTIONS: &[&str] = &[
    "units are independent of each other",
    "the mean of each arm is nearly normal from the first look on that is read",
    "looked at as often as one likes: the intervals hold at all looks together",
];

/// One arm's mean or ratio of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmResult {
    /// The variant.
    pub variant: VariantKey,
    /// Exposed users, those without an event counting as 0.
    pub n: u64,
    /// Exposed users with at least one counted event.
    pub units: u64,
    /// The mean over exposed users, or the ratio of a ratio metric; absent without a user, and for a ratio over 0.
    pub mean: Option<f64>,
    /// The standard deviation over exposed users, of a ratio that of one user's part; absent below two.
    pub standard_deviation: Option<f64>,
    /// The standard error of the mean or ratio; absent below two users.
    pub standard_error: Option<f64>,
    /// The means of the values above and below, for a ratio metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<RatioParts>,
    /// The mean of what was measured before exposure, where there is a covariate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariate_mean: Option<f64>,
}

/// What a ratio is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RatioParts {
    /// The mean of the value above over exposed users.
    pub numerator_mean: f64,
    /// The mean of the value below over exposed users.
    pub denominator_mean: f64,
}

/// The control against one variant on one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The variant.
    pub variant: VariantKey,
    /// What the evidence of the plan's method says, by the metric's direction.
    pub decision: Decision,
    /// Treatment minus control.
    pub absolute: Effect,
    /// Treatment over control, minus 1.
    pub relative: Effect,
    /// The fixed-horizon p-value adjusted over all comparisons of the analysis.
    pub adjusted_p_value: Option<f64>,
    /// The anytime-valid p-value adjusted over all comparisons of the analysis.
    pub anytime_adjusted_p_value: Option<f64>,
    /// Fisher's exact p-value, for a proportion with few users with an event or without variance.
    pub exact_p_value: Option<f64>,
    /// What became of the metric's covariate, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjustment: Option<Adjustment>,
    /// What the looks say that the plan decides at; absent for methods that need none.
    pub planned: Option<PlannedEvidence>,
    /// What is believed of treatment minus control, where the plan decides by it.
    pub posterior: Option<Estimate>,
    /// The chances that the difference matters, where the plan says up to where it does not.
    pub practical: Option<PracticalDifference>,
    /// Whether the gate before a secondary metric is open, where the plan puts goals first; absent for other metrics.
    pub gate: Option<Gate>,
    /// What a reader should know about this comparison.
    pub warnings: Vec<String>,
    /// Why the comparison is absent or incomplete.
    pub reason: Option<StatsError>,
}

/// An effect twice: for one look at the planned end, and valid at every look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// Valid at every look: the one to look at.
    pub anytime: AnytimeEvidence,
    /// Valid for one look at the planned end.
    pub fixed: Estimate,
}

/// What an anytime-valid interval knows of an effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnytimeEvidence {
    /// The estimate with interval, p-value and e-value at the plan's error rate.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The interval at the level that matches the adjusted p-value: it leaves out 0 exactly when that is at most alpha.
    pub adjusted_interval: Option<Interval>,
}

/// One arm's mean.
pub fn arm_result(variant: &VariantKey, exposed: u64, summary: Option<&MetricSummary>) -> ArmResult {
    let variance = summary.and_then(|summary| summary.moments.variance());
    let n = summary.map_or(exposed, |summary| summary.moments.n);
    let pair = summary.and_then(|summary| summary.pair).filter(|_| n > 0);
    if let Some((summary, pair)) = summary.zip(pair).filter(|(summary, _)| is_ratio(summary)) {
        let ratio = joint(summary, SecondValue::Denominator)
            .and_then(|sample| ratio::arm_ratio(&sample, "the arm"))
            .ok();
        return ArmResult {
            variant: variant.clone(),
            n,
            units: summary.units,
            mean: ratio.map(|ratio| ratio.arm.value),
            standard_deviation: ratio.map(|ratio| ratio.unit_variance.sqrt()),
            standard_error: ratio.map(|ratio| ratio.arm.variance.sqrt()),
            parts: Some(RatioParts {
                numerator_mean: summary.moments.mean,
                denominator_mean: pair.moments.mean,
            }),
            covariate_mean: None,
        };
    }
    ArmResult {
        variant: variant.clone(),
        n,
        units: summary.map_or(0, |summary| summary.units),
        mean: summary.filter(|_| n > 0).map(|summary| summary.moments.mean),
        standard_deviation: variance.map(f64::sqrt),
        standard_error: variance.map(|variance| (variance / n as f64).sqrt()),
        parts: None,
        covariate_mean: pair.map(|pair| pair.moments.mean),
    }
}

/// Compares one variant with the control; adjustment over all comparisons comes later.
pub fn compare(
    plan: &AnalysisPlan,
    variant: &VariantKey,
    control: Option<MetricSummary>,
    treatment: Option<MetricSummary>,
) -> Comparison {
    let mut comparison = Comparison {
        variant: variant.clone(),
        decision: Decision::Undecided,
        absolute: absent(
            "absolute",
            ArmUnits {
                control: 0,
                treatment: 0,
            },
            None,
        ),
        relative: absent(
            "relative",
            ArmUnits {
                control: 0,
                treatment: 0,
            },
            None,
        ),
        adjusted_p_value: None,
        anytime_adjusted_p_value: None,
        exact_p_value: None,
        adjustment: None,
        planned: None,
        posterior: None,
        practical: None,
        gate: None,
        warnings: Vec::new(),
        reason: None,
    };
    let (Some(control), Some(treatment)) = (control, treatment) else {
        comparison.reason = Some(StatsError::invalid("metric", "is not measured in both arms"));
        return comparison;
    };
    let measured = measure(plan, &control, &treatment);
    if plan.method == AnalysisMethod::Bayesian {
        let believed = belief::believed(plan, &control, &treatment, &measured);
        comparison.posterior = Some(believed.estimate);
        comparison.practical = believed.practical;
    }
    let pair = Pair { control, treatment };
    comparison.exact_p_value = pair.exact_p_value();
    match measured.and_then(|measured| Ok((pair.effects(plan, &measured)?, measured.adjustment))) {
        Ok(((absolute, relative), adjustment)) => {
            comparison.absolute = absolute;
            comparison.relative = relative;
            comparison.adjustment = adjustment;
            comparison.warnings = pair.warnings();
        }
        Err(reason) => {
            comparison.absolute = absent("absolute", pair.units(), Some(&reason));
            comparison.absolute.fixed.estimate = pair.difference();
            comparison.absolute.anytime.estimate.estimate = pair.difference();
            comparison.relative = absent("relative", pair.units(), Some(&reason));
            comparison.reason = Some(reason);
        }
    }
    comparison
}

/// Whether two arms have too few users or events to decide by.
pub fn is_thin(control: MetricSummary, treatment: MetricSummary) -> bool {
    !Pair { control, treatment }.warnings().is_empty()
}

fn absent(method: &'static str, units: ArmUnits, reason: Option<&StatsError>) -> Effect {
    let nothing = Estimate {
        reason: reason.cloned(),
        ..Estimate::empty(method, units)
    };
    Effect {
        anytime: AnytimeEvidence {
            estimate: nothing.clone(),
            adjusted_interval: None,
        },
        fixed: nothing,
    }
}

/// The summaries of both arms.
#[derive(Debug, Clone, Copy)]
struct Pair {
    control: MetricSummary,
    treatment: MetricSummary,
}

impl Pair {
    fn units(&self) -> ArmUnits {
        ArmUnits {
            control: self.control.moments.n,
            treatment: self.treatment.moments.n,
        }
    }

    /// Treatment minus control where there is no more to say than that.
    fn difference(&self) -> Option<f64> {
        let units = self.units();
        if is_ratio(&self.control) || is_ratio(&self.treatment) {
            let ratio = |summary: &MetricSummary, arm| {
                let sample = joint(summary, SecondValue::Denominator).ok()?;
                Some(ratio::arm_ratio(&sample, arm).ok()?.arm.value)
            };
            return Some(ratio(&self.treatment, "treatment")? - ratio(&self.control, "control")?);
        }
        (units.control > 0 && units.treatment > 0)
            .then_some(self.treatment.moments.mean - self.control.moments.mean)
    }

    /// Both effects, each for one look and for every look.
    fn effects(&self, plan: &AnalysisPlan, measured: &Measured) -> Result<(Effect, Effect), StatsError> {
        let look = asymptotic::Look {
            estimate: measured.contrast.difference,
            standard_error: self.anytime_standard_error(measured),
            units: self.users(),
        };
        let absolute = asymptotic::two_sided(look, plan.planned_units as f64, plan.alpha)?;
        let absolute = Effect {
            anytime: self.anytime("absolute_asymptotic_confidence_sequence", &absolute, plan.alpha),
            fixed: measured.estimate(Question::two_sided(plan.alpha))?,
        };
        let relative = if measured.is_adjusted() {
            self.adjusted_lift(plan, measured)
        } else {
            self.lift(plan, measured)
        };
        Ok((absolute, relative))
    }

    /// Users of both arms.
    fn users(&self) -> f64 {
        let units = self.units();
        units.control as f64 + units.treatment as f64
    }

    /// The standard error for looking at every look: for a proportion at least that under no effect, because an arm
    /// without a single event would otherwise seem to have no noise.
    fn anytime_standard_error(&self, measured: &Measured) -> f64 {
        let unpooled = measured.contrast.standard_error;
        if !self.is_proportion() {
            return unpooled;
        }
        let units = self.units();
        let (left, right) = (units.control as f64, units.treatment as f64);
        let rate = self.pooled_rate();
        let pooled = (rate * (1.0 - rate) * (1.0 / left + 1.0 / right)).sqrt();
        unpooled.max(pooled * measured.variance_left().sqrt())
    }

    /// The lift of a mean or ratio.
    fn lift(&self, plan: &AnalysisPlan, measured: &Measured) -> Effect {
        let fixed = relative::default_interval(
            measured.control,
            measured.treatment,
            measured.contrast.difference,
            plan.alpha,
        );
        let fixed = match fixed {
            Ok((change, method)) => Estimate {
                estimate: Some(change.estimate),
                standard_error: Some(change.standard_error),
                interval: Some(change.interval),
                assumptions: measured.assumptions(),
                ..Estimate::empty(method, self.units())
            },
            Err(reason) => Estimate::absent("relative", self.units(), reason),
        };
        let arm = |value: &ArmValue| asymptotic::ArmMean {
            mean: value.value,
            standard_error: value.variance.sqrt(),
            units: value.units as f64,
        };
        let look = asymptotic::log_ratio(arm(&measured.control), arm(&measured.treatment));
        self.watched_lift(plan, look, fixed)
    }

    /// The adjusted difference over the unadjusted control mean, with the noise of both.
    fn adjusted_lift(&self, plan: &AnalysisPlan, measured: &Measured) -> Effect {
        let baseline = measured.control.value;
        let absent = |baseline: f64| StatsError::BaselineNotPositive { baseline };
        let lift = measured
            .lift
            .filter(|_| baseline > 0.0)
            .ok_or_else(|| absent(baseline));
        let lift = lift.and_then(|lift| {
            // As for means: no logarithm, no interval above −100 %.
            let treated = (1.0 + lift.estimate) * baseline;
            if treated > 0.0 {
                Ok(lift)
            } else {
                Err(absent(treated))
            }
        });
        let logarithm = |lift: AdjustedLift| asymptotic::Look {
            estimate: lift.estimate.ln_1p(),
            standard_error: lift.standard_error / (1.0 + lift.estimate),
            units: self.users(),
        };
        let fixed = match &lift {
            Ok(lift) => {
                let look = logarithm(*lift);
                let margin = normal::isf(0.5 * plan.alpha) * look.standard_error;
                let [lower, upper] = [-margin, margin].map(|margin| (look.estimate + margin).exp_m1());
                Estimate {
                    estimate: Some(lift.estimate),
                    standard_error: Some(lift.standard_error),
                    interval: Some(Interval::new(lower, upper, 1.0 - plan.alpha)),
                    assumptions: measured.assumptions(),
                    ..Estimate::empty("cuped_relative_log_delta", self.units())
                }
            }
            Err(reason) => Estimate::absent("cuped_relative_log_delta", self.units(), reason.clone()),
        };
        let look = lift.map(logarithm);
        self.watched_lift(plan, look, fixed)
    }

    /// The lift for every look beside that for one.
    fn watched_lift(
        &self,
        plan: &AnalysisPlan,
        look: Result<asymptotic::Look, StatsError>,
        fixed: Estimate,
    ) -> Effect {
        let name = "relative_asymptotic_confidence_sequence";
        let sequence =
            look.and_then(|look| asymptotic::relative_lift(look, plan.planned_units as f64, plan.alpha));
        let anytime = match sequence {
            Ok(sequence) => self.anytime(name, &sequence, plan.alpha),
            Err(reason) => AnytimeEvidence {
                estimate: Estimate {
                    estimate: fixed.estimate,
                    ..Estimate::absent(name, self.units(), reason)
                },
                adjusted_interval: None,
            },
        };
        Effect { anytime, fixed }
    }

    fn anytime(
        &self,
        method: &'static str,
        sequence: &asymptotic::AnytimeInterval,
        alpha: f64,
    ) -> AnytimeEvidence {
        let p_value = PValue::from_ln(sequence.log_p_value);
        AnytimeEvidence {
            estimate: Estimate {
                estimate: Some(sequence.estimate),
                standard_error: Some(sequence.standard_error),
                interval: Some(Interval::new(sequence.lower, sequence.upper, 1.0 - alpha)),
                p_value: Some(p_value.p),
                log10_p: Some(p_value.log10),
                ln_e_value: Some(sequence.log_e),
                assumptions: ANYTIME_ASSUMPTIONS,
                ..Estimate::empty(method, self.units())
            },
            adjusted_interval: None,
        }
    }

    fn is_proportion(&self) -> bool {
        matches!(
            (self.control.kind, self.treatment.kind),
            (MetricKind::Proportion, MetricKind::Proportion)
        ) && !is_ratio(&self.control)
            && !is_ratio(&self.treatment)
    }

    fn pooled_rate(&self) -> f64 {
        let units = self.units();
        (self.control.units + self.treatment.units) as f64 / (units.control + units.treatment).max(1) as f64
    }

    /// Users with the rarer outcome that the smaller arm expects when there is no effect.
    fn expected_events(&self) -> f64 {
        let units = self.units();
        let rate = self.pooled_rate();
        units.control.min(units.treatment) as f64 * rate.min(1.0 - rate)
    }

    fn exact_p_value(&self) -> Option<f64> {
        let varies = self.control.moments.m2 + self.treatment.moments.m2 > 0.0;
        if !self.is_proportion() || varies && self.expected_events() >= ENOUGH_EVENTS {
            return None;
        }
        let units = self.units();
        let table = Table::new(
            self.control.units,
            units.control,
            self.treatment.units,
            units.treatment,
        )
        .ok()?;
        Some(exact::fisher(&table).two_sided.p)
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let units = self.units();
        if self.is_proportion() && self.expected_events() < ENOUGH_EVENTS {
            warnings.push(format!(
                "the smaller arm expects fewer than {ENOUGH_EVENTS} users with an event: too few to decide, \
                 see the exact p-value"
            ));
        } else if !self.is_proportion() && units.control.min(units.treatment) < mean::MANY_UNITS {
            let many = mean::MANY_UNITS;
            warnings.push(format!(
                "an arm has fewer than {many} users: too few to decide on a mean"
            ));
        }
        warnings.extend(noisy_denominator(&self.control, &self.treatment));
        warnings
    }
}
