//! The definitions kept on disk, so that a restart without the store serves what was served before.
//!
//! One file of two lines: a head with the format, the time and a checksum, then the definitions. It is written beside
//! itself, synced, renamed and synced again: whoever reads finds the old one or the new one, whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use domain::Timestamp;
use domain::rules::definition::Definitions;
use serde::{Deserialize, Serialize};

/// The format that this program writes; it reads all up to it.
const FORMAT: u32 = 1;

/// Definitions as they were kept.
#[derive(Debug)]
pub struct Kept {
    /// The definitions that could be read.
    pub definitions: Definitions,
    /// When they were kept.
    pub kept_at: Timestamp,
}

/// Why a file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A newer program wrote the file.
    #[error("{} has format {found}; this program reads formats up to {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    kept_at: Timestamp,
    crc32: u32,
}

/// Writes definitions, given as JSON, over what is in the file; they are durable when this returns.
///
/// # Errors
/// [`KeptError::File`]; the file then holds what it held before.
pub fn write(path: &Path, definitions: &[u8], kept_at: Timestamp) -> Result<(), KeptError> {
    let failed = |action| {
        move |source| KeptError::File {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let head = Head {
        format: FORMAT,
        kept_at,
        crc32: crc32fast::hash(definitions),
    };
    let mut text = serde_json::to_vec(&head).map_err(|error| failed("write")(error.into()))?;
    text.push(b'\n');
    let beside = path.with_added_extension("new");
    let mut file = private(&beside).map_err(failed("write"))?;
    file.write_all(&text).map_err(failed("write"))?;
    file.write_all(definitions).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    fs::rename(&beside, path).map_err(failed("replace"))?;
    // A rename is durable when the folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed("sync the folder of"))?;
    folder.sync_all().map_err(failed("sync the folder of"))
}

/// Definitions name users: the file is its owner's to read.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Reads what was kept; nothing when nothing was. A definition that this program does not understand is left out and
/// logged, the others are read.
///
/// # Errors
/// When the file is there and cannot be used.
pub fn read(path: &Path) -> Result<Option<Kept>, KeptError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeptError::File {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let damaged = |what: String| KeptError::Damaged {
        path: path.to_owned(),
        what,
    };
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (head, body) = bytes.split_at(end.ok_or_else(|| damaged("it has no head".to_owned()))?);
    let body = &body[1..];
    let head: Head = serde_json::from_slice(head).map_err(|error| damaged(error.to_string()))?;
    if head.format > FORMAT {
        return Err(KeptError::Newer {
            path: path.to_owned(),
            found: head.format,
        });
    }
    if head.crc32 != crc32fast::hash(body) {
        return Err(damaged("its checksum is another".to_owned()));
    }
    let document = serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
    let (definitions, errors) = Definitions::from_json_lenient(&document);
    for error in &errors {
        tracing::warn!(error = %error, "a definition that was kept is not understood and not served");
    }
    let kept_at = head.kept_at;
    Ok(Some(Kept { definitions, kept_at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions() -> Vec<u8> {
        let flag = serde_json::json!({"key": "f", "type": "boolean", "off_variation": "off",
            "default": {"variation": "off"}, "variations": [{"key": "off", "value": false}]});
        serde_json::to_vec(&serde_json::json!({"version": 7, "flags": [flag]})).unwrap()
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("ruleset.kept");
        assert!(read(&path).unwrap().is_none());
        for at in [1, 2] {
            write(&path, &definitions(), Timestamp(at * 1_000)).unwrap();
            let kept = read(&path).unwrap().unwrap();
            assert_eq!(
                (kept.kept_at, kept.definitions.version),
                (Timestamp(at * 1_000), 7)
            );
            assert_eq!(kept.definitions.flags.len(), 1);
        }
        // Nothing else stays in the folder.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_the_first_version_kept_is_still_read() {
        // What must never change: an update of the program serves what the program before it kept.
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/compat/ruleset-v1/ruleset.kept");
        let kept = read(&old).unwrap().unwrap();
        assert_eq!(kept.kept_at, Timestamp::parse("2026-01-31T12:00:00Z").unwrap());
        let ruleset = domain::rules::Ruleset::compile(&kept.definitions).unwrap();
        assert_eq!((ruleset.version(), ruleset.has_flag("new/checkout")), (7, true));
        assert_eq!(ruleset.experiment_keys().count(), 1);
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_refused() {
        // What must never change: half of the flags are never served as if they were all.
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("ruleset.kept");
        write(&path, &definitions(), Timestamp(0)).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(matches!(read(&path), Err(KeptError::Damaged { .. })), "{end}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let read = read(&path);
            let same_head = at < whole.iter().position(|byte| *byte == b'\n').unwrap();
            assert!(read.is_err() || same_head, "{at}");
        }
        let newer = String::from_utf8(whole)
            .unwrap()
            .replace("\"format\":1", "\"format\":2");
        fs::write(&path, newer).unwrap();
        assert!(matches!(read(&path), Err(KeptError::Newer { found: 2, .. })));
    }
}
