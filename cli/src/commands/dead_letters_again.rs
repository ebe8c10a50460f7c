//! `experimently dead-letters replay`: rejected records through the engine again.
//!
//! Records that are accepted now are counted; those that are not stay dead letters and are not rejected a second time.
//! Event ids keep a record that was mended twice, or sent again in the meantime, from being counted twice.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use domain::{PartitionId, Position, RejectReason};
use ingest::lock::FolderLock;
use ingest::source::RecordLayout;
use ingest::sources::file::FileSource;
use ingest::{DecodeLimits, RawBatch, decode};
use pipeline::lake::Root;
use pipeline::schema::Table;
use pipeline::view::{KeepView, LiveView};
use pipeline::{Pipeline, Settings};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::output::{self, Format};

/// Send rejected records through the engine again, after they were mended by a command or after this program was.
///
/// Example: experimently dead-letters replay --data ./data --reason invalid_json --through "sed 's/NaN/0/'"
#[derive(Debug, Args)]
pub struct Again {
    /// The folder of the lake; nothing else may write to it meanwhile.
    #[arg(long)]
    data: PathBuf,
    /// Only records that were rejected for this reason.
    #[arg(long, value_parser = parse_reason)]
    reason: Option<RejectReason>,
    /// A shell command that mends: it reads the records, one a line, and prints the mended ones.
    #[arg(long, value_name = "COMMAND")]
    through: Option<String>,
    /// Only tell how many would be accepted.
    #[arg(long)]
    dry_run: bool,
    /// How to print the counts; a table on a terminal, JSON otherwise.
    #[arg(long)]
    format: Option<Format>,
}

fn parse_reason(word: &str) -> Result<RejectReason, String> {
    let known = || RejectReason::ALL.map(RejectReason::as_str).join(", ");
    RejectReason::from_word(word).ok_or_else(|| format!("the reasons are {}", known()))
}

/// What became of the letters.
#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    letters: u64,
    tried: u64,
    valid: u64,
    accepted: u64,
    duplicate: u64,
}

impl Again {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let lake = super::open_lake(&self.data).await?;
        let _lock = FolderLock::acquire(&self.data).context("cannot use the data folder")?;
        let folder = tempfile::Builder::new()
            .prefix("mending-")
            .tempdir_in(&self.data)
            .with_context(|| format!("cannot make a folder in {}", self.data.display()))?;
        let mut outcome = Outcome::default();
        let letters = folder.path().join("letters");
        outcome.letters = self.write_letters(&lake, &letters).await?;
        let mended = match &self.through {
            Some(command) => mend(command, &letters, folder.path())?,
            None => letters,
        };
        let valid = folder.path().join(format!("mended-{}.ndjson", clock::run_id()));
        (outcome.tried, outcome.valid) = keep_valid(&mended, &valid)?;
        if outcome.valid > 0 && !self.dry_run {
            let epoch = lake.epoch(Table::Events).await?.unwrap_or(0);
            let plan = pipeline::state::read_manifest(lake.root(), epoch).await?.plan;
            drop(lake);
            (outcome.accepted, outcome.duplicate) = self.replay(&valid, plan).await?;
        }
        self.print(outcome);
        Ok(ExitCode::SUCCESS)
    }

    async fn write_letters(&self, lake: &pipeline::lake::Lake, path: &Path) -> anyhow::Result<u64> {
        let cannot = || format!("cannot write {}", path.display());
        let mut file = BufWriter::new(File::create(path).with_context(cannot)?);
        let session = pipeline::store::session(lake).await?;
        let each = |payload: &[u8]| {
            // A line break outside a text means nothing in JSON, and inside one it is not allowed.
            let line: Vec<u8> = payload
                .iter()
                .map(|byte| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        *byte
                    }
                })
                .collect();
            file.write_all(&line)?;
            file.write_all(b"\n")
        };
        let reason = self.reason.map(RejectReason::as_str);
        let letters = pipeline::store::letters::for_each_dead_letter(&session, reason, each).await?;
        file.flush().with_context(cannot)?;
        Ok(letters)
    }

    async fn replay(&self, file: &Path, plan: domain::metric::MeasurementPlan) -> anyhow::Result<(u64, u64)> {
        let now = clock::machine();
        let settings = Settings::replay(Arc::clone(&now), clock::run_id());
        let (views, view) = tokio::sync::watch::channel(Arc::new(LiveView::default()));
        let root = Root::folder(&self.data)?;
        let pipeline = Pipeline::open(root, plan, settings, Arc::new(KeepView(views))).await?;
        let before = view.borrow().counters;
        let mut source = FileSource::new(vec![file.to_owned()], now());
        let after = pipeline.run(&mut source, CancellationToken::new()).await?;
        Ok((
            after.accepted - before.accepted,
            after.duplicate - before.duplicate,
        ))
    }

    fn print(&self, outcome: Outcome) {
        match output::chosen(self.format) {
            Format::Json => output::say(
                &serde_json::json!({
                    "dead_letters": outcome.letters,
                    "tried": outcome.tried,
                    "valid": outcome.valid,
                    "accepted": outcome.accepted,
                    "duplicate": outcome.duplicate,
                })
                .to_string(),
            ),
            Format::Table => {
                let row = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
                output::print(
                    output::columns(&[
                        row("dead letters", outcome.letters),
                        row("tried", outcome.tried),
                        row("valid now", outcome.valid),
                        row("accepted", outcome.accepted),
                        row("duplicate", outcome.duplicate),
                    ])
                    .as_bytes(),
                );
            }
        }
    }
}

/// Runs the mending command over the letters; its output is what is tried.
fn mend(command: &str, letters: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let mended = folder.join("mended");
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::from(
            File::open(letters).context("cannot read the letters back")?,
        ))
        .stdout(Stdio::from(
            File::create(&mended).context("cannot keep what the command prints")?,
        ))
        .status()
        .with_context(|| format!("cannot run `{command}`"))?;
    anyhow::ensure!(
        status.success(),
        "`{command}` ended with {status}, so nothing was replayed"
    );
    Ok(mended)
}

/// Copies the lines that the decoder accepts; gives the number of lines and of those.
fn keep_valid(from: &Path, to: &Path) -> anyhow::Result<(u64, u64)> {
    let cannot = || format!("cannot write {}", to.display());
    let mut lines =
        BufReader::new(File::open(from).with_context(|| format!("cannot read {}", from.display()))?);
    let mut valid_lines = BufWriter::new(File::create(to).with_context(cannot)?);
    let (mut tried, mut valid) = (0, 0);
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .with_context(|| format!("cannot read {}", from.display()))?
        > 0
    {
        let blank = line.iter().all(u8::is_ascii_whitespace);
        tried += u64::from(!blank);
        if !blank && is_valid(line.clone()) {
            valid += 1;
            valid_lines.write_all(&line).with_context(cannot)?;
        }
        line.clear();
    }
    valid_lines.flush().with_context(cannot)?;
    Ok((tried, valid))
}

fn is_valid(line: Vec<u8>) -> bool {
    let limits = DecodeLimits {
        retention_micros: None,
    };
    let raw = RawBatch {
        partition: PartitionId("mended".into()),
        bytes: line,
        records: RecordLayout::Lines { first_offset: 0 },
        end: Position::End,
        received_at: domain::Timestamp(0),
        live: false,
    };
    let decoded = decode(raw, &limits);
    !decoded.events.is_empty() && decoded.rejections.is_empty()
}
