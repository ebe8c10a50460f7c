//! What should run: definitions and their store, safety decisions, webhooks.
//!
//! [`Store`] keeps experiments, metrics, flags and guardrails in one SQLite file. Every write is one transaction that
//! also leaves an audit record; documents change only from a version that the writer has seen. [`Safety`] turns the
//! looks of each commit into evidence and, when it crosses, into one rollback. [`WebhookWorker`] carries what was
//! queued in those transactions to its receivers, at least once.
//!
//! What it leaves to others: what a guardrail's numbers mean (`stats`), HTTP and the names of people (`query-api`),
//! clocks and settings (`cli`).
#![forbid(unsafe_code)]

pub mod access;
pub mod audit;
pub mod change;
pub mod clock;
pub mod error;
pub mod metrics;
pub mod permission;
pub mod safety;
pub mod store;
#[cfg(test)]
mod test_support;
pub mod webhook;

pub use access::{Access, AccessSettings};
pub use change::{Actor, Change};
pub use clock::Clock;
pub use error::ControlError;
pub use permission::{Denied, Principal, Resource, Role, Scope, authorize};
pub use safety::{Evidence, Replay, ReplayedLook, Safety};
pub use store::{
    Account, AccountName, ApiKey, AuditFilter, AuditRecord, Definition, Delivery, DeliveryState, Discovered,
    Document, Endpoint, EndpointId, Guardrail, GuardrailId, NewEndpoint, ObjectKind, Page, PageRequest,
    RollbackId, RollbackRecord, Store,
};
pub use webhook::{WebhookSecret, WebhookSettings, WebhookWorker};
