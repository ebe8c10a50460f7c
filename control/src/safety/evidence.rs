//! What is known against a treatment, and how a look adds to it.

use domain::VariantKey;
use domain::guardrail::{ArmCounts, CohortCounts, GuardrailDefinition, InvalidGuardrail};
use serde::{Deserialize, Serialize};
use stats::safety::rate_ratio::{RateRatioState, SafetyVerdict};

use crate::error::ControlError;

/// The looks that the error budget is planned for: one a second for two weeks, the fastest commits and a long rollout.
pub const PLANNED_LOOKS: u64 = 14 * 24 * 3_600;

/// What is known against a treatment after a look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Looks that counted in this phase.
    pub looks: u64,
    /// Users of the treatment affected in this phase.
    pub affected_treatment: u64,
    /// Users of the control affected in this phase.
    pub affected_control: u64,
    /// The error budget of this guardrail: its flag's share of it.
    pub alpha: f64,
    /// What the numbers ask for.
    pub verdict: SafetyVerdict,
}

impl Evidence {
    fn of(state: &RateRatioState, alpha: f64) -> Self {
        Self {
            looks: state.looks,
            affected_treatment: state.affected_treatment,
            affected_control: state.affected_control,
            alpha,
            verdict: state.verdict(alpha, PLANNED_LOOKS),
        }
    }

    /// Whether both say the same up to rounding.
    pub(super) fn agrees_with(&self, other: &Self, tolerance: f64) -> bool {
        let close = |a: f64, b: f64| (a - b).abs() <= tolerance * a.abs().max(1.0);
        let detectors = match (self.verdict.log_detector, other.verdict.log_detector) {
            (Some(own), Some(theirs)) => close(own, theirs),
            (own, theirs) => own.is_none() && theirs.is_none(),
        };
        detectors
            && self.looks == other.looks
            && self.affected_treatment == other.affected_treatment
            && self.affected_control == other.affected_control
            && self.verdict.crossed == other.verdict.crossed
            && close(self.verdict.log_e, other.verdict.log_e)
            && close(self.verdict.p_value, other.verdict.p_value)
    }
}

/// What a guardrail remembers between looks, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SafetyState {
    /// The version of this form.
    format: u32,
    rate_ratio: RateRatioState,
    /// The evidence after the last look.
    pub(crate) evidence: Evidence,
}

impl SafetyState {
    /// The state before the first look of a phase.
    ///
    /// # Errors
    /// [`ControlError::InvalidGuardrail`] when the margin is none.
    pub(super) fn new(definition: &GuardrailDefinition, alpha: f64) -> Result<Self, ControlError> {
        let rate_ratio = RateRatioState::new(definition.margin).map_err(|_| InvalidGuardrail::BadMargin)?;
        Ok(Self {
            format: 1,
            evidence: Evidence::of(&rate_ratio, alpha),
            rate_ratio,
        })
    }

    /// Adds the cohorts of one look.
    pub(super) fn observe(&mut self, definition: &GuardrailDefinition, cohorts: &[CohortCounts], alpha: f64) {
        for cohort in cohorts {
            let treatment = arm(cohort, &definition.treatment);
            let control = arm(cohort, &definition.control);
            let (Some(treatment), Some(control)) = (treatment, control) else {
                continue;
            };
            let at_risk = |arm: &ArmCounts| arm.exposed.saturating_sub(arm.affected_before) as f64;
            let (at_risk_treatment, at_risk_control) = (at_risk(treatment), at_risk(control));
            // Nobody at risk gives no number, which is passed over like every cohort that compares nothing.
            let weight = at_risk_treatment / (at_risk_treatment + at_risk_control);
            self.rate_ratio
                .observe(weight, treatment.newly_affected, control.newly_affected);
        }
        self.rate_ratio.end_look();
        self.evidence = Evidence::of(&self.rate_ratio, alpha);
    }
}

fn arm<'c>(cohort: &'c CohortCounts, variant: &VariantKey) -> Option<&'c ArmCounts> {
    cohort.arms.iter().find(|arm| arm.variant == *variant)
}

/// The cohorts with the two arms that the guardrail compares: all that its decision rests on.
pub(super) fn own_arms(definition: &GuardrailDefinition, cohorts: &[CohortCounts]) -> Vec<CohortCounts> {
    let compared =
        |arm: &&ArmCounts| arm.variant == definition.treatment || arm.variant == definition.control;
    cohorts
        .iter()
        .map(|cohort| CohortCounts {
            start: cohort.start,
            arms: cohort.arms.iter().filter(compared).cloned().collect(),
        })
        .collect()
}
