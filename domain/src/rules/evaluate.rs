//! Evaluation: from a compiled ruleset and a context to a decision.
//!
//! The order is fixed: archived or off, individual overrides, prerequisites, layer and holdout, rules (the
//! first that matches), default. Nothing here allocates, waits or can panic, and the recursion through
//! prerequisites, segments and `flag_equals` is bounded when the ruleset is compiled.

use super::condition::Scope;
use super::context::{AttributePath, Context, Unit};
use super::decision::{Cause, Decision, EvaluationError, Reason, exposure_of};
use super::ruleset::{Answer, Experiment, Flag, FlagState, Gates, Ruleset};
use crate::experiment::ExperimentStatus;

/// Which variation or variant was chosen and why, before it becomes a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'r> {
    /// The place among the variations or variants; for a flag, nothing stands for the off variation.
    pub(crate) target: Option<usize>,
    pub(crate) reason: Reason,
    pub(crate) cause: Cause<'r>,
    pub(crate) rule_id: Option<&'r str>,
    pub(crate) bucket: Option<u32>,
    pub(crate) exposure: Option<&'r str>,
    pub(crate) error: Option<EvaluationError>,
}

impl<'r> Choice<'r> {
    pub(crate) fn new(target: Option<usize>, reason: Reason, cause: Cause<'r>) -> Self {
        Self {
            target,
            reason,
            cause,
            rule_id: None,
            bucket: None,
            exposure: None,
            error: None,
        }
    }

    fn by_bucket(target: Option<usize>, cause: Cause<'r>, bucket: u32) -> Self {
        let mut choice = Self::new(target, Reason::Split, cause);
        choice.bucket = Some(bucket);
        choice
    }

    /// What follows from having nothing to bucket: without a user id that is an error, without another
    /// attribute it is a unit of another kind, for whom the split is not meant.
    fn without_unit(path: &AttributePath) -> Self {
        if *path != AttributePath::UserId {
            return Self::new(None, Reason::Default, Cause::NoUnit);
        }
        let mut choice = Self::new(None, Reason::Error, Cause::Error);
        choice.error = Some(EvaluationError::TargetingKeyMissing);
        choice
    }
}

impl Ruleset {
    /// The value of a flag for a context, and why. Never fails: an unknown or broken flag gives a decision
    /// with the reason `ERROR`.
    pub fn evaluate(&self, flag_key: &str, context: &Context<'_>) -> Decision<'_> {
        let Some(position) = self.flag_index.get(flag_key) else {
            return Decision::error(EvaluationError::FlagNotFound, self.version);
        };
        let Some(flag) = self.flag(*position) else {
            return Decision::error(EvaluationError::InvalidDefinition, self.version);
        };
        let choice = self.choose_variation(flag, context);
        let chosen = flag.variations.get(choice.target.unwrap_or(flag.off));
        let mut decision = self.decision(choice);
        decision.value_type = flag.value_type;
        if let Some(variation) = chosen {
            decision.value = &variation.value;
            decision.variation = Some(&variation.key);
        }
        decision
    }

    /// The variant of an experiment for a context, and why. `variation` is absent when the unit takes no
    /// part.
    pub fn assign(&self, experiment_key: &str, context: &Context<'_>) -> Decision<'_> {
        let Some(position) = self.experiment_index.get(experiment_key) else {
            return Decision::error(EvaluationError::FlagNotFound, self.version);
        };
        let Some(experiment) = self.experiment(*position) else {
            return Decision::error(EvaluationError::InvalidDefinition, self.version);
        };
        let choice = self.choose_variant(experiment, context);
        let mut decision = self.decision(choice);
        if let Some(variant) = choice.target.and_then(|target| experiment.variants.get(target)) {
            decision.value = &variant.value;
            decision.variation = Some(&variant.key);
            decision.url = variant.url.as_deref();
        }
        decision
    }

    pub(crate) fn flag(&self, position: usize) -> Option<&Flag> {
        self.flags.get(position)?.as_ref()
    }

    pub(crate) fn experiment(&self, position: usize) -> Option<&Experiment> {
        self.experiments.get(position)?.as_ref()
    }

    fn decision<'r>(&'r self, choice: Choice<'r>) -> Decision<'r> {
        Decision {
            rule_id: choice.rule_id,
            bucket: choice.bucket,
            exposure: choice.exposure,
            error: choice.error,
            ..Decision::nothing(choice.reason, choice.cause, self.version)
        }
    }

    /// Where the flag's evaluation ends.
    pub(crate) fn choose_variation<'r>(&'r self, flag: &'r Flag, context: &Context<'_>) -> Choice<'r> {
        match flag.state {
            FlagState::Archived => return Choice::new(None, Reason::Disabled, Cause::Archived),
            FlagState::Off => return Choice::new(None, Reason::Disabled, Cause::Off),
            FlagState::On => {}
        }
        if let Some(target) = overridden(&flag.overrides, context) {
            return Choice::new(Some(target), Reason::TargetingMatch, Cause::Override);
        }
        if let Some(stopped) = self.stop(&flag.gates, &flag.unit, context) {
            return stopped;
        }
        let scope = Scope {
            ruleset: self,
            context,
        };
        for rule in &flag.rules {
            if !rule.condition.holds(scope) {
                continue;
            }
            if let Some(mut choice) = self.answer(flag, &rule.answer, context) {
                choice.rule_id = Some(&rule.id);
                return choice;
            }
        }
        self.default_of(flag, context)
    }

