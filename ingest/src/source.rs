//! The one way in: what a source of records promises, whatever it reads from.

use async_trait::async_trait;
use domain::{PartitionId, Position, Positions, Timestamp};

use crate::error::IngestError;

/// One record as it came: a range of [`RawBatch::bytes`] and the place it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRecord {
    /// The first byte in the batch's bytes.
    pub start: u32,
    /// The number of bytes.
    pub length: u32,
    /// Why the source could not open the record (a damaged compression, a bomb); `None` for a record to be decoded.
    ///
    /// The decoder must not look into such a record: it becomes a dead letter as it is, with
    /// [`domain::RejectReason::Undecodable`] and this text as its detail.
    pub undecodable: Option<String>,
}

/// Consecutive records of one partition, not yet decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct RawBatch {
    /// Where they come from.
    pub partition: PartitionId,
    /// The bytes of all records; at most [`crate::source::RAW_BATCH_MAX_BYTES`] and one record.
    pub bytes: Vec<u8>,
    /// Where the records lie and where each came from, for dead letters.
    pub records: RecordLayout,
    /// Everything up to here is in this batch or in an earlier one.
    pub end: Position,
    /// When the platform received them, for sources that know it once a batch.
    pub received_at: Timestamp,
    /// Whether event times are checked against the clock: live sources do, history is taken as it is.
    pub live: bool,
}

/// How the records lie in a batch's bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordLayout {
    /// One record a line; the bytes start at this offset of the partition, which positions are counted from.
    Lines {
        /// The offset of the first byte in the partition.
        first_offset: u64,
    },
    /// Listed one by one, each with its position as text.
    Listed(Vec<(RawRecord, String)>),
}

/// The size at which a source closes a batch: large enough to make the cost per batch vanish, small enough that a dozen
/// batches in flight stay a small part of memory.
pub const RAW_BATCH_MAX_BYTES: usize = 1024 * 1024;

/// What a source answers when asked for more.
#[derive(Debug)]
pub enum SourceEvent {
    /// Records.
    Batch(RawBatch),
    /// Nothing new now; a live source waited a moment before it said so.
    Idle,
    /// Nothing more will ever come.
    Finished,
}

/// A set of partitions, each an ordered log of positions.
///
/// **Order of calls.** [`Source::start`] once, before anything else, with the positions of the last commit; then
/// [`Source::next`] again and again, with [`Source::committed`] in between whenever a commit became true. The source must
/// give, for each partition, exactly the records after its position, in order, each once.
///
/// **Durability.** Nothing is acknowledged to the outside, released or deleted before `committed` names a position at or
/// after it. What `next` has given is not durable: after a crash the source starts from the last committed positions and
/// gives the rest again, and this is the only repetition there is.
///
/// **Retries.** `next` may be called again after an error that [`IngestError::is_transient`]; it then goes on where it was.
/// `committed` may be called again with the same positions and does nothing the second time. Dropping the future of `next`
/// before it answers loses no record.
#[async_trait]
pub trait Source: Send {
    /// Takes up reading after the given positions; partitions not named start from their beginning.
    async fn start(&mut self, positions: &Positions) -> Result<(), IngestError>;

    /// Gives the next records of any partition, or says that there are none now, or never again.
    async fn next(&mut self) -> Result<SourceEvent, IngestError>;

    /// Learns that everything up to `positions` is committed, and releases what it held for them.
    async fn committed(&mut self, positions: &Positions) -> Result<(), IngestError>;

    /// How far reading has come, in bytes of bytes in all, where the source knows; for progress bars.
    fn progress(&self) -> Option<(u64, u64)> {
        None
    }
}
