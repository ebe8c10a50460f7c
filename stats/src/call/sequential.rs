//! Confidence sequences and e-values by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::named::{NO_ARMS, completed, completed_sample};
use super::{bare, bare_list, number, numbers};
use crate::error::StatsError;
use crate::estimate::{Estimate, Interval, PValue};
use crate::frequentist::quantile::of_sorted;
use crate::frequentist::sample::too_few;
use crate::frequentist::winsorized;
use crate::sequential::mixture::{
    BetaBinomial, Mixture, best_rho_one_sided, best_rho_two_sided, stitching_bound,
};
use crate::sequential::{asymptotic, bounded, msprt, proportion, quantile, sample_ratio};
use crate::srm;

/// What an interval that is valid at every look rests on.
const NORMAL_ASSUMPTIONS: &[&str] = &[
    "units are independent of each other",
    "the estimate is nearly normal from the first look on that is read",
    "looked at as often as one likes: the intervals hold at all looks together",
];

/// The longest list of made-up values in a text such as "1..1000".
const MAX_RANGE: u32 = 100_000;

pub(super) fn asymptotic_cs(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (estimate, standard_error) = (inputs.finite("estimate")?, inputs.positive("se")?);
    let (units, planned, alpha) = (
        inputs.positive("N")?,
        inputs.positive("N_star")?,
        inputs.rate("alpha")?,
    );
    let look = asymptotic::Look {
        estimate,
        standard_error,
        units,
    };
    let answer = asymptotic::two_sided(look, planned, alpha)?;
    let rho = asymptotic::two_sided_tuning(planned, alpha)?;
    let rho_one_sided = asymptotic::one_sided_tuning(planned, alpha)?;
    let closed_form = asymptotic::one_sided_half_width_closed_form(standard_error, units, planned, alpha)?;
    let exact = asymptotic::one_sided_half_width(standard_error, units, planned, alpha)?;
    let q = units * rho_one_sided * rho_one_sided;
    let p_value = PValue::from_ln(answer.log_p_value);
    let named = Estimate {
        estimate: Some(estimate),
        standard_error: Some(standard_error),
        interval: Some(Interval::new(answer.lower, answer.upper, 1.0 - alpha)),
        p_value: Some(p_value.p),
        log10_p: Some(p_value.log10),
        ln_e_value: Some(answer.log_e),
        assumptions: NORMAL_ASSUMPTIONS,
        ..Estimate::empty("asymptotic_confidence_sequence", NO_ARMS)
    };
    let result = json!({
        "rho_two_sided": rho,
        "rho_one_sided": rho_one_sided,
        "halfwidth_two_sided": asymptotic::half_width(standard_error, units, planned, alpha)?,
        "halfwidth_one_sided_WS_eq134": closed_form,
        "halfwidth_one_sided_exact_halfnormal": exact,
        "log_e_two_sided": answer.log_e,
        "p_two_sided": answer.p_value,
        "log_p_two_sided": answer.log_p_value,
        "log_e_one_sided": asymptotic::one_sided_log_e(estimate / standard_error, q),
        "lower": answer.lower,
        "upper": answer.upper,
        "n": units,
    });
    Ok(completed_sample(result, &named, units as u64))
}

pub(super) fn tuning(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(bare(asymptotic::two_sided_tuning(
        inputs.positive("N_star")?,
        inputs.rate("alpha")?,
    )?))
}

pub(super) fn msprt(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (variance, effect_variance, alpha) = (
        inputs.positive("V")?,
        inputs.positive("tau2")?,
        inputs.rate("alpha")?,
    );
    let difference = inputs.finite("diff")?;
    let look = msprt::look(difference, variance, effect_variance, alpha)?;
    let ratio = effect_variance / variance;
    let p_value = PValue::from_ln(-look.log_e);
    let named = Estimate {
        estimate: Some(difference),
        standard_error: Some(variance.sqrt()),
        interval: Some(Interval::around(difference, look.half_width, 1.0 - alpha)),
        p_value: Some(p_value.p),
        log10_p: Some(p_value.log10),
        ln_e_value: Some(look.log_e),
        assumptions: NORMAL_ASSUMPTIONS,
        ..Estimate::empty("msprt", NO_ARMS)
    };
    let result = json!({
        "log_lambda": look.log_e,
        "p_always_valid_instant": look.p_value,
        "ci_halfwidth": look.half_width,
        "statsig_zstar_two_sided": msprt::critical_value(ratio, alpha / 2.0),
        "statsig_zstar_one_sided": msprt::critical_value(ratio, alpha),
    });
    Ok(completed(result, &named))
}

