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
        pair: None,
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
        pair: None,
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

fn bayesian() -> AnalysisPlan {
    AnalysisPlan {
        method: AnalysisMethod::Bayesian,
        ..plan()
    }
}

#[test]
fn a_prior_draws_towards_itself_whatever_the_metrics_unit() {
    // The posterior by hand: precisions add, 1/se² of the data and 1/(0.05·|mean of control|)² of the prior.
    let of = |scale: f64| {
        let arms = summary(vec![
            arm(
                "control",
                400,
                &[("time", sum(400, 10.0 * scale, 25.0 * scale * scale))],
            ),
            arm(
                "green",
                400,
                &[("time", sum(400, 11.0 * scale, 25.0 * scale * scale))],
            ),
        ]);
        let mut believing = bayesian();
        believing.prior = Some(domain::experiment::LiftPrior {
            mean: 0.02,
            standard_deviation: 0.05,
        });
        analyze(&believing, &arms).unwrap().metrics[0].comparisons[0].clone()
    };
    let seconds = of(1.0);
    let posterior = seconds.posterior.clone().unwrap();
    let (data, prior) = (400.0 / 50.0, 1.0 / 0.25);
    let mean = (data * 1.0 + prior * 0.2) / (data + prior);
    assert!(
        (posterior.estimate.unwrap() - mean).abs() < 1e-12,
        "{posterior:?}"
    );
    assert!((posterior.standard_error.unwrap() - f64::sqrt(1.0 / (data + prior))).abs() < 1e-12);
    let other = of(1e6).posterior.unwrap();
    assert!((other.estimate.unwrap() / 1e6 - mean).abs() < 1e-12);
    assert!(
        (other.posterior.unwrap().chance_to_win - posterior.posterior.unwrap().chance_to_win).abs() < 1e-12
    );
    assert_eq!(seconds.practical, None);
}

#[test]
fn a_prior_without_a_scale_has_a_reason() {
    let arms = summary(vec![
        arm("control", 400, &[("time", sum(400, 0.0, 25.0))]),
        arm("green", 400, &[("time", sum(400, 1.0, 25.0))]),
    ]);
    let mut believing = bayesian();
    believing.equal_within = Some(0.1);
    let flat = analyze(&believing, &arms).unwrap().metrics[0].comparisons[0].clone();
    assert!(flat.posterior.unwrap().interval.is_some() && flat.practical.is_none());
    believing.prior = Some(domain::experiment::LiftPrior {
        mean: 0.0,
        standard_deviation: 0.05,
    });
    let absent = analyze(&believing, &arms).unwrap().metrics[0].comparisons[0].clone();
    let reason = absent.posterior.unwrap().reason.unwrap();
    assert_eq!(reason.code(), "baseline_not_positive");
}

#[test]
fn what_lies_within_the_plans_region_is_neither_better_nor_worse() {
    let of = |kind: fn(u64) -> MetricSummary, left: u64, right: u64, within: f64| {
        let arms = summary(vec![
            arm("control", 100_000, &[("purchase", kind(left))]),
            arm("green", 100_000, &[("purchase", kind(right))]),
        ]);
        let mut believing = bayesian();
        believing.equal_within = Some(within);
        analyze(&believing, &arms).unwrap().metrics[0].comparisons[0].clone()
    };
    let rate: fn(u64) -> MetricSummary = |successes| proportion(successes, 100_000);
    let mean: fn(u64) -> MetricSummary = |thousandth| sum(100_000, thousandth as f64 / 1e5, 0.25);
    for kind in [rate, mean] {
        let won = of(kind, 20_000, 21_000, 0.01);
        assert_eq!(won.decision, Decision::Better);
        let small = of(kind, 20_000, 21_000, 0.04);
        assert_eq!(small.decision, Decision::Undecided);
        let region = small.practical.unwrap();
        assert!((region.upper - 0.008).abs() < 1e-12 && !region.equal);
        let chances = region.chance_below + region.chance_within + region.chance_above;
        assert!((chances - 1.0).abs() < 1e-9, "{region:?}");
        let same = of(kind, 20_000, 20_010, 0.04).practical.unwrap();
        assert!(same.equal && same.chance_within > 0.99, "{same:?}");
    }
}

