//! The ways in: one file each in `sources/`, all of them [`Source`](crate::Source)s.

pub mod file;
#[cfg(feature = "kinesis")]
pub mod kinesis;
pub mod log;
pub mod merged;
