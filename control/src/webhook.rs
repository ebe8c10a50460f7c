//! Webhooks: what was queued in the store is signed as Standard Webhooks says and carried to its receivers.
//!
//! Every message reaches each receiver at least once, with the same `webhook-id` at every attempt; receivers drop what
//! they have had. A receiver that does not answer delays nobody else. Messages go to public addresses over HTTPS only,
//! unless the settings allow otherwise.

mod schedule;
mod signature;
mod target;
mod worker;

use serde::Deserialize;

pub use schedule::{ATTEMPTS_MAX, next_attempt};
pub use signature::{WebhookSecret, sign};
pub use target::{BlockedTarget, check_target, is_public};
pub use worker::WebhookWorker;

/// How webhooks are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// Whether plain HTTP, any port, and addresses of the own machine or network are allowed: for a laptop and tests.
    pub allow_private_targets: bool,
}
