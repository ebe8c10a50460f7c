//! Backups of the store while it is written, and their way back.
//!
//! A backup is a folder with `control.db`, a whole database as of one instant, and `manifest.json`, which says of what and is
//! written last: a folder without it is no backup.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::Connection as _;

use super::{Store, StoreAddress, chain, connection, failed};
use crate::error::ControlError;

/// The form of manifests that this program writes and reads.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    /// The form of the manifest.
    pub format: u32,
    /// When the backup was made.
    pub made_at: Timestamp,
    /// The newest audit record in it.
    pub audit_seq: i64,
    /// The hash of that record, in hexadecimal.
    pub audit_hash: String,
    /// The size of the database.
    pub size_bytes: u64,
    /// The SHA-256 of the database, in hexadecimal.
    pub sha256: String,
}

impl Store {
    /// Writes a backup into a folder that is empty or does not exist. Writers go on as soon as the database is copied, and
    /// readers are not held up at all.
    ///
    /// # Errors
    /// [`ControlError::BackupFile`] when the folder holds a backup already or cannot be written,
    /// [`ControlError::BackupOfPostgres`] when the store is in no file.
    pub async fn backup(&self, folder: &Path, at: Timestamp) -> Result<BackupManifest, ControlError> {
        if let StoreAddress::Postgres(_) = &self.shared.address {
            return Err(ControlError::BackupOfPostgres);
        }
        let database = folder.join("control.db");
        std::fs::create_dir_all(folder).map_err(unusable(folder))?;
        if database.exists() {
            let what = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "there is a backup in it");
            return Err(unusable(folder)(what));
        }
        let text = database.to_str().ok_or_else(|| {
            let what = std::io::Error::new(std::io::ErrorKind::InvalidInput, "its name is not UTF-8");
            unusable(folder)(what)
        })?;
        sqlx::query("VACUUM INTO $1")
            .bind(text)
            .execute(&self.shared.writer)
            .await
            .map_err(failed("write a backup"))?;
        make_private(&database).map_err(unusable(&database))?;
        // Out of the copy itself: the store has moved on meanwhile.
        let mut copy = connection::open_copy(&database).await?;
        let head = chain::head(&mut copy).await?;
        copy.close().await.map_err(failed("close a backup"))?;
        let (size_bytes, sha256) = fingerprint(&database).map_err(unusable(&database))?;
        let manifest = BackupManifest {
            format: FORMAT,
            made_at: at,
            audit_seq: head.seq,
            audit_hash: head.hex(),
            size_bytes,
            sha256,
        };
        let place = folder.join("manifest.json");
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| unusable(&place)(error.into()))?;
        write_whole(&place, &text).map_err(unusable(&place))?;
        Ok(manifest)
    }
}

/// Puts the database of a backup at a path where there is none yet.
///
/// # Errors
/// [`ControlError::BackupFile`] when there is a store at the path, or the backup is not what its manifest says.
pub fn restore(folder: &Path, to: &Path) -> Result<BackupManifest, ControlError> {
    let place = folder.join("manifest.json");
    let text = std::fs::read(&place).map_err(unusable(&place))?;
    let manifest: BackupManifest =
        serde_json::from_slice(&text).map_err(|error| unusable(&place)(error.into()))?;
    let database = folder.join("control.db");
    let (size_bytes, sha256) = fingerprint(&database).map_err(unusable(&database))?;
    let is_whole = (size_bytes, &sha256) == (manifest.size_bytes, &manifest.sha256);
    if manifest.format != FORMAT || !is_whole {
        let what = std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "it is not what the manifest says",
        );
        return Err(unusable(&database)(what));
    }
    if to.exists() {
        let what = std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "there is a store; stop the server and move it away first",
        );
        return Err(unusable(to)(what));
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(unusable(parent))?;
    }
    // Whole or not at all: a copy that was cut off must not look like a store.
    let part = to.with_extension("restoring");
    let copied = std::fs::copy(&database, &part)
        .and_then(|_| make_private(&part))
        .and_then(|()| std::fs::rename(&part, to));
    copied.map_err(unusable(to))?;
    Ok(manifest)
}

