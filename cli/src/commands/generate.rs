//! `experimently generate`: seeded synthetic events with known truth.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::Timestamp;
use fixtures::{Dataset, GenerateSettings, Generator, simulated_experiments};

use crate::output;

/// Write seeded synthetic events with known truth to standard output, one a line. The same seed gives the same bytes.
///
/// Example: experimently generate --events 200000 --seed 1 --truth truth.json > events.ndjson
#[derive(Debug, Args)]
pub struct Generate {
    /// Lines in all, repeated and malformed ones included.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Distinct users.
    #[arg(long, default_value_t = 20_000)]
    users: u32,
    /// Experiments: the first has the effect, the others are A/A tests.
    #[arg(long, default_value_t = 3)]
    experiments: u32,
    /// Fixes everything.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much more often treated users of the first experiment buy: 0.2 is 20 %.
    #[arg(long, default_value_t = 0.2, allow_negative_numbers = true)]
    effect: f64,
    /// How much more often treated users of the first experiment meet an error: 4 is five times as often.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    error_effect: f64,
    /// The share of events that arrive 11 to 30 minutes late.
    #[arg(long, default_value_t = 0.002)]
    late: f64,
    /// The share of events that are sent twice.
    #[arg(long, default_value_t = 0.02)]
    duplicate: f64,
    /// The share of events that arrive up to two minutes after later ones.
    #[arg(long, default_value_t = 0.05)]
    out_of_order: f64,
    /// The share of participants who are shown both arms.
    #[arg(long, default_value_t = 0.001)]
    crossover: f64,
    /// Malformed records for each event.
    #[arg(long, default_value_t = 0.001)]
    malformed: f64,
    /// The time of the first visit.
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z", value_parser = super::parse_time)]
    start: Timestamp,
    /// The span of event time, in seconds.
    #[arg(long, default_value_t = 86_400)]
    span_seconds: u32,
    /// Write what is true of the events to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Write the events of a published experiment instead: cookie_cats, hillstrom_email or ab_data_udacity.
    #[arg(long, requires = "folder", value_parser = parse_dataset)]
    dataset: Option<Dataset>,
    /// The folder that holds the published datasets, each in a folder of its own.
    #[arg(long, value_name = "DIR", requires = "dataset")]
    folder: Option<PathBuf>,
}

fn parse_dataset(text: &str) -> Result<Dataset, String> {
    let names = Dataset::ALL.map(Dataset::name).join(", ");
    let found = Dataset::ALL.into_iter().find(|dataset| dataset.name() == text);
    found.ok_or_else(|| format!("the datasets are {names}"))
}

impl Generate {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let written = match (self.dataset, &self.folder) {
            (Some(dataset), Some(folder)) => convert(dataset, folder, self.seed, &mut out),
            _ => self.generate(&mut out),
        };
        match written {
            Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            outcome => outcome.map(|()| ExitCode::SUCCESS),
        }
    }

    fn generate(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut generator = Generator::new(self.settings())?;
        for line in generator.by_ref() {
            out.write_all(&line)
                .and_then(|()| out.write_all(b"\n"))
                .context("cannot write the events")?;
        }
        out.flush().context("cannot write the events")?;
        if let Some(path) = &self.truth {
            let text = serde_json::to_string_pretty(generator.truth())? + "\n";
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn settings(&self) -> GenerateSettings {
        let mut experiments = simulated_experiments(self.experiments, self.effect);
        if let Some(first) = experiments.first_mut() {
            first.error_effect = self.error_effect;
        }
        GenerateSettings {
            events: self.events,
            users: self.users,
            experiments,
            seed: self.seed,
            crossover_share: self.crossover,
            duplicate_share: self.duplicate,
            out_of_order_share: self.out_of_order,
            late_share: self.late,
            malformed_share: self.malformed,
            start: self.start,
            span_seconds: self.span_seconds,
            ..GenerateSettings::default()
        }
    }
}

fn convert(dataset: Dataset, folder: &std::path::Path, seed: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    let converted = dataset.convert(folder, seed, out)?;
    output::complain(&format!(
        "{}: {} rows, {} left out, {} exposures, {} tracks",
        dataset.name(),
        converted.rows,
        converted.skipped_rows,
        converted.exposures,
        converted.tracks
    ));
    Ok(())
}

/// Whether the reader has gone away, which is its right.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes
        .into_iter()
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
