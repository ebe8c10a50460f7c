//! Exact tests of two proportions for small counts: Fisher, Barnard, Boschloo.

pub mod power;

use serde::Serialize;

use crate::error::StatsError;
use crate::estimate::PValue;
use crate::special::discrete::Urn;
use crate::special::gamma::ln_choose;
use crate::special::logs::{ln_1m_exp, ln_add_exp};
use crate::special::roots::{Bracket, minimize};

/// Larger tables are refused by the unconditional tests, which take a few hundredths of a second per thousand.
pub const MAX_UNCONDITIONAL_UNITS: u64 = 5_000;

/// Common success rates that are tried before the best are looked at closely, evenly spaced in arcsin √rate.
const RATE_STEPS: u32 = 1_000;

/// Outcomes whose probability is within this relative distance of the observed one count as equally likely.
const SAME: f64 = 1e-7;

/// Successes and units of two arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Successes in the control.
    pub control_successes: u64,
    /// Units in the control.
    pub control_units: u64,
    /// Successes in the treatment.
    pub treatment_successes: u64,
    /// Units in the treatment.
    pub treatment_units: u64,
}

impl Table {
    /// A table, checked.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] for more successes than units, [`StatsError::TooFewUnits`] for an empty arm.
    pub fn new(
        control_successes: u64,
        control_units: u64,
        treatment_successes: u64,
        treatment_units: u64,
    ) -> Result<Self, StatsError> {
        for (successes, units, arm) in [
            (control_successes, control_units, "control"),
            (treatment_successes, treatment_units, "treatment"),
        ] {
            if units == 0 {
                return Err(super::sample::too_few(arm, 0, 1));
            }
            if successes > units {
                return Err(StatsError::invalid(arm, "has more successes than units"));
            }
        }
        Ok(Self {
            control_successes,
            control_units,
            treatment_successes,
            treatment_units,
        })
    }
}

/// Fisher's exact test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fisher {
    /// Against a difference either way: all tables no more likely than the observed one.
    pub two_sided: PValue,
    /// Against a greater treatment.
    pub greater: PValue,
    /// Against a lesser treatment.
    pub less: PValue,
}

/// Fisher's exact test, given both margins (Fisher 1935).
pub fn fisher(table: &Table) -> Fisher {
    let urn = Urn {
        total: (table.control_units + table.treatment_units) as f64,
        marked: (table.control_successes + table.treatment_successes) as f64,
        drawn: table.treatment_units as f64,
    };
    let observed = table.treatment_successes as f64;
    let mode = mode(&urn);
    let limit = urn.ln_pmf(observed) + SAME;
    let two_sided = if limit >= urn.ln_pmf(mode) {
        0.0
    } else if observed < mode {
        let first = first_unlikely(&urn, mode, urn.greatest() + 1.0, limit);
        ln_add_exp(ln_at_most(&urn, mode, observed), ln_at_least(&urn, mode, first))
    } else {
        let first = first_unlikely(&urn, mode, urn.least() - 1.0, limit);
        ln_add_exp(ln_at_least(&urn, mode, observed), ln_at_most(&urn, mode, first))
    };
    Fisher {
        two_sided: PValue::from_ln(two_sided),
        greater: PValue::from_ln(ln_at_least(&urn, mode, observed)),
        less: PValue::from_ln(ln_at_most(&urn, mode, observed)),
    }
}

/// The most likely number of marked balls.
fn mode(urn: &Urn) -> f64 {
    let mode = ((urn.drawn + 1.0) * (urn.marked + 1.0) / (urn.total + 2.0)).floor();
    mode.clamp(urn.least(), urn.greatest())
}

/// ln P(X ≥ k): summed outwards from k, or from the smaller other side.
fn ln_at_least(urn: &Urn, mode: f64, k: f64) -> f64 {
    if k > mode {
        walk_out(urn, k, 1.0)
    } else {
        ln_1m_exp(walk_out(urn, k - 1.0, -1.0).min(0.0))
    }
}

