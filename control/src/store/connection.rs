//! Opening the file: how SQLite is set, which schemas are known, and what is refused.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};

use crate::error::ControlError;

/// The schemas that this program knows.
static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a connection waits for another process that writes: longer than any of our transactions takes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a caller waits for a free connection before it is told that the store is not available.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections for reading: more would wait for the same disk.
const READERS: u32 = 4;

/// Opens the one connection that writes and brings the schema up to date.
pub(super) async fn open_writer(path: &Path) -> Result<SqlitePool, ControlError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| unusable(path, source))?;
    }
    make_private(path).map_err(|source| unusable(path, source))?;
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options(path))
        .await
        .map_err(|source| unusable(path, source))?;
    refuse_newer(path, &pool).await?;
    MIGRATOR
        .run(&pool)
        .await
        .map_err(|source| unusable(path, source))?;
    Ok(pool)
}

/// Opens the connections that read.
pub(super) async fn open_readers(path: &Path) -> Result<SqlitePool, ControlError> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options(path).pragma("query_only", "ON"))
        .await
        .map_err(|source| unusable(path, source))
}

/// The connection that writes, made when it is used; the file and its schema are not touched before.
pub(super) fn writer_when_used(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(path).create_if_missing(false))
}

/// The connections that read, made when they are used.
pub(super) fn readers_when_used(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(path).create_if_missing(false).pragma("query_only", "ON"))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit that was answered survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Makes the file, when it is missing, such that nobody but its owner reads the secrets in it.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

async fn refuse_newer(path: &Path, pool: &SqlitePool) -> Result<(), ControlError> {
    let has_schema =
        sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'")
            .fetch_optional(pool)
            .await
            .map_err(|source| unusable(path, source))?;
    if has_schema.is_none() {
        return Ok(());
    }
    let found: i64 = sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|source| unusable(path, source))?;
    let known = MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    if found > known {
        let path = path.to_owned();
        return Err(ControlError::NewerSchema { path, found, known });
    }
    Ok(())
}

fn unusable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> ControlError {
    ControlError::Open {
        path: path.to_owned(),
        source: Box::new(source),
    }
}
