//! What a reader should know about single comparisons, in sentences below the table.

use stats::analyze::{Comparison, Gate, MetricAnalysis};

use super::table::percent_plain;

/// A line for each thing to know.
pub fn notes(compared: &[(&MetricAnalysis, &Comparison)]) -> String {
    let mut text = String::new();
    for (metric, comparison) in compared {
        let reason = comparison.reason.as_ref().map(ToString::to_string);
        let said = [
            adjusted(comparison),
            believed(comparison),
            region(comparison),
            gate(comparison),
        ];
        for note in comparison
            .warnings
            .iter()
            .chain(&reason)
            .chain(said.iter().flatten())
        {
            text.push_str(&format!(
                "note on {}, {}: {note}\n",
                metric.metric, comparison.variant
            ));
        }
    }
    text
}

/// What became of a covariate.
fn adjusted(comparison: &Comparison) -> Option<String> {
    let adjustment = comparison.adjustment.as_ref()?;
    if let Some(reason) = &adjustment.reason {
        return Some(format!("not adjusted for what was measured before: {reason}"));
    }
    let gone = adjustment.variance_reduction.filter(|gone| *gone > 0.0);
    let gone = gone.map_or_else(String::new, |gone| {
        format!(", which takes away {} of the variance", percent_of(gone))
    });
    Some(format!("adjusted for what was measured before{gone}"))
}

/// What is believed of the difference, where the plan decides by it.
fn believed(comparison: &Comparison) -> Option<String> {
    let posterior = comparison.posterior.as_ref()?;
    let chance = posterior.posterior?.chance_to_win;
    let interval = posterior.interval?;
    let [lower, upper] = [interval.lower?, interval.upper?];
    Some(format!(
        "the difference is above 0 with a chance of {}, and between {lower:.4} and {upper:.4} with one of {}",
        percent_of(chance),
        percent_plain(interval.level),
    ))
}

/// Where the difference lies against the region in which the variants count as equal.
fn region(comparison: &Comparison) -> Option<String> {
    let practical = comparison.practical?;
    let verdict = if practical.equal { "as good as equal: " } else { "" };
    Some(format!(
        "{verdict}the difference is below {:.4} with a chance of {}, above {:.4} with one of {}, and counts as none with one of {}",
        practical.lower,
        percent_of(practical.chance_below),
        practical.upper,
        percent_of(practical.chance_above),
        percent_of(practical.chance_within),
    ))
}

/// Whether a secondary metric counts yet.
fn gate(comparison: &Comparison) -> Option<String> {
    let is_closed = comparison.gate == Some(Gate::Closed);
    is_closed.then(|| "decides nothing before every goal is won".to_owned())
}

/// A chance or a part in percent.
fn percent_of(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
