//! Proportions, rates and traffic shares by name.

use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::means::{pair, status};
use super::named::{NO_ARMS, complete, completed, completed_sample};
use super::{bare, bare_list, number};
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate, Interval};
use crate::frequentist::exact::{self, Table};
use crate::frequentist::{one_proportion, poisson, proportion, relative, score};
use crate::srm;

/// Up to this many units the unconditional tests are answered unasked: some milliseconds of work.
const UNASKED_UNITS: u64 = 200;

/// Expected units with the rarer outcome in the smaller arm below which the exact p-value is the one to quote.
const FEW_EVENTS: f64 = 10.0;

/// Up to this many units Fisher's test is answered unasked.
const FISHER_UNITS: u64 = 100_000_000;

fn table(inputs: &Inputs<'_>, fields: [&str; 4]) -> Result<Table, StatsError> {
    let [x0, n0, x1, n1] = fields;
    Table::new(
        inputs.count(x0)?,
        inputs.count(n0)?,
        inputs.count(x1)?,
        inputs.count(n1)?,
    )
}

/// Every test and interval of two proportions.
pub fn two_proportion(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let table = table(inputs, ["x_control", "n_control", "x_treatment", "n_treatment"])?;
    let rates = proportion::rates(&table);
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("p0", number(rates.control));
    put("p1", number(rates.treatment));
    put("diff", number(rates.difference));
    for (z_name, p_name, test) in [
        ("z_pooled", "p_pooled", proportion::z_pooled(&table)),
        ("z_unpooled", "p_unpooled", proportion::z_unpooled(&table)),
    ] {
        put(z_name, test.as_ref().map_or(Value::Null, |test| number(test.z)));
        put(
            p_name,
            test.as_ref().map_or(Value::Null, |test| number(test.p_value)),
        );
        put(
            &format!("log10_{p_name}"),
            test.as_ref().map_or(Value::Null, |test| number(test.log10_p)),
        );
        if let Err(error) = test {
            put(&format!("{z_name}_status"), json!(status(&error)));
        }
    }
    if let (Ok(plain), Ok(corrected)) = (
        proportion::chi_square(&table, false),
        proportion::chi_square(&table, true),
    ) {
        put("chi2_p", number(plain.p_value));
        put("chi2_yates", number(corrected.chi2));
        put("chi2_yates_p", number(corrected.p_value));
    }
    for (name, interval) in [
        ("wald_ci95", proportion::wald(&table, alpha)),
        ("agresti_caffo_ci95", proportion::agresti_caffo(&table, alpha)),
        ("newcombe_hybrid_score_ci95", proportion::newcombe(&table, alpha)),
        (
            "miettinen_nurminen_ci95",
            score::miettinen_nurminen(&table, alpha),
        ),
        ("mee_score_ci95", score::mee(&table, alpha)),
    ] {
        put(name, pair(interval?));
    }
    put_exact(&table, &mut result);
    put_relative(&table, alpha, &mut result);
    complete(&mut result, &named(&table, alpha)?);
    Ok(Value::Object(result))
}

/// The answer to quote: the score interval, and the pooled test where counts are large enough for it.
fn named(table: &Table, alpha: f64) -> Result<Estimate, StatsError> {
    let units = ArmUnits {
        control: table.control_units,
        treatment: table.treatment_units,
    };
    let mut answer = Estimate {
        estimate: Some(proportion::rates(table).difference),
        interval: Some(score::miettinen_nurminen(table, alpha)?),
        assumptions: &[
            "units are independent of each other",
            "looked at once, when the planned number of units is reached",
        ],
        ..Estimate::empty("two_proportion_pooled_z", units)
    };
    let all = units.control + units.treatment;
    let rate = (table.control_successes + table.treatment_successes) as f64 / all as f64;
    let rare = units.control.min(units.treatment) as f64 * rate.min(1.0 - rate);
    match proportion::z_pooled(table) {
        Ok(test) => {
            answer.standard_error = proportion::contrast(table)
                .ok()
                .map(|contrast| contrast.standard_error);
            answer.p_value = Some(test.p_value);
            answer.log10_p = Some(test.log10_p);
        }
        Err(reason) => answer.reason = Some(reason),
    }
    // With few events the exact test is quick at any size.
    if rare < FEW_EVENTS {
        let exact = exact::fisher(table).two_sided;
        answer.method = "two_proportion_fisher";
        answer.p_value = Some(exact.p);
        answer.log10_p = Some(exact.log10);
        answer.warnings.push(format!(
            "the smaller arm expects {rare:.1} of the rarer outcome, fewer than {FEW_EVENTS}: the p-value is Fisher's"
        ));
    }
    Ok(answer)
}

