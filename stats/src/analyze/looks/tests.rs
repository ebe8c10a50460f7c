//! Decisions at looks: when there is one, what it rests on, and what later data cannot change.

use domain::metric::{Direction, MetricKind, MetricRole};
use domain::results::{ArmSummary, Correction, MetricPlan};
use domain::{ExperimentKey, MetricKey, Moments};

use super::*;
use crate::analyze::{Analysis, Comparison, Decision, analyze, analyze_looks};

fn variant(name: &str) -> VariantKey {
    VariantKey::new(name).unwrap()
}

fn plan(method: AnalysisMethod, looks: &[u64]) -> AnalysisPlan {
    let metric = |name: &str| MetricPlan {
        metric: MetricKey::new(name).unwrap(),
        role: MetricRole::Goal,
        direction: Direction::Up,
    };
    AnalysisPlan {
        method,
        looks: looks.to_vec(),
        metrics: vec![metric("revenue")],
        ..AnalysisPlan::unplanned(variant("control"))
    }
}

/// Arms of `n` users with variance 1, whose means lie so far apart that the statistic is `z`.
fn at(n: u64, z: f64) -> ExperimentSummary {
    let arm = |name: &str, mean: f64| ArmSummary {
        variant: variant(name),
        exposed: n,
        metrics: [(
            MetricKey::new("revenue").unwrap(),
            MetricSummary {
                kind: MetricKind::Sum,
                units: n,
                moments: Moments {
                    n,
                    mean,
                    m2: (n - 1) as f64,
                },
                pair: None,
            },
        )]
        .into(),
    };
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").unwrap(),
        as_of: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
        epoch: n as i64,
        arms: vec![
            arm("control", 5.0),
            arm("green", 5.0 + z * (2.0 / n as f64).sqrt()),
        ],
        crossover_users: 0,
    }
}

fn only(analysis: &Analysis) -> &Comparison {
    &analysis.metrics[0].comparisons[0]
}

fn planned(analysis: &Analysis) -> &PlannedEvidence {
    only(analysis).planned.as_ref().unwrap()
}

#[test]
fn a_fixed_horizon_decides_once_and_by_welchs_test() {
    // What must never change: neither an early look nor what came after the planned one moves the decision.
    let plan = plan(AnalysisMethod::FixedHorizon, &[2_000]);
    let early = analyze_looks(&plan, &at(500, 9.0), Looks::Taken(&[])).unwrap();
    assert_eq!(only(&early).decision, Decision::Undecided);
    assert_eq!(early.next_look, Some(2_000));
    assert!(
        early.warnings[0].contains("2000 users; 1000 are exposed"),
        "{:?}",
        early.warnings
    );

    let looks = [at(1_010, 2.5)];
    let later = analyze_looks(&plan, &at(5_000, 0.1), Looks::Taken(&looks)).unwrap();
    assert_eq!(only(&later).decision, Decision::Better);
    assert_eq!((later.looks.len(), later.next_look), (1, None));
    let then = analyze(&plan, &looks[0]).unwrap();
    let welch = only(&then).absolute.fixed.p_value.unwrap();
    assert!((planned(&later).p_value.unwrap() / welch - 1.0).abs() < 1e-9);
    let (ours, theirs) = (
        planned(&later).adjusted_interval.unwrap(),
        only(&then).absolute.fixed.interval.unwrap(),
    );
    assert!((ours.lower.unwrap() - theirs.lower.unwrap()).abs() < 1e-9);
    assert!(later.warnings.is_empty(), "{:?}", later.warnings);

    let ended_early = analyze_looks(&plan, &at(500, 3.0), Looks::Taken(&[at(500, 3.0)])).unwrap();
    assert!(
        ended_early.warnings[0].contains("1000 of 2000"),
        "{:?}",
        ended_early.warnings
    );
}

#[test]
fn a_boundary_that_is_just_reached_has_the_plans_alpha_as_its_p_value() {
    // Lan and DeMets' boundaries in the manner of O'Brien and Fleming for five even looks at 5 %, as their program prints
    // them, whose fourth digit is its own; the p-value over looks turns each back into 5 %.
    let bounds = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310];
    let plan = plan(
        AnalysisMethod::GroupSequential,
        &[20_000, 40_000, 60_000, 80_000, 100_000],
    );
    for (index, bound) in bounds.iter().enumerate() {
        let looks: Vec<ExperimentSummary> = (0..=index as u64)
            .map(|look| {
                at(
                    10_000 * (look + 1),
                    if look == index as u64 { *bound } else { 0.5 },
                )
            })
            .collect();
        let analysis = analyze_looks(&plan, &looks[index], Looks::Taken(&looks)).unwrap();
        let evidence = planned(&analysis);
        assert!(
            (evidence.p_value.unwrap() - 0.05).abs() < 2e-4,
            "look {index}: {:?}",
            evidence.p_value
        );
        assert_eq!(evidence.deciding_look, Some(index + 1));
        let critical = evidence.looks[index].critical_value.unwrap();
        assert!((critical - bound).abs() < 2e-4, "{critical} {bound}");
    }
}