/// The boundary that a mixing variance growing with the variance of the estimate amounts to: the same at every look.
pub(super) fn constant_boundary(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate("alpha")?;
    let z = crate::special::normal::isf(alpha / 2.0);
    Ok(json!({"z_star": msprt::critical_value(0.5 * z * z, alpha / 2.0)}))
}

pub(super) fn constant_boundary_bare(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let answer = constant_boundary(inputs)?;
    Ok(json!({"value": answer["z_star"]}))
}

pub(super) fn tuned_bound(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (units, planned) = (inputs.positive("N")?, inputs.positive("N_tune")?);
    let alpha = 1.0 - inputs.rate("confidence")?;
    let rho = best_rho_two_sided(planned, alpha)?;
    Ok(json!({"rho": rho, "B": asymptotic::two_sided_critical_value(units / rho, alpha)}))
}

pub(super) fn sample_ratio(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (counts, weights) = (inputs.counts("counts")?, inputs.finites("weights")?);
    let answer = sample_ratio::evidence(&counts, &weights, inputs.positive("dirichlet_concentration")?)?;
    let chi2 = srm::check(&counts, &weights)?;
    let p_value = PValue::from_ln(-answer.log_bayes_factor);
    let named = Estimate {
        p_value: Some(p_value.p),
        log10_p: Some(p_value.log10),
        ln_e_value: Some(answer.log_bayes_factor),
        assumptions: &[
            "each unit falls into an arm with the planned chance, independently of the others",
            "looked at as often as one likes",
        ],
        ..Estimate::empty("sequential_multinomial", NO_ARMS)
    };
    let result = json!({
        "log_bayes_factor": answer.log_bayes_factor,
        "p_always_valid_instant": answer.p_value,
        "chi2_p": chi2.p_value,
        "chi2": chi2.chi2,
    });
    let units = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    Ok(completed_sample(result, &named, units))
}

pub(super) fn betting(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let mut sequence = bounded::BettingSequence::new(inputs.rate("alpha")?)?;
    let (values, mut intervals) = (inputs.finites("x")?, Vec::new());
    for value in &values {
        sequence.observe(*value)?;
        intervals.push(sequence.interval());
    }
    bands(&values, &intervals, "betting_hedged_capital")
}

pub(super) fn empirical_bernstein(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let values = inputs.finites("x")?;
    let intervals = bounded::empirical_bernstein(&values, inputs.rate("alpha")?)?;
    bands(&values, &intervals, "empirical_bernstein")
}

pub(super) fn hoeffding(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let values = inputs.finites("x")?;
    let intervals = bounded::hoeffding(&values, inputs.rate("alpha")?)?;
    bands(&values, &intervals, "hoeffding")
}

/// The ends after each value; the shared names hold what is known after the last.
fn bands(values: &[f64], intervals: &[Interval], method: &'static str) -> Result<Value, StatsError> {
    let lower: Vec<Option<f64>> = intervals.iter().map(|interval| interval.lower).collect();
    let upper: Vec<Option<f64>> = intervals.iter().map(|interval| interval.upper).collect();
    let whole = winsorized::cap(values, winsorized::Caps::default())?.sample;
    let named = Estimate {
        estimate: (whole.n > 0).then(|| whole.mean.to_f64()),
        standard_error: whole
            .variance("the sample")
            .ok()
            .map(|variance| (variance / whole.n as f64).sqrt()),
        interval: intervals.last().copied(),
        assumptions: &[
            "values lie between 0 and 1 and share one mean, whatever came before",
            "looked at as often as one likes: the intervals hold at all values together",
        ],
        reason: intervals.is_empty().then(|| too_few("the sample", 0, 1)),
        ..Estimate::empty(method, NO_ARMS)
    };
    let result = json!({"lower": lower, "upper": upper});
    Ok(completed_sample(result, &named, whole.n))
}

pub(super) fn proportion(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (successes, trials) = (inputs.count("successes")?, inputs.count("trials")?);
    let interval = proportion::interval(
        successes,
        trials,
        inputs.positive("t_opt")?,
        inputs.rate("alpha")?,
    )?;
    Ok(bare_list(&[
        interval.lower.unwrap_or(0.0),
        interval.upper.unwrap_or(1.0),
    ]))
}

pub(super) fn best_rho(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(bare(best_rho_two_sided(
        inputs.positive("v_opt")?,
        inputs.rate_or("alpha_opt", 0.05)?,
    )?))
}

