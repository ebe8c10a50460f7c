//! Is the treatment affected more often than the control? An exact answer that may be asked at every look.
//!
//! Count users newly affected (an error, a crash, a missed latency target), never events: events of one user come in
//! clusters. Given that a user of a cohort was affected, the treatment owns that user with probability
//! q(r) = w·r / (w·r + 1 − w), where w is the treatment's share of the cohort's users still at risk and r the ratio of
//! the rates. The hypothesis is r ≤ r₀ = 1 + margin. Against it stand 24 ratios rⱼ, evenly spaced in the logarithm
//! from 1.1 to 20, each with the likelihood ratio of a look over its cohorts
//!
//! `fⱼ = Π (q(rⱼ)/q(r₀))^treatment · ((1 − q(rⱼ))/(1 − q(r₀)))^control`, whose mean is at most 1 for every r ≤ r₀.
//!
//! * **Cumulative** (A): Eⱼ ← Eⱼ·fⱼ from Eⱼ = 1, and E is the mean of the Eⱼ. The chance that E ever reaches c is at
//!   most 1/c (Ville 1939), however often one looks. Fastest when the harm is there from the start.
//! * **Detector** (B): Mⱼ ← (Mⱼ + 1)·fⱼ from Mⱼ = 0, and M is the mean of the Mⱼ (the e-detector of Shin, Ramdas and
//!   Rinaldo, arXiv:2203.03532, with Shiryaev and Roberts' sum). M has mean at most t after t looks, so the chance that
//!   it reaches c within t looks is at most t/c, and the mean number of looks to a false alarm is at least c. It forgets
//!   the healthy past, so it is fast when the harm starts late.
//!
//! Half of the error budget goes to each: a rollback is due when E ever reached 2/alpha, or M ever reached 2T/alpha for
//! T planned looks. Beyond the plan each further T looks add at most alpha/2 to the chance of a false alarm.
//!
//! Base rates, incidents that hit both arms and changes of the traffic shares cancel out. No rate is divided by, so
//! that a control without any affected user is the normal case. Every number here can be recomputed from the recorded
//! (w, affected treatment, affected control) of the cohorts of each look by [`replay`], or by hand from the above.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_not_negative};
use crate::special::logs::{ln_add_exp, ln_sum_exp};

/// How many alternatives the evidence is averaged over.
pub const GRID_POINTS: usize = 24;

/// The smallest and the largest alternative: a tenth more, and twenty times as often.
const GRID_ENDS: [f64; 2] = [1.1, 20.0];

/// An alternative must exceed the tolerated ratio by this factor, or it is no alternative.
const GRID_CLEARANCE: f64 = 1.0001;

/// With fewer alternatives above the tolerated ratio than this, the grid is moved up with it.
const GRID_FEWEST: usize = 8;

/// Fewer affected users of the treatment than this never count as harm, whatever the arithmetic says.
pub const FEWEST_AFFECTED: u64 = 3;

/// The p-value from which on people are told.
pub const WARN_AT: f64 = 0.1;

/// The p-value from which on a ramp is paused.
pub const PAUSE_AT: f64 = 0.05;

/// Everything that is remembered of a guardrail between looks; looks must be given in order of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateRatioState {
    /// The tolerated relative increase; the hypothesis is a ratio of at most 1 + margin.
    pub margin: f64,
    /// ln Eⱼ over the closed looks; 0 for ratios that the margin tolerates.
    pub log_e: [f64; GRID_POINTS],
    /// ln(1 + Mⱼ) over the closed looks.
    pub log_m_plus_one: [f64; GRID_POINTS],
    /// ln fⱼ of the look that is open.
    pub log_factor: [f64; GRID_POINTS],
    /// ln E after the last closed look.
    pub log_e_value: f64,
    /// The largest ln E so far, at least 0.
    pub max_log_e: f64,
    /// ln M after the last closed look; none before the first.
    pub log_detector: Option<f64>,
    /// The largest ln M so far; none before the first look.
    pub max_log_detector: Option<f64>,
    /// Affected users of the treatment so far.
    pub affected_treatment: u64,
    /// Affected users of the control so far.
    pub affected_control: u64,
    /// Closed looks.
    pub looks: u64,
}

