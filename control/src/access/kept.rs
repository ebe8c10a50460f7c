//! The keys kept on disk, so that a server that starts without its store knows those it knew before.
//!
//! The file holds what the store holds: digests of keys, from which no key can be found. Accounts and sessions are not kept,
//! because whoever logs in wants to change something, which needs the store.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The form of the file; a newer one is not read.
const FORMAT: u32 = 1;

/// What is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    format: u32,
    pub needs_login: bool,
    pub keys: Vec<KeptKey>,
}

/// A key that was not revoked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptKey {
    pub selector: String,
    pub digest: [u8; 32],
    pub scopes: u8,
    pub secret: bool,
    pub environment: Option<String>,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub expires_at: Option<i64>,
}

impl Kept {
    pub fn new(needs_login: bool, keys: Vec<KeptKey>) -> Self {
        Self {
            format: FORMAT,
            needs_login,
            keys,
        }
    }

    /// Writes it over what is in the file; it is durable when this returns.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_added_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // A rename is durable when the folder is.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Reads what was kept; nothing when nothing was.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kept: Self = serde_json::from_slice(&text)?;
        match kept.format {
            FORMAT => Ok(Some(kept)),
            other => Err(io::Error::other(format!(
                "it has form {other}, this program reads form {FORMAT}"
            ))),
        }
    }
}
