//! One file per resource; `routes.rs` lists them all.

pub mod assign;
pub mod audit;
pub mod definitions;
pub mod docs;
pub mod evaluate;
pub mod evaluate_many;
pub mod events;
pub mod experiments;
pub mod explain;
pub mod flags;
pub mod guardrails;
pub mod health;
pub mod metrics;
pub mod ofrep;
pub mod results;
pub mod ruleset;
pub mod safety;
pub mod statistics;
pub mod stream;
pub mod webhooks;