/// Barnard's and Boschloo's exact tests, for tables of up to some thousand units.
pub fn unconditional(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let table = table(inputs, ["x_control", "n_control", "x_treatment", "n_treatment"])?;
    Ok(json!(exact::unconditional(&table)?))
}

fn put_exact(table: &Table, result: &mut Map<String, Value>) {
    let units = table.control_units + table.treatment_units;
    if units <= FISHER_UNITS {
        let fisher = exact::fisher(table);
        result.insert("fisher_two_sided".to_owned(), number(fisher.two_sided.p));
        result.insert("fisher_greater".to_owned(), number(fisher.greater.p));
    }
    if units <= UNASKED_UNITS
        && let Ok(unconditional) = exact::unconditional(table)
    {
        result.insert("barnard_two_sided".to_owned(), number(unconditional.barnard));
        result.insert("boschloo_two_sided".to_owned(), number(unconditional.boschloo));
    }
}

fn put_relative(table: &Table, alpha: f64, result: &mut Map<String, Value>) {
    if let Ok(ratio) = proportion::rate_ratio(table, alpha) {
        result.insert("rr".to_owned(), number(ratio.ratio));
        result.insert("rr_katz_log_ci95".to_owned(), pair(ratio.interval));
    }
    let [control, treatment] = proportion::arm_values(table);
    match relative::delta(control, treatment, proportion::rates(table).difference, alpha) {
        Ok(change) => {
            result.insert("rel_lift".to_owned(), number(change.estimate));
            result.insert("rel_lift_delta_ci95".to_owned(), pair(change.interval));
        }
        Err(error) => {
            result.insert("rel_status".to_owned(), json!(status(&error)));
        }
    }
}

/// Every interval for one proportion.
pub fn one_proportion_ci(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let (x, n) = (inputs.count("x")?, inputs.count("n")?);
    let answer = one_proportion::intervals(x, n, alpha)?;
    let rate = x as f64 / n as f64;
    let named = Estimate {
        estimate: (n > 0).then_some(rate),
        standard_error: (n > 0).then(|| (rate * (1.0 - rate) / n as f64).sqrt()),
        interval: Some(answer.wilson),
        assumptions: &[
            "units are independent of each other",
            "the interval is Wilson's: near its level on average, where clopper_pearson95 never falls below it",
        ],
        ..Estimate::empty("wilson", NO_ARMS)
    };
    let result = json!({
        "wilson95": pair(answer.wilson),
        "clopper_pearson95": pair(answer.clopper_pearson),
        "jeffreys95": pair(answer.jeffreys),
        "wald95": pair(answer.wald),
        "agresti_coull95": pair(answer.agresti_coull),
    });
    Ok(completed_sample(result, &named, n))
}

/// Wilson's interval alone.
pub fn wilson(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    one_interval(inputs, one_proportion::wilson)
}

/// Clopper and Pearson's interval alone.
pub fn clopper_pearson(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    one_interval(inputs, one_proportion::clopper_pearson)
}

fn one_interval(
    inputs: &Inputs<'_>,
    method: fn(u64, u64, f64) -> Result<Interval, StatsError>,
) -> Result<Value, StatsError> {
    let interval = method(
        inputs.count("x")?,
        inputs.count("n")?,
        inputs.rate_or("alpha", 0.05)?,
    )?;
    Ok(json!({"value": pair(interval)}))
}

/// The difference x1/n1 − x2/n2 by the z-interval.
pub fn difference_wald(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    difference(inputs, proportion::wald)
}

/// The difference x1/n1 − x2/n2 by Mee's score interval.
pub fn difference_mee(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    difference(inputs, score::mee)
}

/// The difference x1/n1 − x2/n2 by Miettinen and Nurminen's score interval.
pub fn difference_miettinen_nurminen(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    difference(inputs, score::miettinen_nurminen)
}

/// The difference x1/n1 − x2/n2 by Agresti and Caffo's interval.
pub fn difference_agresti_caffo(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    difference(inputs, proportion::agresti_caffo)
}

/// The difference x1/n1 − x2/n2 by Newcombe's interval.
pub fn difference_newcombe(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    difference(inputs, proportion::newcombe)
}

fn difference(
    inputs: &Inputs<'_>,
    method: fn(&Table, f64) -> Result<Interval, StatsError>,
) -> Result<Value, StatsError> {
    let table = table(inputs, ["x2", "n2", "x1", "n1"])?;
    Ok(json!({"value": pair(method(&table, inputs.rate_or("alpha", 0.05)?)?)}))
}

/// Fisher's two-sided p-value of a two-by-two table.
pub fn fisher_two_sided(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(bare(exact::fisher(&cells(inputs)?).two_sided.p))
}

/// Fisher's p-value of a two-by-two table against a first cell that is greater by chance.
pub fn fisher_greater(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    Ok(bare(exact::fisher(&cells(inputs)?).greater.p))
}

