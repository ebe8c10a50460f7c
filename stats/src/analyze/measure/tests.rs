//! Ratios and adjusted means through the door: the same answers as by name, whatever the order, the unit or the cut.

use std::collections::BTreeMap;

use domain::experiment::AnalysisMethod;
use domain::metric::{Direction, MetricKind, MetricRole};
use domain::results::{ArmSummary, ExperimentSummary, MetricPlan, PairMoments};
use domain::{CrossSums, ExperimentKey, MetricKey, Timestamp, VariantKey};
use serde_json::{Value, json};

use super::*;
use crate::analyze::{Analysis, Comparison, Decision, Looks, analyze, analyze_looks};
use crate::random::SplitMix;

/// Pairs of values of an arm's users.
type Users = Vec<[f64; 2]>;

fn variant(name: &str) -> VariantKey {
    VariantKey::new(name).unwrap()
}

fn summarized(users: &[[f64; 2]], value: SecondValue) -> MetricSummary {
    let mut sums = CrossSums::default();
    users.iter().for_each(|[x, y]| sums.add(*x, *y));
    of_sums(&sums, value)
}

fn of_sums(sums: &CrossSums, value: SecondValue) -> MetricSummary {
    let n = sums.x.units;
    MetricSummary {
        kind: MetricKind::Sum,
        units: n,
        moments: sums.x.moments_over(n),
        pair: Some(PairMoments {
            value,
            moments: sums.y.moments_over(n),
            cross: sums.cross_moment_over(n),
        }),
    }
}

fn experiment(control: MetricSummary, treatment: MetricSummary) -> ExperimentSummary {
    let arm = |name: &str, metric: MetricSummary| ArmSummary {
        variant: variant(name),
        exposed: metric.moments.n,
        metrics: BTreeMap::from([(MetricKey::new("revenue").unwrap(), metric)]),
    };
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").unwrap(),
        as_of: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
        epoch: 3,
        arms: vec![arm("control", control), arm("green", treatment)],
        crossover_users: 0,
    }
}

fn plan() -> AnalysisPlan {
    AnalysisPlan::unplanned(variant("control"))
}

fn compared(plan: &AnalysisPlan, control: MetricSummary, treatment: MetricSummary) -> Comparison {
    analyze(plan, &experiment(control, treatment)).unwrap().metrics[0].comparisons[0].clone()
}

/// Users whose value follows their second one.
fn users(seed: u64, count: usize, shift: f64) -> Users {
    let mut random = SplitMix::new(seed);
    let user = |_| {
        let second = 1.0 + 4.0 * random.uniform();
        [2.0 * second + shift + 3.0 * random.uniform(), second]
    };
    (0..count).map(user).collect()
}

fn scaled(users: &[[f64; 2]], scale: [f64; 2]) -> Users {
    users.iter().map(|[x, y]| [x * scale[0], y * scale[1]]).collect()
}

fn sums_of(users: &[[f64; 2]], x: &str, y: &str) -> Value {
    let sum = |value: fn(&[f64; 2]) -> f64| users.iter().map(value).sum::<f64>();
    json!({
        "n": users.len(),
        format!("{x}sum"): sum(|user| user[0]), format!("{x}sum_squares"): sum(|user| user[0] * user[0]),
        format!("{y}sum"): sum(|user| user[1]), format!("{y}sum_squares"): sum(|user| user[1] * user[1]),
        "cross_sum": sum(|user| user[0] * user[1]),
    })
}

fn close(ours: Option<f64>, truth: &Value) {
    let (ours, truth) = (ours.unwrap(), truth.as_f64().unwrap());
    // Sums of squares on one side, centred moments on the other.
    assert!((ours / truth - 1.0).abs() < 1e-10, "{ours} {truth}");
}

