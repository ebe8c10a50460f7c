//! Several arms or strata at once by name: analysis of variance, by rank too, whether the arms were alike beforehand, and
//! proportions over strata.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::means::sample;
use super::named::resting_on;
use super::{number, numbers};
use crate::error::StatsError;
use crate::frequentist::anova::{self, FTest};
use crate::frequentist::sample::Sample;
use crate::frequentist::{balance, kruskal_wallis, mantel_haenszel};

/// The analysis of variance, every arm with the same variance.
pub(super) fn one_way(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(shown(&anova::one_way(&arms(inputs)?)?))
}

/// Welch's analysis of variance.
pub(super) fn welch(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(shown(&anova::welch(&arms(inputs)?)?))
}

/// The arms' covariates compared, the first arm being the control.
pub(super) fn covariate_balance(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", balance::DEFAULT_ALPHA)?;
    let arms = arms(inputs)?;
    let test = balance::overall(&arms)?;
    let gaps = arms[1..]
        .iter()
        .map(|arm| Ok(json!(balance::gap(&arms[0], arm)?)))
        .collect::<Result<Vec<Value>, StatsError>>()?;
    let mut result = shown(&test);
    result["imbalanced"] = json!(test.p_value.p < alpha);
    result["comparisons"] = Value::Array(gaps);
    result["assumptions"] = json!(balance::ASSUMPTIONS);
    if inputs.has("unadjusted") || inputs.has("adjusted") {
        let turned = balance::turns_sign(inputs.finite("unadjusted")?, inputs.finite("adjusted")?);
        result["sign_flip"] = json!(turned);
    }
    Ok(result)
}

/// Several samples by rank.
pub(super) fn kruskal_wallis(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let mut arms = Vec::new();
    for arm in inputs.list("arms")? {
        let values = arm
            .as_array()
            .ok_or_else(|| StatsError::invalid("arms", "must be lists of numbers"))?;
        let numbers = values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN));
        arms.push(numbers.collect::<Vec<f64>>());
    }
    let answer = kruskal_wallis::test(&arms)?;
    let mut result = json!({
        "h": number(answer.h),
        "df": answer.df,
        "p_value": number(answer.p_value.p),
        "log10_p": number(answer.p_value.log10),
        "mean_ranks": numbers(&answer.mean_ranks),
    });
    if arms.iter().any(|arm| arm.len() < kruskal_wallis::ENOUGH_VALUES) {
        result["warnings"] = json!(["an arm has fewer than 5 values: the p-value is rough"]);
    }
    Ok(resting_on(result, kruskal_wallis::ASSUMPTIONS))
}

/// Two proportions over strata.
pub(super) fn mantel_haenszel(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let tables = inputs
        .objects("strata")?
        .iter()
        .map(|stratum| {
            Ok(mantel_haenszel::Table {
                control_events: stratum.count("x_control")?,
                control_units: stratum.count("n_control")?,
                treatment_events: stratum.count("x_treatment")?,
                treatment_units: stratum.count("n_treatment")?,
            })
        })
        .collect::<Result<Vec<_>, StatsError>>()?;
    let answer = mantel_haenszel::test(&tables, inputs.rate_or("alpha", 0.05)?)?;
    let mut result = json!(answer);
    result["p_value"] = number(answer.p_value.p);
    result["log10_p"] = number(answer.p_value.log10);
    Ok(resting_on(result, mantel_haenszel::ASSUMPTIONS))
}

fn arms(inputs: &Inputs<'_>) -> Result<Vec<Sample>, StatsError> {
    inputs.objects("arms")?.iter().map(sample).collect()
}

fn shown(test: &FTest) -> Value {
    let result = json!({
        "f": number(test.f),
        "df_between": number(test.df_between),
        "df_within": number(test.df_within),
        "p_value": number(test.p_value.p),
        "log10_p": number(test.p_value.log10),
    });
    resting_on(result, anova::ASSUMPTIONS)
}