/// ln P(X ≤ k): summed outwards from k, or from the smaller other side.
fn ln_at_most(urn: &Urn, mode: f64, k: f64) -> f64 {
    if k < mode {
        walk_out(urn, k, -1.0)
    } else {
        ln_1m_exp(walk_out(urn, k + 1.0, 1.0).min(0.0))
    }
}

/// ln of the sum of probabilities from `start` outwards, by the ratio of neighbours: about nine standard deviations.
fn walk_out(urn: &Urn, start: f64, step: f64) -> f64 {
    let first = urn.ln_pmf(start);
    if first.is_infinite() {
        return first;
    }
    let (mut term, mut sum, mut k) = (1.0_f64, 1.0_f64, start);
    loop {
        term *= neighbour_ratio(urn, k, k + step);
        sum += term;
        if term <= sum * 1e-18 {
            return first + sum.ln();
        }
        k += step;
    }
}

/// P(next)/P(k) for neighbours.
fn neighbour_ratio(urn: &Urn, k: f64, next: f64) -> f64 {
    let spare = urn.total - urn.marked - urn.drawn;
    if next > k {
        (urn.marked - k) * (urn.drawn - k) / (next * (spare + next))
    } else {
        k * (spare + k) / ((urn.marked - next) * (urn.drawn - next))
    }
}

/// The outcome nearest to the mode, on the way to `end`, that is no more likely than the limit; `end` if there is none.
fn first_unlikely(urn: &Urn, mode: f64, end: f64, limit: f64) -> f64 {
    let sign = if end > mode { 1.0 } else { -1.0 };
    let (mut likely, mut unlikely) = (0.0, (end - mode).abs());
    while unlikely - likely > 1.0 {
        let middle = ((likely + unlikely) / 2.0_f64).floor();
        if urn.ln_pmf(mode + sign * middle) <= limit {
            unlikely = middle;
        } else {
            likely = middle;
        }
    }
    mode + sign * unlikely
}

/// The two-sided p-values of the unconditional tests, which do not fix the total of successes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Unconditional {
    /// Barnard's test with the pooled z as the statistic (Barnard 1945).
    pub barnard: f64,
    /// Boschloo's test, Fisher's p-value as the statistic (Boschloo 1970): twice the smaller one-sided p-value.
    pub boschloo: f64,
}

/// Barnard's and Boschloo's tests: the largest p-value over all common success rates.
///
/// # Errors
/// [`StatsError::TooLarge`] for more than [`MAX_UNCONDITIONAL_UNITS`] units in both arms together.
pub fn unconditional(table: &Table) -> Result<Unconditional, StatsError> {
    let units = table.control_units + table.treatment_units;
    if units > MAX_UNCONDITIONAL_UNITS {
        return Err(StatsError::TooLarge {
            what: "the table of an unconditional test",
            size: units,
            limit: MAX_UNCONDITIONAL_UNITS,
        });
    }
    let limit = pooled_z(table).abs() * (1.0 - SAME) - 1e-12;
    let barnard = largest_p(table, |margin| {
        let z = |k: f64| pooled_z(&margin.table(k));
        margin.chance_outside(margin.last(|k| z(k) <= -limit), margin.first(|k| z(k) >= limit))
    });
    // Within one total the p-value falls towards its end, so each side is one run of outcomes.
    let fishers = fisher(table);
    let limit = fishers.greater.log10 * std::f64::consts::LN_10 + SAME;
    let greater = largest_p(table, |margin| {
        let first = margin.first(|k| ln_at_least(&margin.urn, margin.mode, k) <= limit);
        margin.chance_outside(None, first)
    });
    let limit = fishers.less.log10 * std::f64::consts::LN_10 + SAME;
    let less = largest_p(table, |margin| {
        let last = margin.last(|k| ln_at_most(&margin.urn, margin.mode, k) <= limit);
        margin.chance_outside(last, None)
    });
    Ok(Unconditional {
        barnard,
        boschloo: (2.0 * greater.min(less)).min(1.0),
    })
}

