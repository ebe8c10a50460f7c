//! The rules engine: who gets what.
//!
//! [`Definitions`] are what people write; [`Ruleset::compile`] checks them and builds a [`Ruleset`], and
//! [`Ruleset::evaluate`] and [`Ruleset::assign`] answer from it. Evaluation is a pure function of ruleset and
//! context: it does no I/O, reads no clock, allocates nothing and cannot panic, which the lints below hold.
//! What it leaves to others: storing definitions, swapping rulesets and the wire.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::panic,
        clippy::expect_used,
        clippy::unwrap_used,
        clippy::unreachable
    )
)]

pub mod allocation;
mod bucketing;
mod compile;
mod condition;
mod context;
mod decision;
pub mod definition;
mod evaluate;
mod explain;
mod id_set;
mod operators;
mod redirect;
mod ruleset;

pub use bucketing::{BUCKETS, bucket, murmur3_x86_32};
pub use compile::{CompileError, Compiled};
pub use condition::Outcome;
pub use context::Context;
pub use decision::{Cause, Decision, EvaluationError, Reason};
pub use definition::Definitions;
pub use explain::{ConditionExplanation, Explanation, RuleExplanation};
pub use id_set::IdSet;
pub use redirect::redirect_url;
pub use ruleset::Ruleset;
