//! The embedded log: what HTTP brings in is durable here before it is acknowledged, and stays until it is committed.
//!
//! The log is one stream of bytes, records of one line each, in segment files of whole frames. Offsets count the bytes of
//! records only. An append is answered when its bytes are synced; all appends that wait share one sync. After a crash the
//! unfinished frame at the end is cut off; damage anywhere else is never passed over silently.

mod disk;
mod frame;
mod recovery;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use self::disk::{Disk, RealDisk};
pub use self::frame::FRAME_MAX_BYTES;
use self::frame::segment_header;
pub(crate) use self::frame::segment_path;
pub use self::recovery::RecoveryReport;
pub(crate) use self::recovery::{Found, FrameReader};
use self::writer::{Request, Writer};
use crate::error::IngestError;
use crate::lock::FolderLock;

/// How large the log and its files may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The size at which a segment is closed: space is given back by whole segments.
    pub segment_bytes: u64,
    /// How many bytes of records may wait for their commit before appends are refused.
    pub max_held_bytes: u64,
    /// How many appends may wait for the writer before the next ones wait outside.
    pub queue_length: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        // A gigabyte is an hour of 1 000 events a second; a segment of 64 MiB is a few seconds of the fastest input.
        Self {
            segment_bytes: 64 * 1024 * 1024,
            max_held_bytes: 1024 * 1024 * 1024,
            queue_length: 1024,
        }
    }
}

/// Records that are appended together: durable together, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When they were received.
    pub received_at: Timestamp,
    /// The records, one a line; the last line may lack its newline.
    pub records: Vec<u8>,
    /// Their number.
    pub record_count: u32,
}

/// A handle to an open log; clones are the same log. Dropping the last one waits for the appends under way.
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _lock: FolderLock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(Err(_)) = self.thread.take().map(std::thread::JoinHandle::join) {
            tracing::error!("the writer of the embedded log panicked");
        }
    }
}

/// What the writer, the appenders and the readers of a log know in common.
pub(crate) struct Shared {
    folder: PathBuf,
    settings: LogSettings,
    /// The base offsets of all segments, ascending; the last one is being written.
    segments: Mutex<Vec<u64>>,
    durable: watch::Sender<u64>,
    /// The offset after everything that was let into the queue.
    taken: AtomicU64,
    /// The offset up to which everything is committed.
    released: AtomicU64,
    stopped: AtomicBool,
}

impl Shared {
    fn lock_segments(&self) -> MutexGuard<'_, Vec<u64>> {
        // The list is whole at every moment, so a panic elsewhere does no harm to it.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_offset(&self) -> u64 {
        self.lock_segments().first().copied().unwrap_or(0)
    }

    fn held_bytes(&self) -> u64 {
        self.taken
            .load(Ordering::Acquire)
            .saturating_sub(self.released.load(Ordering::Acquire))
    }
}

impl EmbeddedLog {
    /// Opens the log of a folder, which is made if it is not there, and mends what a crash left.
    ///
    /// # Errors
    /// [`IngestError::Locked`] when another process has it open; [`IngestError::CorruptSegment`] when something else than
    /// the unfinished end is damaged.
    pub fn open(folder: &Path, settings: LogSettings) -> Result<(Self, RecoveryReport), IngestError> {
        Self::open_on(Box::new(RealDisk), folder, settings)
    }

