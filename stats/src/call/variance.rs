//! Several arms at once by name: analysis of variance, and whether the arms were alike beforehand.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::means::sample;
use super::named::resting_on;
use super::number;
use crate::error::StatsError;
use crate::frequentist::anova::{self, FTest};
use crate::frequentist::balance;
use crate::frequentist::sample::Sample;

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