fn normal_mixture(inputs: &Inputs<'_>) -> Result<Mixture, StatsError> {
    let (best, alpha) = (inputs.positive("v_opt")?, inputs.rate_or("alpha_opt", 0.05)?);
    if inputs.flag_or("is_one_sided", true)? {
        best_rho_one_sided(best, alpha).map(|rho| Mixture::NormalOneSided { rho })
    } else {
        best_rho_two_sided(best, alpha).map(|rho| Mixture::NormalTwoSided { rho })
    }
}

fn gamma_parameters(inputs: &Inputs<'_>) -> Result<[f64; 2], StatsError> {
    let rho = best_rho_one_sided(inputs.positive("v_opt")?, inputs.rate_or("alpha_opt", 0.05)?)?;
    Ok([rho, inputs.positive("c")?])
}

fn exponential_mixture(inputs: &Inputs<'_>) -> Result<Mixture, StatsError> {
    gamma_parameters(inputs).map(|[rho, c]| Mixture::GammaExponential { rho, c })
}

fn poisson_mixture(inputs: &Inputs<'_>) -> Result<Mixture, StatsError> {
    gamma_parameters(inputs).map(|[rho, c]| Mixture::GammaPoisson { rho, c })
}

fn beta_mixture(inputs: &Inputs<'_>) -> Result<Mixture, StatsError> {
    let (best, alpha) = (inputs.positive("v_opt")?, inputs.rate_or("alpha_opt", 0.05)?);
    let (g, h) = (inputs.positive("g")?, inputs.positive("h")?);
    let mixture = if inputs.flag_or("is_one_sided", true)? {
        BetaBinomial::one_sided(best, alpha, g, h)
    } else {
        BetaBinomial::two_sided(best, alpha, g, h)
    };
    mixture.map(Mixture::BetaBinomial)
}

fn log_e(inputs: &Inputs<'_>, mixture: Mixture) -> Result<Value, StatsError> {
    Ok(bare(mixture.log_e(inputs.finite("s")?, inputs.positive("v")?)))
}

fn bound(inputs: &Inputs<'_>, mixture: Mixture) -> Result<Value, StatsError> {
    Ok(bare(mixture.bound(inputs.positive("v")?, inputs.rate("alpha")?)?))
}

pub(super) fn normal_log_e(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    log_e(inputs, normal_mixture(inputs)?)
}

pub(super) fn normal_bound(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    bound(inputs, normal_mixture(inputs)?)
}

pub(super) fn exponential_log_e(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    log_e(inputs, exponential_mixture(inputs)?)
}

pub(super) fn exponential_bound(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    bound(inputs, exponential_mixture(inputs)?)
}

pub(super) fn poisson_log_e(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    log_e(inputs, poisson_mixture(inputs)?)
}

pub(super) fn poisson_bound(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    bound(inputs, poisson_mixture(inputs)?)
}

pub(super) fn beta_log_e(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    log_e(inputs, beta_mixture(inputs)?)
}

pub(super) fn beta_bound(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    bound(inputs, beta_mixture(inputs)?)
}

pub(super) fn stitching(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let c = inputs.finite_or("c", 0.0)?;
    Ok(bare(stitching_bound(
        inputs.positive("v")?,
        inputs.rate("alpha")?,
        inputs.positive("v_min")?,
        c,
    )?))
}

pub(super) fn double_stitching(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (q, t) = (inputs.rate("quantile_p")?, inputs.positive("t")?);
    Ok(bare(quantile::double_stitching_bound(
        q,
        t,
        inputs.rate("alpha")?,
        inputs.positive("t_opt")?,
    )?))
}

pub(super) fn empirical_process(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (t, alpha, first) = (
        inputs.positive("t")?,
        inputs.rate("alpha")?,
        inputs.positive("t_min")?,
    );
    let radius = quantile::empirical_process_bound(t, alpha, first, inputs.finite_or("A", 0.85)?)?;
    Ok(bare(radius.unwrap_or(f64::INFINITY)))
}

pub(super) fn quantile_ranks(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (n, q) = (inputs.count("n")?, inputs.rate("quantile_p")?);
    let ranks = quantile::ranks(n, q, inputs.positive("t_opt")?, inputs.rate("alpha")?)?;
    Ok(json!({"lower_rank_1based": ranks.lower, "upper_rank_1based": ranks.upper}))
}

