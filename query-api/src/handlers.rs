//! One file per resource; `routes.rs` lists them all.

pub mod audit;
pub mod definitions;
pub mod docs;
pub mod documents;
pub mod evaluate;
pub mod events;
pub mod experiments;
pub mod flags;
pub mod guardrails;
pub mod health;
pub mod life_cycle;
pub mod metrics;
pub mod results;
pub mod rollouts;
pub mod safety;
pub mod segment_ids;
pub mod statistics;
pub mod stream;
pub mod webhooks;
