//! Where the store is: a file of SQLite, or a database of PostgreSQL.
//!
//! An address may hold a password. It is shown by nothing here: neither `Display`, nor `Debug`, nor any error.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

/// What a PostgreSQL address may say after its question mark; anything else would be passed over in silence.
const PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreAddress {
    /// A file of SQLite.
    File(PathBuf),
    /// A database of PostgreSQL.
    Postgres(PostgresAddress),
}

/// The address of a PostgreSQL database.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress(Url);

/// A text that is no address of a store. It says what is wrong without the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoreAddress {
    /// It is no URL of a kind that is known.
    #[error(
        "a store is given as postgres://USER:PASSWORD@HOST:PORT/DATABASE or as sqlite:FILE; special characters in \
         user and password are percent-encoded"
    )]
    Form,
    /// A parameter that is not known. It is not named: it may be the rest of a password that holds a `?`.
    #[error("the address of the store has a parameter that is none of {}", PARAMETERS.join(", "))]
    Parameter,
}

impl StoreAddress {
    /// Reads `postgres://…`, `postgresql://…` or `sqlite:FILE`.
    ///
    /// # Errors
    /// [`InvalidStoreAddress`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidStoreAddress> {
        if let Some(file) = text.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            return match file {
                "" | ":memory:" => Err(InvalidStoreAddress::Form),
                file => Ok(Self::File(PathBuf::from(file))),
            };
        }
        let url = Url::parse(text).map_err(|_| InvalidStoreAddress::Form)?;
        // A `/`, `?` or `#` in a password that is not encoded ends the password there, and its rest would be shown.
        let is_cut = url.path().contains('@') || url.fragment().is_some();
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.cannot_be_a_base() || is_cut {
            return Err(InvalidStoreAddress::Form);
        }
        let known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
        if url.query_pairs().any(|(name, _)| !known(&name)) {
            return Err(InvalidStoreAddress::Parameter);
        }
        Ok(Self::Postgres(PostgresAddress(url)))
    }

    /// The file in which a store is, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl TryFrom<String> for StoreAddress {
    type Error = InvalidStoreAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Postgres(address) => address.fmt(formatter),
        }
    }
}

impl PostgresAddress {
    /// The whole address, with the password: for the driver alone.
    pub(super) fn secret_url(&self) -> Url {
        let mut url = self.0.clone();
        if !url.query_pairs().any(|(name, _)| name == "application_name") {
            url.query_pairs_mut()
                .append_pair("application_name", "experimently");
        }
        url
    }
}

impl fmt::Display for PostgresAddress {
    /// Scheme, host, port and database.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "postgres://{}", self.0.host_str().unwrap_or(""))?;
        if let Some(port) = self.0.port() {
            write!(formatter, ":{port}")?;
        }
        formatter.write_str(self.0.path())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PostgresAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_never_show_a_password() {
        // What must never change: a password is in no log and no message.
        for (text, shown) in [
            ("postgres://ann:s3cret@db:5433/exp", "postgres://db:5433/exp"),
            (
                "postgresql://db/exp?user=ann&password=s3cret",
                "postgres://db/exp",
            ),
            (
                "postgres://s3cret:s3cret@%2Frun%2Fpg/exp?sslmode=require",
                "postgres://%2Frun%2Fpg/exp",
            ),
            ("postgres:///exp?host=/run/pg", "postgres:///exp"),
        ] {
            let address = StoreAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("s3cret"), "{address:?}");
            assert_eq!(address.file(), None);
        }
        for file in ["sqlite:data/control.db", "sqlite://data/control.db"] {
            let address = StoreAddress::parse(file).unwrap();
            assert_eq!(address.file(), Some(Path::new("data/control.db")));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for text in [
            "",
            "data/control.db",
            "sqlite:",
            "sqlite::memory:",
            "mysql://ann:s3cret@db/exp",
            "postgres:s3cret",
            "postgres://ann:s3cret@db:notaport/exp",
            "postgres://ann:12/s3cret@db/exp",
            "postgres://ann:12#s3cret@db/exp",
        ] {
            let error = StoreAddress::parse(text).unwrap_err();
            assert_eq!(error, InvalidStoreAddress::Form, "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
        for text in ["postgres://db/exp?s3cret=1", "postgres://ann:12?s3cret@db/exp"] {
            let error = StoreAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains("sslmode") && !error.contains("s3cret"), "{error}");
        }
    }
}