/// What a guardrail says at a look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SafetyVerdict {
    /// The anytime p-value of the cumulative test by itself, 1 over the largest E so far.
    pub cumulative_p: f64,
    /// The natural logarithm of the largest E so far.
    pub log_e: f64,
    /// The natural logarithm of E that the cumulative test must reach, ln(2/alpha).
    pub log_e_threshold: f64,
    /// The natural logarithm of the largest M so far; none before the first look.
    pub log_detector: Option<f64>,
    /// The natural logarithm of M that the detector must reach, ln(2T/alpha).
    pub log_detector_threshold: f64,
    /// The p-value of both together: twice the smaller of 1/E and T/M, at most 1.
    pub p_value: f64,
    /// Whether the rollback is due.
    pub crossed: bool,
    /// Which of the two crossed; the cumulative test when both did.
    pub by: Option<Crossing>,
    /// What to do.
    pub level: Level,
    /// Looks beyond the planned number: each planned number of them adds at most alpha/2 to the chance of a false alarm.
    pub looks_beyond_plan: u64,
}

/// Which test crossed its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// The e-process over the whole rollout.
    Cumulative,
    /// The e-detector of harm that starts late.
    Detector,
}

/// What a guardrail asks for, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Go on.
    Ok,
    /// Tell people: p-value at most 0.1.
    Warn,
    /// Raise the traffic no further: p-value at most 0.05.
    Pause,
    /// Take the treatment back: p-value at most alpha.
    Rollback,
}

/// One cohort in one look, as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CohortEvents {
    /// The treatment's share of the cohort's users at risk, between 0 and 1.
    pub weight_treatment: f64,
    /// Users of the treatment newly affected.
    pub affected_treatment: u64,
    /// Users of the control newly affected.
    pub affected_control: u64,
}

impl RateRatioState {
    /// A guardrail before its first look.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when the margin is negative or not finite.
    pub fn new(margin: f64) -> Result<Self, StatsError> {
        check_not_negative("margin", margin)?;
        Ok(Self {
            margin,
            log_e: [0.0; GRID_POINTS],
            log_m_plus_one: [0.0; GRID_POINTS],
            log_factor: [0.0; GRID_POINTS],
            log_e_value: 0.0,
            max_log_e: 0.0,
            log_detector: None,
            max_log_detector: None,
            affected_treatment: 0,
            affected_control: 0,
            looks: 0,
        })
    }

    /// Adds the users of one cohort newly affected in the open look.
    ///
    /// `cohort_weight_treatment` is users of the treatment at risk over users at risk in both arms, at risk meaning
    /// exposed and not affected before this look. A cohort without users at risk in one of the arms (a share that is
    /// not strictly between 0 and 1) compares nothing and is passed over.
    pub fn observe(&mut self, cohort_weight_treatment: f64, affected_treatment: u64, affected_control: u64) {
        let weight = cohort_weight_treatment;
        if !(weight > 0.0 && weight < 1.0) || affected_treatment.saturating_add(affected_control) == 0 {
            return;
        }
        self.affected_treatment = self.affected_treatment.saturating_add(affected_treatment);
        self.affected_control = self.affected_control.saturating_add(affected_control);
        let (treatment, control) = (affected_treatment as f64, affected_control as f64);
        let grid = Grid::new(self.margin);
        for (sum, ratio) in self.log_factor[grid.first..]
            .iter_mut()
            .zip(&grid.ratios[grid.first..])
        {
            // q(r)/q(r₀) = (r/r₀)·c and (1 − q(r))/(1 − q(r₀)) = c, with c the ratio of the two denominators.
            let log_c = ((grid.tolerated - ratio) * weight / (weight * ratio + (1.0 - weight))).ln_1p();
            *sum += treatment * ((ratio / grid.tolerated).ln() + log_c) + control * log_c;
        }
    }

