//! Group-sequential designs: a small number of planned looks, each with its share of the error rate.
//!
//! Where the looks are few and their number is known beforehand these are tighter than confidence sequences. With
//! [`spending`] functions neither the number nor the times of the looks must be kept, only the total information.
//! They are the wrong tool for safety: the usual boundaries spend almost nothing early. Source: Jennison and Turnbull,
//! "Group Sequential Methods with Applications to Clinical Trials" (2000); Lan and DeMets (Biometrika 1983).

pub mod bounds;
pub mod classical;
pub mod estimate;
pub mod futility;
pub mod spending;
pub mod walk;

use crate::error::StatsError;

/// The most looks of a design: beyond that a confidence sequence loses nothing.
pub const MAX_LOOKS: usize = 1_000;

/// The least growth of the information fraction between looks.
pub const LEAST_GROWTH: f64 = 1e-6;

/// On how many sides a design may stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Only upwards.
    One,
    /// Upwards and, symmetrically, downwards.
    Two,
}

/// Checks that information fractions are above 0, finite and growing.
///
/// The last may exceed 1 when more was observed than planned.
///
/// # Errors
/// [`StatsError::InvalidInput`] or [`StatsError::TooLarge`].
pub fn check_information(information: &[f64]) -> Result<(), StatsError> {
    if information.is_empty() {
        return Err(StatsError::invalid("t", "must name at least one look"));
    }
    if information.len() > MAX_LOOKS {
        return Err(StatsError::TooLarge {
            what: "the number of looks",
            size: information.len() as u64,
            limit: MAX_LOOKS as u64,
        });
    }
    let mut before = 0.0;
    for fraction in information {
        if !(fraction.is_finite() && *fraction >= before + LEAST_GROWTH) {
            return Err(StatsError::invalid(
                "t",
                "must grow by at least 1e-6 from look to look, starting above 0",
            ));
        }
        before = *fraction;
    }
    Ok(())
}