pub(super) fn quantile_interval(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (values, alpha) = (sorted(inputs, "values")?, inputs.rate_or("alpha", 0.05)?);
    let (q, planned) = (inputs.rate("quantile_p")?, inputs.positive("t_opt")?);
    let interval = quantile::interval(&values, q, planned, alpha)?;
    let named = Estimate {
        estimate: of_sorted(&values, q),
        interval: Some(interval),
        assumptions: &[
            "values are independent of each other and of one distribution",
            "looked at as often as one likes: the intervals hold at all values together",
        ],
        reason: values.is_empty().then(|| too_few("the sample", 0, 1)),
        ..Estimate::empty("quantile_confidence_sequence", NO_ARMS)
    };
    Ok(completed_sample(json!({}), &named, values.len() as u64))
}

pub(super) fn quantile_p_value(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (control, treatment) = (sorted(inputs, "a_values")?, sorted(inputs, "b_values")?);
    let (q, planned) = (inputs.rate("quantile_p")?, inputs.positive("t_opt")?);
    Ok(bare(quantile::two_sample_p_value(
        &control, &treatment, q, planned,
    )?))
}

/// A list of numbers, or a text such as "1..1000" for all whole numbers from one to the other.
fn sorted(inputs: &Inputs<'_>, field: &str) -> Result<Vec<f64>, StatsError> {
    let mut values = match inputs.text(field) {
        Ok(text) => range(field, text)?,
        Err(_) => inputs.finites(field)?,
    };
    values.sort_by(f64::total_cmp);
    Ok(values)
}

fn range(field: &str, text: &str) -> Result<Vec<f64>, StatsError> {
    let ends = text
        .split_once("..")
        .map(|(low, high)| (low.parse::<u32>(), high.parse::<u32>()));
    match ends {
        Some((Ok(low), Ok(high))) if low <= high && high - low < MAX_RANGE => {
            Ok((low..=high).map(f64::from).collect())
        }
        _ => Err(StatsError::invalid(
            field,
            "must be a list of numbers or a range such as 1..1000",
        )),
    }
}

/// The e-process of affected users, look by look.
pub(super) fn rate_ratio(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    use crate::safety::rate_ratio::{CohortEvents, replay};
    let (control, treatment) = (
        inputs.counts("events_control")?,
        inputs.counts("events_treatment")?,
    );
    let (exposed_control, exposed_treatment) = (
        inputs.finites("exposure_control")?,
        inputs.finites("exposure_treatment")?,
    );
    let lengths = [treatment.len(), exposed_control.len(), exposed_treatment.len()];
    if lengths.iter().any(|length| *length != control.len()) {
        return Err(StatsError::invalid(
            "events_control",
            "must have one entry per look, like the other lists",
        ));
    }
    let cohort = |look: usize| CohortEvents {
        weight_treatment: exposed_treatment[look] / (exposed_treatment[look] + exposed_control[look]),
        affected_treatment: treatment[look],
        affected_control: control[look],
    };
    let looks: Vec<Vec<CohortEvents>> = (0..control.len()).map(|look| vec![cohort(look)]).collect();
    let states = replay(inputs.not_negative("margin")?, &looks)?;
    let first_alarm = |alpha: f64| {
        states
            .iter()
            .position(|state| state.max_log_e >= -alpha.ln())
            .map(|look| look + 1)
    };
    let log_e: Vec<f64> = states.iter().map(|state| state.log_e_value).collect();
    let p_values: Vec<f64> = states.iter().map(|state| (-state.max_log_e).exp()).collect();
    let log_detector: Vec<Value> = states
        .iter()
        .map(|state| state.log_detector.map_or(Value::Null, number))
        .collect();
    let last = states.last().map(|state| PValue::from_ln(-state.max_log_e));
    let named = Estimate {
        p_value: last.map(|p_value| p_value.p),
        log10_p: last.map(|p_value| p_value.log10),
        ln_e_value: log_e.last().copied(),
        assumptions: &[
            "each affected user counts once",
            "exposures of a look are those of the same time as its events",
            "looked at as often as one likes",
        ],
        reason: states.is_empty().then(|| too_few("the e-process", 0, 1)),
        ..Estimate::empty("conditional_rate_ratio", NO_ARMS)
    };
    let result = json!({
        "log_e": numbers(&log_e),
        "p_anytime": numbers(&p_values),
        "first_alarm_look_alpha_0_05": first_alarm(0.05),
        "first_alarm_look_alpha_0_001": first_alarm(0.001),
        "log_detector": log_detector,
    });
    let events = control
        .iter()
        .chain(&treatment)
        .fold(0_u64, |sum, count| sum.saturating_add(*count));
    Ok(completed_sample(result, &named, events))
}
