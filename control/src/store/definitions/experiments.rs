//! Experiments as documents: what a person may write at which point of an experiment's life.

use std::collections::BTreeSet;

use domain::experiment::{ExperimentDefinition, ExperimentStatus, InvalidExperiment};
use domain::rules::definition::Definitions;
use domain::{ExperimentKey, MetricKey};
use serde_json::Value;

use super::super::{ObjectKind, corrupt};
use super::Definition;
use super::kinds::{Statements, Table, statements};
use super::labels::Labels;
use crate::error::ControlError;
use crate::life_cycle;

/// What may change at any time: it tells people about the experiment and decides nothing.
const DESCRIPTIVE: [&str; 5] = ["name", "owner", "project", "tags", "discovered"];

/// What may change besides while users are being measured. `variants` stands for their weights alone.
const LIVE: [&str; 6] = [
    "weights",
    "traffic_percent",
    "overrides",
    "metrics",
    "environments",
    "bandit",
];

impl Table for ExperimentDefinition {
    const STATEMENTS: &'static Statements = statements!("experiments");

    fn labels(&self) -> Labels<'_> {
        Labels {
            name: &self.name,
            status: Some(self.status.as_str()),
            value_type: Some(self.experiment_type.as_str()),
            owner: self.owner.as_deref(),
            project: self.project.as_ref().map(domain::ProjectKey::as_str),
            tags: &self.tags,
        }
    }

    fn set_discovered(&mut self, discovered: bool) {
        self.discovered = discovered;
    }

    fn used_metrics(&self) -> Vec<&MetricKey> {
        let bandit = self.bandit.iter().flat_map(|bandit| &bandit.metric);
        self.metrics
            .iter()
            .map(|used| &used.metric)
            .chain(bandit)
            .collect()
    }

    fn check_deletable(&self) -> Result<(), ControlError> {
        if self.status == ExperimentStatus::Draft {
            return Ok(());
        }
        Err(ControlError::NotADraft {
            experiment: self.key.clone(),
            status: self.status,
        })
    }

    fn as_experiment(&self) -> Option<&ExperimentDefinition> {
        Some(self)
    }

    fn place(&self, definitions: &mut Definitions) -> Option<&'static str> {
        definitions.experiments.retain(|other| other.key != self.key);
        definitions.experiments.push(self.into());
        Some("experiments")
    }
}

impl Definition for ExperimentDefinition {
    type Key = ExperimentKey;
    const KIND: ObjectKind = ObjectKind::Experiment;

    fn key(&self) -> &ExperimentKey {
        &self.key
    }

    fn check(&self) -> Result<(), ControlError> {
        Ok(ExperimentDefinition::check(self)?)
    }

    fn prepare(&mut self, previous: Option<&Self>) -> Result<(), ControlError> {
        self.expand_factors()
            .map_err(|problem| InvalidExperiment::BadField {
                experiment: self.key.clone(),
                problem,
            })?;
        let Some(previous) = previous.filter(|previous| !previous.discovered) else {
            return prepare_new(self);
        };
        keep_managed(self, previous)?;
        if self.present_weights() != previous.present_weights() {
            // A person's weights count from now on; a bandit goes on from them.
            self.live_weights = None;
        }
        self.keep_assignments(previous);
        check_frozen(self, previous)
    }
}

/// A new experiment is a draft, or runs already where somebody else assigns its users.
fn prepare_new(experiment: &mut ExperimentDefinition) -> Result<(), ControlError> {
    if !matches!(
        experiment.status,
        ExperimentStatus::Draft | ExperimentStatus::Running
    ) {
        return Err(ControlError::Managed {
            experiment: experiment.key.clone(),
            member: "status",
            how: "create it as draft or running",
        });
    }
    experiment.live_weights = None;
    experiment.decision = None;
    if !experiment.schedule.is_empty() {
        return Err(ControlError::Managed {
            experiment: experiment.key.clone(),
            member: "schedule",
            how: "set it with PUT on the experiment's schedule",
        });
    }
    Ok(())
}

/// Keeps what only actions change. Sent back as it was or left out it stays; anything else is refused.
fn keep_managed(
    experiment: &mut ExperimentDefinition,
    previous: &ExperimentDefinition,
) -> Result<(), ControlError> {
    let refused = |member, how| ControlError::Managed {
        experiment: previous.key.clone(),
        member,
        how,
    };
    if experiment.status != previous.status && experiment.status != ExperimentStatus::Draft {
        return Err(refused("status", life_cycle::HOW_STATUS_CHANGES));
    }
    if experiment.schedule != previous.schedule && !experiment.schedule.is_empty() {
        return Err(refused(
            "schedule",
            "set it with PUT on the experiment's schedule",
        ));
    }
    if experiment.decision != previous.decision && experiment.decision.is_some() {
        return Err(refused("decision", "it is made by completing the experiment"));
    }
    experiment.status = previous.status;
    experiment.schedule = previous.schedule.clone();
    experiment.decision = previous.decision.clone();
    experiment.live_weights = previous.live_weights.clone();
    Ok(())
}

/// Refuses changes of what is compared once users have been measured.
fn check_frozen(
    experiment: &ExperimentDefinition,
    previous: &ExperimentDefinition,
) -> Result<(), ControlError> {
    let allowed: &[&str] = match previous.status {
        ExperimentStatus::Draft => return Ok(()),
        ExperimentStatus::Running | ExperimentStatus::Paused => &LIVE,
        ExperimentStatus::Completed | ExperimentStatus::Archived => &[],
    };
    let members: Vec<String> = changed_members(experiment, previous)?
        .into_iter()
        .filter(|member| !allowed.contains(&member.as_str()) && !DESCRIPTIVE.contains(&member.as_str()))
        .collect();
    if members.is_empty() {
        return Ok(());
    }
    Err(ControlError::Frozen {
        experiment: previous.key.clone(),
        status: previous.status,
        members: members.join(", "),
    })
}

/// The members that differ; weights count as a member of their own, `weights`, beside `variants`.
fn changed_members(
    experiment: &ExperimentDefinition,
    previous: &ExperimentDefinition,
) -> Result<BTreeSet<String>, ControlError> {
    let (now, now_weights) = apart(experiment)?;
    let (before, before_weights) = apart(previous)?;
    let mut changed = BTreeSet::new();
    let empty = serde_json::Map::new();
    let (now, before) = (
        now.as_object().unwrap_or(&empty),
        before.as_object().unwrap_or(&empty),
    );
    for member in now.keys().chain(before.keys()) {
        if now.get(member) != before.get(member) {
            changed.insert(member.clone());
        }
    }
    if now_weights != before_weights {
        changed.insert("weights".to_owned());
    }
    Ok(changed)
}

/// An experiment as JSON without its weights, and the weights.
fn apart(experiment: &ExperimentDefinition) -> Result<(Value, Vec<f64>), ControlError> {
    let weights = experiment.variants.iter().map(|variant| variant.weight).collect();
    let mut plain = experiment.clone();
    for variant in &mut plain.variants {
        variant.weight = 1.0;
        variant.buckets.clear();
    }
    for level in plain.factors.iter_mut().flat_map(|factor| &mut factor.levels) {
        level.weight = 1.0;
    }
    plain.live_weights = None;
    let value =
        serde_json::to_value(&plain).map_err(corrupt(ObjectKind::Experiment, experiment.key.as_str()))?;
    Ok((value, weights))
}
