//! Methods that stay valid while people watch: confidence sequences, e-values and group-sequential designs.

pub mod asymptotic;
pub mod bounded;
pub mod group;
pub mod mixture;
pub mod msprt;
pub mod proportion;
pub mod quantile;
pub mod sample_ratio;