    fn open_on(
        mut disk: Box<dyn Disk>,
        folder: &Path,
        settings: LogSettings,
    ) -> Result<(Self, RecoveryReport), IngestError> {
        let lock = FolderLock::acquire(folder)?;
        let (file, bases, end, file_bytes, cut_bytes) = match recovery::recover(folder)? {
            Some(found) => {
                let path = segment_path(folder, found.bases.last().copied().unwrap_or(0));
                let file = disk
                    .open(&path)
                    .map_err(|source| IngestError::file("open", &path, source))?;
                (file, found.bases, found.end, found.file_bytes, found.cut_bytes)
            }
            None => {
                let (path, header) = (segment_path(folder, 0), segment_header(0));
                let file = disk
                    .create(&path, &header)
                    .map_err(|source| IngestError::file("create", &path, source))?;
                (file, vec![0], 0, header.len() as u64, 0)
            }
        };
        let first = bases[0];
        let base = bases[bases.len() - 1];
        let report = RecoveryReport {
            first_offset: first,
            end_offset: end,
            segment_count: bases.len(),
            cut_bytes,
        };
        if cut_bytes > 0 {
            tracing::warn!(cut_bytes, folder = %folder.display(), "cut off an unfinished frame of the embedded log");
        }
        crate::metrics::log_recovered(cut_bytes);
        let shared = Arc::new(Shared {
            folder: folder.to_path_buf(),
            settings,
            segments: Mutex::new(bases),
            durable: watch::Sender::new(end),
            taken: AtomicU64::new(end),
            released: AtomicU64::new(first),
            stopped: AtomicBool::new(false),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            disk,
            file,
            base,
            end,
            file_bytes,
            buffer: Vec::new(),
        };
        let (sender, receiver) = mpsc::channel(settings.queue_length.max(1));
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(receiver))
            .map_err(|source| IngestError::file("start the writer of", folder, source))?;
        let inner = Inner {
            shared,
            requests: Some(sender),
            thread: Some(thread),
            _lock: lock,
        };
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            report,
        ))
    }

    /// Appends records, and gives the offset after them once they are durable.
    ///
    /// When the future is dropped before it answers, the records may be in the log or not.
    ///
    /// # Errors
    /// [`IngestError::LogFull`] and [`IngestError::DiskFull`] may pass; [`IngestError::LogStopped`] does not.
    ///
    /// # Panics
    /// When the records exceed [`FRAME_MAX_BYTES`].
    pub async fn append(&self, mut frame: Frame) -> Result<u64, IngestError> {
        if frame.records.last().is_some_and(|byte| *byte != b'\n') {
            frame.records.push(b'\n');
        }
        assert!(
            frame.records.len() <= FRAME_MAX_BYTES,
            "a frame has at most {FRAME_MAX_BYTES} bytes"
        );
        self.reserve(frame.records.len() as u64)?;
        let (answer, answered) = oneshot::channel();
        self.send(Request::Append { frame, answer }).await?;
        answered.await.unwrap_or(Err(IngestError::LogStopped))
    }

    /// Takes room for an append before it is queued, so that the limit holds however many wait.
    fn reserve(&self, size_bytes: u64) -> Result<(), IngestError> {
        let shared = &self.inner.shared;
        if shared.stopped.load(Ordering::Acquire) {
            return Err(IngestError::LogStopped);
        }
        shared.taken.fetch_add(size_bytes, Ordering::AcqRel);
        let held_bytes = shared.held_bytes();
        if held_bytes > shared.settings.max_held_bytes {
            shared.taken.fetch_sub(size_bytes, Ordering::AcqRel);
            return Err(IngestError::LogFull {
                held_bytes: held_bytes - size_bytes,
            });
        }
        Ok(())
    }

    async fn send(&self, request: Request) -> Result<(), IngestError> {
        let Some(requests) = &self.inner.requests else {
            return Err(IngestError::LogStopped);
        };
        requests
            .send(request)
            .await
            .map_err(|_closed| IngestError::LogStopped)
    }

    /// Learns that everything before an offset is committed: it no longer counts as held, and segments that lie wholly
    /// before it are deleted. Blocks for as long as deleting files takes.
    ///
    /// # Errors
    /// When a segment cannot be deleted; it is tried again the next time.
    pub fn release(&self, up_to: u64) -> Result<(), IngestError> {
        let shared = &self.inner.shared;
        shared
            .released
            .fetch_max(up_to.min(*shared.durable.borrow()), Ordering::AcqRel);
        crate::metrics::log_held_bytes(shared.held_bytes());
        let mut segments = shared.lock_segments();
        while segments.len() > 1 && segments[1] <= up_to {
            let path = segment_path(&shared.folder, segments[0]);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(IngestError::file("remove", &path, source)),
            }
            segments.remove(0);
        }
        Ok(())
    }

    /// Lets an empty log go on at a later offset, so that no offset that was committed once is used again. A log that holds
    /// records, or is already beyond the offset, stays as it is.
    ///
    /// # Errors
    /// When the new segment cannot be made.
    pub async fn advance(&self, offset: u64) -> Result<(), IngestError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Advance { offset, answer }).await?;
        answered.await.unwrap_or(Err(IngestError::LogStopped))
    }

    /// Writes to another segment from now on, so that the one before can be deleted as soon as it is released.
    ///
    /// # Errors
    /// When the new segment cannot be made.
    pub async fn start_segment(&self) -> Result<(), IngestError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::StartSegment { answer }).await?;
        answered.await.unwrap_or(Err(IngestError::LogStopped))
    }

    /// The offset of the oldest byte that is still on disk.
    pub fn first_offset(&self) -> u64 {
        self.inner.shared.first_offset()
    }

    /// The offset after the newest durable byte.
    pub fn durable_offset(&self) -> u64 {
        *self.inner.shared.durable.borrow()
    }

    /// Bytes of records that are not committed yet, those under way to the disk included.
    pub fn held_bytes(&self) -> u64 {
        self.inner.shared.held_bytes()
    }

    /// The offset before which everything is committed.
    pub fn released_offset(&self) -> u64 {
        self.inner.shared.released.load(Ordering::Acquire)
    }

    /// Whether the log takes appends; it does not after a failed write.
    pub fn is_writable(&self) -> bool {
        !self.inner.shared.stopped.load(Ordering::Acquire)
    }

    /// Follows the durable offset.
    pub(crate) fn watch_durable(&self) -> watch::Receiver<u64> {
        self.inner.shared.durable.subscribe()
    }

    /// The base of the segment that holds an offset and of the one after it. An offset before the first segment, or in a
    /// gap between two, is held by the next one.
    pub(crate) fn segment_at(&self, offset: u64) -> (u64, Option<u64>) {
        let segments = self.inner.shared.lock_segments();
        let after = segments.partition_point(|base| *base <= offset);
        let at = after.saturating_sub(1);
        (segments[at], segments.get(at + 1).copied())
    }

    pub(crate) fn segment_path(&self, base: u64) -> PathBuf {
        segment_path(&self.inner.shared.folder, base)
    }
}
