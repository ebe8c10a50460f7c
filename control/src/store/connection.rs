//! Opening the store: how connections are made, which schemas are known, and what is refused.

use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Row};
use url::Url;

use super::address::StoreAddress;
use super::database::Readers;
use super::dialect::{Dialect, newest_schema};
use super::{Store, failed};
use crate::error::ControlError;

/// How long a caller waits for a free connection before it is told that the store is not available.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The same on PostgreSQL, where it is also how long a server that refuses connections is tried.
const POSTGRES_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection to PostgreSQL may take to be made: a server that does not answer in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long bringing the schema up to date may take on PostgreSQL: another process may be at it. A file has no such
/// limit, as nobody but its disk can keep it.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections for reading: more would wait for the same disk.
const READERS: u32 = 4;

/// Makes the store when it is missing and brings its schema up to date.
pub(super) async fn prepare(address: &StoreAddress) -> Result<(), ControlError> {
    match address {
        StoreAddress::File(path) => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(unusable(address))?;
            }
            make_private(path).map_err(unusable(address))?;
            migrate(address).await
        }
        StoreAddress::Postgres(_) => tokio::time::timeout(PREPARE_TIMEOUT, migrate(address))
            .await
            .map_err(unusable(address))?,
    }
}

/// A connection that only reads the file of a backup.
pub(super) async fn open_copy(path: &Path) -> Result<AnyConnection, ControlError> {
    let address = StoreAddress::File(path.to_owned());
    let options = driver(&address)?;
    options.connect().await.map_err(unusable(&address))
}

/// The connection that writes, made when it is used.
pub(super) fn writer(address: &StoreAddress) -> Result<AnyPool, ControlError> {
    pool(address, 1, Dialect::of(address).writer_setup())
}

/// The connections that read, made when they are used.
pub(super) fn readers(address: &StoreAddress) -> Result<Readers, ControlError> {
    pool(address, READERS, Dialect::of(address).reader_setup()).map(Readers)
}

fn pool(address: &StoreAddress, size: u32, setup: &'static str) -> Result<AnyPool, ControlError> {
    let acquire_timeout = match address {
        StoreAddress::File(_) => ACQUIRE_TIMEOUT,
        StoreAddress::Postgres(_) => POSTGRES_ACQUIRE_TIMEOUT,
    };
    let options = AnyPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(acquire_timeout)
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(drop) })
        });
    Ok(options.connect_lazy_with(driver(address)?))
}

async fn migrate(address: &StoreAddress) -> Result<(), ControlError> {
    let dialect = Dialect::of(address);
    let options = driver(address)?;
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    let mut connection = connecting
        .map_err(unusable(address))?
        .map_err(unusable(address))?;
    sqlx::raw_sql(dialect.writer_setup())
        .execute(&mut connection)
        .await
        .map_err(unusable(address))?;
    match dialect.migrator().run_direct(None, &mut connection, false).await {
        Err(MigrateError::VersionMissing(version)) if version > newest_schema() => {
            let found = schema_of(&mut connection).await.map_err(unusable(address))?;
            let (store, known) = (address.to_string(), newest_schema());
            return Err(ControlError::NewerSchema { store, found, known });
        }
        other => other.map_err(unusable(address))?,
    }
    connection.close().await.map_err(unusable(address))
}

impl Store {
    /// The version of the schema that the store has.
    ///
    /// # Errors
    /// [`ControlError::Database`].
    pub async fn schema_version(&self) -> Result<i64, ControlError> {
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(self.readers())
            .await
            .map_err(failed("read the version of the schema"))?;
        row.try_get(0).map_err(failed("read the version of the schema"))
    }
}

async fn schema_of(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// The address in the form that the driver takes.
fn driver(address: &StoreAddress) -> Result<AnyConnectOptions, ControlError> {
    sqlx::any::install_default_drivers();
    let url = match address {
        StoreAddress::File(path) => file_url(path).map_err(unusable(address))?,
        StoreAddress::Postgres(postgres) => postgres.secret_url(),
    };
    AnyConnectOptions::from_url(&url).map_err(unusable(address))
}

/// A file that must be there, as a URL: everything but letters and digits is encoded, so that no part of a name means
/// anything else.
fn file_url(path: &Path) -> io::Result<Url> {
    let unnameable = || io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
    let name = path.to_str().ok_or_else(unnameable)?;
    let mut text = String::from("sqlite:");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Url::parse(&text).map_err(io::Error::other)
}

/// Makes the file, when it is missing, such that nobody but its owner reads the secrets in it.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn unusable<E>(address: &StoreAddress) -> impl FnOnce(E) -> ControlError + use<E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let store = address.to_string();
    move |source| ControlError::Open {
        store,
        source: Box::new(source),
    }
}
