//! The embedded log as a source: partition `log:0`, positions are offsets of the log.
//!
//! It follows the writer and reads durable bytes only. What is committed is released, so that the log can forget it.

use std::time::Duration;

use async_trait::async_trait;
use domain::{PartitionId, Position, Positions, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::IngestError;
use crate::log::{EmbeddedLog, Found, FrameReader};
use crate::source::{RAW_BATCH_MAX_BYTES, RawBatch, RecordLayout, Source, SourceEvent};

/// The partition of the embedded log.
pub const LOG_PARTITION: &str = "log:0";
/// How long [`Source::next`] waits for new records before it says that there are none.
const IDLE_AFTER: Duration = Duration::from_millis(100);

/// A source over an embedded log. It never finishes.
///
/// It must be started before records are appended to a log whose folder was emptied while its commits were kept:
/// else the offsets of old and new records could not be told apart, and starting is refused.
pub struct LogSource {
    log: EmbeddedLog,
    durable: watch::Receiver<u64>,
    reader: Option<Reader>,
    reading: Option<JoinHandle<(Reader, Result<RawBatch, IngestError>)>>,
}

impl LogSource {
    /// A source over a log.
    pub fn new(log: EmbeddedLog) -> Self {
        let durable = log.watch_durable();
        Self {
            log,
            durable,
            reader: None,
            reading: None,
        }
    }

    async fn release(&self, positions: &Positions) -> Result<(), IngestError> {
        let Some(offset) = committed_offset(positions)? else {
            return Ok(());
        };
        let log = self.log.clone();
        let released = tokio::task::spawn_blocking(move || log.release(offset)).await;
        released.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

fn committed_offset(positions: &Positions) -> Result<Option<u64>, IngestError> {
    let partition = PartitionId(LOG_PARTITION.into());
    match positions.get(&partition) {
        None => Ok(None),
        Some(Position::Offset(offset)) => Ok(Some(*offset)),
        Some(position) => Err(IngestError::BadPosition {
            partition,
            position: position.clone(),
        }),
    }
}

#[async_trait]
impl Source for LogSource {
    async fn start(&mut self, positions: &Positions) -> Result<(), IngestError> {
        let committed = committed_offset(positions)?.unwrap_or(0);
        self.log.advance(committed).await?;
        if committed > self.log.durable_offset() {
            // The log holds records at offsets that were committed before, for other records.
            let partition = PartitionId(LOG_PARTITION.into());
            return Err(IngestError::BadPosition {
                partition,
                position: Position::Offset(committed),
            });
        }
        self.release(positions).await?;
        // A read under way from before belongs to other positions.
        self.reading = None;
        self.reader = Some(Reader::new(self.log.clone(), committed));
        Ok(())
    }

    async fn next(&mut self) -> Result<SourceEvent, IngestError> {
        loop {
            // A read under way outlives a dropped future, so that its records are given by the next call.
            if let Some(reading) = &mut self.reading {
                let outcome = reading.await;
                self.reading = None;
                let (reader, batch) =
                    outcome.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                self.reader = Some(reader);
                return batch.map(SourceEvent::Batch);
            }
            let durable = *self.durable.borrow_and_update();
            match self.reader.take_if(|reader| reader.offset < durable) {
                Some(mut reader) => {
                    self.reading = Some(tokio::task::spawn_blocking(move || {
                        let batch = reader.read(durable);
                        (reader, batch)
                    }));
                }
                None => match tokio::time::timeout(IDLE_AFTER, self.durable.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_closed)) => return Ok(SourceEvent::Finished),
                    Err(_elapsed) => return Ok(SourceEvent::Idle),
                },
            }
        }
    }

    async fn committed(&mut self, positions: &Positions) -> Result<(), IngestError> {
        self.release(positions).await
    }
}

/// Reads batches out of segment files.
struct Reader {
    log: EmbeddedLog,
    /// The offset of the next byte to give.
    offset: u64,
    /// What was durable when the reader last looked: bytes after it may still change on disk.
    durable: u64,
    segment: Option<(u64, FrameReader)>,
    /// The frame read last, of which not everything may be given yet.
    frame: Option<LoadedFrame>,
}

struct LoadedFrame {
    offset: u64,
    received_at: Timestamp,
    payload: Vec<u8>,
}

impl LoadedFrame {
    fn end(&self) -> u64 {
        self.offset + self.payload.len() as u64
    }
}

impl Reader {
    fn new(log: EmbeddedLog, offset: u64) -> Self {
        Self {
            log,
            offset,
            durable: offset,
            segment: None,
            frame: None,
        }
    }

    /// The records from the current offset on: of one frame, or of several that were received at the same time.
    fn read(&mut self, durable: u64) -> Result<RawBatch, IngestError> {
        if self.durable != durable {
            self.durable = durable;
            if let Some((_, reader)) = &mut self.segment {
                reader.forget_read_ahead()?;
            }
        }
        self.load(durable)?;
        let mut bytes = Vec::new();
        let first_offset = self.offset;
        let received_at = self
            .frame
            .as_ref()
            .map_or(Timestamp(0), |frame| frame.received_at);
        while let Some(frame) = &self.frame {
            if frame.received_at != received_at || self.offset != first_offset + bytes.len() as u64 {
                break;
            }
            let given = usize::try_from(self.offset - frame.offset).unwrap_or(usize::MAX);
            let rest = frame.payload.get(given..).unwrap_or_default();
            let piece = piece(
                rest,
                RAW_BATCH_MAX_BYTES.saturating_sub(bytes.len()),
                bytes.is_empty(),
            );
            bytes.extend_from_slice(piece);
            self.offset += piece.len() as u64;
            if piece.len() < rest.len() || self.offset >= durable {
                break;
            }
            self.load(durable)?;
        }
        Ok(RawBatch {
            partition: PartitionId(LOG_PARTITION.into()),
            bytes,
            records: RecordLayout::Lines { first_offset },
            end: Position::Offset(self.offset),
            received_at,
            live: true,
        })
    }

    /// Makes sure that the frame that holds the current offset is loaded.
    fn load(&mut self, durable: u64) -> Result<(), IngestError> {
        while self.frame.as_ref().is_none_or(|frame| frame.end() <= self.offset) && self.offset < durable {
            let (base, next) = self.log.segment_at(self.offset);
            if base > self.offset {
                self.skip_gap(base);
            }
            if self.segment.as_ref().is_none_or(|(open, _)| *open != base) {
                self.segment = Some((base, FrameReader::open(&self.log.segment_path(base), base)?));
            }
            let Some((_, reader)) = &mut self.segment else {
                continue;
            };
            match reader.read()? {
                Found::Frame(header) => {
                    let payload = std::mem::take(&mut reader.payload);
                    let (offset, received_at) = (header.offset, header.received_at);
                    self.frame = Some(LoadedFrame {
                        offset,
                        received_at,
                        payload,
                    });
                }
                // A segment that was moved away leaves a gap after the one before it.
                Found::End if next.is_some() => self.skip_gap(next.unwrap_or(self.offset)),
                Found::End | Found::Bad => {
                    crate::metrics::log_damaged();
                    return Err(reader.corrupt());
                }
            }
        }
        Ok(())
    }

    fn skip_gap(&mut self, to: u64) {
        tracing::warn!(
            from = self.offset,
            to,
            "a segment of the embedded log is missing, its events are skipped"
        );
        crate::metrics::log_damaged();
        self.offset = to;
    }
}

/// As many whole lines as fit into `room`; at least one when nothing else is there.
fn piece(rest: &[u8], room: usize, must_give: bool) -> &[u8] {
    if rest.len() <= room {
        return rest;
    }
    let fitting = memchr::memrchr(b'\n', &rest[..room]).map_or(0, |newline| newline + 1);
    if fitting > 0 || !must_give {
        return &rest[..fitting];
    }
    &rest[..memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1)]
}

#[cfg(test)]
mod tests;
