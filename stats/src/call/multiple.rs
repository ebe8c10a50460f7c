//! Many hypotheses by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::{means, named, number, numbers};
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate};
use crate::frequentist::contrast::Alternative;
use crate::multiple::{adjust, dunnett, e_values, gate, intervals, storey};

/// Every adjustment of a list of p-values.
pub fn adjusted_p_values(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let p = inputs.numbers("p")?;
    Ok(json!({
        "bonferroni": numbers(&adjust::bonferroni(&p)?),
        "sidak": numbers(&adjust::sidak(&p)?),
        "holm": numbers(&adjust::holm(&p)?),
        "holm_sidak": numbers(&adjust::holm_sidak(&p)?),
        "hochberg": numbers(&adjust::hochberg(&p)?),
        "hommel": numbers(&adjust::hommel(&p)?),
        "bh": numbers(&adjust::benjamini_hochberg(&p)?),
        "by": numbers(&adjust::benjamini_yekutieli(&p)?),
    }))
}

/// Holm's adjustment with what it rejects and the error rates of matching intervals.
pub fn holm(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (p, alpha) = (inputs.numbers("p")?, inputs.rate_or("alpha", 0.05)?);
    let adjusted = adjust::holm(&p)?;
    let rejected: Vec<bool> = adjusted.iter().map(|p| *p <= alpha).collect();
    Ok(json!({
        "holm": numbers(&adjusted),
        "rejected": rejected,
        "interval_alpha": numbers(&intervals::holm_alphas(&p, alpha)?),
    }))
}

/// Error rates of intervals that match Benjamini and Hochberg's discoveries.
pub fn fcr(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alphas = intervals::benjamini_hochberg_alphas(&inputs.numbers("p")?, inputs.rate_or("alpha", 0.05)?)?;
    Ok(json!({"interval_alpha": numbers(&alphas)}))
}

/// Storey's q-values.
pub fn storey_q(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let lambda = inputs.rate_or("lambda", storey::DEFAULT_LAMBDA)?;
    let answer = storey::q_values(&inputs.numbers("p")?, lambda)?;
    Ok(json!({"pi0": number(answer.pi0), "q": numbers(&answer.q)}))
}

/// e-BH, from e-values or their logarithms.
pub fn e_bh(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let ln_e = if inputs.has("ln_e") {
        inputs.numbers("ln_e")?
    } else {
        inputs.numbers("e")?.into_iter().map(f64::ln).collect()
    };
    let answer = e_values::e_bh(&ln_e, inputs.rate_or("alpha", 0.05)?)?;
    Ok(json!({"k": answer.count, "rejected": answer.rejected}))
}

/// Families of p-values behind each other.
pub fn serial_gate(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let wrong = || StatsError::invalid("families", "must be a list of lists of p-values");
    let mut families = Vec::new();
    for family in inputs.list("families")? {
        let values = family.as_array().ok_or_else(wrong)?;
        families.push(
            values
                .iter()
                .map(|p| p.as_f64().ok_or_else(wrong))
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    let adjusted: Vec<Value> = gate::serial_gate(&families)?
        .iter()
        .map(|family| numbers(family))
        .collect();
    Ok(json!({"adjusted": adjusted}))
}

/// Bonferroni in two tiers: one primary metric and the others, over several treatments.
pub fn preferential(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (treatments, metrics) = (inputs.count("treatments")?, inputs.count("metrics")?);
    let secondary = treatments.saturating_mul(metrics.saturating_sub(1));
    let shared = gate::tiers(
        inputs.rate("alpha")?,
        inputs.finite("gamma")?,
        treatments,
        secondary,
    )?;
    Ok(json!(shared))
}

/// Bonferroni in two tiers with several primary metrics.
pub fn tiered(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let arms = inputs.count_or("test_groups", 1)?;
    let count = |field: &str| Ok::<_, StatsError>(inputs.count(field)?.saturating_mul(arms));
    let share = inputs.finite("primary_share")?;
    let shared = gate::tiers(
        inputs.rate("alpha")?,
        share,
        count("primary")?,
        count("secondary")?,
    )?;
    Ok(json!(shared))
}

/// Error rates of a decision with success metrics and guardrails.
pub fn decision_rule(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (successes, guardrails) = (inputs.count("n_success")?, inputs.count("n_guardrail")?);
    Ok(json!(gate::decision_rule(
        inputs.rate("alpha")?,
        inputs.rate("beta")?,
        successes,
        guardrails
    )?))
}

/// Dunnett's two-sided critical value.
pub fn dunnett_critical(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let treatments = inputs.count("k_treatments")?.min(u64::from(u32::MAX)) as usize;
    let shape = dunnett::Shape {
        treatments,
        df: inputs.positive("df")?,
        rho: inputs.finite_or("rho", 0.5)?,
        alternative: Alternative::TwoSided,
    };
    let critical = dunnett::critical_value(shape, inputs.rate("alpha")?)?;
    Ok(json!({"critical": number(critical)}))
}

/// Dunnett's test of treatments against a control.
pub fn dunnett_test(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let control = means::sample(&inputs.object("control")?)?;
    let treatments = inputs
        .objects("treatments")?
        .iter()
        .map(means::sample)
        .collect::<Result<Vec<_>, _>>()?;
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let answer = dunnett::test(&control, &treatments, alpha, means::alternative(inputs)?)?;
    let of = |part: fn(&dunnett::DunnettComparison) -> f64| {
        numbers(&answer.comparisons.iter().map(part).collect::<Vec<_>>())
    };
    let intervals: Vec<Value> = answer
        .comparisons
        .iter()
        .map(|one| means::pair(one.interval))
        .collect();
    let comparisons: Vec<Estimate> = answer
        .comparisons
        .iter()
        .zip(&treatments)
        .map(|(one, treatment)| Estimate {
            estimate: Some(one.difference),
            standard_error: Some(one.standard_error),
            interval: Some(one.interval),
            p_value: Some(one.p_value),
            log10_p: Some(one.p_value.log10()).filter(|log10| log10.is_finite()),
            assumptions: dunnett::ASSUMPTIONS,
            ..Estimate::empty(
                "dunnett",
                ArmUnits {
                    control: control.n,
                    treatment: treatment.n,
                },
            )
        })
        .collect();
    let result = json!({
        "comparisons": comparisons,
        "statistic": of(|one| one.statistic),
        "p": of(|one| one.p_value),
        "diff": of(|one| one.difference),
        "se": of(|one| one.standard_error),
        "df": number(answer.df),
        "critical": number(answer.critical),
        "ci95": intervals,
    });
    Ok(named::resting_on(result, dunnett::ASSUMPTIONS))
}
