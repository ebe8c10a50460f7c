//! What flags and experiments refer to and are sorted by, as kinds of documents.

use domain::catalog::{DimensionDefinition, EnvironmentDefinition, ProjectDefinition, TagDefinition};
use domain::rollout::{RolloutProgress, RolloutScheduleDefinition, RolloutStatus};
use domain::rules::definition::{Definitions, HoldoutDefinition, LayerDefinition, SegmentDefinition};
use domain::{
    DimensionKey, EnvironmentKey, HoldoutKey, LayerKey, ProjectKey, RolloutScheduleKey, SegmentKey, TagKey,
};

use super::super::ObjectKind;
use super::Definition;
use super::kinds::{Statements, Table, statements};
use super::labels::Labels;
use crate::error::ControlError;

/// A kind that is found by its name and has no rule of its own.
macro_rules! plain_kind {
    ($definition:ty, $key:ty, $kind:ident, $table:literal) => {
        impl Table for $definition {
            const STATEMENTS: &'static Statements = statements!($table);

            fn labels(&self) -> Labels<'_> {
                Labels {
                    name: &self.name,
                    ..Labels::default()
                }
            }
        }

        impl Definition for $definition {
            type Key = $key;
            const KIND: ObjectKind = ObjectKind::$kind;

            fn key(&self) -> &$key {
                &self.key
            }

            fn check(&self) -> Result<(), ControlError> {
                Ok(())
            }
        }
    };
}

plain_kind!(EnvironmentDefinition, EnvironmentKey, Environment, "environments");
plain_kind!(DimensionDefinition, DimensionKey, Dimension, "dimensions");
plain_kind!(ProjectDefinition, ProjectKey, Project, "projects");
plain_kind!(TagDefinition, TagKey, Tag, "tags");

/// A kind that is part of what decides who gets what; compiling it checks it.
macro_rules! rules_kind {
    ($definition:ty, $key:ty, $kind:ident, $table:literal, $list:ident) => {
        impl Table for $definition {
            const STATEMENTS: &'static Statements = statements!($table);

            fn labels(&self) -> Labels<'_> {
                Labels {
                    name: &self.name,
                    ..Labels::default()
                }
            }

            fn place(&self, definitions: &mut Definitions) -> Option<&'static str> {
                definitions.$list.retain(|other| other.key != self.key);
                definitions.$list.push(self.clone());
                Some(stringify!($list))
            }
        }

        impl Definition for $definition {
            type Key = $key;
            const KIND: ObjectKind = ObjectKind::$kind;

            fn key(&self) -> &$key {
                &self.key
            }

            fn check(&self) -> Result<(), ControlError> {
                Ok(())
            }
        }
    };
}

rules_kind!(SegmentDefinition, SegmentKey, Segment, "segments", segments);
rules_kind!(LayerDefinition, LayerKey, Layer, "layers", layers);
rules_kind!(HoldoutDefinition, HoldoutKey, Holdout, "holdouts", holdouts);

impl Table for RolloutScheduleDefinition {
    const STATEMENTS: &'static Statements = statements!("rollout_schedules");

    fn labels(&self) -> Labels<'_> {
        Labels {
            name: &self.name,
            status: Some(self.progress.status.as_str()),
            ..Labels::default()
        }
    }

    fn check_deletable(&self) -> Result<(), ControlError> {
        let status = self.progress.status;
        if matches!(status, RolloutStatus::Running | RolloutStatus::Paused) {
            return Err(ControlError::RolloutNotAllowed {
                schedule: self.key.clone(),
                status,
                action: "deleted",
                allowed: "completed or rolled back first",
            });
        }
        Ok(())
    }

    fn as_rollout(&self) -> Option<&RolloutScheduleDefinition> {
        Some(self)
    }
}

impl Definition for RolloutScheduleDefinition {
    type Key = RolloutScheduleKey;
    const KIND: ObjectKind = ObjectKind::RolloutSchedule;

    fn key(&self) -> &RolloutScheduleKey {
        &self.key
    }

    fn check(&self) -> Result<(), ControlError> {
        Ok(RolloutScheduleDefinition::check(self)?)
    }

    /// Keeps how far it has come, and refuses to change what has happened.
    fn prepare(&mut self, previous: Option<&Self>) -> Result<(), ControlError> {
        let Some(previous) = previous else {
            self.progress = RolloutProgress::default();
            return Ok(());
        };
        self.progress = previous.progress.clone();
        let begun = previous.progress.stages_begun;
        // Whoever started it was allowed to change that flag, and perhaps no other.
        let has_started = begun > 0 || previous.progress.status != RolloutStatus::Draft;
        let kept = self.stages.get(..begun) == previous.stages.get(..begun);
        let same_target = self.flag == previous.flag
            && self.variation == previous.variation
            && self.control == previous.control
            && self.rule == previous.rule;
        if has_started && !(kept && same_target) {
            return Err(ControlError::RolloutNotAllowed {
                schedule: self.key.clone(),
                status: previous.progress.status,
                action: "changed in its flag, its variations or the stages that have begun",
                allowed: "changed in the stages that come",
            });
        }
        Ok(())
    }
}