fn fingerprint(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size_bytes = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        size_bytes += length as u64;
        hash.update(&buffer[..length]);
    }
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((size_bytes, hex))
}

/// Makes a file its owner's alone, and durable.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.sync_all()
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part: PathBuf = path.with_extension("part");
    std::fs::write(&part, bytes)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, path)
}

fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> ControlError + use<> {
    let path = path.to_owned();
    move |source| ControlError::BackupFile { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{PublicKey, verify};
    use crate::test_support::{Backend, anna, flag, flag_key, instant, open, run_on};
    use domain::rules::definition::FlagDefinition;

    async fn in_a_file() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("control.db")).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_store_in_postgres_says_how_it_is_backed_up() {
        let scenario = async {
            let (place, store) = open().await;
            let backup = place.folder().join("backup");
            let error = store.backup(&backup, instant(9)).await.unwrap_err();
            assert!(
                error.to_string().contains("pg_dump") && !backup.exists(),
                "{error}"
            );
        };
        run_on(Backend::Postgres, scenario).await;
    }

    #[tokio::test]
    async fn a_backup_made_under_writes_is_whole_and_as_of_one_instant() {
        // What must never change: a backup has every write that was acknowledged before it began, and no half of one.
        let (folder, store) = in_a_file().await;
        store.create(&flag(), &anna(1)).await.unwrap();
        let writer = {
            let store = store.clone();
            tokio::spawn(async move {
                let mut version = 1;
                while store.update(&flag(), version, &anna(version)).await.is_ok() {
                    version += 1;
                }
            })
        };
        for round in 0..4 {
            let acknowledged = store.get::<FlagDefinition>(&flag_key()).await.unwrap().version;
            let backup = folder.path().join(format!("backup{round}"));
            let manifest = store.backup(&backup, instant(9)).await.unwrap();
            assert!(manifest.audit_seq >= acknowledged);
            let place = folder.path().join(format!("restored{round}")).join("control.db");
            assert_eq!(restore(&backup, &place).unwrap(), manifest);
            let restored = Store::open(&place).await.unwrap();
            let version = restored.get::<FlagDefinition>(&flag_key()).await.unwrap().version;
            assert_eq!(version, manifest.audit_seq, "each version has its audit record");
            let head = restored.audit_head().await.unwrap();
            assert_eq!(
                (head.seq, head.hex()),
                (manifest.audit_seq, manifest.audit_hash.clone())
            );
            assert!(matches!(
                store.backup(&backup, instant(9)).await,
                Err(ControlError::BackupFile { .. })
            ));
            assert!(matches!(
                restore(&backup, &place),
                Err(ControlError::BackupFile { .. })
            ));
        }
        let key_file = folder.path().join("public-key");
        std::fs::write(&key_file, "0".repeat(64)).unwrap();
        let key = PublicKey::read(&key_file).unwrap();
        let restored = Store::open(&folder.path().join("restored3/control.db"))
            .await
            .unwrap();
        assert!(verify(&restored, &[], &key).await.unwrap().is_ok());
        store.close().await;
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_backup_that_was_changed_is_not_restored() {
        let (folder, store) = in_a_file().await;
        store.create(&flag(), &anna(1)).await.unwrap();
        let backup = folder.path().join("backup");
        store.backup(&backup, instant(9)).await.unwrap();
        let database = backup.join("control.db");
        let mut bytes = std::fs::read(&database).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&database, bytes).unwrap();
        let place = folder.path().join("restored.db");
        assert!(matches!(
            restore(&backup, &place),
            Err(ControlError::BackupFile { .. })
        ));
        assert!(!place.exists());
        std::fs::remove_file(backup.join("manifest.json")).unwrap();
        assert!(matches!(
            restore(&backup, &place),
            Err(ControlError::BackupFile { .. })
        ));
    }
}
