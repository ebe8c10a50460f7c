//! One file per resource; `routes.rs` lists them all.

pub mod assign;
pub mod audit;
pub mod definitions;
pub mod docs;
pub mod documents;
pub mod evaluate;
pub mod evaluate_many;
pub mod events;
pub mod experiments;
pub mod explain;
pub mod flags;
pub mod guardrails;
pub mod health;
pub mod life_cycle;
pub mod metrics;
pub mod ofrep;
pub mod results;
pub mod rollouts;
pub mod ruleset;
pub mod safety;
pub mod segment_ids;
pub mod statistics;
pub mod stream;
pub mod webhooks;
