//! Goals before secondary metrics, and ends for lack of effect: what plans promise of whole experiments.

use std::collections::BTreeMap;

use domain::experiment::AnalysisMethod;
use domain::metric::{Direction, MetricKind, MetricRole};
use domain::results::{AnalysisPlan, ArmSummary, ExperimentSummary, MetricPlan, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};
use stats::analyze::{Analysis, Decision, Looks, analyze_looks};
use stats::sequential::group::futility::{Binding, FutilityPlan, design};
use stats::sequential::group::spending::Spending;

use crate::random::Random;
use crate::report::{Claim, Report, Row};

/// Whatever goes wrong ends the run.
type Failure = Box<dyn std::error::Error>;

/// Users an arm at each look; means of this many values are normal to the digits that count.
const LOOKS: [u64; 4] = [500, 1_000, 1_500, 2_000];

/// Experiments for each row.
const RUNS: usize = 2_000;

/// The error of the second kind that futility may spend.
const BETA: f64 = 0.2;

/// The section about goals and futility.
pub fn simulate(report: &mut Report) -> Result<(), Failure> {
    goals_first(report)?;
    futility(report)
}

fn goals_first(report: &mut Report) -> Result<(), Failure> {
    report.say("## Goals before secondary metrics");
    report.say("Two goals and two secondary metrics with variance 1, secondary metrics without an effect, four looks, `goals_first`. A false alarm is a decision, at any look, on a metric that is not moved.");
    let worlds: [(&str, [f64; 2]); 4] = [
        ("nothing is moved", [0.0, 0.0]),
        ("both goals get better", [6.0, 6.0]),
        ("one goal gets better", [6.0, 0.0]),
        ("both goals get worse", [-6.0, -6.0]),
    ];
    let mut rows = Vec::new();
    let methods = [
        ("sequential", AnalysisMethod::Sequential),
        ("group sequential", AnalysisMethod::GroupSequential),
    ];
    for (number, (how, method)) in methods.into_iter().enumerate() {
        for (index, (name, goals)) in worlds.iter().enumerate() {
            let mut random = Random::new(300 + 10 * number as u64 + index as u64);
            let plan = AnalysisPlan {
                goals_first: true,
                ..plan(
                    method,
                    &[
                        MetricRole::Goal,
                        MetricRole::Goal,
                        MetricRole::Secondary,
                        MetricRole::Secondary,
                    ],
                )?
            };
            let drifts = [goals[0], goals[1], 0.0, 0.0];
            let mut alarms = 0;
            for _ in 0..RUNS {
                let mut alarmed = false;
                run(&plan, &drifts, &mut random, |analysis| {
                    alarmed |= is_false(analysis, &drifts);
                    false
                })?;
                alarms += usize::from(alarmed);
            }
            // Behind gates that stay shut nothing is decided at all.
            let claim = if goals[1] < 0.0 {
                Claim::AtMost(0.0)
            } else {
                Claim::AtMost(0.05)
            };
            rows.push(Row::new(format!("{how}: {name}"), claim, alarms, RUNS));
        }
    }
    report.claims(&rows);
    Ok(())
}

/// Whether a metric that is not moved is decided.
fn is_false(analysis: &Analysis, drifts: &[f64]) -> bool {
    let unmoved = analysis
        .metrics
        .iter()
        .zip(drifts)
        .filter(|(_, drift)| drift.abs() <= 0.0);
    unmoved
        .flat_map(|(metric, _)| &metric.comparisons)
        .any(|comparison| comparison.decision != Decision::Undecided)
}

fn futility(report: &mut Report) -> Result<(), Failure> {
    report.say("## Ending for lack of effect");
    report.say("One goal, group-sequential, four looks, `futility_beta` 0.2; the effect planned for is the one that the design finds with a chance of 0.8. Whoever heeds futility ends at the first look where it is due.");
    let plan = AnalysisPlan {
        futility_beta: Some(BETA),
        ..plan(AnalysisMethod::GroupSequential, &[MetricRole::Goal])?
    };
    let information: Vec<f64> = LOOKS
        .iter()
        .map(|units| *units as f64 / LOOKS[3] as f64)
        .collect();
    let made = design(
        &information,
        FutilityPlan {
            efficacy: Spending::ObrienFleming,
            alpha: 0.5 * plan.alpha,
            futility: Spending::ObrienFleming,
            beta: BETA,
            binding: Binding::NonBinding,
        },
    )?;
    let cases = [
        (
            "no effect, futility ignored: decided",
            0.0,
            false,
            Claim::AtMost(0.05),
        ),
        (
            "no effect, futility heeded: decided",
            0.0,
            true,
            Claim::AtMost(0.05),
        ),
        (
            "the effect planned for, futility heeded: better",
            made.drift,
            true,
            Claim::About(1.0 - BETA),
        ),
        (
            "the effect planned for, futility ignored: better",
            made.drift,
            false,
            Claim::AtLeast(1.0 - BETA),
        ),
    ];
    let mut rows = Vec::new();
    for (index, (name, drift, heed, claim)) in cases.into_iter().enumerate() {
        let mut random = Random::new(340 + index as u64);
        rows.push(Row::new(
            name,
            claim,
            decided(&plan, drift, heed, &mut random)?,
            RUNS,
        ));
    }
    let ended = ended_early(&plan, &mut Random::new(350))?;
    rows.push(Row::new(
        "no effect, futility heeded: ends early",
        Claim::Nothing,
        ended,
        RUNS,
    ));
    report.claims(&rows);
    Ok(())
}

