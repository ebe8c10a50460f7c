//! What can go wrong on the way in.

use std::path::{Path, PathBuf};

/// A failure of a source, the embedded log or the collector. A bad record is not an error but a
/// [`Rejection`](crate::Rejection).
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was being done, as a verb: `open`, `read`, `sync`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A compressed file is damaged or of another format than its name says.
    #[error("{path} is not valid {format} after {offset_bytes} decompressed bytes")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The format expected.
        format: &'static str,
        /// How far it could be read.
        offset_bytes: u64,
        /// What the decompressor says.
        #[source]
        source: std::io::Error,
    },
    /// A segment of the embedded log holds bytes that were never written by it, before its last record.
    #[error(
        "segment {path} of the embedded log is corrupt at byte {offset_bytes}; move it away to go on without its events"
    )]
    CorruptSegment {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins.
        offset_bytes: u64,
    },
    /// The embedded log holds as much uncommitted data as it may.
    #[error("the embedded log is full: {held_bytes} bytes wait to be committed")]
    LogFull {
        /// Bytes not yet committed.
        held_bytes: u64,
    },
    /// An earlier write or sync of the log failed, so that what is on disk is not known.
    #[error("the embedded log stopped after a failed write; restart to recover what is durable")]
    LogStopped,
    /// The disk that holds the embedded log is full; what was being appended is not in the log.
    #[error("no space is left on the disk of {path}; free some, and sending again will succeed")]
    DiskFull {
        /// The segment that could not grow.
        path: PathBuf,
    },
    /// Another process works in the folder.
    #[error("{path} is in use by another process; stop it or choose another folder")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Two inputs have one name and one first line, so that their positions could not be told apart.
    #[error("{first} and {second} have the same name and the same first line; leave one out or rename it")]
    SameInput {
        /// The input named first.
        first: PathBuf,
        /// The input named later.
        second: PathBuf,
    },
    /// The position of a partition is of another kind than the source's.
    #[error("partition {partition} cannot start at position {position}")]
    BadPosition {
        /// The partition.
        partition: domain::PartitionId,
        /// The position.
        position: domain::Position,
    },
    /// A remote stream did not answer as it should.
    #[error("{operation} on stream {stream} failed")]
    Remote {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// Whether trying again may help.
        transient: bool,
        /// What the client says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl IngestError {
    /// A failure of an operation on a file.
    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::LogFull { .. } | Self::DiskFull { .. } | Self::Remote { transient: true, .. }
        )
    }
}
