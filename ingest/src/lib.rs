//! From bytes on the wire to batches of valid events with positions.
//!
//! What comes in is read by a [`Source`], cut into records, decoded and validated once ([`decode`]), and handed on as
//! an [`EventBatch`]. A record that does not fit becomes a [`Rejection`] with its bytes, its position and one reason out
//! of a closed list: nothing is dropped. Counting, de-duplication and tables are left to `pipeline`.
#![forbid(unsafe_code)]

pub mod batch;
pub mod error;
pub mod source;

pub use batch::{EventBatch, EventRecord, Rejection, Span};
pub use error::IngestError;
pub use source::{RawBatch, RawRecord, Source, SourceEvent};
