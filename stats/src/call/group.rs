//! Group-sequential designs and sequential power by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::named::{NO_ARMS, completed, resting_on};
use super::{bare, bare_list, number};
use crate::design::sequential::{self, SequentialPower, Target};
use crate::error::StatsError;
use crate::estimate::Estimate;
use crate::sequential::group::classical::{self, OBRIEN_FLEMING, POCOCK, equal_information, symmetric};
use crate::sequential::group::spending::Spending;
use crate::sequential::group::walk::{Stop, exits};
use crate::sequential::group::{Sides, bounds, check_information, estimate, futility};
use crate::special::normal;

/// What a group-sequential design rests on.
const ASSUMPTIONS: &[&str] = &[
    "the estimate at a look is that of all units so far, nearly normal, with independent increments",
    "looked at as planned and no more often",
];

pub(super) fn spending(inputs: &Inputs<'_>, field: &str) -> Result<Spending, StatsError> {
    let name = inputs.text(field)?;
    let parameter = |prefix: &str| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.parse::<f64>().ok())
    };
    let parametric = || {
        parameter("power_rho")
            .map(|rho| Spending::Power { rho })
            .or_else(|| parameter("HSD_").map(|gamma| Spending::HwangShihDecani { gamma }))
    };
    match name {
        "LD_OBF" => Ok(Spending::ObrienFleming),
        "LD_Pocock" => Ok(Spending::Pocock),
        _ => parametric().ok_or_else(|| {
            StatsError::invalid(
                field,
                "must be LD_OBF, LD_Pocock, power_rho<number> or HSD_<number>",
            )
        }),
    }
}

/// A number of looks; what is too large for any design stays too large.
fn as_looks(count: u64) -> usize {
    count.min(classical::LOOKS_BEYOND_ANY) as usize
}

fn design_of(inputs: &Inputs<'_>, shape: f64) -> Result<Value, StatsError> {
    let design = classical::design(
        as_looks(inputs.count("K")?),
        inputs.rate("alpha_two_sided")?,
        shape,
    )?;
    let result = json!({
        "constant": design.constant,
        "bounds": design.bounds,
        "published_3dp": (design.constant * 1e3).round() / 1e3,
    });
    Ok(resting_on(result, ASSUMPTIONS))
}

pub(super) fn obrien_fleming(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    design_of(inputs, OBRIEN_FLEMING)
}

pub(super) fn pocock(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    design_of(inputs, POCOCK)
}

pub(super) fn wang_tsiatis(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    design_of(inputs, inputs.finite("delta")?)
}

fn spent(inputs: &Inputs<'_>, spending: Spending, alpha: f64, sides: Sides) -> Result<Value, StatsError> {
    let bounds = bounds::bounds(&inputs.finites("t")?, spending, alpha, sides)?;
    let cumulative: Vec<f64> = bounds.iter().map(|bound| bound.cumulative_alpha).collect();
    let z: Vec<Value> = bounds
        .iter()
        .map(|bound| number(bound.z.unwrap_or(f64::INFINITY)))
        .collect();
    let nominal: Vec<f64> = bounds
        .iter()
        .map(|bound| bound.nominal_p.unwrap_or(0.0))
        .collect();
    let before = std::iter::once(0.0).chain(cumulative.iter().copied());
    let spend: Vec<f64> = cumulative
        .iter()
        .zip(before)
        .map(|(now, before)| now - before)
        .collect();
    let result = json!({"cumulative_alpha": cumulative, "z_bounds": z, "nominal_p": nominal, "spend": spend});
    Ok(resting_on(result, ASSUMPTIONS))
}

pub(super) fn spending_bounds(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let sides = match inputs.count("sides")? {
        1 => Sides::One,
        2 => Sides::Two,
        _ => return Err(StatsError::invalid("sides", "must be 1 or 2")),
    };
    spent(
        inputs,
        spending(inputs, "spending")?,
        inputs.rate("alpha_per_side")?,
        sides,
    )
}

pub(super) fn spending_bounds_one_sided(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    spent(
        inputs,
        spending(inputs, "spending")?,
        inputs.rate("alpha_one_sided")?,
        Sides::One,
    )
}

fn two_sided_bounds(inputs: &Inputs<'_>, spending: Spending) -> Result<Value, StatsError> {
    let alpha = inputs.rate("alpha_two_sided")? / 2.0;
    let bounds = bounds::bounds(&inputs.finites("t")?, spending, alpha, Sides::Two)?;
    let z: Vec<f64> = bounds
        .iter()
        .map(|bound| bound.z.unwrap_or(f64::INFINITY))
        .collect();
    Ok(resting_on(bare_list(&z), ASSUMPTIONS))
}

pub(super) fn obrien_fleming_bounds(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    two_sided_bounds(inputs, Spending::ObrienFleming)
}

pub(super) fn pocock_bounds(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    two_sided_bounds(inputs, Spending::Pocock)
}

pub(super) fn pocock_nominal(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate("alpha")?;
    let nominal = |looks: &u64| {
        classical::design(as_looks(*looks), alpha, POCOCK).map(|design| normal::two_sided(design.constant))
    };
    let values: Result<Vec<f64>, StatsError> = inputs.counts("K")?.iter().map(nominal).collect();
    Ok(bare_list(&values?))
}

fn classical_power(looks: u64, shape: f64, target: Target) -> Result<SequentialPower, StatsError> {
    sequential::power_of_classical(&classical::design(as_looks(looks), target.alpha, shape)?, target)
}