/// A table of cells [[a, b], [c, d]], the first row as the treatment.
fn cells(inputs: &Inputs<'_>) -> Result<Table, StatsError> {
    let wrong = || StatsError::invalid("table", "must be two rows of two whole numbers");
    let rows = inputs.list("table")?;
    let mut cells = Vec::with_capacity(4);
    for row in rows {
        for cell in row.as_array().ok_or_else(wrong)? {
            let count = cell.as_u64().filter(|count| *count < 1 << 53).ok_or_else(wrong)?;
            cells.push(count);
        }
    }
    let [a, b, c, d] = <[u64; 4]>::try_from(cells).map_err(|_| wrong())?;
    let table = Table::new(c, c + d, a, a + b)?;
    if table.control_units + table.treatment_units > 10 * FISHER_UNITS {
        return Err(StatsError::TooLarge {
            what: "the table",
            size: table.control_units + table.treatment_units,
            limit: 10 * FISHER_UNITS,
        });
    }
    Ok(table)
}

/// Two Poisson rates.
pub fn poisson_two_rates(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let arm = |events: &str, exposure: &str| {
        Ok::<_, StatsError>(poisson::EventCount {
            events: inputs.count(events)?,
            exposure: inputs.positive(exposure)?,
        })
    };
    let control = arm("count_control", "exposure_control")?;
    let treatment = arm("count_treatment", "exposure_treatment")?;
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let answer = poisson::compare(control, treatment, alpha)?;
    let mut result = json!({
        "rate_control": number(answer.rate_control),
        "rate_treatment": number(answer.rate_treatment),
        "rate_ratio": answer.rate_ratio.map_or(Value::Null, number),
    });
    // Units are not known here: exposure need not be a number of users.
    let named = Estimate {
        estimate: Some(answer.rate_treatment - answer.rate_control),
        interval: Some(poisson::difference_interval(control, treatment, alpha)?),
        assumptions: &[
            "events are independent of each other: count users with an event where they are not",
            "looked at once, when the planned exposure is reached",
        ],
        ..Estimate::empty("poisson_two_rates", NO_ARMS)
    };
    let Some(tests) = answer.tests else {
        result["status"] = json!("no_events");
        let reason = StatsError::NoSolution {
            what: "the comparison",
            why: "there is no event in either arm",
        };
        let named = Estimate {
            reason: Some(reason),
            ..named
        };
        return Ok(completed(result, &named));
    };
    let named = Estimate {
        standard_error: Some(
            (answer.rate_control / control.exposure + answer.rate_treatment / treatment.exposure).sqrt(),
        ),
        p_value: Some(tests.exact_two_sided.p),
        log10_p: Some(tests.exact_two_sided.log10),
        ..named
    };
    for (name, value) in [
        ("exact_conditional_two_sided_minlike", tests.exact_two_sided.p),
        ("exact_conditional_greater", tests.exact_greater.p),
        ("exact_conditional_less", tests.exact_less.p),
        ("log10_exact_conditional_greater", tests.exact_greater.log10),
        ("exact_central_two_sided", tests.exact_central),
        ("score_z", tests.score.z),
        ("score_p", tests.score.p_value),
        ("sqrt_a_z", tests.square_root.z),
        ("sqrt_a_p", tests.square_root.p_value),
    ] {
        result[name] = number(value);
    }
    result["rate_ratio_exact_ci95"] = pair(tests.ratio_interval);
    result["status"] = json!("ok");
    Ok(completed(result, &named))
}

/// Sample-ratio mismatch at one look.
pub fn srm_chi2(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let observed = inputs.counts("observed")?;
    let answer = srm::check(&observed, &inputs.finites("weights")?)?;
    let residuals: Vec<Value> = answer
        .arms
        .iter()
        .map(|arm| arm.residual.map_or(Value::Null, number))
        .collect();
    let expected: Vec<f64> = answer.arms.iter().map(|arm| arm.expected).collect();
    let mut result = json!({
        "value": number(answer.p_value),
        "chi2": number(answer.chi2),
        "p": number(answer.p_value),
        "log10_p": number(answer.log10_p),
        "g_stat": number(answer.g),
        "g_p": number(answer.g_p_value),
        "df": answer.df,
        "residuals": residuals,
        "expected": bare_list(&expected)["value"],
        "warnings": answer.warnings,
    });
    if observed.iter().all(|count| *count == 0) {
        // Nothing was seen, so that nothing speaks against the shares; that is no evidence for them.
        let reason = crate::frequentist::sample::too_few("the experiment", 0, 1);
        result["status"] = json!(status(&reason));
        result["reason"] = json!(reason);
    }
    if let Some(exact) = answer.exact_p_value {
        result["binom_exact_p"] = number(exact);
    }
    Ok(result)
}