#[test]
fn a_ratio_is_what_the_method_by_name_says() {
    let (control, treatment) = (users(1, 400, 0.0), users(2, 380, 0.5));
    let by_name = crate::call(&json!({"method": "ratio_metric_delta", "inputs": {
        "control": sums_of(&control, "num_", "den_"), "treatment": sums_of(&treatment, "num_", "den_")}}));
    let truth = &by_name["result"];
    let of = |users: &Users| summarized(users, SecondValue::Denominator);
    let whole = analyze(&plan(), &experiment(of(&control), of(&treatment))).unwrap();
    let metric = &whole.metrics[0];
    assert_eq!(metric.second_value, Some(SecondValue::Denominator));
    close(metric.arms[0].mean, &truth["R_control"]);
    close(
        metric.arms[1].standard_error.map(|error| error * error),
        &truth["var_R_treatment"],
    );
    assert!((metric.arms[0].parts.unwrap().denominator_mean - 3.0).abs() < 0.5);
    let comparison = &metric.comparisons[0];
    let fixed = &comparison.absolute.fixed;
    assert_eq!(fixed.method, "ratio_delta");
    close(fixed.estimate, &truth["diff"]);
    close(fixed.standard_error, &truth["se"]);
    close(fixed.p_value, &truth["p_welch"]);
    close(fixed.interval.unwrap().lower, &truth["interval"]["lower"]);
    let lift = &comparison.relative.fixed;
    close(lift.estimate, &truth["rel"]);
    close(
        lift.interval.unwrap().lower,
        &truth["rel_ci95_logdelta_normal"][0],
    );
    // Valid at every look: the sequence of the same difference with the same noise.
    let watched = crate::call(&json!({"method": "asymptotic_cs_normal_mixture", "inputs": {
        "estimate": truth["diff"], "se": truth["se"], "N": 780, "N_star": 10_000, "alpha": 0.05}}));
    let anytime = &comparison.absolute.anytime.estimate;
    close(anytime.interval.unwrap().lower, &watched["result"]["lower"]);
    assert_eq!(comparison.decision, Decision::Better);
}

#[test]
fn an_adjusted_mean_is_what_the_method_by_name_says() {
    let (control, treatment) = (users(3, 400, 0.0), users(4, 300, 0.5));
    let by_name = crate::call(&json!({"method": "cuped_mean", "inputs": {
        "control": sums_of(&control, "post_", "pre_"), "treatment": sums_of(&treatment, "post_", "pre_")}}));
    let truth = &by_name["result"]["theta_within"];
    let of = |users: &Users| summarized(users, SecondValue::Covariate);
    let comparison = compared(&plan(), of(&control), of(&treatment));
    let made = comparison.adjustment.clone().unwrap();
    assert!(
        made.applied && made.reason.is_none() && !made.sign_flip,
        "{made:?}"
    );
    close(made.slope, &truth["theta"]);
    close(made.variance_reduction, &truth["variance_reduction"]);
    close(made.unadjusted.estimate, &by_name["result"]["unadjusted"]["diff"]);
    let fixed = &comparison.absolute.fixed;
    assert_eq!(fixed.method, "cuped");
    close(fixed.estimate, &truth["diff"]);
    close(fixed.standard_error, &truth["se"]);
    close(fixed.p_value, &truth["p_welch"]);
    close(
        comparison.relative.fixed.estimate,
        &truth["rel_unadjusted_denominator"],
    );
    close(
        comparison.relative.fixed.standard_error,
        &truth["rel_unadj_se_exact_delta"],
    );
    close(
        comparison.relative.anytime.estimate.standard_error,
        &truth["rel_unadj_se_exact_delta"],
    );
    let width = |estimate: &Estimate| {
        let interval = estimate.interval.unwrap();
        interval.upper.unwrap() - interval.lower.unwrap()
    };
    assert!(width(fixed) < 0.5 * width(&made.unadjusted));
    let balance = crate::call(&json!({"method": "covariate_balance", "inputs": {"arms": [
        {"values": control.iter().map(|user| user[1]).collect::<Vec<f64>>()},
        {"values": treatment.iter().map(|user| user[1]).collect::<Vec<f64>>()}]}}));
    let gap = made.balance.unwrap().gap;
    close(Some(gap.p_value), &balance["result"]["p_value"]);
    close(
        Some(gap.standardized_difference),
        &balance["result"]["comparisons"][0]["standardized_difference"],
    );
}

#[test]
fn swapping_arms_turns_signs_and_nothing_else() {
    let (control, treatment) = (users(5, 200, 0.0), users(6, 300, 0.3));
    for value in [SecondValue::Denominator, SecondValue::Covariate] {
        let [left, right] = [&control, &treatment].map(|users| summarized(users, value));
        let (forward, backward) = (compared(&plan(), left, right), compared(&plan(), right, left));
        let (one, other) = (&forward.absolute.fixed, &backward.absolute.fixed);
        assert!((one.estimate.unwrap() + other.estimate.unwrap()).abs() < 1e-12);
        assert!((one.p_value.unwrap() / other.p_value.unwrap() - 1.0).abs() < 1e-9);
        let (one, other) = (
            &forward.absolute.anytime.estimate,
            &backward.absolute.anytime.estimate,
        );
        assert!((one.ln_e_value.unwrap() - other.ln_e_value.unwrap()).abs() < 1e-9);
    }
}

