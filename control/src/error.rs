//! What can go wrong in this crate.

use std::path::PathBuf;

use domain::experiment::{ExperimentStatus, InvalidExperiment};
use domain::guardrail::InvalidGuardrail;
use domain::metric::InvalidMetric;
use domain::rollout::{InvalidRollout, RolloutStatus};
use domain::{ExperimentKey, FlagKey, RolloutScheduleKey, SegmentKey, VariantKey};

use crate::access::RefusedSignOn;
use crate::life_cycle::FailedCheck;
use crate::store::{AccountName, ObjectKind};
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
    /// The rollout schedule does not make sense.
    #[error(transparent)]
    InvalidRollout(#[from] InvalidRollout),
    /// A definition names another that does not exist.
    #[error("{kind} {key} does not exist; create it first")]
    UnknownReference {
        /// What kind of object is named.
        kind: ObjectKind,
        /// Its key.
        key: String,
    },
    /// An action that the status of an experiment does not allow.
    #[error("experiment {experiment} is {}; {action} is not allowed, only {allowed}", status.as_str())]
    NotAllowed {
        /// The experiment.
        experiment: ExperimentKey,
        /// Where it stands.
        status: ExperimentStatus,
        /// What was asked for.
        action: &'static str,
        /// What is allowed.
        allowed: String,
    },
    /// An experiment that cannot start as it is.
    #[error("experiment {experiment} cannot start: {}", failures.iter().map(|failed| failed.message.as_str()).collect::<Vec<_>>().join("; "))]
    CannotStart {
        /// The experiment.
        experiment: ExperimentKey,
        /// Every check that fails.
        failures: Vec<FailedCheck>,
    },
    /// An experiment that has started is not deleted.
    #[error("experiment {experiment} is {} and cannot be deleted, only a draft can; complete and archive it", status.as_str())]
    NotADraft {
        /// The experiment.
        experiment: ExperimentKey,
        /// Where it stands.
        status: ExperimentStatus,
    },
    /// A member of an experiment that is not written but made by an action.
    #[error("the {member} of experiment {experiment} cannot be written; {how}")]
    Managed {
        /// The experiment.
        experiment: ExperimentKey,
        /// The member.
        member: &'static str,
        /// What to do instead.
        how: &'static str,
    },
    /// A change of what is compared, after users were measured.
    #[error("experiment {experiment} is {}; {members} cannot change any more, clone it instead", status.as_str())]
    Frozen {
        /// The experiment.
        experiment: ExperimentKey,
        /// Where it stands.
        status: ExperimentStatus,
        /// What was to change, joined by commas.
        members: String,
    },
    /// The decision that an experiment is to be completed with does not make sense.
    #[error("the decision on experiment {experiment} is refused: {problem}")]
    BadDecision {
        /// The experiment.
        experiment: ExperimentKey,
        /// What is wrong.
        problem: &'static str,
    },
    /// A schedule is set on drafts and paused experiments only.
    #[error("experiment {experiment} is {}; a schedule is set on a draft or paused one", status.as_str())]
    ScheduleNotAllowed {
        /// The experiment.
        experiment: ExperimentKey,
        /// Where it stands.
        status: ExperimentStatus,
    },
    /// The times of a schedule do not make sense.
    #[error("the schedule of experiment {experiment} is refused: {problem}")]
    BadSchedule {
        /// The experiment.
        experiment: ExperimentKey,
        /// What is wrong.
        problem: &'static str,
    },
    /// An action that a rollout schedule does not allow now.
    #[error("rollout schedule {schedule} is {} and cannot be {action}, it can be {allowed}", status.as_str())]
    RolloutNotAllowed {
        /// The schedule.
        schedule: RolloutScheduleKey,
        /// Where it stands.
        status: RolloutStatus,
        /// What was asked for, as a participle.
        action: &'static str,
        /// What is allowed, as participles.
        allowed: &'static str,
    },
    /// A file of definitions cannot be taken.
    #[error("the definitions cannot be imported: {problem}")]
    BadBundle {
        /// What is wrong and where.
        problem: String,
    },
    /// A segment would get more ids than processes can hold.
    #[error("segment {segment} would have {count} ids; at most 10000000 fit")]
    TooManyIds {
        /// The segment.
        segment: SegmentKey,
        /// How many it would have.
        count: usize,
    },
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
    /// A key cannot be made or rotated as asked.
    #[error("the key is refused: {problem}")]
    InvalidKey {
        /// What is wrong.
        problem: &'static str,
    },
    /// A password is too short or too long.
    #[error("a password has {min} to {max} characters")]
    InvalidPassword {
        /// The fewest characters.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Nobody who can log in would be left to manage.
    #[error("{name} is the last administrator; make another one first")]
    LastAdmin {
        /// The account.
        name: AccountName,
    },
    /// A one-time link does not exist, has ended, or was used.
    #[error("the link was used or has ended; ask for another")]
    InvalidLink,
    /// The first administrator has to say under which name.
    #[error("the first administrator needs a name")]
    NameMissing,
    /// An object is to be shared with too many.
    #[error("an object is shared with at most {max} others")]
    TooManyEditors {
        /// The most.
        max: usize,
    },
    /// The name or the password is wrong; which one is not told.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// People do not log in by an identity provider here.
    #[error("no identity provider is set to log in by; people log in with name and password")]
    NoSignOn,
    /// A login shall end somewhere else than on this server.
    #[error("a login returns to a path of this server, such as /docs")]
    InvalidReturn,
    /// The identity provider does not answer, or not as one; the same may work later.
    #[error("the identity provider does not answer; those who are logged in stay so")]
    ProviderAway,
    /// A login by the identity provider is refused.
    #[error("the login is refused: {reason}")]
    SignOnRefused {
        /// Why.
        reason: RefusedSignOn,
    },
    /// Too many logins under a name failed.
    #[error("too many attempts failed; try again later")]
    LockedOut {
        /// When the next attempt is heard, in seconds.
        retry_after_seconds: u32,
    },
    /// The store was written by a newer version of the program.
    #[error(
        "the store {store} has schema {found}, written by a newer version of experimently; this version knows schemas up to {known}; install the newer version or restore a backup"
    )]
    NewerSchema {
        /// Where it is.
        store: String,
        /// Its schema.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The store cannot be opened or brought to the present schema.
    #[error("the store {store} cannot be opened")]
    Open {
        /// Where it is, without a password.
        store: String,
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
    /// A store in PostgreSQL was to be backed up as a file.
    #[error("a store in PostgreSQL is backed up by pg_dump and restored by pg_restore, not by experimently")]
    BackupOfPostgres,
    /// A text that the database cannot keep.
    #[error("a text has the character U+0000, which the store cannot keep, or is too long to be found by")]
    UnstorableText,
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
    /// The hash of an audit record is none.
    #[error("audit record {seq} has no hash")]
    BrokenChain {
        /// The record.
        seq: i64,
    },
    /// A file of the audit trail's checkpoints cannot be used.
    #[error("{} cannot be used", path.display())]
    CheckpointFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or folder of a backup cannot be used.
    #[error("{} cannot be used for a backup", path.display())]
    BackupFile {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process ends while the work goes on.
    #[error("the work was interrupted by the end of the process")]
    Interrupted,
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
        matches!(self, Self::Database { .. } | Self::Interrupted)
    }
}
