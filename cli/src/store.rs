//! Which store a command works on: the one that is named, or the file in the data folder.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use control::{Store, StoreAddress};

/// The file of the embedded store, in the data folder.
const STORE_FILE: &str = "control.db";

/// Where the store is, for every command that has to do with it.
///
/// It is taken as text and read here: an address may hold a password, which an error of the command line would repeat.
#[derive(Clone, Default, Args)]
pub struct StoreOption {
    /// The store instead of the file in the data folder, such as postgres://USER:PASSWORD@HOST/DATABASE. In the
    /// environment nobody sees the password in the list of processes.
    #[arg(long, value_name = "URL", env = "EXPERIMENTLY_STORE", hide_env_values = true)]
    store: Option<String>,
}

/// A platform whose store a command works on.
#[derive(Debug, Clone, Args)]
pub struct StorePlace {
    /// The folder of the platform.
    #[arg(long)]
    pub data: PathBuf,
    #[command(flatten)]
    store: StoreOption,
}

impl fmt::Debug for StoreOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoreOption").finish_non_exhaustive()
    }
}

impl StoreOption {
    /// The store that is named; nothing when none is.
    pub fn named(&self) -> anyhow::Result<Option<StoreAddress>> {
        let named = self.store.as_deref().filter(|text| !text.is_empty());
        let address = named.map(StoreAddress::parse).transpose();
        address.context("--store or EXPERIMENTLY_STORE is no address of a store")
    }

    /// Opens the store that is named, or the one in a data folder, also while a server runs on it.
    pub async fn open(&self, data: &Path) -> anyhow::Result<Store> {
        let address = self.address(data)?;
        anyhow::ensure!(
            address.file().is_none_or(Path::is_file),
            "there is no store in {}; `experimently serve` makes one",
            data.display()
        );
        connect(&address).await
    }

    /// Opens the store that is named, or the one in a data folder, and makes it where there is none.
    pub async fn make(&self, data: &Path) -> anyhow::Result<Store> {
        connect(&self.address(data)?).await
    }

    /// The store that is named, or the one in a data folder.
    pub fn address(&self, data: &Path) -> anyhow::Result<StoreAddress> {
        Ok(self.named()?.unwrap_or_else(|| in_folder(data)))
    }
}

impl StorePlace {
    /// Opens the store, also while a server runs on it.
    pub async fn open(&self) -> anyhow::Result<Store> {
        self.store.open(&self.data).await
    }
}

async fn connect(address: &StoreAddress) -> anyhow::Result<Store> {
    let opened = Store::connect(address).await;
    opened.with_context(|| format!("cannot open the store {address}"))
}

/// The store in a data folder.
pub fn in_folder(data: &Path) -> StoreAddress {
    StoreAddress::File(data.join(STORE_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_or_in_the_data_folder_and_never_repeated() {
        // What must never change: a mistyped address does not show its password.
        let option = |text: &str| StoreOption {
            store: Some(text.to_owned()),
        };
        assert_eq!(option("").named().unwrap(), None);
        assert_eq!(StoreOption::default().named().unwrap(), None);
        let named = option("postgres://ann:s3cret@db/exp").named().unwrap();
        assert_eq!(named.unwrap().to_string(), "postgres://db/exp");
        let wrong = option("postgre://ann:s3cret@db/exp");
        let error = format!("{:#}", wrong.named().unwrap_err());
        assert!(
            error.contains("EXPERIMENTLY_STORE") && !error.contains("s3cret"),
            "{error}"
        );
        assert!(!format!("{wrong:?}").contains("s3cret"));
        assert_eq!(in_folder(Path::new("data")).to_string(), "data/control.db");
    }
}
