//! Whole analyses: what a person or a machine reads.

use std::collections::BTreeMap;

use domain::Moments;

use super::*;

fn variant(name: &str) -> VariantKey {
    VariantKey::new(name).unwrap()
}

fn metric(name: &str) -> MetricKey {
    MetricKey::new(name).unwrap()
}

fn proportion(successes: u64, n: u64) -> MetricSummary {
    let rate = successes as f64 / n as f64;
    MetricSummary {
        kind: MetricKind::Proportion,
        units: successes,
        moments: Moments {
            n,
            mean: rate,
            m2: n as f64 * rate * (1.0 - rate),
        },
    }
}

fn sum(n: u64, mean: f64, variance: f64) -> MetricSummary {
    MetricSummary {
        kind: MetricKind::Sum,
        units: n / 2,
        moments: Moments {
            n,
            mean,
            m2: variance * (n.max(1) - 1) as f64,
        },
    }
}

fn arm(name: &str, exposed: u64, metrics: &[(&str, MetricSummary)]) -> ArmSummary {
    ArmSummary {
        variant: variant(name),
        exposed,
        metrics: metrics
            .iter()
            .map(|(name, summary)| (metric(name), *summary))
            .collect(),
    }
}

fn summary(arms: Vec<ArmSummary>) -> ExperimentSummary {
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").unwrap(),
        as_of: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
        epoch: 3,
        arms,
        crossover_users: 0,
    }
}

fn plan() -> AnalysisPlan {
    AnalysisPlan::unplanned(variant("control"))
}

#[test]
fn a_clear_win_is_called_better_and_the_same_loss_worse() {
    let arms = |left, right| {
        summary(vec![
            arm("control", 10_000, &[("purchase", proportion(left, 10_000))]),
            arm("green", 10_000, &[("purchase", proportion(right, 10_000))]),
        ])
    };
    let win = analyze(&plan(), &arms(1000, 1300)).unwrap();
    let comparison = &win.metrics[0].comparisons[0];
    assert_eq!(comparison.decision, Decision::Better);
    assert!((comparison.relative.anytime.estimate.estimate.unwrap() - 0.3).abs() < 1e-12);
    assert_eq!(win.sample_ratio.verdict, SampleRatioVerdict::Ok);
    assert!(win.warnings.is_empty());
    let loss = analyze(&plan(), &arms(1300, 1000)).unwrap();
    assert_eq!(loss.metrics[0].comparisons[0].decision, Decision::Worse);
    let mut down = plan();
    down.metrics = vec![MetricPlan {
        metric: metric("purchase"),
        role: MetricRole::Guardrail,
        direction: Direction::Down,
    }];
    let down = analyze(&down, &arms(1300, 1000)).unwrap();
    assert_eq!(down.metrics[0].comparisons[0].decision, Decision::Better);
}

#[test]
fn a_mismatch_comes_first_and_nothing_is_decided() {
    let arms = summary(vec![
        arm("control", 10_000, &[("purchase", proportion(1000, 10_000))]),
        arm("green", 8_000, &[("purchase", proportion(1300, 8_000))]),
    ]);
    let analysis = analyze(&plan(), &arms).unwrap();
    assert_eq!(analysis.sample_ratio.verdict, SampleRatioVerdict::Mismatch);
    assert!(analysis.warnings[0].starts_with("sample ratio mismatch"));
    assert_eq!(analysis.metrics[0].comparisons[0].decision, Decision::Undecided);
    let mut planned = plan();
    planned.weights = BTreeMap::from([(variant("control"), 5.0), (variant("green"), 4.0)]);
    let as_planned = analyze(&planned, &arms).unwrap();
    assert_eq!(as_planned.sample_ratio.verdict, SampleRatioVerdict::Ok);
    assert_eq!(as_planned.metrics[0].comparisons[0].decision, Decision::Better);
}

#[test]
fn nothing_in_control_is_the_normal_case() {
    let arms = summary(vec![
        arm("control", 10_000, &[("crash", proportion(0, 10_000))]),
        arm("green", 10_000, &[("crash", proportion(300, 10_000))]),
    ]);
    let analysis = analyze(&plan(), &arms).unwrap();
    let comparison = &analysis.metrics[0].comparisons[0];
    assert!(
        comparison.absolute.anytime.estimate.log10_p.unwrap() < -40.0,
        "{comparison:?}"
    );
    assert_eq!(
        comparison.relative.fixed.reason.as_ref().map(StatsError::code),
        Some("baseline_not_positive")
    );
    assert_eq!(comparison.decision, Decision::Better);
}

