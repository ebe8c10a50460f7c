//! `experimently replay`: files through the whole engine to a committed lake.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use clap::Args;
use domain::Positions;
use domain::metric::MeasurementPlan;
use ingest::lock::FolderLock;
use ingest::sources::file::FileSource;
use ingest::{IngestError, Source, SourceEvent};
use pipeline::failpoint::Step;
use pipeline::lake::Root;
use pipeline::view::{Counters, KeepView, LiveView};
use pipeline::{Pipeline, Settings};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::output::{self, Format};

/// Run files of events (NDJSON, plain, .gz or .zst; - for standard input) through the whole engine to a committed lake.
///
/// Interrupted, the same command goes on where it was; a finished file is not read twice.
///
/// Example: experimently replay events.ndjson.gz --data ./data
#[derive(Debug, Args)]
pub struct Replay {
    /// The files, in order; - is standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The folder of the lake; it is created.
    #[arg(long)]
    data: PathBuf,
    /// A JSON file with the metrics and experiments to measure; without one, everything seen is measured.
    #[arg(long)]
    definitions: Option<PathBuf>,
    /// Records in one commit.
    #[arg(long, default_value_t = 250_000)]
    commit_records: u64,
    /// How to print the counters; a table on a terminal, JSON otherwise.
    #[arg(long)]
    format: Option<Format>,
    /// End the process at a step of a commit, for tests of recovery: STEP or STEP:PASSES.
    #[arg(long, hide = true)]
    fail_at: Option<String>,
    /// Write a full snapshot after so many events, for tests of recovery.
    #[arg(long, hide = true)]
    snapshot_events: Option<u64>,
    /// Make good what came too late with so many events in memory, for tests of recovery.
    #[arg(long, hide = true)]
    mend_events: Option<usize>,
    /// Join small files when there are more of them than this, for tests of recovery.
    #[arg(long, hide = true)]
    compact_files: Option<usize>,
}

impl Replay {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        arm(self.fail_at.as_deref())?;
        let plan = match &self.definitions {
            Some(path) => super::read_plan(path)?,
            None => MeasurementPlan::discover(),
        };
        for file in self.files.iter().filter(|file| file.as_os_str() != "-") {
            anyhow::ensure!(
                file.is_file(),
                "there is no file {}; name NDJSON files, or - for standard input",
                file.display()
            );
        }
        let root = Root::folder(&self.data)?;
        let _lock = FolderLock::acquire(&self.data).context("cannot use the data folder")?;
        let now = clock::machine();
        let mut settings = Settings::replay(Arc::clone(&now), clock::run_id());
        settings.commit_records = self.commit_records.max(1);
        settings.snapshot_events = self.snapshot_events.unwrap_or(settings.snapshot_events);
        settings.mend_events = self.mend_events.unwrap_or(settings.mend_events);
        settings.compact_files = self.compact_files.unwrap_or(settings.compact_files);
        let (views, view) = tokio::sync::watch::channel(Arc::new(LiveView::default()));
        let started = Instant::now();
        let pipeline = Pipeline::open(root, plan, settings, Arc::new(KeepView(views))).await?;
        let before = view.borrow().counters;
        let bar = output::byte_progress("replaying");
        let mut source = WithBar {
            inner: FileSource::new(self.files.clone(), now()),
            bar: bar.clone(),
        };
        let stop = stop_on_interrupt();
        let counters = pipeline.run(&mut source, stop.clone()).await?;
        bar.finish_and_clear();
        self.format_report(counters, counters.received - before.received, started.elapsed());
        if stop.is_cancelled() {
            output::complain("interrupted; the same command goes on from here");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn format_report(&self, counters: Counters, received: u64, elapsed: Duration) {
        let rate = received as f64 / elapsed.as_secs_f64().max(1e-9);
        let usage = usage();
        match output::chosen(self.format) {
            Format::Json => output::say(
                &serde_json::json!({
                    "counters": counters,
                    "events_per_second": rate,
                    "cpu_seconds": usage.cpu_seconds,
                    "peak_rss_bytes": usage.peak_rss_bytes,
                })
                .to_string(),
            ),
            Format::Table => {
                let row = |name: &str, value: String| vec![name.to_owned(), value];
                output::print(
                    output::columns(&[
                        row("received", counters.received.to_string()),
                        row("accepted", counters.accepted.to_string()),
                        row("  of which late", counters.late.to_string()),
                        row("duplicate", counters.duplicate.to_string()),
                        row("invalid", counters.invalid.to_string()),
                        row("events/s", format!("{rate:.0}")),
                    ])
                    .as_bytes(),
                );
            }
        }
    }
}

/// What this process has used, as the system tells it; zero where it does not.
struct Usage {
    cpu_seconds: f64,
    peak_rss_bytes: u64,
}

fn usage() -> Usage {
    /// Clock ticks a second in /proc: fixed at 100 by the kernel's interface to user programs.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |place: usize| {
        after_name
            .split_whitespace()
            .nth(place)
            .and_then(|text| text.parse::<f64>().ok())
    };
    let ticks = field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Usage {
        cpu_seconds: ticks / TICKS_PER_SECOND,
        peak_rss_bytes: kilobytes.unwrap_or(0) * 1024,
    }
}

/// Makes the process end at a step of a commit.
pub fn arm(step: Option<&str>) -> anyhow::Result<()> {
    let Some(text) = step else { return Ok(()) };
    let (name, passes) = text.split_once(':').unwrap_or((text, "0"));
    let found = Step::ALL.iter().find(|(known, _)| *known == name);
    let known: Vec<&str> = Step::ALL.iter().map(|(known, _)| *known).collect();
    let (_, step) =
        found.with_context(|| format!("there is no step {name}; the steps are {}", known.join(", ")))?;
    pipeline::failpoint::arm(*step, passes.parse().context("PASSES is a whole number")?);
    Ok(())
}

/// A token that is cancelled by the first interrupt or termination signal; the second one ends the process at once.
pub fn stop_on_interrupt() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        token.cancel();
        wait_for_signal().await;
        std::process::abort();
    });
    stop
}

async fn wait_for_signal() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// A source that moves a progress bar.
struct WithBar {
    inner: FileSource,
    bar: indicatif::ProgressBar,
}

#[async_trait]
impl Source for WithBar {
    async fn start(&mut self, positions: &Positions) -> Result<(), IngestError> {
        self.inner.start(positions).await
    }

    async fn next(&mut self) -> Result<SourceEvent, IngestError> {
        let event = self.inner.next().await;
        if let Some((done, all)) = self.inner.progress() {
            self.bar.set_length(all);
            self.bar.set_position(done);
        }
        event
    }

    async fn committed(&mut self, positions: &Positions) -> Result<(), IngestError> {
        self.inner.committed(positions).await
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.inner.progress()
    }
}
