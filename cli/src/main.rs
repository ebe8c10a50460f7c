//! The program: `experimently`.
//!
//! It alone reads the environment, opens settings, starts logging, and picks clocks and seeds. Every command prints its data
//! to standard output and one sentence to standard error when it fails. Exit codes: 0 success, 1 the work failed, 2 wrong
//! usage.
#![forbid(unsafe_code)]

mod clock;
mod commands;
mod erasures;
mod output;
mod settings;
mod store;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = commands::Program::parse();
    start_logging(command.log_default());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    match runtime.block_on(command.run()) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// One sentence: what was being done, and every cause behind it.
fn failed(error: &anyhow::Error) -> ExitCode {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    output::complain(&format!("error: {}", chain.join(": ")));
    ExitCode::FAILURE
}

/// Logs go to standard error; `EXPERIMENTLY_LOG` chooses what, in the syntax of `tracing` filters.
fn start_logging(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EXPERIMENTLY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
