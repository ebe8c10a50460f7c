//! What can go wrong in this crate.

use std::path::PathBuf;

use domain::experiment::InvalidExperiment;
use domain::guardrail::InvalidGuardrail;
use domain::metric::InvalidMetric;
use domain::{FlagKey, VariantKey};

use crate::store::ObjectKind;
use crate::webhook::BlockedTarget;

/// Why an operation of this crate failed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such object.
    #[error("{kind} {key} does not exist")]
    NotFound {
        /// What kind of object.
        kind: ObjectKind,
        /// Its key or id.
        key: String,
    },
    /// An object of this key exists already.
    #[error("{kind} {key} exists already")]
    AlreadyExists {
        /// What kind of object.
        kind: ObjectKind,
        /// Its key or id.
        key: String,
    },
    /// Somebody else changed the object since the writer read it.
    #[error("{kind} {key} is at version {current}, not {expected}; read it again and repeat the change")]
    VersionConflict {
        /// What kind of object.
        kind: ObjectKind,
        /// Its key or id.
        key: String,
        /// The version that the writer had read.
        expected: i64,
        /// The version now.
        current: i64,
    },
    /// Something else needs the object as it is.
    #[error("{kind} {key} is used by {used_by}; change that first")]
    InUse {
        /// What kind of object.
        kind: ObjectKind,
        /// Its key or id.
        key: String,
        /// Who needs it, such as `experiment checkout`.
        used_by: String,
    },
    /// An idempotency key was used before for something else.
    #[error("idempotency key {idempotency_key} was used for a different request")]
    IdempotencyMismatch {
        /// The key.
        idempotency_key: String,
    },
    /// The experiment does not make sense.
    #[error(transparent)]
    InvalidExperiment(#[from] InvalidExperiment),
    /// The metric does not make sense.
    #[error(transparent)]
    InvalidMetric(#[from] InvalidMetric),
    /// The guardrail does not make sense.
    #[error(transparent)]
    InvalidGuardrail(#[from] InvalidGuardrail),
    /// The flag does not make sense.
    #[error("flag {flag} {problem}")]
    InvalidFlag {
        /// The flag.
        flag: FlagKey,
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// The flag serves its safe variation to everybody already.
    #[error("flag {flag} is off and serves {variation} to everybody already")]
    AlreadySafe {
        /// The flag.
        flag: FlagKey,
        /// What it serves.
        variation: VariantKey,
    },
    /// The page size is 0 or above the limit.
    #[error("a page has 1 to {max} entries, not {limit}")]
    InvalidLimit {
        /// The size asked for.
        limit: u32,
        /// The largest size.
        max: u32,
    },
    /// Webhooks may not be sent there.
    #[error("webhooks cannot be sent to {url}")]
    BlockedTarget {
        /// The address, without user name and password.
        url: String,
        /// Why not.
        source: BlockedTarget,
    },
    /// A webhook secret is not of the form `whsec_…` with 24 to 64 bytes in base64.
    #[error("a webhook secret is whsec_ and 24 to 64 bytes in base64")]
    InvalidSecret,
    /// The file was written by a newer version of the program.
    #[error(
        "the store {} has schema {found}, written by a newer version of experimently; this version knows schemas up to {known}; install the newer version or restore a backup",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The file cannot be opened or brought to the present schema.
    #[error("the store {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refused or did not answer; the same call may work later.
    #[error("the store cannot {action}")]
    Database {
        /// What was being done, such as `read a flag`.
        action: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
    /// A stored document does not read as what it should be.
    #[error("the stored {kind} {key} cannot be read")]
    Corrupt {
        /// What kind of object.
        kind: ObjectKind,
        /// Its key or id.
        key: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client for webhooks cannot be made.
    #[error("the client for webhooks cannot be made")]
    HttpClient {
        /// Why not.
        source: reqwest::Error,
    },
}

impl ControlError {
    /// Whether the store itself is away or overloaded, so that the same call may work later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Database { .. })
    }
}