#[test]
fn few_events_are_answered_exactly_and_not_decided() {
    let arms = summary(vec![
        arm("control", 1_000, &[("crash", proportion(0, 1_000))]),
        arm("green", 1_000, &[("crash", proportion(6, 1_000))]),
    ]);
    let analysis = analyze(&plan(), &arms).unwrap();
    let comparison = &analysis.metrics[0].comparisons[0];
    assert!(
        (comparison.exact_p_value.unwrap() - 0.031_108).abs() < 1e-4,
        "{comparison:?}"
    );
    assert_eq!(comparison.decision, Decision::Undecided);
    assert!(!comparison.warnings.is_empty());
}

#[test]
fn correction_runs_over_metrics_and_variants_and_matches_the_intervals() {
    let of = |a, b| [("a", sum(5_000, a, 4.0)), ("b", sum(5_000, b, 4.0))];
    let arms = summary(vec![
        arm("control", 5_000, &of(10.0, 10.0)),
        arm("green", 5_000, &of(10.3, 10.12)),
        arm("red", 5_000, &of(10.01, 9.7)),
    ]);
    let analysis = analyze(&plan(), &arms).unwrap();
    let comparisons: Vec<&Comparison> = analysis
        .metrics
        .iter()
        .flat_map(|metric| &metric.comparisons)
        .collect();
    assert_eq!(comparisons.len(), 4);
    for comparison in comparisons {
        let evidence = &comparison.absolute.anytime;
        let raw = evidence.estimate.p_value.unwrap();
        let adjusted = comparison.anytime_adjusted_p_value.unwrap();
        assert!(adjusted >= raw);
        let excludes = !evidence.adjusted_interval.unwrap().contains(0.0);
        assert_eq!(excludes, adjusted <= analysis.alpha);
        assert_eq!(excludes, comparison.decision != Decision::Undecided);
    }
    assert_eq!(analysis.metrics[0].comparisons[0].decision, Decision::Better);
    assert_eq!(analysis.metrics[1].comparisons[1].decision, Decision::Worse);
}

#[test]
fn results_do_not_depend_on_the_metrics_unit() {
    let of = |scale: f64| {
        let arms = summary(vec![
            arm(
                "control",
                4_000,
                &[("time", sum(4_000, 3.0 * scale, 2.0 * scale * scale))],
            ),
            arm(
                "green",
                4_000,
                &[("time", sum(4_000, 3.1 * scale, 2.2 * scale * scale))],
            ),
        ]);
        analyze(&plan(), &arms).unwrap().metrics[0].comparisons[0].clone()
    };
    let (seconds, milliseconds) = (of(1.0), of(1e3));
    let pairs = [
        (seconds.adjusted_p_value, milliseconds.adjusted_p_value),
        (
            seconds.anytime_adjusted_p_value,
            milliseconds.anytime_adjusted_p_value,
        ),
        (
            seconds.relative.fixed.estimate,
            milliseconds.relative.fixed.estimate,
        ),
    ];
    for (one, other) in pairs {
        assert!((one.unwrap() / other.unwrap() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn what_is_absent_has_a_reason() {
    let empty = summary(vec![
        arm("control", 0, &[("purchase", proportion(0, 1))]),
        arm("green", 1, &[]),
    ]);
    let analysis = analyze(&plan(), &empty).unwrap();
    assert!(analysis.metrics[0].comparisons[0].reason.is_some());
    let flat = summary(vec![
        arm("control", 50, &[("purchase", proportion(50, 50))]),
        arm("green", 50, &[("purchase", proportion(0, 50))]),
    ]);
    let flat = analyze(&plan(), &flat).unwrap();
    let comparison = &flat.metrics[0].comparisons[0];
    assert_eq!(comparison.reason, Some(StatsError::ZeroVariance));
    assert_eq!(comparison.absolute.fixed.estimate, Some(-1.0));
    let nobody = analyze(&AnalysisPlan::unplanned(variant("blue")), &empty);
    assert!(matches!(nobody, Err(StatsError::InvalidInput { .. })));
    let text = serde_json::to_value(analysis).unwrap();
    assert_eq!(text["sample_ratio"]["verdict"], "ok");
}