#[test]
fn a_crossed_boundary_stays_crossed_and_its_estimate_is_pulled_in() {
    let plan = plan(AnalysisMethod::GroupSequential, &[4_000, 8_000, 12_000]);
    let looks = [at(2_000, 1.0), at(4_000, -4.2), at(6_000, -0.2)];
    let analysis = analyze_looks(&plan, &at(7_000, 0.3), Looks::Taken(&looks)).unwrap();
    let evidence = planned(&analysis);
    assert_eq!(only(&analysis).decision, Decision::Worse);
    assert_eq!(evidence.deciding_look, Some(2));
    let at_stop = evidence.at_stop.unwrap();
    assert!(
        at_stop.median_unbiased > at_stop.estimate && at_stop.median_unbiased < 0.0,
        "{at_stop:?}"
    );
    // Without the loud look the same course decides nothing.
    let quiet = [looks[0].clone(), looks[2].clone()];
    let quiet = analyze_looks(&plan, &at(7_000, 0.3), Looks::Taken(&quiet)).unwrap();
    assert_eq!(only(&quiet).decision, Decision::Undecided);
    assert_eq!(planned(&quiet).at_stop, None);
}

#[test]
fn intervals_match_adjusted_p_values_over_metrics_and_looks() {
    // What must never change: the interval leaves out 0 exactly when the adjusted p-value is at most alpha.
    let with_metrics = |n: u64, z: [f64; 4]| {
        let mut summary = at(n, 0.0);
        for arm in &mut summary.arms {
            let own = arm.metrics.values().next().copied().unwrap();
            let is_green = arm.variant == variant("green");
            arm.metrics = z
                .iter()
                .enumerate()
                .map(|(index, z)| {
                    let mut metric = own;
                    if is_green {
                        metric.moments.mean = 5.0 + z * (2.0 / n as f64).sqrt();
                    }
                    (MetricKey::new(&format!("m{index}")).unwrap(), metric)
                })
                .collect();
        }
        summary
    };
    for correction in [Correction::None, Correction::Holm, Correction::BenjaminiHochberg] {
        let mut plan = plan(AnalysisMethod::GroupSequential, &[3_000, 6_000, 9_000]);
        plan.correction = correction;
        plan.metrics.clear();
        let looks = [
            with_metrics(1_500, [1.0, 2.0, -3.9, 0.0]),
            with_metrics(3_000, [2.5, 2.6, -2.0, 0.4]),
            with_metrics(4_500, [2.1, 2.8, -1.0, 1.9]),
        ];
        let analysis = analyze_looks(&plan, &looks[2], Looks::Taken(&looks)).unwrap();
        let mut decided = 0;
        for metric in &analysis.metrics {
            let comparison = &metric.comparisons[0];
            let evidence = comparison.planned.as_ref().unwrap();
            let (raw, adjusted) = (evidence.p_value.unwrap(), evidence.adjusted_p_value.unwrap());
            assert!(adjusted >= raw);
            let leaves_out = !evidence.adjusted_interval.unwrap().contains(0.0);
            assert_eq!(leaves_out, adjusted <= plan.alpha, "{correction:?} {evidence:?}");
            assert_eq!(leaves_out, comparison.decision != Decision::Undecided);
            decided += usize::from(leaves_out);
        }
        assert!((1..4).contains(&decided), "{correction:?} decided {decided}");
    }
}

#[test]
fn a_thin_look_decides_nothing_and_unrecorded_looks_are_said_to_be_so() {
    let plan = plan(AnalysisMethod::FixedHorizon, &[60]);
    let thin = analyze(&plan, &at(40, 8.0)).unwrap();
    assert_eq!(only(&thin).decision, Decision::Undecided);
    assert!(planned(&thin).looks[0].thin && planned(&thin).p_value.is_none());
    assert!(thin.warnings[0].contains("not recorded"), "{:?}", thin.warnings);
    let mut nowhere = plan.clone();
    nowhere.looks.clear();
    let nowhere = analyze(&nowhere, &at(400, 8.0)).unwrap();
    assert_eq!(only(&nowhere).decision, Decision::Undecided);
    assert!(
        nowhere.warnings[0].contains("names no number"),
        "{:?}",
        nowhere.warnings
    );
    let mut many = plan;
    many.looks = (1..=100).collect();
    let many = analyze(&many, &at(400, 8.0));
    assert!(matches!(many, Err(StatsError::TooLarge { .. })));
}