    /// Closes the open look: its evidence enters the e-process and the detector.
    pub fn end_look(&mut self) {
        let first = Grid::new(self.margin).first;
        let mut log_m = [0.0; GRID_POINTS];
        for (index, log) in log_m.iter_mut().enumerate().skip(first) {
            self.log_e[index] += self.log_factor[index];
            *log = self.log_m_plus_one[index] + self.log_factor[index];
            self.log_m_plus_one[index] = ln_add_exp(0.0, *log);
        }
        self.log_factor = [0.0; GRID_POINTS];
        self.looks = self.looks.saturating_add(1);
        self.log_e_value = ln_mean_exp(&self.log_e[first..]);
        self.max_log_e = self.max_log_e.max(self.log_e_value);
        let log_detector = ln_mean_exp(&log_m[first..]);
        self.log_detector = Some(log_detector);
        self.max_log_detector = Some(
            self.max_log_detector
                .map_or(log_detector, |max| max.max(log_detector)),
        );
    }

    /// What the closed looks ask for, at error budget `alpha` (between 0 and 1) over `planned_looks`.
    ///
    /// Once crossed it stays crossed, since the largest evidence so far counts.
    pub fn verdict(&self, alpha: f64, planned_looks: u64) -> SafetyVerdict {
        let planned = planned_looks.max(1);
        let log_half = (2.0 / alpha).ln();
        let log_planned = (planned as f64).ln();
        let log_detector_excess = self
            .max_log_detector
            .map_or(f64::NEG_INFINITY, |max| max - log_planned);
        let log_evidence = self.max_log_e.max(log_detector_excess);
        let p_value = (std::f64::consts::LN_2 - log_evidence).exp().min(1.0);
        let enough_affected = self.affected_treatment >= FEWEST_AFFECTED;
        let by = match (self.max_log_e >= log_half, log_detector_excess >= log_half) {
            _ if !enough_affected => None,
            (true, _) => Some(Crossing::Cumulative),
            (false, true) => Some(Crossing::Detector),
            (false, false) => None,
        };
        let level = match p_value {
            _ if by.is_some() => Level::Rollback,
            _ if !enough_affected => Level::Ok,
            p if p <= PAUSE_AT => Level::Pause,
            p if p <= WARN_AT => Level::Warn,
            _ => Level::Ok,
        };
        SafetyVerdict {
            cumulative_p: (-self.max_log_e).exp(),
            log_e: self.max_log_e,
            log_e_threshold: log_half,
            log_detector: self.max_log_detector,
            log_detector_threshold: log_half + log_planned,
            p_value,
            crossed: by.is_some(),
            by,
            level,
            looks_beyond_plan: self.looks.saturating_sub(planned),
        }
    }
}

/// The state after each of the recorded looks, from nothing but the record.
///
/// # Errors
/// As [`RateRatioState::new`].
pub fn replay(margin: f64, looks: &[Vec<CohortEvents>]) -> Result<Vec<RateRatioState>, StatsError> {
    let mut state = RateRatioState::new(margin)?;
    let mut states = Vec::with_capacity(looks.len());
    for look in looks {
        for cohort in look {
            state.observe(
                cohort.weight_treatment,
                cohort.affected_treatment,
                cohort.affected_control,
            );
        }
        state.end_look();
        states.push(state.clone());
    }
    Ok(states)
}

/// The alternatives for a margin.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// The ratio that the margin tolerates.
    tolerated: f64,
    /// All ratios, ascending.
    ratios: [f64; GRID_POINTS],
    /// The first of them that is an alternative.
    first: usize,
}

impl Grid {
    fn new(margin: f64) -> Self {
        let tolerated = 1.0 + margin;
        let ratios = log_uniform(GRID_ENDS);
        let first = ratios.partition_point(|ratio| *ratio <= tolerated * GRID_CLEARANCE);
        if GRID_POINTS - first >= GRID_FEWEST {
            return Self {
                tolerated,
                ratios,
                first,
            };
        }
        let moved = log_uniform(GRID_ENDS.map(|end| end * tolerated));
        Self {
            tolerated,
            ratios: moved,
            first: 0,
        }
    }
}

/// Points evenly spaced in the logarithm, both ends included.
fn log_uniform(ends: [f64; 2]) -> [f64; GRID_POINTS] {
    let [low, high] = ends.map(f64::ln);
    let step = (high - low) / (GRID_POINTS - 1) as f64;
    std::array::from_fn(|index| (low + step * index as f64).exp())
}

/// The logarithm of the mean of the exponentials.
fn ln_mean_exp(logs: &[f64]) -> f64 {
    ln_sum_exp(logs) - (logs.len() as f64).ln()
}

#[cfg(test)]
mod tests;
