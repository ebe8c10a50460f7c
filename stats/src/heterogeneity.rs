//! Do effects differ between segments or repetitions, and what is left of the best-looking one?

pub mod pooling;
pub mod winner;
