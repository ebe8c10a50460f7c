//! One process per folder: a lock that ends with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::IngestError;

/// The file in the folder that carries the lock. It stays there; only the lock on it means something.
const LOCK_FILE: &str = "lock";

/// The right to work in a folder, held until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`IngestError::Locked`] when another process, or another part of this one, holds it.
    pub fn acquire(folder: &Path) -> Result<Self, IngestError> {
        std::fs::create_dir_all(folder).map_err(|source| IngestError::file("create", folder, source))?;
        let path = folder.join(LOCK_FILE);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = opened.map_err(|source| IngestError::file("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(IngestError::Locked {
                path: folder.to_path_buf(),
            }),
            Err(TryLockError::Error(source)) => Err(IngestError::file("lock", &path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        // What must never change: two writers never share a folder.
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(folder.path()).unwrap();
        let refused = FolderLock::acquire(folder.path()).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("is in use by another process; stop it or choose another folder")
        );
        drop(first);
        FolderLock::acquire(&folder.path().join("new")).unwrap();
        FolderLock::acquire(folder.path()).unwrap();
    }
}
