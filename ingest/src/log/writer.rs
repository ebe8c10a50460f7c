//! The one thread that writes the log: it takes all appends that wait, writes them, syncs once, then answers them.
//!
//! What is on disk after a failed sync is not known, so the writer never tries one twice: it stops. A full disk is another
//! matter: the file is cut back to its last whole frame, the appends are refused, and the next ones find out whether there is space again.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, SegmentFile};
use super::frame::{segment_header, segment_path, write_frame};
use super::{Frame, Shared};
use crate::error::IngestError;
use crate::metrics;

/// At most so many bytes are written before a sync: a group must not delay its first member for long.
const GROUP_MAX_BYTES: usize = 8 * 1024 * 1024;
/// A write buffer that grew beyond this for one large group is given back.
const BUFFER_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// What the writer is asked to do.
pub(crate) enum Request {
    /// Append a frame, and answer with the offset after it.
    Append {
        frame: Frame,
        answer: oneshot::Sender<Result<u64, IngestError>>,
    },
    /// Go on at a later offset, when the log is empty.
    Advance {
        offset: u64,
        answer: oneshot::Sender<Result<(), IngestError>>,
    },
    /// Write to another segment from now on.
    StartSegment {
        answer: oneshot::Sender<Result<(), IngestError>>,
    },
}

/// The state of the writing thread.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) file: Box<dyn SegmentFile>,
    /// The base of the segment that is written.
    pub(crate) base: u64,
    /// The offset after the last durable frame.
    pub(crate) end: u64,
    /// The size of the segment's file up to there.
    pub(crate) file_bytes: u64,
    pub(crate) buffer: Vec<u8>,
}

type Waiting = (Frame, oneshot::Sender<Result<u64, IngestError>>);

impl Writer {
    /// Serves requests until nobody can send any more.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group: Vec<Waiting> = Vec::new();
        while let Some(first) = requests.blocking_recv() {
            let mut next = Some(first);
            let mut group_bytes = 0;
            while let Some(request) = next.take() {
                match request {
                    Request::Append { frame, answer } => {
                        group_bytes += frame.records.len();
                        group.push((frame, answer));
                    }
                    Request::Advance { offset, answer } => {
                        self.commit(&mut group);
                        // A caller that has gone away needs no answer.
                        let _ = answer.send(self.advance(offset));
                    }
                    Request::StartSegment { answer } => {
                        self.commit(&mut group);
                        // As above.
                        let _ = answer.send(self.start_segment());
                    }
                }
                if group_bytes < GROUP_MAX_BYTES {
                    next = requests.try_recv().ok();
                }
            }
            self.commit(&mut group);
        }
    }

    /// Writes and syncs a group, and answers each of its members.
    fn commit(&mut self, group: &mut Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let outcome = self.write(group);
        let mut offset = self.end;
        if outcome.is_ok() {
            self.end += group
                .iter()
                .map(|(frame, _)| frame.records.len() as u64)
                .sum::<u64>();
            self.shared.durable.send_replace(self.end);
        }
        for (frame, answer) in group.drain(..) {
            let size = frame.records.len() as u64;
            let reply = match &outcome {
                Ok(()) => {
                    offset += size;
                    Ok(offset)
                }
                Err(failure) => {
                    self.shared.taken.fetch_sub(size, Ordering::AcqRel);
                    Err(failure.for_caller())
                }
            };
            // A caller that has gone away may send its events again; their ids make that harmless.
            let _ = answer.send(reply);
        }
        metrics::log_held_bytes(self.shared.held_bytes());
    }

    fn write(&mut self, group: &[Waiting]) -> Result<(), Failure> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(Failure::Stopped);
        }
        if self.file_bytes >= self.shared.settings.segment_bytes {
            self.roll(self.end)?;
        }
        self.buffer.clear();
        let mut offset = self.end;
        for (frame, _) in group {
            write_frame(
                &mut self.buffer,
                &frame.records,
                frame.record_count,
                frame.received_at,
                offset,
                self.end,
            );
            offset += frame.records.len() as u64;
        }
        if let Err(error) = self.file.append(&self.buffer) {
            return Err(self.append_failed(&error));
        }
        let begun = std::time::Instant::now();
        if let Err(error) = self.file.sync() {
            return Err(self.stop("sync", &error));
        }
        metrics::log_synced(begun.elapsed(), group.len());
        self.file_bytes += self.buffer.len() as u64;
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Cuts back what a failed write left, if the disk is merely full.
    fn append_failed(&mut self, error: &std::io::Error) -> Failure {
        if !is_disk_full(error) {
            return self.stop("write", error);
        }
        if let Err(cut_error) = self.file.truncate(self.file_bytes) {
            return self.stop("cut", &cut_error);
        }
        self.disk_full()
    }

    fn disk_full(&self) -> Failure {
        let path = segment_path(&self.shared.folder, self.base);
        tracing::warn!(path = %path.display(), "the disk of the embedded log is full, events are refused");
        Failure::DiskFull(path)
    }

    /// Closes the segment and begins another at an offset.
    fn roll(&mut self, base: u64) -> Result<(), Failure> {
        let path = segment_path(&self.shared.folder, base);
        let header = segment_header(base);
        match self.disk.create(&path, &header) {
            Ok(file) => self.file = file,
            Err(error) if is_disk_full(&error) => return Err(self.disk_full()),
            Err(error) => return Err(self.stop("create", &error)),
        }
        self.base = base;
        self.file_bytes = header.len() as u64;
        self.shared.lock_segments().push(base);
        Ok(())
    }

    fn advance(&mut self, offset: u64) -> Result<(), IngestError> {
        let first = self.shared.first_offset();
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(IngestError::LogStopped);
        }
        if offset <= self.end || first != self.end {
            return Ok(());
        }
        self.roll(offset).map_err(|failure| failure.for_caller())?;
        let distance = offset - self.end;
        self.end = offset;
        self.shared.taken.fetch_add(distance, Ordering::AcqRel);
        self.shared.released.store(offset, Ordering::Release);
        self.shared.durable.send_replace(offset);
        Ok(())
    }

    fn start_segment(&mut self) -> Result<(), IngestError> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(IngestError::LogStopped);
        }
        if self.base == self.end {
            return Ok(());
        }
        self.roll(self.end).map_err(|failure| failure.for_caller())
    }

    fn stop(&self, action: &'static str, error: &std::io::Error) -> Failure {
        let path = segment_path(&self.shared.folder, self.base);
        tracing::error!(path = %path.display(), action, %error, "the embedded log stopped, restart to recover");
        self.shared.stopped.store(true, Ordering::Release);
        Failure::Stopped
    }
}

/// Why a group was not written; every member gets the same answer.
enum Failure {
    DiskFull(std::path::PathBuf),
    Stopped,
}

impl Failure {
    fn for_caller(&self) -> IngestError {
        match self {
            Self::DiskFull(path) => IngestError::DiskFull { path: path.clone() },
            Self::Stopped => IngestError::LogStopped,
        }
    }
}

fn is_disk_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
