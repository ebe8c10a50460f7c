//! The life of an experiment: which actions there are, and from where to where each leads.

use serde::{Deserialize, Serialize};

use super::ExperimentStatus;
use crate::ids::VariantKey;
use crate::timestamp::Timestamp;

/// What moves an experiment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// Begin to assign users.
    Start,
    /// Take no new users for a while.
    Pause,
    /// Take new users again.
    Resume,
    /// Decide.
    Complete,
    /// Put out of sight.
    Archive,
}

impl Transition {
    /// Every action, in the order of a life.
    pub const ALL: [Self; 5] = [
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::Complete,
        Self::Archive,
    ];

    /// The action as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Complete => "complete",
            Self::Archive => "archive",
        }
    }

    /// Where it leads to from `status`; nothing where it is not allowed.
    pub fn leads_to(self, status: ExperimentStatus) -> Option<ExperimentStatus> {
        use ExperimentStatus as Status;
        match (self, status) {
            (Self::Start, Status::Draft) | (Self::Resume, Status::Paused) => Some(Status::Running),
            (Self::Pause, Status::Running) => Some(Status::Paused),
            (Self::Complete, Status::Running | Status::Paused) => Some(Status::Completed),
            (Self::Archive, Status::Completed) => Some(Status::Archived),
            _ => None,
        }
    }
}

impl ExperimentStatus {
    /// The status as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Archived => "archived",
        }
    }

    /// The actions that are allowed.
    pub fn transitions(self) -> impl Iterator<Item = Transition> {
        Transition::ALL
            .into_iter()
            .filter(move |transition| transition.leads_to(self).is_some())
    }

    /// Whether its users are being measured: what is compared may then not change.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What came of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A variant is kept.
    Ship,
    /// Everything stays as it was.
    KeepControl,
    /// The experiment did not tell.
    Inconclusive,
}

/// The decision that an experiment was completed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What came of it.
    pub outcome: Outcome,
    /// The variant that is kept, with the outcome `ship`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantKey>,
    /// Why.
    pub reason: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// When an experiment starts and ends by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// When it starts, or is resumed; taken out once it has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// When it is completed as inconclusive, for a person to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// Why the last start did not happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Schedule {
    /// Whether nothing is planned and nothing is to be told.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The next moment at which something is to happen to an experiment of this status.
    pub fn due_at(&self, status: ExperimentStatus) -> Option<Timestamp> {
        let start = self
            .start_at
            .filter(|_| matches!(status, ExperimentStatus::Draft | ExperimentStatus::Paused));
        let end = self.end_at.filter(|_| status.is_live());
        match (start, end) {
            (Some(start), Some(end)) => Some(start.min(end)),
            (start, end) => start.or(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_one_way() {
        // What must never change: nothing leads back to a draft or out of the archive.
        let mut allowed = Vec::new();
        for status in ["draft", "running", "paused", "completed", "archived"] {
            let status: ExperimentStatus = serde_json::from_value(status.into()).unwrap();
            for transition in status.transitions() {
                let to = transition.leads_to(status).unwrap();
                allowed.push(format!(
                    "{} {} {}",
                    status.as_str(),
                    transition.as_str(),
                    to.as_str()
                ));
            }
        }
        assert_eq!(
            allowed,
            [
                "draft start running",
                "running pause paused",
                "running complete completed",
                "paused resume running",
                "paused complete completed",
                "completed archive archived",
            ]
        );
    }

    #[test]
    fn the_earlier_end_of_a_schedule_is_due_first() {
        let at = |seconds| Some(Timestamp(seconds));
        let schedule = Schedule {
            start_at: at(5),
            end_at: at(9),
            problem: None,
        };
        assert_eq!(schedule.due_at(ExperimentStatus::Draft), at(5));
        assert_eq!(schedule.due_at(ExperimentStatus::Paused), at(5));
        assert_eq!(schedule.due_at(ExperimentStatus::Running), at(9));
        assert_eq!(schedule.due_at(ExperimentStatus::Completed), None);
    }
}
