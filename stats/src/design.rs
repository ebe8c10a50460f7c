//! Planning before the start: power, sample size, detectable effect and duration.

pub mod sequential;