/// Whether an end for lack of effect is due for the only metric.
fn is_due(analysis: &Analysis) -> bool {
    let planned = analysis.metrics[0].comparisons[0].planned.as_ref();
    let futility = planned.and_then(|planned| planned.futility.as_ref());
    futility.is_some_and(|futility| futility.due_at_look.is_some())
}

/// Experiments that end decided: better where there is an effect, either way where there is none.
fn decided(plan: &AnalysisPlan, drift: f64, heed: bool, random: &mut Random) -> Result<usize, Failure> {
    let mut decided = 0;
    for _ in 0..RUNS {
        let mut last = Decision::Undecided;
        run(plan, &[drift], random, |analysis| {
            last = analysis.metrics[0].comparisons[0].decision;
            last != Decision::Undecided || heed && is_due(analysis)
        })?;
        let counts = if drift > 0.0 {
            last == Decision::Better
        } else {
            last != Decision::Undecided
        };
        decided += usize::from(counts);
    }
    Ok(decided)
}

/// Experiments without an effect in which an end is due at some look.
fn ended_early(plan: &AnalysisPlan, random: &mut Random) -> Result<usize, Failure> {
    let mut ended = 0;
    for _ in 0..RUNS {
        let mut due = false;
        run(plan, &[0.0], random, |analysis| {
            due |= is_due(analysis);
            due
        })?;
        ended += usize::from(due);
    }
    Ok(ended)
}

fn plan(method: AnalysisMethod, roles: &[MetricRole]) -> Result<AnalysisPlan, Failure> {
    let metrics = roles.iter().enumerate().map(|(index, role)| {
        Ok::<_, Failure>(MetricPlan {
            metric: key(index)?,
            role: *role,
            direction: Direction::Up,
        })
    });
    Ok(AnalysisPlan {
        method,
        metrics: metrics.collect::<Result<_, _>>()?,
        looks: LOOKS.iter().map(|units| 2 * units).collect(),
        planned_units: 2 * LOOKS[LOOKS.len() - 1],
        ..AnalysisPlan::unplanned(VariantKey::new("control")?)
    })
}

fn key(index: usize) -> Result<MetricKey, Failure> {
    Ok(MetricKey::new(&format!("metric_{index}"))?)
}

/// Runs an experiment look by look until `seen` says that it is over; `drifts` are the means of Z at the end.
fn run(
    plan: &AnalysisPlan,
    drifts: &[f64],
    random: &mut Random,
    mut seen: impl FnMut(&Analysis) -> bool,
) -> Result<(), Failure> {
    let end = LOOKS[LOOKS.len() - 1] as f64;
    let mut sums = vec![[0.0; 2]; drifts.len()];
    let mut taken = Vec::new();
    let mut before = 0;
    for look in LOOKS {
        let count = (look - before) as f64;
        before = look;
        for (sum, drift) in sums.iter_mut().zip(drifts) {
            let shift = drift * (2.0 / end).sqrt();
            sum[0] += count.sqrt() * random.normal();
            sum[1] += count * shift + count.sqrt() * random.normal();
        }
        let now = summary(&sums, look)?;
        taken.push(now.clone());
        if seen(&analyze_looks(plan, &now, Looks::Taken(&taken))?) {
            break;
        }
    }
    Ok(())
}

/// Arms of normal values with variance 1 and these sums.
fn summary(sums: &[[f64; 2]], units: u64) -> Result<ExperimentSummary, Failure> {
    let mut arms = Vec::new();
    for (arm, variant) in ["control", "green"].into_iter().enumerate() {
        let mut metrics = BTreeMap::new();
        for (index, sum) in sums.iter().enumerate() {
            let metric = MetricSummary {
                kind: MetricKind::Sum,
                units,
                moments: Moments {
                    n: units,
                    mean: 10.0 + sum[arm] / units as f64,
                    m2: (units - 1) as f64,
                },
                pair: None,
            };
            metrics.insert(key(index)?, metric);
        }
        arms.push(ArmSummary {
            variant: VariantKey::new(variant)?,
            exposed: units,
            metrics,
        });
    }
    Ok(ExperimentSummary {
        experiment: ExperimentKey::new("checkout")?,
        as_of: Timestamp(0),
        epoch: 1,
        arms,
        crossover_users: 0,
    })
}
