//! Decisions by the plan: whole experiments without an effect, read as results serves them.

use domain::experiment::AnalysisMethod;
use domain::metric::MetricKind;
use domain::results::{AnalysisPlan, ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};
use stats::analyze::{Decision, Looks, analyze_looks};

use crate::random::Random;
use crate::report::{Claim, Report, Row};

/// Users an arm at each look.
const LOOKS: [u64; 4] = [300, 600, 900, 1_200];

/// The metrics, none of which is moved.
const METRICS: usize = 3;

/// Experiments for each method.
const RUNS: usize = 2_000;

/// The section about decisions.
pub fn simulate(report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    report.say("## Decisions that follow the plan");
    report.say("Whole experiments, three metrics of exponential values, no effect, Holm's correction; a false alarm is any decision at any time. Looks at 600, 1 200, 1 800 and 2 400 users; results are read at each.");
    let mut rows = Vec::new();
    for (index, (name, method, claim)) in [
        ("sequential", AnalysisMethod::Sequential, Claim::AtMost(0.05)),
        (
            "fixed horizon, read four times",
            AnalysisMethod::FixedHorizon,
            Claim::AtMost(0.05),
        ),
        (
            "group sequential",
            AnalysisMethod::GroupSequential,
            Claim::AtMost(0.05),
        ),
        (
            "Bayesian, flat prior, read four times",
            AnalysisMethod::Bayesian,
            Claim::Nothing,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = Random::new(80 + index as u64);
        let mut alarms = 0;
        for _ in 0..RUNS {
            alarms += usize::from(experiment(&plan(method)?, &mut random)?);
        }
        rows.push(Row::new(name, claim, alarms, RUNS));
    }
    report.claims(&rows);
    Ok(())
}

fn plan(method: AnalysisMethod) -> Result<AnalysisPlan, Box<dyn std::error::Error>> {
    let end = 2 * LOOKS[LOOKS.len() - 1];
    Ok(AnalysisPlan {
        method,
        looks: match method {
            AnalysisMethod::FixedHorizon => vec![end],
            AnalysisMethod::GroupSequential => LOOKS.iter().map(|units| 2 * units).collect(),
            AnalysisMethod::Sequential | AnalysisMethod::Bayesian => Vec::new(),
        },
        planned_units: end,
        ..AnalysisPlan::unplanned(VariantKey::new("control")?)
    })
}

/// Whether an experiment without an effect is decided on any metric at any reading.
fn experiment(plan: &AnalysisPlan, random: &mut Random) -> Result<bool, Box<dyn std::error::Error>> {
    let mut arms = [[Moments::default(); METRICS]; 2];
    let mut taken: Vec<ExperimentSummary> = Vec::new();
    let mut units = 0;
    let mut alarmed = false;
    for look in LOOKS {
        for metrics in &mut arms {
            for moments in metrics {
                *moments = grown(*moments, look - units, random);
            }
        }
        units = look;
        let now = summary(&arms, units)?;
        if plan.looks.contains(&now.exposed()) {
            taken.push(now.clone());
        }
        let analysis = analyze_looks(plan, &now, Looks::Taken(&taken))?;
        let mut compared = analysis.metrics.iter().flat_map(|metric| &metric.comparisons);
        alarmed |= compared.any(|comparison| comparison.decision != Decision::Undecided);
    }
    Ok(alarmed)
}

/// Moments with so many exponential values more.
fn grown(mut moments: Moments, count: u64, random: &mut Random) -> Moments {
    for _ in 0..count {
        let value = -random.uniform().ln();
        moments.n += 1;
        let distance = value - moments.mean;
        moments.mean += distance / moments.n as f64;
        moments.m2 += distance * (value - moments.mean);
    }
    moments
}

fn summary(
    arms: &[[Moments; METRICS]; 2],
    units: u64,
) -> Result<ExperimentSummary, Box<dyn std::error::Error>> {
    let mut summaries = Vec::new();
    for (variant, metrics) in ["control", "green"].into_iter().zip(arms) {
        let mut arm = ArmSummary {
            variant: VariantKey::new(variant)?,
            exposed: units,
            metrics: [].into(),
        };
        for (index, moments) in metrics.iter().enumerate() {
            let metric = MetricSummary {
                kind: MetricKind::Sum,
                units,
                moments: *moments,
                pair: None,
            };
            arm.metrics
                .insert(MetricKey::new(&format!("metric_{index}"))?, metric);
        }
        summaries.push(arm);
    }
    Ok(ExperimentSummary {
        experiment: ExperimentKey::new("checkout")?,
        as_of: Timestamp(0),
        epoch: 1,
        arms: summaries,
        crossover_users: 0,
    })
}
