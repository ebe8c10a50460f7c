//! Files of one event a line: plain, gzip or zstd, one after another; `-` is standard input.
//!
//! A file is a partition, named after the file and its first line: a file that was replaced is another partition, one that
//! moved to another folder is the same. Positions are bytes of decompressed text. A finished file is not read again.
//! Reading and decompressing happen on a thread of their own, at most `BATCHES_AHEAD` batches ahead.

mod input;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use domain::{PartitionId, Position, Positions, Timestamp};
use tokio::sync::mpsc;

use self::input::Input;
use self::lines::LineBatches;
use crate::error::IngestError;
use crate::source::{RawBatch, Source, SourceEvent};

/// How many batches are read ahead: enough to keep reader and consumer busy, few enough to cost a few megabytes.
const BATCHES_AHEAD: usize = 4;

/// A source over a list of files.
pub struct FileSource {
    inputs: Vec<PathBuf>,
    received_at: Timestamp,
    batches: Option<mpsc::Receiver<Result<RawBatch, IngestError>>>,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
}

impl FileSource {
    /// A source over `inputs` in their order; `-` is standard input. Nothing is opened before [`Source::start`].
    ///
    /// All events carry `received_at` as the time at which they were received.
    pub fn new(inputs: Vec<PathBuf>, received_at: Timestamp) -> Self {
        Self {
            inputs,
            received_at,
            batches: None,
            bytes_read: Arc::default(),
            bytes_total: None,
        }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn start(&mut self, positions: &Positions) -> Result<(), IngestError> {
        let (paths, positions, read) = (
            self.inputs.clone(),
            positions.clone(),
            Arc::clone(&self.bytes_read),
        );
        // Opening reads and decompresses the first line of each file.
        let opened = tokio::task::spawn_blocking(move || open_all(&paths, &positions, &read)).await;
        let opened = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        self.bytes_total = total_bytes(&self.inputs);
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let received_at = self.received_at;
        std::thread::Builder::new()
            .name("file-source".into())
            .spawn(move || read_all(opened, received_at, &sender))
            .map_err(|source| IngestError::file("start reading", &PathBuf::new(), source))?;
        self.batches = Some(receiver);
        Ok(())
    }

    /// The next batch. After [`IngestError::Damaged`] the next call goes on with the next file.
    async fn next(&mut self) -> Result<SourceEvent, IngestError> {
        let Some(batches) = self.batches.as_mut() else {
            return Ok(SourceEvent::Finished);
        };
        match batches.recv().await {
            Some(batch) => batch.map(SourceEvent::Batch),
            None => Ok(SourceEvent::Finished),
        }
    }

    /// Files hold nothing back, so there is nothing to release.
    async fn committed(&mut self, _positions: &Positions) -> Result<(), IngestError> {
        Ok(())
    }

    fn progress(&self) -> Option<(u64, u64)> {
        let read = self.bytes_read.load(Ordering::Relaxed);
        // The beginning of a file that is taken up in its middle was counted twice.
        self.bytes_total.map(|total| (read.min(total), total))
    }
}

/// The stored size of all inputs, finished ones included; unknown with standard input among them.
fn total_bytes(inputs: &[PathBuf]) -> Option<u64> {
    inputs
        .iter()
        .map(|path| std::fs::metadata(path).ok().map(|data| data.len()))
        .sum()
}

/// One opened input and where reading begins.
struct Part {
    input: Input,
    partition: PartitionId,
    start: u64,
}

fn open_all(
    paths: &[PathBuf],
    positions: &Positions,
    read: &Arc<AtomicU64>,
) -> Result<Vec<Part>, IngestError> {
    let mut seen: HashMap<PartitionId, &PathBuf> = HashMap::new();
    let mut parts = Vec::new();
    for path in paths {
        let mut input = Input::open(path, Arc::clone(read))?;
        let partition = input.partition()?;
        if let Some(first) = seen.insert(partition.clone(), path) {
            return Err(IngestError::SameInput {
                first: first.clone(),
                second: path.clone(),
            });
        }
        let start = match positions.get(&partition) {
            // What standard input gave is gone, and what it gives now begins at its beginning.
            _ if input.is_standard_input() => 0,
            None => 0,
            Some(Position::Offset(offset)) => *offset,
            Some(Position::End) => {
                read.fetch_add(input.size_bytes().unwrap_or(0), Ordering::Relaxed);
                tracing::info!(path = %path.display(), "file was read to its end before");
                continue;
            }
            Some(position) => {
                return Err(IngestError::BadPosition {
                    partition,
                    position: position.clone(),
                });
            }
        };
        parts.push(Part {
            input,
            partition,
            start,
        });
    }
    Ok(parts)
}

/// Reads the files in order until they end or nobody listens any more.
fn read_all(parts: Vec<Part>, received_at: Timestamp, sender: &mpsc::Sender<Result<RawBatch, IngestError>>) {
    for Part {
        input,
        partition,
        start,
    } in parts
    {
        let mut batches = match LineBatches::new(input, partition, start, received_at) {
            Ok(batches) => batches,
            Err(error) => {
                if sender.blocking_send(Err(error)).is_err() {
                    return;
                }
                continue;
            }
        };
        while let Some(batch) = batches.next_batch() {
            let failed = batch.is_err();
            if sender.blocking_send(batch).is_err() {
                return;
            }
            if failed {
                break;
            }
        }
    }
}
