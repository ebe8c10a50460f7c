//! One file per resource; `routes.rs` lists them all.

pub mod audit;
pub mod auth;
pub mod definitions;
pub mod docs;
pub mod evaluate;
pub mod events;
pub mod experiments;
pub mod flags;
pub mod guardrails;
pub mod health;
pub mod keys;
pub mod metrics;
pub mod results;
pub mod safety;
pub mod sharing;
pub mod statistics;
pub mod stream;
pub mod users;
pub mod webhooks;
