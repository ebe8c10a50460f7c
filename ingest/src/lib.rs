//! From bytes on the wire to batches of valid events with positions.
//!
//! What comes in is read by a [`Source`], cut into records, decoded and validated once ([`decode()`]), and handed on as
//! an [`EventBatch`]. A record that does not fit becomes a [`Rejection`] with its bytes, its position and one reason out
//! of a closed list: nothing is dropped. Counting, de-duplication and tables are left to `pipeline`.
#![forbid(unsafe_code)]

pub mod batch;
pub mod collector;
#[doc(hidden)]
pub mod conformance;
pub mod decode;
pub mod error;
#[cfg(feature = "kinesis")]
pub mod kpl;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod source;
pub mod sources;

pub use batch::{EventBatch, EventRecord, Rejection, Span};
pub use collector::{CollectError, CollectReport, CollectRequest, Collector, CollectorSettings};
pub use decode::{DecodeLimits, decode};
pub use error::IngestError;
pub use lock::FolderLock;
pub use log::{EmbeddedLog, Frame, LogSettings, RecoveryReport};
pub use source::{RawBatch, RawRecord, Source, SourceEvent};
