//! Analyses pairs of arms from a file of JSON lines, for comparison with other libraries on the same inputs.
//!
//! Each line is `{"control": {"n", "mean", "var"}, "treatment": {…}}`. Answers one JSON object: the number of analyses, the
//! seconds of one pass over them in memory, for the bare test and for the analysis of a whole experiment, and, for checking
//! that both sides did the same work, the sums of all relative changes, interval widths and p-values. Run by
//! `benches/pairwise.py`.
#![expect(clippy::print_stdout, reason = "an example that answers on standard output")]

use std::time::Instant;

use domain::metric::MetricKind;
use domain::results::{AnalysisPlan, ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};
use serde_json::{Value, json};
use stats::analyze;
use stats::frequentist::contrast::{Alternative, Contrast};
use stats::frequentist::sample::Sample;
use stats::frequentist::{mean, relative};
use stats::{Interval, StatsError};

/// Passes over the data; the fastest is reported, because the others were disturbed.
const PASSES: u32 = 50;

/// What is read off one analysis.
#[derive(Default)]
struct Sums {
    change: f64,
    width: f64,
    p_value: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the file of pairs")?;
    let (mut pairs, mut experiments) = (Vec::new(), Vec::new());
    for line in std::fs::read_to_string(path)?.lines() {
        let pair: Value = serde_json::from_str(line)?;
        pairs.push([sample(&pair["control"])?, sample(&pair["treatment"])?]);
        experiments.push(experiment(&pair)?);
    }
    let mut sums = Sums::default();
    let seconds = fastest(|| {
        sums = Sums::default();
        pairs
            .iter()
            .try_for_each(|[control, treatment]| test(control, treatment, &mut sums))
    })?;
    let plan = AnalysisPlan::unplanned(VariantKey::new("control")?);
    let mut decided = 0;
    let whole_seconds = fastest(|| {
        experiments.iter().try_for_each(|experiment| {
            decided += analyze::analyze(&plan, experiment)?.metrics.len();
            Ok(())
        })
    })?;
    println!(
        "{}",
        json!({
            "analyses": pairs.len(),
            "seconds": seconds,
            "whole_seconds": whole_seconds,
            "metrics_per_pass": decided / PASSES as usize,
            "change": sums.change,
            "width": sums.width,
            "p_value": sums.p_value,
        })
    );
    Ok(())
}

/// The seconds of the fastest of all passes.
fn fastest(mut pass: impl FnMut() -> Result<(), StatsError>) -> Result<f64, StatsError> {
    let mut seconds = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        pass()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

/// The pair as an experiment with one metric.
fn experiment(pair: &Value) -> Result<ExperimentSummary, Box<dyn std::error::Error>> {
    let mut arms = Vec::new();
    for name in ["control", "treatment"] {
        let number = |field: &str| pair[name][field].as_f64().ok_or("an arm needs n, mean and var");
        let n = number("n")? as u64;
        let moments = Moments {
            n,
            mean: number("mean")?,
            m2: number("var")? * (n as f64 - 1.0),
        };
        let summary = MetricSummary {
            kind: MetricKind::Sum,
            units: n,
            moments,
            pair: None,
        };
        arms.push(ArmSummary {
            variant: VariantKey::new(name)?,
            exposed: n,
            metrics: [(MetricKey::new("revenue")?, summary)].into(),
        });
    }
    Ok(ExperimentSummary {
        experiment: ExperimentKey::new("pairwise")?,
        as_of: Timestamp::parse("2026-01-02T03:04:05Z")?,
        epoch: 1,
        arms,
        crossover_users: 0,
    })
}

fn sample(arm: &Value) -> Result<Sample, Box<dyn std::error::Error>> {
    let number = |name: &str| arm[name].as_f64().ok_or("an arm needs n, mean and var");
    Ok(Sample::from_variance(
        number("n")? as u64,
        number("mean")?,
        number("var")?,
    ))
}

/// The relative change by the delta method with a t-interval on Welch's degrees of freedom, and its p-value.
fn test(control: &Sample, treatment: &Sample, sums: &mut Sums) -> Result<(), StatsError> {
    let arms = [
        mean::arm_value(control, "control")?,
        mean::arm_value(treatment, "treatment")?,
    ];
    let difference = mean::difference(control, treatment);
    let change = relative::delta(arms[0], arms[1], difference, 0.05)?;
    let contrast = Contrast {
        difference: change.estimate,
        standard_error: change.standard_error,
        ..Contrast::welch(arms[0], arms[1], difference)?
    };
    let interval = Interval::around(change.estimate, contrast.margin(0.05)?, 0.95);
    sums.change += change.estimate;
    sums.width += interval.upper.unwrap_or(0.0) - interval.lower.unwrap_or(0.0);
    sums.p_value += contrast.p_value(Alternative::TwoSided).p;
    Ok(())
}
