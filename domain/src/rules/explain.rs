//! Explanations: the whole of an evaluation, with each rule and clause and why it did or did not match.
//!
//! Unlike an evaluation, an explanation tries everything, also what the decision did not depend on, and it
//! allocates.

use serde::Serialize;
use serde_json::Value;

use super::condition::{CompiledClause, CompiledCondition, Outcome, Scope};
use super::context::{Attribute, Context};
use super::decision::{Cause, EvaluationError, Reason};
use super::definition::Operator;
use super::ruleset::{FlagState, Gates, Ruleset};

/// How much of an attribute's value is shown.
const ACTUAL_MAX_CHARACTERS: usize = 160;

/// A decision and everything that led to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation<'r> {
    /// The key that was asked for.
    pub key: String,
    /// The value given.
    pub value: &'r Value,
    /// The variation or variant given.
    pub variation: Option<&'r str>,
    /// Why, in standard words.
    pub reason: Reason,
    /// Which step decided.
    pub cause: Cause<'r>,
    /// The rule that served.
    pub rule_id: Option<&'r str>,
    /// The version of the ruleset.
    pub ruleset_version: u64,
    /// The bucket that decided.
    pub bucket: Option<u32>,
    /// The experiment whose exposure this is.
    pub exposure: Option<&'r str>,
    /// Why there is no answer.
    pub error: Option<EvaluationError>,
    /// What stood before the rules, one sentence each.
    pub gates: Vec<String>,
    /// The rules in order; for an experiment its audience, under the id `audience`.
    pub rules: Vec<RuleExplanation<'r>>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleExplanation<'r> {
    /// The rule's id.
    pub id: &'r str,
    /// Whether its condition holds.
    pub matched: bool,
    /// Whether the decision came from it.
    pub served: bool,
    /// Its condition.
    pub condition: ConditionExplanation,
}

/// A condition and whether it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConditionExplanation {
    /// All parts have to hold.
    All {
        /// Whether they do.
        holds: bool,
        /// The parts.
        parts: Vec<ConditionExplanation>,
    },
    /// One part has to hold.
    Any {
        /// Whether one does.
        holds: bool,
        /// The parts.
        parts: Vec<ConditionExplanation>,
    },
    /// The part must not hold.
    Not {
        /// Whether it does not.
        holds: bool,
        /// The part.
        part: Box<ConditionExplanation>,
    },
    /// One test of one attribute.
    Clause {
        /// Whether it holds, with `negate` taken into account.
        holds: bool,
        /// The attribute.
        attribute: String,
        /// The test.
        operator: Operator,
        /// The beginning of what it tests against, as JSON.
        expected: String,
        /// The beginning of what the context has, as JSON; absent when it has nothing.
        actual: Option<String>,
        /// What the test found, before `negate`.
        outcome: Outcome,
        /// Whether the result is turned round.
        negate: bool,
    },
}

impl ConditionExplanation {
    /// Whether the condition holds.
    pub fn holds(&self) -> bool {
        match self {
            Self::All { holds, .. }
            | Self::Any { holds, .. }
            | Self::Not { holds, .. }
            | Self::Clause { holds, .. } => *holds,
        }
    }
}

