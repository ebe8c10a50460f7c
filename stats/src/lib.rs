//! Summaries to estimates, tests and decisions: numbers in, numbers out.
//!
//! Everything here is pure: no I/O, no clock, and randomness only from a seed that is handed in. Nothing panics for
//! any finite or non-finite input; what cannot be computed answers a [`StatsError`] that names the reason, never a
//! sentinel. Tails come from survival functions, in logarithms where they get small, so that a p-value is right
//! down to the smallest number that `f64` holds and `log10_p` is right beyond that.
//!
//! Three doors: [`analyze::analyze`] takes a plan and a summary of `domain`, [`call::call`] takes any method by
//! name as JSON, and the modules below take plain numbers.
#![forbid(unsafe_code)]

pub mod analyze;
pub mod bandit;
pub mod bayes;
pub mod call;
pub mod design;
pub mod error;
pub mod estimate;
pub mod frequentist;
pub mod heterogeneity;
pub mod multiple;
pub mod online_fdr;
mod random;
pub mod safety;
pub mod sequential;
pub mod special;
pub mod srm;

pub use call::call;
pub use error::StatsError;
pub use estimate::{Estimate, Interval};