#[test]
fn neither_the_unit_nor_the_order_of_merging_matters() {
    let (control, treatment) = (users(7, 300, 0.0), users(8, 300, 0.2));
    for value in [SecondValue::Denominator, SecondValue::Covariate] {
        let of = |scale: [f64; 2]| {
            let [left, right] = [&control, &treatment].map(|users| summarized(&scaled(users, scale), value));
            compared(&plan(), left, right)
        };
        let base = of([1.0, 1.0]);
        for scale in [[1e9, 1.0], [1.0, 1e-9], [1e-6, 1e6]] {
            let other = of(scale);
            for (one, two) in [
                (base.absolute.fixed.p_value, other.absolute.fixed.p_value),
                (base.relative.fixed.estimate, other.relative.fixed.estimate),
                (base.anytime_adjusted_p_value, other.anytime_adjusted_p_value),
            ] {
                assert!(
                    (one.unwrap() / two.unwrap() - 1.0).abs() < 1e-9,
                    "{one:?} {two:?}"
                );
            }
        }
        let merged = |cuts: [usize; 2], backwards: bool| {
            let mut parts: Vec<CrossSums> = [0, cuts[0], cuts[1], control.len()]
                .windows(2)
                .map(|ends| {
                    let mut sums = CrossSums::default();
                    control[ends[0]..ends[1]]
                        .iter()
                        .for_each(|[x, y]| sums.add(*x, *y));
                    sums
                })
                .collect();
            if backwards {
                parts.reverse();
            }
            let mut whole = CrossSums::default();
            parts.iter().for_each(|part| whole.merge(part));
            compared(&plan(), of_sums(&whole, value), summarized(&treatment, value))
        };
        for other in [merged([1, 299], false), merged([100, 200], true)] {
            let (one, two) = (
                base.absolute.fixed.p_value.unwrap(),
                other.absolute.fixed.p_value.unwrap(),
            );
            assert!((one / two - 1.0).abs() < 1e-10, "{one} {two}");
        }
    }
}

#[test]
fn what_cannot_be_adjusted_says_why_and_stands_without() {
    let arms = [users(9, 200, 0.0), users(10, 200, 1.0)];
    let [left, right] = [&arms[0], &arms[1]].map(|users| summarized(users, SecondValue::Covariate));
    let bare = |summary: MetricSummary| MetricSummary {
        pair: None,
        ..summary
    };
    let plain = compared(&plan(), bare(left), bare(right));
    assert_eq!(plain.adjustment, None);
    let with = |change: fn(&mut PairMoments)| {
        let changed = |mut summary: MetricSummary| {
            change(summary.pair.as_mut().unwrap());
            summary
        };
        compared(&plan(), changed(left), changed(right))
    };
    let flat = with(|pair| (pair.moments.m2, pair.cross) = (0.0, 0.0));
    let impossible = with(|pair| pair.cross *= 10.0);
    let partial = with(|pair| pair.moments.n -= 1);
    let one_sided = compared(&plan(), left, bare(right));
    let itself = |summary: MetricSummary| {
        let moments = summary.moments;
        let pair = PairMoments {
            value: SecondValue::Covariate,
            moments,
            cross: moments.m2,
        };
        MetricSummary {
            pair: Some(pair),
            ..summary
        }
    };
    let whole = compared(&plan(), itself(left), itself(right));
    for (comparison, code) in [
        (flat, "zero_variance"),
        (impossible, "negative_variance"),
        (partial, "invalid_input"),
        (one_sided, "invalid_input"),
        (whole, "no_solution"),
    ] {
        let made = comparison.adjustment.clone().unwrap();
        assert!(!made.applied);
        assert_eq!(made.reason.as_ref().map(StatsError::code), Some(code));
        assert_eq!(comparison.absolute, plain.absolute);
        assert_eq!(comparison.relative, plain.relative);
    }
}

#[test]
fn a_ratio_over_nothing_has_a_reason() {
    let arms = [users(11, 200, 0.0), users(12, 200, 1.0)];
    let zero = |users: &Users| summarized(&scaled(users, [1.0, 0.0]), SecondValue::Denominator);
    let whole = summarized(&arms[1], SecondValue::Denominator);
    let absent = compared(&plan(), zero(&arms[0]), whole);
    assert_eq!(
        absent.reason,
        Some(StatsError::UndefinedDenominator { arm: "control" })
    );
    assert_eq!(
        (absent.decision, absent.absolute.fixed.estimate),
        (Decision::Undecided, None)
    );
    let one_sided = compared(&plan(), whole, MetricSummary { pair: None, ..whole });
    assert_eq!(
        one_sided.reason.as_ref().map(StatsError::code),
        Some("invalid_input")
    );
    // A denominator that is hardly there: shown, with the warning, and not decided on.
    let mut rare: Users = vec![[0.0, 0.0]; 5_000];
    rare[..20].fill([1.0, 1.0]);
    rare[..10].fill([2.0, 1.0]);
    let mut other = rare.clone();
    other[..20].fill([5.0, 1.0]);
    let [left, right] = [&rare, &other].map(|users| summarized(users, SecondValue::Denominator));
    let comparison = compared(&plan(), left, right);
    assert!(comparison.warnings[0].contains("denominator"), "{comparison:?}");
    assert_eq!(comparison.decision, Decision::Undecided);
}

