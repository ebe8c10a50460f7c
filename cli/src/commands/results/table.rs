//! An analysis as text for a person: the arms, the check of their shares, and every comparison with its interval drawn.

use domain::VariantKey;
use domain::experiment::AnalysisMethod;
use domain::metric::MetricKind;
use stats::analyze::{Analysis, ArmResult, Comparison, Decision, MetricAnalysis, SampleRatioVerdict};
use stats::estimate::{Estimate, Interval};

use super::drawing::{self, Drawn};
use super::notes::notes;
use crate::output;

/// Lifts beyond twofold in either direction are drawn as an arrow: a wider scale would hide all the others.
const SCALE_LIMIT: f64 = 1.0;
/// What stands for a number that there is none of.
const NOTHING: &str = "–";

/// The whole text.
pub fn table(analysis: &Analysis) -> String {
    let mut text = head(analysis);
    let compared: Vec<(&MetricAnalysis, &Comparison)> = analysis
        .metrics
        .iter()
        .flat_map(|metric| {
            metric
                .comparisons
                .iter()
                .map(move |comparison| (metric, comparison))
        })
        .collect();
    if compared.is_empty() {
        text.push_str("there is nothing to compare yet\n");
        return text;
    }
    text.push_str(&output::columns(&rows(analysis, &compared)));
    text.push('\n');
    text.push_str(&drawings(&compared));
    text.push_str(&notes(&compared));
    text
}

fn head(analysis: &Analysis) -> String {
    let mut text = format!(
        "{} as of {} (commit {})\n",
        analysis.experiment, analysis.as_of, analysis.epoch
    );
    let arms = analysis.arms.iter().map(|arm| {
        let role = if arm.variant == analysis.control {
            " (control)"
        } else {
            ""
        };
        format!("{}{role} {} users", arm.variant, arm.exposed)
    });
    let arms: Vec<String> = arms.collect();
    text.push_str(&format!(
        "{}; {} crossovers left out\n",
        arms.join(", "),
        analysis.crossover_users
    ));
    text.push_str(&format!("shares of traffic: {}\n", shares(analysis)));
    text.push_str(&method(analysis));
    for warning in &analysis.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push('\n');
    text
}

/// What decisions rest on, where that is not the interval at every look.
fn method(analysis: &Analysis) -> String {
    let next = match (analysis.next_look, analysis.looks.len()) {
        (Some(next), taken) => format!("{taken} taken, the next at {next} users"),
        (None, taken) => format!("{taken} taken, none left"),
    };
    match analysis.method {
        AnalysisMethod::Sequential => String::new(),
        AnalysisMethod::FixedHorizon => format!("decides at one look, the planned end: {next}\n"),
        AnalysisMethod::GroupSequential => format!("decides at planned looks: {next}\n"),
        AnalysisMethod::Bayesian => "decides by the posterior, which holds no error rate\n".to_owned(),
    }
}

/// The p-value that the decision rests on, by itself and adjusted; a posterior has none.
fn deciding_p(analysis: &Analysis, comparison: &Comparison) -> [Option<f64>; 2] {
    match analysis.method {
        AnalysisMethod::Sequential => [
            comparison.absolute.anytime.estimate.p_value,
            comparison.anytime_adjusted_p_value,
        ],
        AnalysisMethod::FixedHorizon | AnalysisMethod::GroupSequential => {
            let planned = comparison.planned.as_ref();
            [
                planned.and_then(|planned| planned.p_value),
                planned.and_then(|planned| planned.adjusted_p_value),
            ]
        }
        AnalysisMethod::Bayesian => [None, None],
    }
}

fn shares(analysis: &Analysis) -> String {
    let ratio = &analysis.sample_ratio;
    let p_value = p_text(ratio.p_value);
    match ratio.verdict {
        SampleRatioVerdict::Ok => format!("as planned (p {p_value})"),
        SampleRatioVerdict::Mismatch => format!("NOT as planned (p {p_value}): nothing can be decided"),
        SampleRatioVerdict::Unknown => {
            let reason = ratio
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            format!("not checked{reason}")
        }
    }
}

