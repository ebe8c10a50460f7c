//! Rollout schedules: the stages by which a flag's variation reaches more and more users.

use serde::{Deserialize, Serialize};

use crate::ids::{FlagKey, RolloutScheduleKey, VariantKey};
use crate::rules::allocation::buckets_of_percent;
use crate::timestamp::Timestamp;

/// The most stages of a schedule: more than a person can follow.
pub const STAGES_MAX: usize = 50;

/// What must have happened before a stage begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum StageTrigger {
    /// A person says so.
    Manual {},
    /// The stage before has lasted this long.
    After {
        /// How long, in seconds; 0 is at once.
        seconds: u32,
    },
    /// A point in time has come.
    At {
        /// When.
        time: Timestamp,
    },
    /// The stage before has been seen by enough users and no guardrail of the flag has evidence of harm.
    Healthy {
        /// How many more users must have been exposed to the variation since the stage before began.
        min_units: u64,
        /// How long the stage before must have lasted, in seconds.
        #[serde(default)]
        min_seconds: u32,
        /// Held back while the anytime-valid p-value of a guardrail is below this. Between 0 and 1.
        #[serde(default = "default_hold_below")]
        hold_below_p: f64,
    },
}

/// Milder than any guardrail's error budget: what looks like the beginning of harm is waited for, not decided on.
fn default_hold_below() -> f64 {
    0.1
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutStage {
    /// The share of the variation in percent, 0 to 100 in steps of 0.001.
    pub percent: f64,
    /// What it waits for.
    pub trigger: StageTrigger,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutStatus {
    /// Not started.
    #[default]
    Draft,
    /// Going from stage to stage.
    Running,
    /// Held where it is.
    Paused,
    /// The last stage has begun.
    Completed,
    /// Taken back.
    RolledBack,
}

impl RolloutStatus {
    /// The status as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// How far a schedule has come; the platform writes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutProgress {
    /// Where it stands.
    #[serde(default)]
    pub status: RolloutStatus,
    /// How many stages have begun.
    #[serde(default)]
    pub stages_begun: usize,
    /// When the present stage began; moved on by the time spent paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_began_at: Option<Timestamp>,
    /// Users exposed to the variation when the present stage began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units_at_stage_start: Option<u64>,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// Why it stands where it stands, when the platform decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A rollout schedule: who else gets the variation, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutScheduleDefinition {
    /// The schedule's key.
    pub key: RolloutScheduleKey,
    /// What a person reads.
    #[serde(default)]
    pub name: String,
    /// The flag.
    pub flag: FlagKey,
    /// The variation that is rolled out.
    pub variation: VariantKey,
    /// The variation of everybody else.
    pub control: VariantKey,
    /// The rule whose share grows; the flag's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The stages, at least one.
    pub stages: Vec<RolloutStage>,
    /// How far it has come.
    #[serde(default)]
    pub progress: RolloutProgress,
}

/// Why a rollout schedule is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidRollout {
    /// No stages, or too many.
    #[error("a rollout schedule has 1 to {STAGES_MAX} stages, not {count}")]
    StageCount {
        /// How many it has.
        count: usize,
    },
    /// A percentage that is no share.
    #[error("the percentage of stage {stage} is not 0 to 100 in steps of 0.001")]
    BadPercent {
        /// Which stage, from 1.
        stage: usize,
    },
    /// A later stage with a smaller share.
    #[error(
        "stage {stage} has a smaller share than the stage before; take a rollout back by rolling it back"
    )]
    Shrinks {
        /// Which stage, from 1.
        stage: usize,
    },
    /// The p-value that holds a stage back is not a probability.
    #[error("hold_below_p of stage {stage} lies between 0 and 1")]
    BadHold {
        /// Which stage, from 1.
        stage: usize,
    },
    /// The first stage waits for what only a stage before can bring.
    #[error("the first stage cannot wait for the health of a stage before it")]
    FirstIsMeasured,
    /// Both variations are the same.
    #[error("a rollout schedule moves users from one variation to another; both are {variation}")]
    SameVariations {
        /// The variation named twice.
        variation: VariantKey,
    },
}

impl RolloutScheduleDefinition {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`InvalidRollout`] names what is wrong.
    pub fn check(&self) -> Result<(), InvalidRollout> {
        if self.variation == self.control {
            let variation = self.variation.clone();
            return Err(InvalidRollout::SameVariations { variation });
        }
        let count = self.stages.len();
        if count == 0 || count > STAGES_MAX {
            return Err(InvalidRollout::StageCount { count });
        }
        let mut before = 0.0;
        for (index, stage) in self.stages.iter().enumerate() {
            let stage_number = index + 1;
            if buckets_of_percent(stage.percent).is_none() {
                return Err(InvalidRollout::BadPercent { stage: stage_number });
            }
            if stage.percent < before {
                return Err(InvalidRollout::Shrinks { stage: stage_number });
            }
            before = stage.percent;
            if let StageTrigger::Healthy { hold_below_p, .. } = stage.trigger {
                if index == 0 {
                    return Err(InvalidRollout::FirstIsMeasured);
                }
                if !(0.0..=1.0).contains(&hold_below_p) {
                    return Err(InvalidRollout::BadHold { stage: stage_number });
                }
            }
        }
        Ok(())
    }

    /// The stage that begins next.
    pub fn next_stage(&self) -> Option<&RolloutStage> {
        self.stages.get(self.progress.stages_begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schedule(stages: &serde_json::Value) -> RolloutScheduleDefinition {
        serde_json::from_value(
            json!({"key": "r", "flag": "f", "variation": "on", "control": "off", "stages": stages}),
        )
        .unwrap()
    }

    #[test]
    fn stages_grow_and_the_first_waits_for_nothing_before_it() {
        let manual = json!({"type": "manual"});
        let healthy = json!({"type": "healthy", "min_units": 10});
        let good = json!([{"percent": 1.5, "trigger": manual}, {"percent": 100.0, "trigger": healthy}]);
        assert_eq!(schedule(&good).check(), Ok(()));
        let cases = [
            (json!([]), InvalidRollout::StageCount { count: 0 }),
            (
                json!([{"percent": 0.0001, "trigger": manual}]),
                InvalidRollout::BadPercent { stage: 1 },
            ),
            (
                json!([{"percent": 50.0, "trigger": manual}, {"percent": 10.0, "trigger": manual}]),
                InvalidRollout::Shrinks { stage: 2 },
            ),
            (
                json!([{"percent": 10.0, "trigger": healthy}]),
                InvalidRollout::FirstIsMeasured,
            ),
        ];
        for (stages, expected) in cases {
            assert_eq!(schedule(&stages).check(), Err(expected));
        }
    }
}
