//! Planning before the start: power, sample size, detectable effect and duration.

pub mod allocation;
pub mod means;
pub mod plan;
pub mod power;
pub mod proportions;
pub mod sequential;
