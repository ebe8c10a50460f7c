//! Compiled conditions and how they are tested.

use super::context::{AttributePath, Context};
use super::definition::Operator;
use super::operators::Test;
use super::ruleset::Ruleset;

/// A condition whose clauses are compiled.
#[derive(Debug)]
pub(crate) enum CompiledCondition {
    All(Box<[CompiledCondition]>),
    Any(Box<[CompiledCondition]>),
    Not(Box<CompiledCondition>),
    Clause(CompiledClause),
}

impl Default for CompiledCondition {
    /// Everybody.
    fn default() -> Self {
        Self::All(Box::default())
    }
}

/// One compiled test of one attribute.
#[derive(Debug)]
pub(crate) struct CompiledClause {
    pub(crate) path: AttributePath,
    pub(crate) test: Test,
    pub(crate) negate: bool,
    pub(crate) operator: Operator,
    /// The attribute as it was written, for explanations.
    pub(crate) attribute: Box<str>,
    /// The beginning of the value as it was written, for explanations.
    pub(crate) expected: Box<str>,
}

/// What a test found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The attribute is as the operator wants it.
    Holds,
    /// It is not.
    DoesNotHold,
    /// The attribute is absent.
    Missing,
    /// The attribute is of a type, or a form, that the operator does not take.
    WrongType,
    /// The attribute is longer than the operator takes.
    TooLong,
}

impl From<bool> for Outcome {
    fn from(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::DoesNotHold }
    }
}

/// What a test may look at besides its attribute.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) ruleset: &'s Ruleset,
    pub(crate) context: &'s Context<'s>,
}

impl CompiledCondition {
    /// Whether the condition holds. Its depth is bounded when it is compiled.
    pub(crate) fn holds(&self, scope: Scope<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(scope)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(scope)),
            Self::Not(part) => !part.holds(scope),
            Self::Clause(clause) => clause.holds(scope),
        }
    }
}

impl CompiledClause {
    /// Whether the clause holds: whatever is not `Holds` does not, and `negate` turns that round.
    pub(crate) fn holds(&self, scope: Scope<'_>) -> bool {
        (self.outcome(scope) == Outcome::Holds) != self.negate
    }

    /// What the test found, before `negate`.
    pub(crate) fn outcome(&self, scope: Scope<'_>) -> Outcome {
        self.test.check(scope.context.look_up(&self.path), scope)
    }
}
