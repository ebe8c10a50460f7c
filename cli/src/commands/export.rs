//! `export`: the definitions of a data folder as YAML, for review in git.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::output;
use crate::store::StoreOption;

/// Writes all declared definitions as YAML to standard output or a file.
///
/// Example: experimently export --data ./data > definitions.yaml
#[derive(Debug, Args)]
pub struct Export {
    /// The data folder.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    /// The file to write instead of standard output.
    #[arg(long)]
    output: Option<PathBuf>,
}

impl Export {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.store.open(&self.data).await?;
        let bundle = store.export().await.context("cannot read the definitions")?;
        store.close().await;
        let text = bundle.to_yaml()?;
        match &self.output {
            Some(path) => {
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => output::print(text.as_bytes()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
