//! Post-stratification: differences within strata, weighted by how large each stratum is.
//!
//! What strata explain no longer counts as noise, and chance imbalance of strata between the arms is taken out.

use super::contrast::{ArmValue, Contrast};
use super::mean::{arm_value, difference};
use super::sample::Sample;
use crate::error::{StatsError, check_not_negative, is_positive};

/// One stratum in both arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// The control's units in the stratum.
    pub control: Sample,
    /// The treatment's units in the stratum.
    pub treatment: Sample,
    /// The stratum's known share of the population, on any scale; its share of the units in both arms when absent.
    pub weight: Option<f64>,
}

/// The weighted difference over strata with Satterthwaite's degrees of freedom (Miratrix, Sekhon and Yu 2013).
///
/// Without known weights, the shares are themselves estimated, which adds the spread of the effect between strata.
///
/// # Errors
/// [`StatsError::TooFewUnits`] for a stratum with fewer than two units in an arm, [`StatsError::ZeroVariance`], or an input error
/// when some strata have weights and others have none.
pub fn contrast(strata: &[Stratum]) -> Result<Contrast, StatsError> {
    if strata.is_empty() {
        return Err(StatsError::invalid("strata", "must not be empty"));
    }
    let known = strata.iter().filter(|stratum| stratum.weight.is_some()).count();
    if known != 0 && known != strata.len() {
        return Err(StatsError::invalid(
            "weight",
            "must be given for every stratum or for none",
        ));
    }
    let units = |stratum: &Stratum| (stratum.control.n + stratum.treatment.n) as f64;
    let total_units: f64 = strata.iter().map(units).sum();
    let mut weights = Vec::with_capacity(strata.len());
    for stratum in strata {
        weights.push(check_not_negative(
            "weight",
            stratum.weight.unwrap_or_else(|| units(stratum)),
        )?);
    }
    let total: f64 = weights.iter().sum();
    if !is_positive(total) {
        return Err(StatsError::invalid(
            "weight",
            "must be above 0 for at least one stratum",
        ));
    }
    let (mut estimate, mut parts) = (0.0, Vec::with_capacity(2 * strata.len()));
    let mut effects = Vec::with_capacity(strata.len());
    for (stratum, weight) in strata.iter().zip(&weights) {
        let share = weight / total;
        if share <= 0.0 {
            continue;
        }
        let effect = difference(&stratum.control, &stratum.treatment);
        estimate += share * effect;
        effects.push((share, effect));
        for (sample, arm) in [(&stratum.control, "control"), (&stratum.treatment, "treatment")] {
            let value = arm_value(sample, arm)?;
            parts.push((share * share * value.variance, value.df));
        }
    }
    let within: f64 = parts.iter().map(|(variance, _)| variance).sum();
    let spread: f64 = effects
        .iter()
        .map(|(share, effect)| share * (effect - estimate).powi(2))
        .sum();
    let between = if known == 0 { spread / total_units } else { 0.0 };
    let squares: f64 = parts
        .iter()
        .map(|(variance, df)| (variance / within).powi(2) / df)
        .sum();
    let arm = |variance: f64, n: u64| ArmValue {
        value: 0.0,
        variance,
        df: f64::INFINITY,
        units: n,
    };
    let sum = |of: fn(&Stratum) -> u64| strata.iter().map(of).sum::<u64>();
    let left = arm(within + between, sum(|stratum| stratum.control.n));
    let contrast = Contrast::welch(left, arm(0.0, sum(|stratum| stratum.treatment.n)), estimate)?;
    Ok(Contrast {
        df: if squares > 0.0 {
            1.0 / squares
        } else {
            f64::INFINITY
        },
        ..contrast
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::mean::welch_contrast;

    fn stratum(control: (u64, f64), treatment: (u64, f64), weight: Option<f64>) -> Stratum {
        Stratum {
            control: Sample::from_variance(control.0, control.1, 1.0),
            treatment: Sample::from_variance(treatment.0, treatment.1, 1.0),
            weight,
        }
    }

    #[test]
    fn one_stratum_is_welchs_test() {
        let one = stratum((50, 1.0), (70, 1.5), Some(1.0));
        let (left, right) = (
            contrast(&[one]).unwrap(),
            welch_contrast(&one.control, &one.treatment).unwrap(),
        );
        assert!((left.standard_error - right.standard_error).abs() < 1e-15);
        assert!((left.df - right.df).abs() < 1e-9);
    }

    #[test]
    fn an_imbalance_between_strata_is_no_effect() {
        // Rich users are mostly in the treatment; within strata nothing differs.
        let strata = [
            stratum((900, 1.0), (100, 1.0), None),
            stratum((100, 10.0), (900, 10.0), None),
        ];
        let answer = contrast(&strata).unwrap();
        assert!(answer.difference.abs() < 1e-12);
        assert!(answer.standard_error < 0.1);
    }

    #[test]
    fn half_given_weights_are_refused() {
        let strata = [
            stratum((10, 1.0), (10, 1.0), None),
            stratum((10, 1.0), (10, 1.0), Some(1.0)),
        ];
        assert!(contrast(&strata).is_err() && contrast(&[]).is_err());
    }
}
