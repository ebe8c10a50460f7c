//! From batches of valid events to committed tables: de-duplication, attribution, windows, summaries, Delta commits.
//!
//! [`Pipeline`] runs it all; [`engine::Engine`] is the part that computes. What it promises: every accepted event is in the
//! `events` table once, and what the other tables say follows from that table alone. It leaves to others: reading bytes
//! (`ingest`), inference (`stats`), and what to measure (`control`).
#![forbid(unsafe_code)]

pub mod batch;
pub mod columns;
pub mod dedup;
pub mod engine;
pub mod erase;
pub mod error;
mod event_files;
pub mod failpoint;
pub mod history;
mod housekeeping;
pub mod lake;
pub mod measure;
pub mod metrics;
pub mod names;
mod reconcile;
mod recovery;
pub mod retention;
mod rewriting;
mod run;
pub mod schema;
pub mod seals;
pub mod settings;
mod snapshot;
pub mod state;
pub mod store;
mod streamed;
mod thinning;
pub mod verify;
pub mod view;
mod worker;

pub use error::PipelineError;
pub use recovery::committed_positions;
pub use run::{Pipeline, write_all};
pub use settings::Settings;
