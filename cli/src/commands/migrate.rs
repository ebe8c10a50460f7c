//! `experimently migrate`: the store brought to the schema of this program.

use std::process::ExitCode;

use clap::Args;

use crate::output;
use crate::store::StorePlace;

/// Bring the store of definitions to the schema of this program, and say which that is.
///
/// `serve` does so too when it starts. In front of a new version with many servers, run it once, so that none of them waits
/// for another. A backup first is wise: a store is never taken back to an older schema.
///
/// Example: experimently migrate --data ./data
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    place: StorePlace,
}

impl Migrate {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.place.open().await?;
        let version = store.schema_version().await?;
        store.close().await;
        output::say(&format!(
            "the store has schema {version}, which is the newest that this program knows"
        ));
        Ok(ExitCode::SUCCESS)
    }
}
