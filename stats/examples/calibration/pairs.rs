//! Ratios and adjusted means: whole experiments from users with two values each, read at every look.

use domain::experiment::AnalysisMethod;
use domain::metric::MetricKind;
use domain::results::{AnalysisPlan, ArmSummary, ExperimentSummary, MetricSummary, PairMoments, SecondValue};
use domain::{CrossSums, ExperimentKey, MetricKey, Timestamp, VariantKey};
use stats::analyze::{Comparison, Decision, Looks, analyze_looks};

use crate::random::Random;
use crate::report::{Claim, Report, Row};

/// Whatever goes wrong ends the run.
type Failure = Box<dyn std::error::Error>;

/// Users an arm at each look.
const LOOKS: [u64; 8] = [150, 300, 450, 600, 800, 1_000, 1_250, 1_500];

/// Experiments for each row.
const RUNS: usize = 1_500;

/// What is drawn for a user: the metric's value and the second one.
type Draw = fn(&mut Random) -> [f64; 2];

/// A customer's revenue over orders: both grow with the customer's own habit, so that orders are clustered.
fn orders(random: &mut Random) -> [f64; 2] {
    let habit = random.gamma(1.5);
    let orders = 1 + random.poisson(habit);
    let basket = 0.5 + random.gamma(2.0);
    let revenue = (0..orders).map(|_| basket * -random.uniform().ln()).sum();
    [revenue, orders as f64]
}

/// Revenue now and before: skewed, with a correlation of about 0.8.
fn history(random: &mut Random) -> [f64; 2] {
    let habit = random.gamma(2.0);
    [
        habit + 0.5 * -random.uniform().ln(),
        habit + 0.5 * -random.uniform().ln(),
    ]
}

/// Whether a user buys now and bought before.
fn purchase(random: &mut Random) -> [f64; 2] {
    let likes = random.uniform() < 0.2;
    let mut buys = || f64::from(u8::from(random.uniform() < if likes { 0.7 } else { 0.03 }));
    [buys(), buys()]
}

/// The section about second values.
pub fn simulate(report: &mut Report) -> Result<(), Failure> {
    report.say("## Ratios and adjusted means");
    report.say("No effect, eight looks from 150 to 1 500 users an arm. A false alarm of the sequence is a decision at any look; the fixed test and its intervals are read at the end, once.");
    let cases: [(&str, MetricKind, SecondValue, Draw); 3] = [
        (
            "revenue over orders, clustered by customer",
            MetricKind::Sum,
            SecondValue::Denominator,
            orders,
        ),
        (
            "revenue adjusted for revenue before",
            MetricKind::Sum,
            SecondValue::Covariate,
            history,
        ),
        (
            "purchase adjusted for purchase before",
            MetricKind::Proportion,
            SecondValue::Covariate,
            purchase,
        ),
    ];
    let mut rows = Vec::new();
    for (index, (name, kind, value, draw)) in cases.into_iter().enumerate() {
        let mut random = Random::new(400 + index as u64);
        let [mut watched, mut imbalanced, mut fixed, mut peeked, mut lift] = [0_usize; 5];
        for _ in 0..RUNS {
            let seen = experiment(kind, value, draw, &mut random)?;
            watched += usize::from(seen.decided);
            imbalanced += usize::from(seen.imbalanced);
            fixed += usize::from(seen.last_fixed);
            peeked += usize::from(seen.any_fixed);
            lift += usize::from(seen.lift_covered);
        }
        rows.push(Row::new(
            format!("{name}: sequence at every look"),
            Claim::AtMost(0.05),
            watched,
            RUNS,
        ));
        rows.push(Row::new(
            format!("{name}: fixed test at the end"),
            Claim::About(0.05),
            fixed,
            RUNS,
        ));
        rows.push(Row::new(
            format!("{name}: interval of the lift at the end"),
            Claim::About(0.95),
            lift,
            RUNS,
        ));
        rows.push(Row::new(
            format!("{name}: fixed test at every look"),
            Claim::Nothing,
            peeked,
            RUNS,
        ));
        if value == SecondValue::Covariate {
            rows.push(Row::new(
                format!("{name}: imbalance warned of"),
                Claim::AtMost(0.001),
                imbalanced,
                RUNS,
            ));
        }
    }
    report.claims(&rows);
    Ok(())
}

/// What was seen of one experiment.
#[derive(Default)]
struct Seen {
    decided: bool,
    any_fixed: bool,
    last_fixed: bool,
    lift_covered: bool,
    imbalanced: bool,
}

fn experiment(
    kind: MetricKind,
    value: SecondValue,
    draw: Draw,
    random: &mut Random,
) -> Result<Seen, Failure> {
    let plan = AnalysisPlan {
        method: AnalysisMethod::Sequential,
        planned_units: 2 * LOOKS[LOOKS.len() - 1],
        ..AnalysisPlan::unplanned(VariantKey::new("control")?)
    };
    let mut arms = [CrossSums::default(), CrossSums::default()];
    let mut seen = Seen::default();
    for look in LOOKS {
        for arm in &mut arms {
            for _ in arm.x.units..look {
                let [x, y] = draw(random);
                arm.add(x, y);
            }
        }
        let analysis = analyze_looks(&plan, &summary(kind, value, &arms, look)?, Looks::Now)?;
        let metric = &analysis.metrics[0];
        let comparison: &Comparison = &metric.comparisons[0];
        let balance = metric.covariate_balance.as_ref();
        seen.imbalanced |= balance.is_some_and(|balance| balance.imbalanced);
        seen.decided |= comparison.decision != Decision::Undecided;
        seen.last_fixed = comparison.absolute.fixed.p_value.is_some_and(|p| p < 0.05);
        seen.any_fixed |= seen.last_fixed;
        let lift = comparison.relative.fixed.interval;
        seen.lift_covered = lift.is_some_and(|interval| interval.contains(0.0));
    }
    Ok(seen)
}

fn summary(
    kind: MetricKind,
    value: SecondValue,
    arms: &[CrossSums; 2],
    units: u64,
) -> Result<ExperimentSummary, Failure> {
    let mut summaries = Vec::new();
    for (variant, sums) in ["control", "green"].into_iter().zip(arms) {
        let moments = sums.x.moments_over(units);
        let events = if kind == MetricKind::Proportion {
            (moments.mean * units as f64).round() as u64
        } else {
            units
        };
        let metric = MetricSummary {
            kind,
            units: events,
            moments,
            pair: Some(PairMoments {
                value,
                moments: sums.y.moments_over(units),
                cross: sums.cross_moment_over(units),
            }),
        };
        summaries.push(ArmSummary {
            variant: VariantKey::new(variant)?,
            exposed: units,
            metrics: [(MetricKey::new("revenue")?, metric)].into(),
        });
    }
    Ok(ExperimentSummary {
        experiment: ExperimentKey::new("checkout")?,
        as_of: Timestamp(0),
        epoch: 1,
        arms: summaries,
        crossover_users: 0,
    })
}
