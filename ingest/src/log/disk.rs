//! The few operations on files that the log's promises rest on, behind a seam at which tests let each of them fail.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::path::Path;

/// A segment that is being written.
pub(crate) trait SegmentFile: Send {
    /// Writes at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes everything appended durable.
    fn sync(&mut self) -> Result<()>;
    /// Cuts the file to a size.
    fn truncate(&mut self, size_bytes: u64) -> Result<()>;
}

/// The folder of a log.
pub(crate) trait Disk: Send {
    /// Makes a segment with this content, durable together with its name. A failed one leaves no file behind.
    fn create(&mut self, path: &Path, content: &[u8]) -> Result<Box<dyn SegmentFile>>;
    /// Opens a segment to append to it.
    fn open(&mut self, path: &Path) -> Result<Box<dyn SegmentFile>>;
}

/// The operating system's files.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create(&mut self, path: &Path, content: &[u8]) -> Result<Box<dyn SegmentFile>> {
        let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_parent(path));
        if let Err(error) = written {
            std::fs::remove_file(path)?;
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn open(&mut self, path: &Path) -> Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }
}

impl SegmentFile for File {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, size_bytes: u64) -> Result<()> {
        self.set_len(size_bytes)
    }
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