fn pooled_z(table: &Table) -> f64 {
    let (left, right) = (table.control_units as f64, table.treatment_units as f64);
    let (first, second) = (table.control_successes as f64, table.treatment_successes as f64);
    let rate = (first + second) / (left + right);
    let variance = rate * (1.0 - rate) * (1.0 / left + 1.0 / right);
    if variance > 0.0 {
        (second / right - first / left) / variance.sqrt()
    } else {
        0.0
    }
}

/// All tables with one total of successes; an outcome is the number of them in the treatment.
struct Margin<'a> {
    units: &'a Table,
    successes: u64,
    urn: Urn,
    mode: f64,
}

impl<'a> Margin<'a> {
    fn new(units: &'a Table, successes: u64) -> Self {
        let urn = Urn {
            total: (units.control_units + units.treatment_units) as f64,
            marked: successes as f64,
            drawn: units.treatment_units as f64,
        };
        Self {
            units,
            successes,
            urn,
            mode: mode(&urn),
        }
    }

    fn table(&self, outcome: f64) -> Table {
        Table {
            control_successes: self.successes - outcome as u64,
            treatment_successes: outcome as u64,
            ..*self.units
        }
    }

    /// The first outcome from which on `holds` is true, for what turns true once on the way up.
    fn first(&self, holds: impl Fn(f64) -> bool) -> Option<f64> {
        let (mut low, mut high) = (self.urn.least(), self.urn.greatest());
        if !holds(high) {
            return None;
        }
        while low < high {
            let middle = (0.5 * (low + high)).floor();
            if holds(middle) {
                high = middle;
            } else {
                low = middle + 1.0;
            }
        }
        Some(high)
    }

    /// The last outcome up to which `holds` is true, for what turns false once on the way up.
    fn last(&self, holds: impl Fn(f64) -> bool) -> Option<f64> {
        match self.first(|outcome| !holds(outcome)) {
            None => Some(self.urn.greatest()),
            Some(first) if first > self.urn.least() => Some(first - 1.0),
            Some(_) => None,
        }
    }

    /// ln of the chance of an outcome up to `last` or from `first` on, given the total.
    fn chance_outside(&self, last: Option<f64>, first: Option<f64>) -> f64 {
        let below = last.map_or(f64::NEG_INFINITY, |k| ln_at_most(&self.urn, self.mode, k));
        let above = first.map_or(f64::NEG_INFINITY, |k| ln_at_least(&self.urn, self.mode, k));
        match (last, first) {
            // Two runs that meet or overlap are everything.
            (Some(last), Some(first)) if last + 1.0 >= first => 0.0,
            _ => ln_add_exp(below, above).min(0.0),
        }
    }
}