fn warned(control: &Users, treatment: &Users) -> Analysis {
    let of = |users: &Users| summarized(users, SecondValue::Covariate);
    analyze(&plan(), &experiment(of(control), of(treatment))).unwrap()
}

#[test]
fn arms_that_were_never_alike_are_warned_of() {
    let alike = warned(&users(13, 1_000, 0.0), &users(14, 1_000, 0.0));
    assert!(alike.warnings.is_empty(), "{:?}", alike.warnings);
    let balance = alike.metrics[0].covariate_balance.clone().unwrap();
    assert!(!balance.imbalanced && balance.p_value.unwrap() > 0.001);
    // The treatment's users were larger already before, by more than the metric is now.
    let moved: Users = users(15, 1_000, 0.0)
        .iter()
        .map(|[x, y]| [x + 0.5, y + 0.5])
        .collect();
    let apart = warned(&users(13, 1_000, 0.0), &moved);
    let balance = apart.metrics[0].covariate_balance.clone().unwrap();
    assert!(balance.imbalanced && balance.farthest == Some(variant("green")));
    assert!(
        apart.warnings[0].contains("differ in the covariate of revenue"),
        "{:?}",
        apart.warnings
    );
    assert!(
        apart.warnings[1].contains("turns the sign of revenue"),
        "{:?}",
        apart.warnings
    );
    assert!(
        apart.metrics[0].comparisons[0]
            .adjustment
            .as_ref()
            .unwrap()
            .sign_flip
    );
}

#[test]
fn looks_and_beliefs_take_the_same_contrast() {
    for value in [SecondValue::Denominator, SecondValue::Covariate] {
        let [left, right] = [users(16, 500, 0.0), users(17, 500, 0.5)].map(|users| summarized(&users, value));
        let data = experiment(left, right);
        let planned = AnalysisPlan {
            method: AnalysisMethod::FixedHorizon,
            looks: vec![1_000],
            metrics: vec![MetricPlan {
                metric: MetricKey::new("revenue").unwrap(),
                role: MetricRole::Goal,
                direction: Direction::Up,
            }],
            ..plan()
        };
        let looked = analyze_looks(&planned, &data, Looks::Taken(std::slice::from_ref(&data))).unwrap();
        let comparison = &looked.metrics[0].comparisons[0];
        let look = comparison.planned.as_ref().unwrap();
        let (one, other) = (look.p_value.unwrap(), comparison.absolute.fixed.p_value.unwrap());
        assert!((one / other - 1.0).abs() < 1e-6, "{one} {other}");
        assert_eq!(
            look.looks[0].effect.standard_error,
            comparison.absolute.fixed.standard_error
        );
        assert_eq!(comparison.decision, Decision::Better);
        let believing = AnalysisPlan {
            method: AnalysisMethod::Bayesian,
            ..plan()
        };
        let belief = compared(&believing, left, right).posterior.unwrap();
        // With a flat prior the posterior is the estimate with its standard error.
        assert_eq!(belief.estimate, comparison.absolute.fixed.estimate);
        assert_eq!(belief.standard_error, comparison.absolute.fixed.standard_error);
    }
}

#[test]
fn a_proportion_may_be_adjusted_too() {
    // Whoever bought before buys again: the noise shrinks, and an arm without an event is still not without noise.
    let of = |bought: usize, again: usize, new: usize| -> MetricSummary {
        let mut users: Users = vec![[0.0, 0.0]; 10_000];
        users[..bought].fill([0.0, 1.0]);
        users[..again].fill([1.0, 1.0]);
        users[bought..bought + new].fill([1.0, 0.0]);
        MetricSummary {
            kind: MetricKind::Proportion,
            units: (again + new) as u64,
            ..summarized(&users, SecondValue::Covariate)
        }
    };
    let comparison = compared(&plan(), of(2_000, 1_500, 300), of(2_000, 1_700, 400));
    let made = comparison.adjustment.clone().unwrap();
    assert!(made.variance_reduction.unwrap() > 0.4, "{made:?}");
    let fixed = &comparison.absolute.fixed;
    assert!((fixed.estimate.unwrap() - 0.03).abs() < 1e-12);
    assert!(comparison.absolute.anytime.estimate.standard_error >= fixed.standard_error);
    let quiet = compared(&plan(), of(2_000, 0, 0), of(2_000, 100, 30));
    let anytime = quiet.absolute.anytime.estimate.standard_error.unwrap();
    assert!(
        anytime > quiet.absolute.fixed.standard_error.unwrap(),
        "{quiet:?}"
    );
}
