//! The commands: one file each.

mod audit;
mod backup;
mod dead_letters;
mod dead_letters_again;
mod demo;
mod export;
mod export_user;
mod forget;
mod generate;
mod import;
mod keys;
mod migrate;
mod platform;
mod power;
mod replay;
mod results;
mod serve;
mod sql;
mod statistics;
mod users;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use pipeline::lake::{Lake, Root};

/// An experimentation platform whose heart is a stream engine.
#[derive(Debug, Parser)]
#[command(
    name = "experimently",
    version,
    max_term_width = 110,
    arg_required_else_help = true
)]
pub struct Program {
    #[command(subcommand)]
    command: Command,
}

// What each command does is told where it is defined, with an example: a text here would take its place.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Replay(replay::Replay),
    Results(results::Results),
    Verify(verify::Verify),
    Generate(generate::Generate),
    Sql(sql::Sql),
    Stats(statistics::Stats),
    Power(power::Power),
    DeadLetters(dead_letters::DeadLetters),
    Forget(forget::Forget),
    ExportUser(export_user::ExportUser),
    Export(export::Export),
    Import(import::Import),
    Migrate(migrate::Migrate),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Audit(audit::Audit),
    Keys(keys::Keys),
    Users(users::Users),
}

impl Program {
    /// What is logged unless the environment says otherwise: a server tells its milestones, a command only trouble.
    pub fn log_default(&self) -> &'static str {
        match self.command {
            Command::Serve(_) | Command::Demo(_) => {
                "info,deltalake_core=warn,sqlx=warn,datafusion=warn,buoyant_kernel=warn,delta_kernel=warn"
            }
            _ => "warn,deltalake_core=error,buoyant_kernel=error,delta_kernel=error",
        }
    }

    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => command.run().await,
            Command::Demo(command) => command.run().await,
            Command::Replay(command) => command.run().await,
            Command::Results(command) => command.run().await,
            Command::Verify(command) => command.run().await,
            Command::Generate(command) => command.run(),
            Command::Sql(command) => command.run().await,
            Command::Stats(command) => command.run(),
            Command::Power(command) => command.run(),
            Command::DeadLetters(command) => command.run().await,
            Command::Forget(command) => command.run().await,
            Command::ExportUser(command) => command.run().await,
            Command::Export(command) => command.run().await,
            Command::Import(command) => command.run().await,
            Command::Migrate(command) => command.run().await,
            Command::Backup(command) => command.run().await,
            Command::Restore(command) => command.run(),
            Command::Audit(command) => command.run().await,
            Command::Keys(command) => command.run().await,
            Command::Users(command) => command.run().await,
        }
    }
}

/// Opens the lake of a data folder for reading.
async fn open_lake(data: &Path) -> anyhow::Result<Lake> {
    if !data.join("lake").join("events").join("_delta_log").is_dir() {
        anyhow::bail!(
            "there is no lake in {}; make one with `experimently replay` or `experimently serve`",
            data.display()
        );
    }
    let root = Root::folder(data)?;
    Lake::open_existing(root)
        .await
        .with_context(|| format!("cannot open the lake in {}", data.display()))
}

/// A change that whoever sits at the machine makes by a command.
fn local_change(reason: &str) -> control::Change {
    control::Change::new(control::Actor::local(), (crate::clock::machine())()).because(reason)
}

/// Reads a measurement plan from a JSON file.
fn read_plan(path: &PathBuf) -> anyhow::Result<domain::metric::MeasurementPlan> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let plan: domain::metric::MeasurementPlan = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a measurement plan; see docs/definitions.md",
            path.display()
        )
    })?;
    plan.check()
        .with_context(|| format!("{} does not hold together", path.display()))?;
    anyhow::ensure!(
        plan.sealed.is_empty(),
        "{} names sealed experiments; a lake seals them itself, so leave `sealed` out",
        path.display()
    );
    Ok(plan)
}

/// Reads an RFC 3339 time from the command line.
fn parse_time(text: &str) -> Result<domain::Timestamp, String> {
    domain::Timestamp::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help_of_every_command_has_an_example() {
        // What must never change: whoever asks for help sees a line to copy.
        let mut program = Program::command();
        program.build();
        for command in program
            .get_subcommands_mut()
            .filter(|command| command.get_name() != "help")
        {
            let leaves = command.get_subcommands().count();
            let help = command.render_long_help().to_string();
            let example = format!("Example: experimently {}", command.get_name());
            assert!(
                help.contains(&example),
                "{} has no example, {leaves} under it:\n{help}",
                command.get_name()
            );
        }
    }
}