fn rows(analysis: &Analysis, compared: &[(&MetricAnalysis, &Comparison)]) -> Vec<Vec<String>> {
    let level = percent_plain(1.0 - analysis.alpha);
    let header = [
        "metric",
        "variant",
        "control",
        "variant's",
        "lift",
        &format!("{level} at every look"),
        &format!("{level} at the end"),
        "p",
        "adjusted p",
        "decision",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (metric, comparison) in compared {
        let mean =
            |variant: &VariantKey| mean_text(metric, metric.arms.iter().find(|arm| arm.variant == *variant));
        let lift = &comparison.relative;
        let [p_value, adjusted] = deciding_p(analysis, comparison);
        rows.push(vec![
            metric.metric.to_string(),
            comparison.variant.to_string(),
            mean(&analysis.control),
            mean(&comparison.variant),
            lift.anytime
                .estimate
                .estimate
                .map_or_else(|| NOTHING.to_owned(), percent),
            interval_text(lift.anytime.estimate.interval),
            interval_text(lift.fixed.interval),
            p_text(p_value),
            p_text(adjusted),
            decision_text(comparison.decision).to_owned(),
        ]);
    }
    rows
}

fn drawings(compared: &[(&MetricAnalysis, &Comparison)]) -> String {
    let drawn: Vec<Drawn> = compared.iter().map(|(_, comparison)| drawn(comparison)).collect();
    let edge = drawing::scale(&drawn, SCALE_LIMIT);
    let left = percent(-edge);
    let right = percent(edge);
    let half = drawing::WIDTH / 2;
    let axis = format!("{left:<half$}0{right:>half$}");
    let mut rows = vec![vec!["lift".to_owned(), String::new(), axis]];
    for ((metric, comparison), drawn) in compared.iter().zip(drawn) {
        rows.push(vec![
            metric.metric.to_string(),
            comparison.variant.to_string(),
            drawing::draw(drawn, edge),
        ]);
    }
    let legend = "[ ] holds at every look   === holds at the planned end   ● estimate   │ no effect\n";
    output::columns(&rows) + legend
}

fn drawn(comparison: &Comparison) -> Drawn {
    let lift = &comparison.relative;
    Drawn {
        estimate: lift.anytime.estimate.estimate,
        outer: ends(&lift.anytime.estimate),
        inner: ends(&lift.fixed),
    }
}

fn ends(estimate: &Estimate) -> Option<(f64, f64)> {
    let interval = estimate.interval?;
    Some((
        interval.lower.unwrap_or(f64::NEG_INFINITY),
        interval.upper.unwrap_or(f64::INFINITY),
    ))
}

fn mean_text(metric: &MetricAnalysis, arm: Option<&ArmResult>) -> String {
    let Some(mean) = arm.and_then(|arm| arm.mean) else {
        return NOTHING.to_owned();
    };
    match metric.kind {
        Some(MetricKind::Proportion) => format!("{:.2} %", mean * 100.0),
        _ => format!("{mean:.4}"),
    }
}

fn interval_text(interval: Option<Interval>) -> String {
    let Some(interval) = interval else {
        return NOTHING.to_owned();
    };
    let lower = interval.lower.map_or_else(|| "-∞".to_owned(), percent);
    let upper = interval.upper.map_or_else(|| "+∞".to_owned(), percent);
    format!("{lower} to {upper}")
}

/// A change in percent with its sign.
fn percent(change: f64) -> String {
    format!("{:+.1} %", change * 100.0)
}

/// A share in percent without needless digits.
pub fn percent_plain(share: f64) -> String {
    let rounded = (share * 1e6).round() / 1e4;
    format!("{rounded} %")
}

/// A p-value with enough digits to be judged by.
fn p_text(p_value: Option<f64>) -> String {
    match p_value {
        None => NOTHING.to_owned(),
        Some(p) if p < 0.0001 => "<0.0001".to_owned(),
        Some(p) => format!("{p:.4}"),
    }
}

fn decision_text(decision: Decision) -> &'static str {
    match decision {
        Decision::Better => "better",
        Decision::Worse => "WORSE",
        Decision::Undecided => "undecided",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::metric::{Direction, MetricRole};
    use domain::results::{AnalysisPlan, ArmSummary, ExperimentSummary, MetricPlan, MetricSummary};
    use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};

    use super::*;

    fn arm(variant: &str, exposed: u64, converted: u64) -> ArmSummary {
        let mean = converted as f64 / exposed as f64;
        let moments = Moments {
            n: exposed,
            mean,
            m2: exposed as f64 * mean * (1.0 - mean),
        };
        let metric = MetricSummary {
            kind: MetricKind::Proportion,
            units: converted,
            moments,
            pair: None,
        };
        ArmSummary {
            variant: VariantKey::new(variant).unwrap(),
            exposed,
            metrics: BTreeMap::from([(MetricKey::new("purchase_conversion").unwrap(), metric)]),
        }
    }

    fn analysis(arms: Vec<ArmSummary>) -> Analysis {
        planned(AnalysisMethod::Sequential, arms)
    }

    fn planned(method: AnalysisMethod, arms: Vec<ArmSummary>) -> Analysis {
        let plan = AnalysisPlan {
            method,
            looks: vec![20_000, 40_000],
            ..AnalysisPlan::unplanned(VariantKey::new("control").unwrap())
        };
        follow(&plan, arms)
    }

    fn follow(plan: &AnalysisPlan, arms: Vec<ArmSummary>) -> Analysis {
        let summary = ExperimentSummary {
            experiment: ExperimentKey::new("checkout").unwrap(),
            as_of: Timestamp::parse("2026-01-31T12:00:00Z").unwrap(),
            epoch: 7,
            arms,
            crossover_users: 3,
        };
        stats::analyze::analyze(plan, &summary).unwrap()
    }

    #[test]
    fn a_clear_effect_reads_as_one() {
        // What must never change: arms, verdict on the shares, numbers, decision and drawing all stand in the text.
        let text = table(&analysis(vec![
            arm("control", 10_000, 1_000),
            arm("treatment", 10_050, 1_407),
        ]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "checkout as of 2026-01-31T12:00:00Z (commit 7)");
        assert_eq!(
            lines[1],
            "control (control) 10000 users, treatment 10050 users; 3 crossovers left out"
        );
        assert_eq!(lines[2], "shares of traffic: as planned (p 0.7240)");
        assert!(lines[4].contains("95 % at every look"), "{text}");
        assert!(
            lines[5].starts_with("purchase_conversion  treatment  10.00 %  14.00 %"),
            "{text}"
        );
        assert!(lines[5].ends_with("<0.0001     better"), "{text}");
        let drawing = lines[8];
        let (zero, from) = (drawing.find('│').unwrap(), drawing.find('[').unwrap());
        assert!(
            zero < from && drawing.contains('●') && drawing.contains('='),
            "{text}"
        );
    }

    #[test]
    fn lost_traffic_is_said_before_any_result() {
        // What must never change: nobody reads a lift before the mismatch.
        let text = table(&analysis(vec![
            arm("control", 10_000, 1_000),
            arm("treatment", 9_000, 1_300),
        ]));
        let (mismatch, lift) = (text.find("NOT as planned").unwrap(), text.find("lift").unwrap());
        assert!(mismatch < lift, "{text}");
        assert!(
            text.contains("warning: sample ratio mismatch") && text.contains("undecided"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_computed_is_a_dash_with_a_reason() {
        let text = table(&analysis(vec![arm("control", 5, 0), arm("treatment", 5, 0)]));
        assert!(
            text.contains(NOTHING) && text.contains("note on purchase_conversion, treatment"),
            "{text}"
        );
    }

    #[test]
    fn another_method_says_what_it_decides_by() {
        let arms = || vec![arm("control", 10_000, 1_000), arm("treatment", 10_050, 1_407)];
        let looks = table(&planned(AnalysisMethod::GroupSequential, arms()));
        assert!(
            looks.contains(
                "decides at planned looks: 1 taken, the next at 40000 users\nwarning: looks were not"
            ),
            "{looks}"
        );
        assert!(looks.contains("<0.0001     better"), "{looks}");
        let belief = table(&planned(AnalysisMethod::Bayesian, arms()));
        assert!(
            belief.contains("decides by the posterior") && belief.contains("–           better"),
            "{belief}"
        );
    }

    #[test]
    fn what_a_plan_asks_for_stands_below_the_table() {
        // What must never change: nobody has to read JSON to learn why a significant metric decides nothing.
        let arms = |treatment| vec![arm("control", 10_000, 1_000), arm("treatment", 10_050, treatment)];
        let unplanned = AnalysisPlan::unplanned(VariantKey::new("control").unwrap());
        let belief = AnalysisPlan {
            method: AnalysisMethod::Bayesian,
            equal_within: Some(0.2),
            ..unplanned.clone()
        };
        let text = table(&follow(&belief, arms(1_010)));
        assert!(
            text.contains("above 0 with a chance of") && text.contains("and between -0.0"),
            "{text}"
        );
        assert!(
            text.contains("treatment: as good as equal: the difference is below -0.02"),
            "{text}"
        );

        let mut two = arms(1_407);
        for arm in &mut two {
            let summary = arm.metrics.values().next().copied().unwrap();
            let still = MetricSummary {
                moments: Moments {
                    mean: 0.1,
                    m2: 900.0,
                    ..summary.moments
                },
                ..summary
            };
            arm.metrics.insert(MetricKey::new("still").unwrap(), still);
        }
        let metric = |key: &str, role| MetricPlan {
            metric: MetricKey::new(key).unwrap(),
            role,
            direction: Direction::Up,
        };
        let gated = AnalysisPlan {
            goals_first: true,
            metrics: vec![
                metric("still", MetricRole::Goal),
                metric("purchase_conversion", MetricRole::Secondary),
            ],
            ..unplanned
        };
        let text = table(&follow(&gated, two));
        assert!(
            text.contains("note on purchase_conversion, treatment: decides nothing before every goal is won"),
            "{text}"
        );
    }
}
