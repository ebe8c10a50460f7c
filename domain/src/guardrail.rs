//! Guardrails: what must not get worse on a flag, and the counts by which that is judged.
//!
//! Users are counted, never events: events of one user come in clusters, and a test on events is then wrong in up to
//! 40 % of healthy rollouts. Users are grouped by the minute of their first exposure (a *cohort*), so that a change of
//! the rollout's weights in between cannot look like harm: within a cohort both arms have been exposed equally long.

use serde::{Deserialize, Serialize};

use crate::ids::{EventName, ExperimentKey, FlagKey, VariantKey};
use crate::timestamp::Timestamp;

/// The length of a cohort in seconds.
pub const COHORT_SECONDS: i32 = 60;

/// A watch on a flag's rollout: users exposed to `treatment` must not be affected more than those exposed to `control`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardrailDefinition {
    /// The flag; exposures to it carry its key as the experiment and the variation as the variant.
    pub flag: FlagKey,
    /// The event that means harm, for example `error`.
    pub event: EventName,
    /// The variation that is known to be safe: the comparison, and what the flag is turned to.
    pub control: VariantKey,
    /// The variation being rolled out.
    pub treatment: VariantKey,
    /// How much more often affected is still accepted, relative; 0.1 is 10 %. At least 0.
    #[serde(default = "default_margin")]
    pub margin: f64,
    /// The chance of rolling back a harmless rollout, over all looks together. Between 0 and 1.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
}

fn default_margin() -> f64 {
    GuardrailDefinition::DEFAULT_MARGIN
}

fn default_alpha() -> f64 {
    GuardrailDefinition::DEFAULT_ALPHA
}

/// Why a guardrail definition is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidGuardrail {
    /// Both arms are the same.
    #[error("a guardrail compares two variations; control and treatment are both {variation}")]
    SameArms {
        /// The variation named twice.
        variation: VariantKey,
    },
    /// The margin is negative or not finite.
    #[error("the margin of a guardrail is a finite number of at least 0")]
    BadMargin,
    /// The error budget is not a probability.
    #[error("the alpha of a guardrail lies between 0 and 1, both excluded")]
    BadAlpha,
}

impl GuardrailDefinition {
    /// Ten per cent: below that an error rate moves by itself when traffic changes.
    pub const DEFAULT_MARGIN: f64 = 0.1;
    /// One healthy rollout in a hundred.
    pub const DEFAULT_ALPHA: f64 = 0.01;

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`InvalidGuardrail`] names what is wrong.
    pub fn check(&self) -> Result<(), InvalidGuardrail> {
        if self.control == self.treatment {
            return Err(InvalidGuardrail::SameArms {
                variation: self.control.clone(),
            });
        }
        if !(self.margin.is_finite() && self.margin >= 0.0) {
            return Err(InvalidGuardrail::BadMargin);
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return Err(InvalidGuardrail::BadAlpha);
        }
        Ok(())
    }
}

/// What one commit brought for one (experiment, event): users newly affected, by the cohort of their first exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardrailLook {
    /// The experiment or flag.
    pub experiment: ExperimentKey,
    /// The event that means harm.
    pub event: EventName,
    /// The commit.
    pub epoch: i64,
    /// The cohorts in which somebody was newly affected, in order of time.
    pub cohorts: Vec<CohortCounts>,
}

/// One cohort in one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortCounts {
    /// The start of the cohort's minute of first exposure.
    pub start: Timestamp,
    /// One entry per variant, ordered by variant.
    pub arms: Vec<ArmCounts>,
}

/// One variant of one cohort in one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmCounts {
    /// The variant.
    pub variant: VariantKey,
    /// Users of the cohort exposed so far, crossovers left out.
    pub exposed: u64,
    /// Of these, users affected before this look.
    pub affected_before: u64,
    /// Of these, users first affected in this look.
    pub newly_affected: u64,
}