impl Ruleset {
    /// A flag's decision and everything that led to it.
    pub fn explain(&self, flag_key: &str, context: &Context<'_>) -> Explanation<'_> {
        let mut explanation = explained(flag_key, self.evaluate(flag_key, context));
        let flag = self
            .flag_index
            .get(flag_key)
            .and_then(|position| self.flag(*position));
        let Some(flag) = flag else {
            return explanation;
        };
        if flag.state != FlagState::On {
            explanation.gates.push("the flag is off or archived".to_owned());
        }
        let overridden = context
            .user_id()
            .is_some_and(|id| flag.overrides.contains_key(id));
        if overridden {
            explanation.gates.push("the user id has an override".to_owned());
        }
        self.explain_gates(
            &flag.gates,
            context.unit(&flag.unit).as_ref().map(|unit| unit.as_str()),
            context,
            &mut explanation.gates,
        );
        let scope = Scope {
            ruleset: self,
            context,
        };
        for rule in &flag.rules {
            let condition = rule.condition.explain(scope);
            let served = explanation.rule_id == Some(&rule.id);
            explanation.rules.push(RuleExplanation {
                id: &rule.id,
                matched: condition.holds(),
                served,
                condition,
            });
        }
        explanation
    }

    /// An experiment's assignment and everything that led to it.
    pub fn explain_assignment(&self, experiment_key: &str, context: &Context<'_>) -> Explanation<'_> {
        let mut explanation = explained(experiment_key, self.assign(experiment_key, context));
        let position = self.experiment_index.get(experiment_key);
        let Some(experiment) = position.and_then(|position| self.experiment(*position)) else {
            return explanation;
        };
        let unit = context.unit(&experiment.unit);
        let unit = unit.as_ref().map(|unit| unit.as_str());
        self.explain_gates(&experiment.gates, unit, context, &mut explanation.gates);
        if let Some(unit) = unit {
            let bucket = experiment.traffic.bucket(unit);
            let (end, key) = (experiment.traffic_buckets, &experiment.key);
            explanation.gates.push(format!(
                "traffic of {key}: bucket {bucket}; those below {end} take part"
            ));
        }
        let condition = experiment.audience.explain(Scope {
            ruleset: self,
            context,
        });
        let served = explanation.variation.is_some();
        let matched = condition.holds();
        explanation.rules.push(RuleExplanation {
            id: "audience",
            matched,
            served,
            condition,
        });
        explanation
    }

    fn explain_gates(
        &self,
        gates: &Gates,
        unit: Option<&str>,
        context: &Context<'_>,
        into: &mut Vec<String>,
    ) {
        for need in &gates.prerequisites {
            let given = self.given_variation(need.flag, context);
            let met = given.is_some_and(|given| need.variations.contains(&given));
            let flag = self.flag(need.flag);
            let given = given
                .and_then(|given| flag?.variations.get(given))
                .map(|given| given.key.as_str());
            let verdict = if met { "met" } else { "not met" };
            into.push(format!(
                "prerequisite {}: gives {}, {verdict}",
                need.key,
                given.unwrap_or("no variation")
            ));
        }
        let Some(unit) = unit else {
            into.push("there is nothing to bucket".to_owned());
            return;
        };
        if let Some(slot) = &gates.layer {
            let bucket = slot.bucketer.bucket(unit);
            into.push(format!(
                "layer {}: bucket {bucket}; the slot has {} to before {}",
                slot.key, slot.from, slot.to
            ));
        }
        if let Some(holdout) = &gates.holdout {
            let bucket = holdout.bucketer.bucket(unit);
            into.push(format!(
                "holdout {}: bucket {bucket}; those below {} are held out",
                holdout.key, holdout.buckets
            ));
        }
    }
}

fn explained<'r>(key: &str, decision: super::Decision<'r>) -> Explanation<'r> {
    Explanation {
        key: key.to_owned(),
        value: decision.value,
        variation: decision.variation.map(|variation| variation.as_str()),
        reason: decision.reason,
        cause: decision.cause,
        rule_id: decision.rule_id,
        ruleset_version: decision.ruleset_version,
        bucket: decision.bucket,
        exposure: decision.exposure,
        error: decision.error,
        gates: Vec::new(),
        rules: Vec::new(),
    }
}

impl CompiledCondition {
    fn explain(&self, scope: Scope<'_>) -> ConditionExplanation {
        let all = |parts: &[Self]| parts.iter().map(|part| part.explain(scope)).collect::<Vec<_>>();
        match self {
            Self::All(parts) => {
                let parts = all(parts);
                ConditionExplanation::All {
                    holds: parts.iter().all(ConditionExplanation::holds),
                    parts,
                }
            }
            Self::Any(parts) => {
                let parts = all(parts);
                ConditionExplanation::Any {
                    holds: parts.iter().any(ConditionExplanation::holds),
                    parts,
                }
            }
            Self::Not(part) => {
                let part = Box::new(part.explain(scope));
                ConditionExplanation::Not {
                    holds: !part.holds(),
                    part,
                }
            }
            Self::Clause(clause) => clause.explain(scope),
        }
    }
}

impl CompiledClause {
    fn explain(&self, scope: Scope<'_>) -> ConditionExplanation {
        let outcome = self.outcome(scope);
        ConditionExplanation::Clause {
            holds: (outcome == Outcome::Holds) != self.negate,
            attribute: self.attribute.to_string(),
            operator: self.operator,
            expected: self.expected.to_string(),
            actual: shown(scope.context.look_up(&self.path)),
            outcome,
            negate: self.negate,
        }
    }
}

/// The beginning of an attribute's JSON.
fn shown(attribute: Attribute<'_>) -> Option<String> {
    let text = match attribute {
        Attribute::Missing => return None,
        Attribute::Text(text) => Value::from(text).to_string(),
        Attribute::Instant(instant) => Value::from(instant.to_string()).to_string(),
        Attribute::Value(value) => value.to_string(),
    };
    Some(text.chars().take(ACTUAL_MAX_CHARACTERS).collect())
}