#[test]
fn a_posterior_decides_where_the_plan_says_so_and_nowhere_else() {
    let bayesian = analyze(&plan(AnalysisMethod::Bayesian, &[]), &at(1_000, 2.2)).unwrap();
    let posterior = only(&bayesian).posterior.as_ref().unwrap();
    assert_eq!(only(&bayesian).decision, Decision::Better);
    let belief = posterior.posterior.unwrap();
    assert!(
        (belief.chance_to_win - normal::cdf(2.2)).abs() < 1e-3,
        "{belief:?}"
    );
    assert!(only(&bayesian).planned.is_none() && bayesian.looks.is_empty() && bayesian.next_look.is_none());
    // The same data do not decide by the interval that is valid at every look.
    let sequential = analyze(&plan(AnalysisMethod::Sequential, &[1_000]), &at(1_000, 2.2)).unwrap();
    assert_eq!(only(&sequential).decision, Decision::Undecided);
    assert!(only(&sequential).posterior.is_none() && sequential.next_look.is_none());
}

#[test]
fn an_end_for_lack_of_effect_is_told_and_binds_nobody() {
    // What must never change: futility does not move the boundaries of effect, nor decide anything by itself.
    let looks = [2_000, 4_000, 6_000, 8_000, 10_000];
    let plain = plan(AnalysisMethod::GroupSequential, &looks);
    let allowed = AnalysisPlan {
        futility_beta: Some(0.2),
        ..plain.clone()
    };
    let taken = [at(1_000, 0.4), at(2_000, 0.5), at(3_000, -0.2)];
    let now = at(3_500, -0.2);
    let answer = analyze_looks(&allowed, &now, Looks::Taken(&taken)).unwrap();
    let futility = planned(&answer).futility.clone().unwrap();
    // The boundaries are those of the design with the same five looks.
    let information = [0.2, 0.4, 0.6, 0.8, 1.0];
    let design = crate::sequential::group::futility::design(
        &information,
        crate::sequential::group::futility::FutilityPlan {
            efficacy: Spending::ObrienFleming,
            alpha: 0.025,
            futility: Spending::ObrienFleming,
            beta: 0.2,
            binding: crate::sequential::group::futility::Binding::NonBinding,
        },
    )
    .unwrap();
    for (bound, look) in futility.bounds.iter().zip(&design.looks) {
        assert_eq!(*bound, look.lower, "{futility:?}");
    }
    assert_eq!(
        (futility.bounds.len(), futility.due_at_look),
        (3, Some(3)),
        "{futility:?}"
    );
    assert!(answer.warnings.iter().any(|warning| warning.contains("futility")));
    assert_eq!(only(&answer).decision, Decision::Undecided);
    let without = analyze_looks(&plain, &now, Looks::Taken(&taken)).unwrap();
    let critical = |analysis: &Analysis| -> Vec<Option<f64>> {
        planned(analysis)
            .looks
            .iter()
            .map(|look| look.critical_value)
            .collect()
    };
    assert_eq!(critical(&answer), critical(&without));
    assert_eq!(planned(&without).futility, None);
}

#[test]
fn futility_follows_the_good_direction_and_ends_with_an_effect() {
    let allowed = AnalysisPlan {
        futility_beta: Some(0.2),
        ..plan(AnalysisMethod::GroupSequential, &[2_000, 4_000])
    };
    let futile = |plan: &AnalysisPlan, z: f64| {
        let answer = analyze_looks(plan, &at(1_000, z), Looks::Taken(&[at(1_000, z)])).unwrap();
        planned(&answer).futility.clone().unwrap().due_at_look
    };
    assert_eq!((futile(&allowed, -1.0), futile(&allowed, 2.0)), (Some(1), None));
    let mut down = allowed.clone();
    down.metrics[0].direction = Direction::Down;
    assert_eq!((futile(&down, -2.0), futile(&down, 1.0)), (None, Some(1)));
    // A harm that was found is an effect, not the lack of one.
    assert_eq!(futile(&allowed, -5.0), None);
    // A look that came late is the end, where there is nothing left to give up.
    let late = analyze_looks(&allowed, &at(3_000, 0.0), Looks::Taken(&[at(3_000, 0.0)])).unwrap();
    assert_eq!(planned(&late).futility.clone().unwrap().bounds, [None]);
}
