//! Measures whether methods keep what they promise, and writes `docs/statistics/calibration.md` with its plots.
//!
//! Run with `cargo run --release -p stats --example calibration`. Every simulation has its own fixed seed, so that two
//! runs write the same files. It fails when a promise is broken by more than three standard errors of the simulation.

mod belief;
mod further;
mod guardrails;
mod once;
mod ordered;
mod pairs;
mod planned;
mod random;
mod report;
mod watching;

use std::path::Path;

use report::Report;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/statistics");
    let mut report = Report::default();
    report.say("# Calibration");
    report.say(
        "What the methods promise and what simulation measures. Written by `cargo run --release -p stats --example \
         calibration`, seeded and repeatable; ± is the 95 % error of the simulation. A promise counts as broken when it \
         is missed by more than three standard errors of the simulation.",
    );
    let mut plots = watching::simulate(&mut report)?;
    plots.extend(guardrails::simulate(&mut report));
    once::simulate(&mut report);
    further::simulate(&mut report);
    planned::simulate(&mut report)?;
    ordered::simulate(&mut report)?;
    pairs::simulate(&mut report)?;
    belief::simulate(&mut report)?;
    std::fs::create_dir_all(&folder)?;
    for (name, svg) in plots {
        std::fs::write(folder.join(name), svg)?;
    }
    std::fs::write(
        folder.join("calibration.md"),
        format!("{}\n", report.text.trim_end()),
    )?;
    if report.broken.is_empty() {
        Ok(())
    } else {
        Err(format!("promises broken: {}", report.broken.join("; ")).into())
    }
}