#[test]
fn secondary_metrics_wait_for_every_goal_and_guardrails_for_none() {
    let metrics = |goal: f64| {
        [
            ("goal", sum(5_000, goal, 4.0)),
            ("second", sum(5_000, if goal > 10.0 { 10.4 } else { 10.0 }, 4.0)),
            ("crash", sum(5_000, if goal > 10.0 { 10.5 } else { 10.0 }, 4.0)),
        ]
    };
    let of = |goal: f64| {
        let arms = summary(vec![
            arm("control", 5_000, &metrics(10.0)),
            arm("green", 5_000, &metrics(goal)),
        ]);
        let used = |name: &str, role, direction| MetricPlan {
            metric: metric(name),
            role,
            direction,
        };
        let ordered = AnalysisPlan {
            goals_first: true,
            metrics: vec![
                used("second", MetricRole::Secondary, Direction::Up),
                used("goal", MetricRole::Goal, Direction::Up),
                used("crash", MetricRole::Guardrail, Direction::Down),
            ],
            ..plan()
        };
        analyze(&ordered, &arms).unwrap()
    };
    let only = |analysis: &Analysis, index: usize| analysis.metrics[index].comparisons[0].clone();
    let lost = of(10.01);
    let [second, goal, crash] = [0, 1, 2].map(|index| only(&lost, index));
    assert_eq!((goal.decision, goal.gate), (Decision::Undecided, None));
    assert_eq!(
        (second.decision, second.gate),
        (Decision::Undecided, Some(Gate::Closed))
    );
    // Behind a closed gate the p-value is at least the goal's, and no interval has a level that would match it.
    assert_eq!(second.anytime_adjusted_p_value, goal.anytime_adjusted_p_value);
    assert_eq!(second.absolute.anytime.adjusted_interval, None);
    assert_eq!((crash.decision, crash.gate), (Decision::Worse, None));
    let won = of(10.5);
    let [second, goal, _] = [0, 1, 2].map(|index| only(&won, index));
    assert_eq!(goal.decision, Decision::Better);
    assert_eq!(
        (second.decision, second.gate),
        (Decision::Better, Some(Gate::Open))
    );
    assert!(second.absolute.anytime.adjusted_interval.is_some());
}

#[test]
fn a_goal_that_got_worse_opens_no_gate() {
    // What must never change: significance in the harmful direction is not a win (serial gatekeeping).
    let of = |goal: f64, direction: Direction, method: AnalysisMethod| {
        let metrics = |goal: f64, second: f64| {
            [
                ("goal", sum(5_000, goal, 4.0)),
                ("second", sum(5_000, second, 4.0)),
            ]
        };
        let arms = summary(vec![
            arm("control", 5_000, &metrics(10.0, 10.0)),
            arm("green", 5_000, &metrics(goal, 10.5)),
        ]);
        let used = |name: &str, role, direction| MetricPlan {
            metric: metric(name),
            role,
            direction,
        };
        let ordered = AnalysisPlan {
            goals_first: true,
            metrics: vec![
                used("goal", MetricRole::Goal, direction),
                used("second", MetricRole::Secondary, Direction::Up),
            ],
            method,
            looks: vec![10_000],
            ..plan()
        };
        let analysis = analyze(&ordered, &arms).unwrap();
        [0, 1].map(|index: usize| analysis.metrics[index].comparisons[0].clone())
    };
    for method in [AnalysisMethod::Sequential, AnalysisMethod::FixedHorizon] {
        let [goal, second] = of(9.5, Direction::Up, method);
        assert_eq!(
            (goal.decision, second.gate),
            (Decision::Worse, Some(Gate::Closed))
        );
        assert_eq!(second.decision, Decision::Undecided);
        assert_eq!(second.anytime_adjusted_p_value, Some(1.0));
        assert_eq!(second.adjusted_p_value, Some(1.0));
        let [goal, second] = of(9.5, Direction::Down, method);
        assert_eq!((goal.decision, second.gate), (Decision::Better, Some(Gate::Open)));
        assert_eq!(second.decision, Decision::Better);
    }
}
