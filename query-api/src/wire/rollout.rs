//! The documented shape of rollout schedules.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Key, Stored};

/// A rollout schedule: the stages by which a flag's variation reaches more and more users.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutSchedule, example = json!({
    "key": "new-checkout-rollout", "flag": "new-checkout", "variation": "on", "control": "off",
    "stages": [
        {"percent": 1.0, "trigger": {"type": "after", "seconds": 0}},
        {"percent": 10.0, "trigger": {"type": "healthy", "min_units": 1000, "min_seconds": 3600}},
        {"percent": 100.0, "trigger": {"type": "manual"}}
    ]
}))]
pub struct RolloutScheduleDocument {
    /// The key.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// The flag.
    pub flag: Key,
    /// The variation that is rolled out.
    pub variation: Key,
    /// The variation of everybody else.
    pub control: Key,
    /// The rule whose share grows; the flag's default when absent.
    pub rule: Option<String>,
    /// The stages, with shares that never shrink.
    #[schema(min_items = 1, max_items = 50)]
    pub stages: Vec<Stage>,
    /// How far it has come; the platform writes it.
    #[schema(read_only, required = false)]
    pub progress: Progress,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// One stage.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutStage)]
pub struct Stage {
    /// The share of the variation, in steps of 0.001.
    #[schema(minimum = 0, maximum = 100)]
    pub percent: f64,
    /// What it waits for.
    pub trigger: Trigger,
}

/// What must have happened before a stage begins.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StageTrigger)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
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
        #[schema(format = DateTime)]
        time: String,
    },
    /// The stage before has been seen by enough users and no guardrail of the flag has evidence of harm.
    Healthy {
        /// How many more users must have been exposed to the variation since the stage before began.
        min_units: u64,
        /// How long the stage before must have lasted, in seconds.
        #[schema(required = false, default = 0)]
        min_seconds: u32,
        /// Held back while the anytime-valid p-value of a guardrail is below this.
        #[schema(required = false, minimum = 0, maximum = 1, default = 0.1)]
        hold_below_p: f64,
    },
}

/// How far a schedule has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutProgress)]
pub struct Progress {
    /// Where it stands.
    #[schema(required = false)]
    pub status: Status,
    /// How many stages have begun.
    #[schema(required = false)]
    pub stages_begun: usize,
    /// When the present stage began; moved on by the time spent paused.
    #[schema(format = DateTime)]
    pub stage_began_at: Option<String>,
    /// Users exposed to the variation when the present stage began.
    pub units_at_stage_start: Option<u64>,
    /// Since when it is paused.
    #[schema(format = DateTime)]
    pub paused_at: Option<String>,
    /// Why it stands where it stands, when the platform decided.
    pub note: Option<String>,
}

/// Where a rollout schedule stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutStatus)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not started.
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
