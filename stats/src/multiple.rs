//! Many hypotheses at once: adjusted p-values, false-discovery rates, e-values, gates, and intervals that match.

pub mod adjust;
pub mod dunnett;
pub mod e_values;
pub mod gate;
pub mod intervals;
pub mod storey;
