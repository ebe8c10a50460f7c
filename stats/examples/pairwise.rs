//! Analyses pairs of arms from a file of JSON lines, for comparison with other libraries on the same inputs.
//!
//! Each line is `{"control": {"n", "mean", "var"}, "treatment": {…}}`. Answers one JSON object: the number of analyses, the
//! seconds of one pass over them in memory, and, for checking that both sides did the same work, the sums of all relative
//! changes, interval widths and p-values. Run by `benches/pairwise.py`.
#![expect(clippy::print_stdout, reason = "an example that answers on standard output")]

use std::time::Instant;

use serde_json::{Value, json};
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
    let mut pairs = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let pair: Value = serde_json::from_str(line)?;
        pairs.push([sample(&pair["control"])?, sample(&pair["treatment"])?]);
    }
    let mut seconds = f64::INFINITY;
    let mut sums = Sums::default();
    for _ in 0..PASSES {
        let start = Instant::now();
        sums = Sums::default();
        for [control, treatment] in &pairs {
            analyze(control, treatment, &mut sums)?;
        }
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        json!({
            "analyses": pairs.len(),
            "seconds": seconds,
            "change": sums.change,
            "width": sums.width,
            "p_value": sums.p_value,
        })
    );
    Ok(())
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
fn analyze(control: &Sample, treatment: &Sample, sums: &mut Sums) -> Result<(), StatsError> {
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