    fn default_of<'r>(&'r self, flag: &'r Flag, context: &Context<'_>) -> Choice<'r> {
        let Some(mut choice) = self.answer(flag, &flag.default, context) else {
            return Choice::new(None, Reason::Default, Cause::Default);
        };
        // A match of no rule is the default; without rules and gates, the flag has this one answer.
        if choice.reason == Reason::TargetingMatch {
            choice.cause = Cause::Default;
            choice.reason = if flag.is_static() {
                Reason::Static
            } else {
                Reason::Default
            };
        }
        choice
    }

    /// What an answer gives; nothing when it is meant for others and the next rule's turn has come.
    pub(crate) fn answer<'r>(
        &'r self,
        flag: &'r Flag,
        answer: &'r Answer,
        context: &Context<'_>,
    ) -> Option<Choice<'r>> {
        match answer {
            Answer::Variation(target) => {
                Some(Choice::new(Some(*target), Reason::TargetingMatch, Cause::Rule))
            }
            Answer::Rollout(split) => {
                let Some(unit) = context.unit(&flag.unit) else {
                    let choice = Choice::without_unit(&flag.unit);
                    return choice.error.is_some().then_some(choice);
                };
                let bucket = flag.bucketer.bucket(unit.as_str());
                let mut choice = Choice::by_bucket(split.target(bucket), Cause::Bucket, bucket);
                choice.exposure = flag.measured.then_some(flag.key.as_str());
                Some(choice)
            }
            Answer::Experiment {
                experiment,
                variations,
            } => {
                let experiment = self.experiment(*experiment)?;
                let mut choice = self.choose_variant(experiment, context);
                if choice.error.is_none() {
                    choice.target = Some(*variations.get(choice.target?)?);
                }
                Some(choice)
            }
        }
    }

    /// Where the experiment's assignment ends.
    pub(crate) fn choose_variant<'r>(
        &'r self,
        experiment: &'r Experiment,
        context: &Context<'_>,
    ) -> Choice<'r> {
        let running = experiment.status == ExperimentStatus::Running;
        if !running && experiment.status != ExperimentStatus::Paused {
            return Choice::new(None, Reason::Disabled, Cause::NotRunning);
        }
        if let Some(target) = overridden(&experiment.overrides, context) {
            return Choice::new(Some(target), Reason::TargetingMatch, Cause::Override);
        }
        if let Some(stopped) = self.stop(&experiment.gates, &experiment.unit, context) {
            return stopped;
        }
        if let Some(target) = kept(experiment, context) {
            let mut choice = Choice::new(Some(target), Reason::Split, Cause::Sticky);
            choice.exposure = exposure_of(&experiment.key);
            return choice;
        }
        if !running {
            return Choice::new(None, Reason::Disabled, Cause::NotRunning);
        }
        if !experiment.audience.holds(Scope {
            ruleset: self,
            context,
        }) {
            return Choice::new(None, Reason::Default, Cause::Audience);
        }
        let Some(unit) = context.unit(&experiment.unit) else {
            return Choice::without_unit(&experiment.unit);
        };
        let traffic = experiment.traffic.bucket(unit.as_str());
        if traffic >= experiment.traffic_buckets {
            return Choice::by_bucket(None, Cause::Traffic, traffic);
        }
        let bucket = experiment.variant.bucket(unit.as_str());
        let mut choice = Choice::by_bucket(experiment.split.target(bucket), Cause::Bucket, bucket);
        choice.exposure = exposure_of(&experiment.key).filter(|_| choice.target.is_some());
        choice
    }

    /// The gate that stops the unit, if one does.
    fn stop<'r>(
        &'r self,
        gates: &'r Gates,
        path: &AttributePath,
        context: &Context<'_>,
    ) -> Option<Choice<'r>> {
        for need in &gates.prerequisites {
            let given = self.given_variation(need.flag, context);
            if given.is_none_or(|given| !need.variations.contains(&given)) {
                return Some(Choice::new(
                    None,
                    Reason::Disabled,
                    Cause::Prerequisite(&need.key),
                ));
            }
        }
        if gates.layer.is_none() && gates.holdout.is_none() {
            return None;
        }
        let Some(unit) = context.unit(path) else {
            return Some(Choice::without_unit(path));
        };
        self.stop_by_bucket(gates, &unit)
    }

    fn stop_by_bucket<'r>(&'r self, gates: &'r Gates, unit: &Unit<'_>) -> Option<Choice<'r>> {
        if let Some(slot) = &gates.layer {
            let bucket = slot.bucketer.bucket(unit.as_str());
            if !(slot.from..slot.to).contains(&bucket) {
                return Some(Choice::by_bucket(None, Cause::Layer(&slot.key), bucket));
            }
        }
        let holdout = gates.holdout.as_ref()?;
        let bucket = holdout.bucketer.bucket(unit.as_str());
        (bucket < holdout.buckets).then(|| Choice::by_bucket(None, Cause::Holdout(&holdout.key), bucket))
    }

    /// The place of the variation that a flag gives, its off variation included; nothing on an error.
    pub(crate) fn given_variation(&self, flag: usize, context: &Context<'_>) -> Option<usize> {
        let flag = self.flag(flag)?;
        let choice = self.choose_variation(flag, context);
        choice.error.is_none().then(|| choice.target.unwrap_or(flag.off))
    }
}

impl Flag {
    /// Whether nothing about the context can change the answer.
    fn is_static(&self) -> bool {
        let ungated =
            self.gates.prerequisites.is_empty() && self.gates.layer.is_none() && self.gates.holdout.is_none();
        ungated && self.rules.is_empty() && self.overrides.is_empty()
    }
}

fn overridden(overrides: &super::ruleset::KeyMap<usize>, context: &Context<'_>) -> Option<usize> {
    if overrides.is_empty() {
        return None;
    }
    overrides.get(context.user_id()?).copied()
}

/// The variant that a sticky experiment gave the unit before, while the experiment still has it.
fn kept(experiment: &Experiment, context: &Context<'_>) -> Option<usize> {
    if !experiment.sticky {
        return None;
    }
    experiment.variant_position(context.assignment(&experiment.key)?)
}

#[cfg(test)]
mod tests;
