//! Winsorized means: values beyond a cap count as the cap, so that one whale does not decide.
//!
//! The cap is one number for both arms, from both arms together or planned before; separate caps per arm would take
//! part of the effect away. The estimate is about the capped metric, and says so.

use serde::Serialize;

use super::quantile::of_sorted;
use super::sample::{Sample, too_few};
use crate::error::{StatsError, check_finite};

/// The caps of a metric; an absent one does not cap.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Caps {
    /// Values below count as this.
    pub lower: Option<f64>,
    /// Values above count as this.
    pub upper: Option<f64>,
}

/// One arm's capped values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capped {
    /// The capped sample.
    pub sample: Sample,
    /// How many values were moved.
    pub moved: u64,
}

/// The caps at two quantiles of all values of both arms.
///
/// # Errors
/// [`StatsError::TooFewUnits`] without a value, or an input error.
pub fn caps_at(control: &[f64], treatment: &[f64], lower_q: f64, upper_q: f64) -> Result<Caps, StatsError> {
    if !(0.0..=1.0).contains(&lower_q) || !(0.0..=1.0).contains(&upper_q) || lower_q >= upper_q {
        return Err(StatsError::invalid(
            "upper_quantile",
            "must lie above the lower one, both between 0 and 1",
        ));
    }
    let mut all: Vec<f64> = control.iter().chain(treatment).copied().collect();
    if all.is_empty() {
        return Err(too_few("the experiment", 0, 1));
    }
    for value in &all {
        check_finite("values", *value)?;
    }
    all.sort_by(f64::total_cmp);
    Ok(Caps {
        lower: if lower_q > 0.0 {
            of_sorted(&all, lower_q)
        } else {
            None
        },
        upper: if upper_q < 1.0 {
            of_sorted(&all, upper_q)
        } else {
            None
        },
    })
}

/// The sample of values after capping.
///
/// # Errors
/// An input error for a value that is not a finite number or caps in the wrong order.
pub fn cap(values: &[f64], caps: Caps) -> Result<Capped, StatsError> {
    let (low, high) = (
        caps.lower.unwrap_or(f64::NEG_INFINITY),
        caps.upper.unwrap_or(f64::INFINITY),
    );
    if low.is_nan() || high.is_nan() || low > high {
        return Err(StatsError::invalid("upper", "must not lie below the lower cap"));
    }
    let mut capped = Vec::with_capacity(values.len());
    let mut moved = 0;
    for value in values {
        check_finite("values", *value)?;
        moved += u64::from(*value < low || *value > high);
        capped.push(value.clamp(low, high));
    }
    Ok(Capped {
        sample: Sample::from_values(&capped),
        moved,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whale_is_capped_with_the_cap_of_both_arms() {
        let control: Vec<f64> = (0..500).map(f64::from).collect();
        let mut treatment = control.clone();
        treatment[0] = 1e9;
        let caps = caps_at(&control, &treatment, 0.0, 0.999).unwrap();
        assert_eq!(
            caps,
            Caps {
                lower: None,
                upper: Some(499.0)
            }
        );
        let capped = cap(&treatment, caps).unwrap();
        assert_eq!(capped.moved, 1);
        assert!(capped.sample.mean.to_f64() < 252.0);
        assert!(caps_at(&control, &[], 0.9, 0.1).is_err() && cap(&[f64::NAN], caps).is_err());
    }
}