/// The largest chance, over all common success rates, of the outcomes whose chance given each total is named.
fn largest_p(table: &Table, ln_chance: impl Fn(&Margin<'_>) -> f64) -> f64 {
    let units = table.control_units + table.treatment_units;
    // Tables with the same total depend on the rate in the same way, so they count together.
    let weights: Vec<f64> = (0..=units)
        .map(|successes| {
            let ln_chance = ln_chance(&Margin::new(table, successes));
            ln_choose(units as f64, successes as f64) + ln_chance
        })
        .collect();
    let chance = |angle: f64| chance_at(&weights, angle.sin().powi(2));
    let step = std::f64::consts::FRAC_PI_2 / f64::from(RATE_STEPS);
    let values: Vec<f64> = (0..=RATE_STEPS)
        .map(|index| chance(f64::from(index) * step))
        .collect();
    let mut largest = values.iter().copied().fold(0.0, f64::max);
    // Every peak of the grid that could hold the largest value is looked at closely.
    for index in 1..RATE_STEPS as usize {
        let peak = values[index] >= values[index - 1] && values[index] >= values[index + 1];
        if peak && values[index] > largest * 0.98 {
            let around = Bracket::new((index as f64 - 1.0) * step, (index as f64 + 1.0) * step);
            let at = minimize(around, 1e-9, |angle| -chance(angle));
            largest = largest.max(chance(at));
        }
    }
    largest.min(1.0)
}

fn chance_at(ln_weights: &[f64], rate: f64) -> f64 {
    let n = (ln_weights.len() - 1) as f64;
    if rate <= 0.0 || rate >= 1.0 {
        let end = if rate <= 0.0 { 0 } else { ln_weights.len() - 1 };
        return ln_weights[end].exp();
    }
    let (ln_rate, ln_rest) = (rate.ln(), (-rate).ln_1p());
    ln_weights
        .iter()
        .enumerate()
        .map(|(total, ln_weight)| (ln_weight + total as f64 * ln_rate + (n - total as f64) * ln_rest).exp())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lady_tasting_tea_is_answered_as_in_1935() {
        let tea = fisher(&Table::new(1, 4, 3, 4).unwrap());
        assert!((tea.two_sided.p - 34.0 / 70.0).abs() < 1e-14);
        assert!((tea.greater.p - 17.0 / 70.0).abs() < 1e-14);
        assert!((tea.less.p - 69.0 / 70.0).abs() < 1e-14);
    }

    #[test]
    fn swapping_arms_swaps_the_sides() {
        let one = fisher(&Table::new(3, 50, 9, 70).unwrap());
        let two = fisher(&Table::new(9, 70, 3, 50).unwrap());
        assert!((one.two_sided.p / two.two_sided.p - 1.0).abs() < 1e-12);
        assert!((one.greater.p / two.less.p - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_far_tail_of_a_large_table_keeps_its_logarithm() {
        let far = fisher(&Table::new(0, 1_000_000_000, 500_000, 1_000_000_000).unwrap());
        // All successes in one arm: nearly 2·2⁻⁵⁰⁰⁰⁰⁰.
        assert!((far.two_sided.log10 / -150_569.0 - 1.0).abs() < 1e-3, "{far:?}");
    }

    #[test]
    fn unconditional_tests_match_published_values() {
        // SciPy's documentation: barnard_exact([[7, 12], [8, 3]]) 0.0686, boschloo one-sided 0.0355.
        let answer = unconditional(&Table::new(7, 15, 12, 15).unwrap()).unwrap();
        assert!((answer.barnard - 0.068).abs() < 0.01, "{answer:?}");
        assert!(answer.boschloo < fisher(&Table::new(7, 15, 12, 15).unwrap()).two_sided.p);
        assert!(unconditional(&Table::new(7, 15_000, 12, 15_000).unwrap()).is_err());
    }

    #[test]
    fn unconditional_tests_count_every_table_once() {
        // What must never change: the runs of outcomes are those that a look at every single table would find.
        for cells in [[2, 9, 7, 8], [0, 5, 4, 7], [3, 6, 3, 6], [1, 12, 0, 3]] {
            let table = Table::new(cells[0], cells[1], cells[2], cells[3]).unwrap();
            let observed = pooled_z(&table).abs() * (1.0 - SAME) - 1e-12;
            let rate: f64 = 0.37;
            let mut chance = 0.0;
            for first in 0..=table.control_units {
                for second in 0..=table.treatment_units {
                    let other =
                        Table::new(first, table.control_units, second, table.treatment_units).unwrap();
                    if pooled_z(&other).abs() >= observed {
                        let total = (first + second) as f64;
                        let all = (table.control_units + table.treatment_units) as f64;
                        let ways = ln_choose(table.control_units as f64, first as f64)
                            + ln_choose(table.treatment_units as f64, second as f64);
                        chance += (ways + total * rate.ln() + (all - total) * (1.0 - rate).ln()).exp();
                    }
                }
            }
            assert!(
                unconditional(&table).unwrap().barnard >= chance - 1e-12,
                "{cells:?}"
            );
        }
        let (one, two) = (
            unconditional(&Table::new(30, 400, 55, 500).unwrap()).unwrap(),
            unconditional(&Table::new(55, 500, 30, 400).unwrap()).unwrap(),
        );
        assert!((one.barnard / two.barnard - 1.0).abs() < 1e-9);
        assert!((one.boschloo / two.boschloo - 1.0).abs() < 1e-9);
    }
}
