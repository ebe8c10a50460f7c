//! `import`: makes the definitions of a data folder as a YAML file says, whole or not at all.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use control::store::{Bundle, ImportPlan, ImportSettings, PlannedAction};
use control::{Actor, Change};

use crate::clock;
use crate::output;
use crate::store::StoreOption;

/// Shows what a file of definitions changes and applies it in one transaction.
///
/// Example: experimently import definitions.yaml --data ./data --dry-run
#[derive(Debug, Args)]
pub struct Import {
    /// The file, as `experimently export` writes it.
    file: PathBuf,
    /// The data folder.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete what the file lacks; it can be restored.
    #[arg(long)]
    delete_others: bool,
    /// Why, for the audit records.
    #[arg(long)]
    reason: Option<String>,
}

impl Import {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let bundle = Bundle::from_yaml(&text)?;
        let store = self.store.make(&self.data).await?;
        let mut change = Change::new(Actor::local(), clock::machine()());
        change.reason = self.reason.clone();
        change.origin = Some(format!("file {}", self.file.display()));
        let settings = ImportSettings {
            delete_others: self.delete_others,
            plan_only: self.dry_run,
        };
        let plan = store.import(&bundle, settings, &change).await;
        store.close().await;
        output::print(shown(&plan?, self.dry_run).as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

/// The plan in lines: `+` is new, `~` changes, `-` goes.
fn shown(plan: &ImportPlan, dry_run: bool) -> String {
    let mut lines = String::new();
    for step in &plan.steps {
        let sign = match step.action {
            PlannedAction::Create => '+',
            PlannedAction::Update => '~',
            PlannedAction::Delete => '-',
        };
        lines.push_str(&format!("{sign} {} {}\n", step.kind, step.key));
        for difference in &step.changes {
            let value = |value: &Option<serde_json::Value>| {
                value
                    .as_ref()
                    .map_or_else(|| "nothing".to_owned(), ToString::to_string)
            };
            let (before, after) = (value(&difference.before), value(&difference.after));
            lines.push_str(&format!("    {}: {before} -> {after}\n", difference.path));
        }
    }
    let done = if dry_run { "would change" } else { "changed" };
    let (changes, unchanged) = (plan.steps.len(), plan.unchanged);
    lines.push_str(&format!("{changes} {done}, {unchanged} unchanged\n"));
    lines
}
