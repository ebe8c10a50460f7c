//! Bandits: how to share traffic while learning, and how to estimate without the bias that this brings.

pub mod allocation;
pub mod estimate;
