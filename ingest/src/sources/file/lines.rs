//! The text of one input cut into batches of whole lines.
//!
//! A line that is too long for a record is passed on by its head, which the decoder turns away; its rest is skipped
//! without being kept. Such a head ends its batch, so that the offsets of the lines after it are right.

use std::io::ErrorKind;

use domain::event::RECORD_MAX_BYTES;
use domain::{PartitionId, Position, Timestamp};

use super::input::Input;
use crate::error::IngestError;
use crate::source::{RAW_BATCH_MAX_BYTES, RawBatch, RecordLayout};

/// Reads batches of lines from an input.
pub(super) struct LineBatches {
    input: Input,
    partition: PartitionId,
    received_at: Timestamp,
    /// The beginning of a line whose end is not read yet.
    carried: Vec<u8>,
    /// The offset of the first byte carried: always the beginning of a line.
    offset: u64,
    finished: bool,
    failure: Option<IngestError>,
}

impl LineBatches {
    /// Begins at an offset of the decompressed text, which is the beginning of a line.
    pub(super) fn new(
        mut input: Input,
        partition: PartitionId,
        start: u64,
        received_at: Timestamp,
    ) -> Result<Self, IngestError> {
        let offset = input.skip_to(start)?;
        if offset < start {
            // The file has become shorter than what was read of it.
            return Err(IngestError::BadPosition {
                partition,
                position: Position::Offset(start),
            });
        }
        Ok(Self {
            input,
            partition,
            received_at,
            carried: Vec::new(),
            offset,
            finished: false,
            failure: None,
        })
    }

    /// The next batch. The last one ends at [`Position::End`]; nothing comes after it or after an error.
    pub(super) fn next_batch(&mut self) -> Option<Result<RawBatch, IngestError>> {
        if let Some(failure) = self.failure.take() {
            self.finished = true;
            return Some(Err(failure));
        }
        if self.finished {
            return None;
        }
        let mut buffer = std::mem::take(&mut self.carried);
        buffer.reserve_exact(RAW_BATCH_MAX_BYTES.saturating_sub(buffer.len()));
        let wanted = RAW_BATCH_MAX_BYTES.saturating_sub(buffer.len());
        match self.input.append_to(&mut buffer, wanted) {
            Ok(count) if count < wanted => {
                self.finished = true;
                return Some(Ok(self.batch(buffer, Position::End)));
            }
            Ok(_) => {}
            Err(error) => self.failure = Some(self.input.failure(error)),
        }
        match memchr::memrchr(b'\n', &buffer) {
            Some(last) => {
                self.carried = buffer.split_off(last + 1);
                let end = self.offset + buffer.len() as u64;
                Some(Ok(self.batch(buffer, Position::Offset(end))))
            }
            // A damaged input may have cut this line short, so it is no record.
            None if self.failure.is_some() => self.next_batch(),
            None => Some(Ok(self.head_of_long_line(buffer))),
        }
    }

    fn batch(&mut self, bytes: Vec<u8>, end: Position) -> RawBatch {
        let first_offset = self.offset;
        self.offset += bytes.len() as u64;
        RawBatch {
            partition: self.partition.clone(),
            bytes,
            records: RecordLayout::Lines { first_offset },
            end,
            received_at: self.received_at,
            live: false,
        }
    }

    /// A batch of one line that is longer than any record, by its head; the rest is skipped.
    fn head_of_long_line(&mut self, mut buffer: Vec<u8>) -> RawBatch {
        let mut length = buffer.len() as u64;
        buffer.truncate(RECORD_MAX_BYTES + 1);
        let mut scratch = vec![0; RECORD_MAX_BYTES];
        let end = loop {
            let count = match self.input.read_some(&mut scratch) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.failure = Some(self.input.failure(error));
                    // The line has no end, so the position stays before it.
                    return self.batch(Vec::new(), Position::Offset(self.offset));
                }
            };
            if count == 0 {
                self.finished = true;
                break Position::End;
            }
            if let Some(newline) = memchr::memchr(b'\n', &scratch[..count]) {
                self.carried = scratch[newline + 1..count].to_vec();
                length += newline as u64 + 1;
                break Position::Offset(self.offset + length);
            }
            length += count as u64;
        };
        let after = self.offset + length;
        let batch = self.batch(buffer, end);
        self.offset = after;
        batch
    }
}
