//! How to share traffic among arms, and how long an experiment takes.

use serde::Serialize;

use crate::error::{StatsError, check_positive};

/// Traffic shares that make every comparison with the control equally sharp for the least traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Allocation {
    /// The control's share.
    pub control: f64,
    /// Each treatment's share.
    pub treatment: f64,
    /// The variance of a comparison relative to that with equal shares.
    pub variance_ratio: f64,
}

/// The best shares for `treatments` arms against one control: the control gets √treatments times as much (Dunnett 1955).
///
/// # Errors
/// [`StatsError::InvalidInput`] without a treatment or with a variance that is not above 0.
pub fn many_to_one(
    treatments: u64,
    variance_control: f64,
    variance_treatment: f64,
) -> Result<Allocation, StatsError> {
    check_positive("variance", variance_control)?;
    check_positive("variance", variance_treatment)?;
    if treatments == 0 {
        return Err(StatsError::invalid("treatments", "must be at least 1"));
    }
    let k = treatments as f64;
    let weight = (k * variance_control / variance_treatment).sqrt();
    let total = weight + k;
    let best = variance_control * total / weight + variance_treatment * total;
    let equal = (variance_control + variance_treatment) * (k + 1.0);
    Ok(Allocation {
        control: weight / total,
        treatment: 1.0 / total,
        variance_ratio: best / equal,
    })
}

/// How long an experiment takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Duration {
    /// Days, not rounded.
    pub days: f64,
    /// Whole weeks, so that every weekday counts as often.
    pub weeks: u64,
}

/// The time until all arms together have `units`, when `units_per_day` new units arrive and `share` of them take part.
///
/// # Errors
/// [`StatsError::InvalidInput`] for a value that is not above 0 or a share above 1.
pub fn duration(units: f64, units_per_day: f64, share: f64) -> Result<Duration, StatsError> {
    check_positive("units", units)?;
    check_positive("units_per_day", units_per_day)?;
    check_positive("traffic_share", share)?;
    if share > 1.0 {
        return Err(StatsError::invalid("traffic_share", "must be at most 1"));
    }
    let days = units / (units_per_day * share);
    Ok(Duration {
        days,
        weeks: (days / 7.0).ceil() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_gets_the_root_of_the_number_of_treatments() {
        let four = many_to_one(4, 1.0, 1.0).unwrap();
        assert!((four.control / four.treatment - 2.0).abs() < 1e-14);
        assert!((four.control + 4.0 * four.treatment - 1.0).abs() < 1e-14);
        assert!((four.variance_ratio - 0.9).abs() < 1e-14);
        assert!((many_to_one(1, 1.0, 1.0).unwrap().control - 0.5).abs() < 1e-15);
    }

    #[test]
    fn time_is_units_over_traffic() {
        let time = duration(10_000.0, 1_000.0, 0.5).unwrap();
        assert!((time.days - 20.0).abs() < 1e-12 && time.weeks == 3);
        assert!(duration(1.0, 1.0, 1.5).is_err() && many_to_one(0, 1.0, 1.0).is_err());
    }
}