pub(super) fn power(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let shape = match inputs.text("type")? {
        "pocock" => POCOCK,
        "obf" => OBRIEN_FLEMING,
        _ => return Err(StatsError::invalid("type", "must be pocock or obf")),
    };
    let target = Target {
        alpha: inputs.rate("alpha_two_sided")?,
        power: inputs.rate("power")?,
    };
    let answer = classical_power(inputs.count("K")?, shape, target)?;
    let result = json!({
        "drift": answer.drift,
        "inflation_factor": answer.inflation_factor,
        "ASN_ratio_H1": answer.expected_under_effect,
        "ASN_ratio_H0": answer.expected_under_null,
    });
    Ok(resting_on(result, ASSUMPTIONS))
}

pub(super) fn obrien_fleming_inflation(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let target = Target {
        alpha: inputs.rate("alpha")?,
        power: inputs.rate("power")?,
    };
    let inflation =
        |looks: &u64| classical_power(*looks, OBRIEN_FLEMING, target).map(|answer| answer.inflation_factor);
    let values: Result<Vec<f64>, StatsError> = inputs.counts("K")?.iter().map(inflation).collect();
    Ok(bare_list(&values?))
}

pub(super) fn peeking(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let looks = as_looks(inputs.count("looks")?);
    let information = equal_information(looks);
    check_information(&information)?;
    let stops = vec![symmetric(normal::isf(inputs.rate("nominal")? / 2.0)); looks];
    Ok(bare(
        exits(&information, &stops, 0.0)
            .iter()
            .map(|exit| exit.lower + exit.upper)
            .sum(),
    ))
}

pub(super) fn sign_walk(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (alpha, power) = (inputs.rate("alpha")?, inputs.rate("power")?);
    let design = sequential::sign_walk(inputs.positive("relative_mde")?, alpha, power)?;
    Ok(json!({
        "total_conversions_N": design.conversions,
        "treatment_lead_d": design.lead,
        "type1_at_N": design.type_one_error,
        "power_at_N": design.power,
    }))
}

pub(super) fn wald_bounds(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let bounds = sequential::wald_bounds(inputs.rate("alpha")?, inputs.rate("beta")?)?;
    Ok(json!({"A": bounds.upper, "B": bounds.lower}))
}

/// Power, inflation and mean cost of an anytime-valid interval that is looked at a number of times.
pub(super) fn confidence_sequence_power(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let watching = sequential::Watching {
        looks: as_looks(inputs.count("looks")?),
        planned_share: inputs.finite_or("planned_share", 1.0)?,
    };
    let target = Target {
        alpha: inputs.rate("alpha")?,
        power: inputs.rate("power")?,
    };
    Ok(json!(sequential::confidence_sequence_design(watching, target)?))
}

/// A one-sided design that stops for effect or for lack of it.
pub(super) fn futility(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let plan = futility::FutilityPlan {
        efficacy: spending(inputs, "spending")?,
        alpha: inputs.rate("alpha_one_sided")?,
        futility: spending(inputs, "futility_spending")?,
        beta: inputs.rate("beta")?,
        binding: if inputs.flag_or("binding", false)? {
            futility::Binding::Binding
        } else {
            futility::Binding::NonBinding
        },
    };
    let design = futility::design(&inputs.finites("t")?, plan)?;
    Ok(resting_on(json!(design), ASSUMPTIONS))
}

/// What to report when a design with boundaries on |Z| has stopped.
pub(super) fn adjusted_estimate(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let information = inputs.finites("t")?;
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let bounds: Vec<Stop> = if inputs.has("bounds") {
        inputs.finites("bounds")?.into_iter().map(symmetric).collect()
    } else {
        let spending = spending(inputs, "spending")?;
        bounds::bounds(&information, spending, 0.5 * alpha, Sides::Two)?
            .iter()
            .map(|bound| bound.stop(Sides::Two))
            .collect()
    };
    let look = inputs.count("stopped_at_look")?;
    if look == 0 {
        return Err(StatsError::invalid("stopped_at_look", "counts from 1"));
    }
    let trial = estimate::Stopped {
        information: &information,
        stops: &bounds,
        stopped_at: as_looks(look - 1),
        estimate: inputs.finite("estimate")?,
        standard_error: inputs.positive("se")?,
    };
    let answer = estimate::adjusted(trial, alpha)?;
    let named = Estimate {
        estimate: Some(answer.estimate),
        standard_error: Some(trial.standard_error),
        interval: Some(answer.interval),
        p_value: Some(answer.p_value_two_sided),
        log10_p: Some(answer.p_value_two_sided.log10()).filter(|log10| log10.is_finite()),
        assumptions: ASSUMPTIONS,
        warnings: vec![
            "estimate is the plain one, too far from 0 after an early stop: report median_unbiased"
                .to_owned(),
        ],
        ..Estimate::empty("group_sequential_estimate", NO_ARMS)
    };
    Ok(completed(json!(answer), &named))
}

/// The chance that is left to exclude "no effect" in the rest of a running design.
pub(super) fn conditional_power(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (z, so_far) = (inputs.finite("z")?, inputs.rate("information")?);
    // Without a drift to believe in, the one that was seen so far.
    let drift = inputs.finite_or("drift", z / so_far.sqrt())?;
    let bound = inputs.finite_or("final_bound", normal::isf(0.025))?;
    Ok(bare(sequential::conditional_power(z, so_far, drift, bound)?))
}
