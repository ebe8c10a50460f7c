//! What a log finds on disk when it is opened: which segments there are, and where the last whole frame ends.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::disk::sync_parent;
use super::frame::{
    FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, base_of, proves_durable, read_header,
    segment_header, segment_path,
};
use crate::error::IngestError;

/// What was found and mended when a log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// The offset of the oldest byte held.
    pub first_offset: u64,
    /// The offset after the newest byte held.
    pub end_offset: u64,
    /// The number of segments.
    pub segment_count: usize,
    /// Bytes of a frame that a crash had left unfinished, which were cut off. None of it had been acknowledged.
    pub cut_bytes: u64,
}

/// The segments of a folder, and the place in the last one at which writing goes on.
pub(crate) struct Recovered {
    pub(crate) bases: Vec<u64>,
    pub(crate) end: u64,
    /// The size of the last segment's file.
    pub(crate) file_bytes: u64,
    pub(crate) cut_bytes: u64,
}

/// Looks through a folder; nothing when it holds no segment.
pub(crate) fn recover(folder: &Path) -> Result<Option<Recovered>, IngestError> {
    let mut bases = list(folder)?;
    let mut cut_bytes = 0;
    while let Some(&base) = bases.last() {
        let path = segment_path(folder, base);
        let size = std::fs::metadata(&path)
            .map_err(|source| IngestError::file("read", &path, source))?
            .len();
        if size <= SEGMENT_HEADER_BYTES as u64 && !has_header(&path, base)? {
            // The crash came before the segment was born: no frame can have been written to it.
            std::fs::remove_file(&path)
                .and_then(|()| sync_parent(&path))
                .map_err(|source| IngestError::file("remove", &path, source))?;
            cut_bytes += size;
            bases.pop();
            continue;
        }
        let (file_bytes, end) = scan(&path, base)?;
        if file_bytes < size {
            cut(&path, file_bytes)?;
            cut_bytes += size - file_bytes;
        }
        return Ok(Some(Recovered {
            bases,
            end,
            file_bytes,
            cut_bytes,
        }));
    }
    Ok(None)
}

fn list(folder: &Path) -> Result<Vec<u64>, IngestError> {
    let failed = |source| IngestError::file("list", folder, source);
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        bases.extend(base_of(&entry.map_err(failed)?.path()));
    }
    bases.sort_unstable();
    Ok(bases)
}

fn cut(path: &Path, size: u64) -> Result<(), IngestError> {
    let file = File::options()
        .write(true)
        .open(path)
        .map_err(|source| IngestError::file("open", path, source))?;
    file.set_len(size)
        .and_then(|()| file.sync_all())
        .map_err(|source| IngestError::file("cut", path, source))
}

fn has_header(path: &Path, base: u64) -> Result<bool, IngestError> {
    let mut header = Vec::new();
    let file = File::open(path).map_err(|source| IngestError::file("open", path, source))?;
    file.take(SEGMENT_HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(|source| IngestError::file("read", path, source))?;
    Ok(header == segment_header(base))
}

/// Reads the last segment to its last whole frame; gives the size up to there and the offset after it.
fn scan(path: &Path, base: u64) -> Result<(u64, u64), IngestError> {
    let mut reader = FrameReader::open(path, base)?;
    loop {
        match reader.read()? {
            Found::Frame(_) => {}
            Found::End => return Ok((reader.place, reader.offset)),
            Found::Bad => break,
        }
    }
    // A frame that is not whole was either torn by a crash, or was damaged later: then a frame after it tells that it had
    // been durable once.
    let rest = reader.rest()?;
    if proves_durable(&rest, reader.offset) {
        return Err(reader.corrupt());
    }
    Ok((reader.place, reader.offset))
}

/// What stands at a place in a segment.
pub(crate) enum Found {
    /// A whole frame; its payload is in [`FrameReader::payload`].
    Frame(FrameHeader),
    /// The end of the file.
    End,
    /// Something that is no whole frame.
    Bad,
}

/// Reads the frames of one segment in order, checking each.
pub(crate) struct FrameReader {
    path: PathBuf,
    file: BufReader<File>,
    /// The place in the file after the last whole frame.
    pub(crate) place: u64,
    /// The offset after the last whole frame.
    pub(crate) offset: u64,
    /// The payload of the last whole frame.
    pub(crate) payload: Vec<u8>,
}

/// Small frames are read many at a time.
const READ_BYTES: usize = 128 * 1024;

impl FrameReader {
    pub(crate) fn open(path: &Path, base: u64) -> Result<Self, IngestError> {
        if !has_header(path, base)? {
            return Err(IngestError::CorruptSegment {
                path: path.to_path_buf(),
                offset_bytes: 0,
            });
        }
        let place = SEGMENT_HEADER_BYTES as u64;
        let mut file = File::open(path).map_err(|source| IngestError::file("open", path, source))?;
        file.seek(SeekFrom::Start(place))
            .map_err(|source| IngestError::file("read", path, source))?;
        let file = BufReader::with_capacity(READ_BYTES, file);
        Ok(Self {
            path: path.to_path_buf(),
            file,
            place,
            offset: base,
            payload: Vec::new(),
        })
    }

    /// Reads the next frame. After anything but a frame, the same place is read again the next time.
    pub(crate) fn read(&mut self) -> Result<Found, IngestError> {
        let mut raw = [0; FRAME_HEADER_BYTES];
        let got = self.fill(&mut raw)?;
        let found = match read_header(&raw) {
            _ if got == 0 => Found::End,
            Some(header) if got == FRAME_HEADER_BYTES && header.offset == self.offset => {
                let mut payload = std::mem::take(&mut self.payload);
                payload.clear();
                let length = u64::from(header.length);
                self.file
                    .by_ref()
                    .take(length)
                    .read_to_end(&mut payload)
                    .map_err(|source| self.failed(source))?;
                let whole = payload.len() as u64 == length && header.matches(&raw, &payload);
                self.payload = payload;
                if whole { Found::Frame(header) } else { Found::Bad }
            }
            _ => Found::Bad,
        };
        match &found {
            Found::Frame(header) => {
                self.place += header.stored_bytes();
                self.offset = header.end();
            }
            Found::End | Found::Bad => self.forget_read_ahead()?,
        }
        Ok(found)
    }

    /// Drops what was read ahead of the last whole frame, because the writer may have changed it since.
    pub(crate) fn forget_read_ahead(&mut self) -> Result<(), IngestError> {
        self.file
            .seek(SeekFrom::Start(self.place))
            .map(drop)
            .map_err(|source| self.failed(source))
    }

    fn fill(&mut self, raw: &mut [u8]) -> Result<usize, IngestError> {
        let mut got = 0;
        while got < raw.len() {
            match self.file.read(&mut raw[got..]) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(got)
    }

    fn rest(&mut self) -> Result<Vec<u8>, IngestError> {
        let mut rest = Vec::new();
        self.file
            .read_to_end(&mut rest)
            .map_err(|source| self.failed(source))?;
        Ok(rest)
    }

    fn failed(&self, source: std::io::Error) -> IngestError {
        IngestError::file("read", &self.path, source)
    }

    pub(crate) fn corrupt(&self) -> IngestError {
        IngestError::CorruptSegment {
            path: self.path.clone(),
            offset_bytes: self.place,
        }
    }
}
