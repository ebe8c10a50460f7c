//! The words that all parts of the platform share, and the rules engine.
//!
//! Everything here is plain synchronous code: it does no I/O, reads no clock, draws no random numbers and
//! never panics. What it leaves to others: reading bytes (`ingest`), keeping state (`pipeline`), inference
//! (`stats`), storing definitions (`control`).
#![forbid(unsafe_code)]

pub mod catalog;
pub mod event;
pub mod experiment;
pub mod guardrail;
pub mod ids;
pub mod metric;
pub mod position;
pub mod results;
pub mod rollout;
pub mod rules;
pub mod summary;
pub mod timestamp;

pub use event::{Event, EventKind, Payload, RejectReason};
pub use ids::{
    DimensionKey, EnvironmentKey, EventName, ExperimentKey, FlagKey, HoldoutKey, LayerKey, MetricKey,
    ProjectKey, RolloutScheduleKey, SegmentKey, TagKey, UnitId, VariantKey,
};
pub use position::{PartitionId, Position, Positions};
pub use summary::{CrossSums, Moments, Sums};
pub use timestamp::Timestamp;
