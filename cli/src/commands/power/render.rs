//! A finished plan as a table for people and as JSON for programs.

use serde_json::json;
use stats::design::plan::{Found, Goal};

use super::Answer;
use crate::output::columns;

/// The plan as one JSON object.
pub fn json(answer: &Answer) -> anyhow::Result<String> {
    let mut object = serde_json::to_value(&answer.planned)?;
    object["alpha"] = json!(answer.plan.alpha);
    object["goal"] = json!(answer.plan.goal);
    object["true_difference"] = json!(answer.true_difference);
    object["duration"] = json!(answer.duration);
    object["assumptions"] = json!(assumptions(answer));
    Ok(object.to_string())
}

/// The plan as lines for a terminal, the answer marked.
pub fn table(answer: &Answer) -> String {
    let planned = &answer.planned;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String, found: bool| {
        let mark = if found { "<- found" } else { "" };
        rows.push(vec![name.to_owned(), value, mark.to_owned()]);
    };
    let size = match answer.plan.goal {
        Goal::Superiority => "effect",
        Goal::NonInferiority | Goal::Equivalence => "margin",
    };
    row(size, effect(answer), planned.found == Found::Effect);
    row(
        "power",
        format!("{:.4}", planned.power),
        planned.found == Found::Power,
    );
    row(
        "units",
        grouped(planned.total_units),
        planned.found == Found::Units,
    );
    let arms: Vec<String> = planned
        .units_per_arm
        .iter()
        .map(|units| grouped(*units))
        .collect();
    row("per arm", format!("{} (control first)", arms.join(" ")), false);
    if let Some(duration) = answer.duration {
        let weeks = format!("{:.1} days: {} whole weeks", duration.days, duration.weeks);
        row("duration", weeks, false);
    }
    if let Some(units) = planned.expected_units_under_effect {
        let text = format!(
            "{} on average, if the effect is there",
            grouped(units.round() as u64)
        );
        row("units until it stops", text, false);
    }
    if let Some(inflation) = planned.inflation {
        row(
            "cost of looking",
            format!("{inflation:.3} times the units of one look"),
            false,
        );
    }
    row("standard error", shown(planned.standard_error), false);
    row("error rate", error_rate(answer), false);
    let mut text = columns(&rows);
    section(&mut text, "assumed", &assumptions(answer));
    section(&mut text, "careful", &planned.warnings);
    text
}

fn effect(answer: &Answer) -> String {
    let planned = &answer.planned;
    let relative = planned
        .relative_effect
        .map(|share| format!(" ({:+.2}% of the baseline)", 100.0 * share))
        .unwrap_or_default();
    format!("{}{relative}", shown(planned.effect))
}

/// A number with the digits that matter: plain in the usual range, with an exponent outside.
fn shown(value: f64) -> String {
    if (1e-3..1e7).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.5e}")
    }
}

fn error_rate(answer: &Answer) -> String {
    let planned = &answer.planned;
    if planned.comparisons == 1 {
        return format!("{}", answer.plan.alpha);
    }
    format!(
        "{} over {} comparisons, {:.6} for each",
        answer.plan.alpha, planned.comparisons, planned.alpha_per_comparison
    )
}

fn assumptions(answer: &Answer) -> Vec<String> {
    let mut assumptions = answer.planned.assumptions.clone();
    if answer.power_assumed {
        assumptions.push(format!(
            "a power of {}, because none was given",
            super::USUAL_POWER
        ));
    }
    if answer.plan.goal != Goal::Superiority {
        assumptions.push(format!("the true difference is {}", answer.true_difference));
    }
    assumptions
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}\n"));
    for line in lines {
        text.push_str(&format!("  - {line}\n"));
    }
}

/// A whole number with a thin mark between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_keep_their_digits() {
        assert_eq!(shown(0.05), "0.050000");
        assert_eq!(shown(-0.000_012_345_67), "-1.23457e-5");
    }

    #[test]
    fn thousands_are_marked() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
