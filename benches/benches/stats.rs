//! Statistics: one comparison, a whole experiment, and the tables that cost the most to compute.
//!
//! Throughput is in analyses or tables per second; one core, fixed inputs.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use domain::metric::MetricKind;
use domain::results::{AnalysisPlan, ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};
use stats::analyze::analyze;
use stats::frequentist::contrast::{Alternative, Question};
use stats::frequentist::mean;
use stats::frequentist::sample::Sample;
use stats::multiple::dunnett;
use stats::sequential::group::spending::Spending;
use stats::sequential::group::{Sides, bounds::bounds, classical};

/// Users in each arm.
const USERS: u64 = 25_000;

fn variant(number: usize) -> VariantKey {
    let name = if number == 0 {
        "control".to_owned()
    } else {
        format!("treatment_{number}")
    };
    VariantKey::new(&name).expect("the name is valid")
}

/// A revenue, or for every other metric a conversion, that grows a little with the arm.
fn metric(number: usize, arm: usize) -> MetricSummary {
    let lift = 1.0 + 0.004 * arm as f64 * (number % 7) as f64;
    if number.is_multiple_of(2) {
        let mean = 12.5 * lift;
        let moments = Moments {
            n: USERS,
            mean,
            m2: 900.0 * (USERS - 1) as f64,
        };
        return MetricSummary {
            kind: MetricKind::Sum,
            units: USERS / 3,
            moments,
            pair: None,
        };
    }
    let units = (0.08 * lift * USERS as f64) as u64;
    let rate = units as f64 / USERS as f64;
    MetricSummary {
        kind: MetricKind::Proportion,
        units,
        moments: Moments {
            n: USERS,
            mean: rate,
            m2: USERS as f64 * rate * (1.0 - rate),
        },
        pair: None,
    }
}

fn experiment(metrics: usize, arms: usize) -> ExperimentSummary {
    let key = |number: usize| MetricKey::new(&format!("metric_{number}")).expect("the name is valid");
    let arm = |arm: usize| ArmSummary {
        variant: variant(arm),
        exposed: USERS,
        metrics: (0..metrics)
            .map(|number| (key(number), metric(number, arm)))
            .collect::<BTreeMap<_, _>>(),
    };
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").expect("the name is valid"),
        as_of: Timestamp::parse("2026-01-02T03:04:05Z").expect("the time is valid"),
        epoch: 1,
        arms: (0..arms).map(arm).collect(),
        crossover_users: 0,
    }
}

fn whole_experiments(criterion: &mut Criterion) {
    let plan = AnalysisPlan::unplanned(variant(0));
    let mut group = criterion.benchmark_group("stats/analyze");
    for (metrics, arms) in [(1, 2), (50, 4)] {
        let summary = experiment(metrics, arms);
        group.throughput(Throughput::Elements(1));
        let name = format!("{metrics} metrics, {arms} arms");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| analyze(&plan, black_box(&summary)));
        });
    }
    group.finish();
}

fn one_test(criterion: &mut Criterion) {
    let (control, treatment) = (
        Sample::from_variance(USERS, 12.5, 900.0),
        Sample::from_variance(USERS, 13.1, 930.0),
    );
    let mut group = criterion.benchmark_group("stats/test");
    group.throughput(Throughput::Elements(1));
    group.bench_function("welch t", |bencher| {
        bencher.iter(|| mean::welch(black_box(&control), &treatment, Question::two_sided(0.05)));
    });
    group.finish();
}

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stats/tables");
    group.throughput(Throughput::Elements(1));
    for treatments in [3, 10] {
        let shape = dunnett::Shape {
            treatments,
            df: 96.0,
            rho: 0.5,
            alternative: Alternative::TwoSided,
        };
        group.bench_function(
            BenchmarkId::new("dunnett critical value", treatments),
            |bencher| {
                bencher.iter(|| dunnett::critical_value(black_box(shape), 0.05));
            },
        );
    }
    let control = Sample::from_variance(25, 10.0, 4.0);
    let treatments = [10.5, 11.0, 11.5].map(|mean| Sample::from_variance(25, mean, 4.0));
    group.bench_function("dunnett test of 3 treatments", |bencher| {
        bencher.iter(|| dunnett::test(black_box(&control), &treatments, 0.05, Alternative::TwoSided));
    });
    for looks in [5, 20] {
        let information = classical::equal_information(looks);
        group.bench_function(BenchmarkId::new("spending boundaries", looks), |bencher| {
            bencher.iter(|| {
                bounds(
                    black_box(&information),
                    Spending::ObrienFleming,
                    0.025,
                    Sides::Two,
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole_experiments, one_test, tables);
criterion_main!(benches);
