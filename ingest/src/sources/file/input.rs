//! One input opened: its decompression, its name as a partition, how much of it was read.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::PartitionId;

use crate::error::IngestError;

/// How much of the first line names a file: enough to hold an event's id and time.
const FIRST_LINE_MAX_BYTES: usize = 4 * 1024;
/// How much is read from the operating system at once.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "text",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// An opened file or standard input, read from its beginning.
pub(super) struct Input {
    path: PathBuf,
    format: Format,
    size_bytes: Option<u64>,
    read: Arc<AtomicU64>,
    reader: Box<dyn Read + Send>,
    /// What was read ahead of the caller, to name the partition.
    ahead: Cursor<Vec<u8>>,
    /// Decompressed bytes given out.
    offset: u64,
}

impl Input {
    /// Opens a path; `-` is standard input. Bytes read from it are added to `read`.
    pub(super) fn open(path: &Path, read: Arc<AtomicU64>) -> Result<Self, IngestError> {
        let (raw, size_bytes): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(std::io::stdin()), None)
        } else {
            let file = File::open(path).map_err(|source| IngestError::file("open", path, source))?;
            let size = file
                .metadata()
                .map_err(|source| IngestError::file("read", path, source))?
                .len();
            (Box::new(file), Some(size))
        };
        let counted = Counted {
            inner: raw,
            read: Arc::clone(&read),
        };
        let mut buffered = BufReader::with_capacity(READ_BYTES, counted);
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Format::Gzip,
            Some("zst") => Format::Zstd,
            _ if size_bytes.is_none() => sniff(&mut buffered, path)?,
            _ => Format::Plain,
        };
        let reader: Box<dyn Read + Send> = match format {
            Format::Plain => Box::new(buffered),
            Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
            Format::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(buffered);
                Box::new(decoder.map_err(|source| IngestError::file("open", path, source))?)
            }
        };
        let (path, ahead) = (path.to_path_buf(), Cursor::default());
        Ok(Self {
            path,
            format,
            size_bytes,
            read,
            reader,
            ahead,
            offset: 0,
        })
    }

    pub(super) fn is_standard_input(&self) -> bool {
        self.size_bytes.is_none()
    }

    /// The size of the file as it is stored; unknown for standard input.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// The partition that the input is: its name and a hash of its first line.
    ///
    /// A file that is damaged from the start on is named by what can be read of it.
    pub(super) fn partition(&mut self) -> Result<PartitionId, IngestError> {
        let mut head = Vec::with_capacity(FIRST_LINE_MAX_BYTES);
        while head.len() < FIRST_LINE_MAX_BYTES && !head.contains(&b'\n') {
            let wanted = (FIRST_LINE_MAX_BYTES - head.len()) as u64;
            match self.reader.by_ref().take(wanted).read_to_end(&mut head) {
                Ok(0) => break,
                Ok(_) => {}
                // It is told when the lines are read, after those that can be.
                Err(error) => {
                    self.reader = Box::new(Broken(Some(error)));
                    break;
                }
            }
        }
        let line = head
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(&head[..], |end| &head[..end]);
        let hash = xxhash_rust::xxh3::xxh3_64(line);
        let name = self
            .path
            .file_name()
            .map_or_else(|| "-".into(), |name| name.to_string_lossy());
        let partition = PartitionId(format!("file:{name}#{hash:016x}"));
        self.ahead = Cursor::new(head);
        Ok(partition)
    }

    /// Goes to a place in the decompressed text; gives the place reached, which is less when the text ends before it.
    pub(super) fn skip_to(&mut self, offset: u64) -> Result<u64, IngestError> {
        if self.format == Format::Plain && self.size_bytes.is_some() && offset > 0 {
            return self.seek_to(offset);
        }
        let mut scratch = vec![0; READ_BYTES];
        while self.offset < offset {
            let wanted = usize::try_from(offset - self.offset)
                .unwrap_or(READ_BYTES)
                .min(READ_BYTES);
            match self.read_some(&mut scratch[..wanted]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(source) => return Err(self.failure(source)),
            }
        }
        Ok(self.offset)
    }

    fn seek_to(&mut self, offset: u64) -> Result<u64, IngestError> {
        let open = || {
            let mut file = File::open(&self.path)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(offset.min(end)))?;
            Ok((file, offset.min(end)))
        };
        let (file, reached) = open().map_err(|source| IngestError::file("read", &self.path, source))?;
        // What the naming of the partition read is read no second time, in the count.
        self.read.fetch_add(reached, Ordering::Relaxed);
        let counted = Counted {
            inner: Box::new(file),
            read: Arc::clone(&self.read),
        };
        self.reader = Box::new(counted);
        self.ahead = Cursor::default();
        self.offset = reached;
        Ok(reached)
    }

    /// Appends up to `wanted` bytes to a buffer. Bytes read before a failure are in the buffer.
    pub(super) fn append_to(&mut self, buffer: &mut Vec<u8>, wanted: usize) -> std::io::Result<usize> {
        let before = buffer.len();
        let mut chained = (&mut self.ahead).chain(&mut self.reader);
        let outcome = (&mut chained).take(wanted as u64).read_to_end(buffer);
        self.offset += (buffer.len() - before) as u64;
        outcome
    }

    /// Reads into a slice; 0 at the end.
    pub(super) fn read_some(&mut self, slice: &mut [u8]) -> std::io::Result<usize> {
        let count = (&mut self.ahead).chain(&mut self.reader).read(slice)?;
        self.offset += count as u64;
        Ok(count)
    }

    /// The error that a failure of reading means for this input.
    pub(super) fn failure(&self, source: std::io::Error) -> IngestError {
        if self.format == Format::Plain {
            return IngestError::file("read", &self.path, source);
        }
        IngestError::Damaged {
            path: self.path.clone(),
            format: self.format.name(),
            offset_bytes: self.offset,
            source,
        }
    }
}

/// What standard input is compressed with, by its first bytes, for it has no name.
fn sniff(buffered: &mut impl BufRead, path: &Path) -> Result<Format, IngestError> {
    let head = buffered
        .fill_buf()
        .map_err(|source| IngestError::file("read", path, source))?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        _ => Format::Plain,
    })
}

/// A reader that has failed already.
struct Broken(Option<std::io::Error>);

impl Read for Broken {
    fn read(&mut self, _slice: &mut [u8]) -> std::io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| ErrorKind::UnexpectedEof.into()))
    }
}

/// Counts what is read from the operating system.
struct Counted {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, slice: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(slice)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
