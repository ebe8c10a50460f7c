//! Estimates and tests for a fixed number of units: what to read once, at the end that was planned.
//!
//! Each method takes summaries or plain numbers and has a page in `docs/statistics`. For looking while data come in
//! use [`crate::sequential`].

pub mod anova;
pub mod balance;
pub mod bootstrap;
pub mod contrast;
pub mod cuped;
pub mod equivalence;
pub mod exact;
pub mod kruskal_wallis;
pub mod mantel_haenszel;
pub mod mean;
pub mod one_proportion;
pub mod poisson;
pub mod proportion;
pub mod quantile;
pub mod rank;
pub mod ratio;
pub mod relative;
pub mod sample;
pub mod score;
pub mod stratified;
pub mod winsorized;
