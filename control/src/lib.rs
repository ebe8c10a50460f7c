//! What should run: definitions and their store, safety decisions, webhooks.
//!
//! [`Store`] keeps experiments, metrics, flags and guardrails in SQLite or PostgreSQL. Every write is one transaction that
//! also leaves an audit record; documents change only from a version that the writer has seen. [`Safety`] turns the
//! looks of each commit into evidence and, when it crosses, into one rollback. [`WebhookWorker`] carries what was
//! queued in those transactions to its receivers, at least once.
//!
//! What it leaves to others: what a guardrail's numbers mean (`stats`), HTTP and the names of people (`query-api`),
//! clocks and settings (`cli`).
#![forbid(unsafe_code)]

pub mod access;
pub mod audit;
mod bandit;
pub mod change;
pub mod clock;
pub mod difference;
pub mod erasure;
pub mod error;
pub mod life_cycle;
pub mod metrics;
pub mod permission;
mod planned_looks;
pub mod rollouts;
pub mod safety;
pub mod scheduler;
pub mod store;
#[cfg(test)]
mod test_support;
pub mod webhook;

pub use access::{Access, AccessSettings};
pub use change::{Actor, Change};
pub use clock::Clock;
pub use erasure::{ErasedRows, Erasure, ErasureState, Receipt};
pub use error::ControlError;
pub use life_cycle::{FailedCheck, NewDecision};
pub use permission::{Denied, Principal, Resource, Role, Scope, authorize};
pub use rollouts::RolloutAction;
pub use safety::{Evidence, Replay, ReplayedLook, Safety};
pub use scheduler::Scheduler;
pub use store::{
    Account, AccountName, ApiKey, AuditFilter, AuditRecord, Definition, Delivery, DeliveryState, Discovered,
    Document, Endpoint, EndpointId, Guardrail, GuardrailId, IdListChange, IdListSummary, InvalidStoreAddress,
    ListFilter, NewEndpoint, ObjectKind, Page, PageRequest, Phase, PostgresAddress, RollbackId,
    RollbackRecord, Store, StoreAddress, Summaries,
};
pub use webhook::{WebhookSecret, WebhookSettings, WebhookWorker};
