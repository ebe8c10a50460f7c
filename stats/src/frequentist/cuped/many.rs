//! Adjustment for several covariates at once, of means and of ratios.
//!
//! Every mean or ratio is, per unit, a combination of values whose coefficients the delta method gives; the slopes are
//! those of the outcome's combination on the covariates' within arms.

use super::super::contrast::{ArmValue, Contrast};
use super::super::sample::too_few;
use crate::error::{StatsError, check_finite, is_positive};

/// More values per unit than this are refused: the matrix would be larger than its use.
pub const MAX_VALUES: usize = 64;

/// A pivot below this share of its diagonal is what collinear covariates leave.
const COLLINEAR: f64 = 1e-10;

/// Several values per unit: means and centred cross moments.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSample {
    /// The number of units.
    pub n: u64,
    /// The mean of each value.
    pub means: Vec<f64>,
    /// Σ(xᵢ − x̄ᵢ)(xⱼ − x̄ⱼ), row by row.
    pub cross: Vec<f64>,
}

/// What is compared or adjusted for: positions in the list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The mean of one value.
    Mean(usize),
    /// The ratio of two means.
    Ratio {
        /// The value above.
        numerator: usize,
        /// The value below.
        denominator: usize,
    },
}

/// An adjusted comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjusted {
    /// Treatment minus control, adjusted.
    pub contrast: Contrast,
    /// The slope of each covariate.
    pub slopes: Vec<f64>,
    /// The share of the difference's variance that is gone; absent when there was none.
    pub variance_reduction: Option<f64>,
}

/// One quantity in one arm: its value and its coefficient on each value of a unit.
struct Combination {
    value: f64,
    coefficients: Vec<f64>,
}

/// Adjusts an outcome for covariates, each a mean or a ratio of the samples' values.
///
/// # Errors
/// [`StatsError::TooFewUnits`] for an arm with no more units than covariates, [`StatsError::UndefinedDenominator`],
/// [`StatsError::Collinear`], [`StatsError::ZeroVariance`], or an input error.
pub fn adjust_many(
    control: &MultiSample,
    treatment: &MultiSample,
    outcome: Quantity,
    covariates: &[Quantity],
) -> Result<Adjusted, StatsError> {
    check(control, "control", covariates.len())?;
    check(treatment, "treatment", covariates.len())?;
    if control.means.len() != treatment.means.len() {
        return Err(StatsError::invalid("means", "must be as many in both arms"));
    }
    let arms = [(control, "control"), (treatment, "treatment")];
    let count = covariates.len();
    let (mut normal, mut right) = (vec![0.0; count * count], vec![0.0; count]);
    let mut combined = Vec::with_capacity(2);
    for (sample, arm) in arms {
        let outcome = combination(sample, outcome, arm)?;
        let parts: Vec<Combination> = covariates
            .iter()
            .map(|quantity| combination(sample, *quantity, arm))
            .collect::<Result<_, _>>()?;
        for (row, left) in parts.iter().enumerate() {
            right[row] += product(sample, &left.coefficients, &outcome.coefficients);
            for (column, other) in parts.iter().enumerate() {
                normal[row * count + column] += product(sample, &left.coefficients, &other.coefficients);
            }
        }
        combined.push((outcome, parts));
    }
    let slopes = solve(normal, right)?;
    let value = |index: usize, slopes: &[f64]| arm_value(arms[index].0, &combined[index], slopes);
    let none = vec![0.0; count];
    let [before_left, before_right] = [value(0, &none), value(1, &none)];
    let [after_left, after_right] = [value(0, &slopes), value(1, &slopes)];
    let contrast = Contrast::welch(after_left, after_right, after_right.value - after_left.value)?;
    let before = before_left.variance + before_right.variance;
    let after = after_left.variance + after_right.variance;
    Ok(Adjusted {
        contrast,
        slopes,
        variance_reduction: (before > 0.0).then(|| 1.0 - after / before),
    })
}

fn check(sample: &MultiSample, arm: &'static str, covariates: usize) -> Result<(), StatsError> {
    let values = sample.means.len();
    if values == 0 || values > MAX_VALUES || sample.cross.len() != values * values {
        return Err(StatsError::invalid(
            "cross",
            "must be a square as long as the means, of at most 64",
        ));
    }
    if sample.n < covariates as u64 + 2 {
        return Err(too_few(arm, sample.n, covariates as u64 + 2));
    }
    for value in sample.means.iter().chain(&sample.cross) {
        check_finite(arm, *value)?;
    }
    Ok(())
}

fn combination(
    sample: &MultiSample,
    quantity: Quantity,
    arm: &'static str,
) -> Result<Combination, StatsError> {
    let mean = |index: usize| {
        sample
            .means
            .get(index)
            .copied()
            .ok_or_else(|| StatsError::invalid("quantity", "is not among the values"))
    };
    let mut coefficients = vec![0.0; sample.means.len()];
    let value = match quantity {
        Quantity::Mean(index) => {
            let value = mean(index)?;
            coefficients[index] = 1.0;
            value
        }
        Quantity::Ratio {
            numerator,
            denominator,
        } => {
            let (above, below) = (mean(numerator)?, mean(denominator)?);
            if !is_positive(below.abs()) {
                return Err(StatsError::UndefinedDenominator { arm });
            }
            coefficients[numerator] += 1.0 / below;
            coefficients[denominator] -= above / below / below;
            above / below
        }
    };
    Ok(Combination { value, coefficients })
}

/// The centred cross moment of two combinations.
fn product(sample: &MultiSample, left: &[f64], right: &[f64]) -> f64 {
    let size = sample.means.len();
    let row = |index: usize| -> f64 {
        let row = &sample.cross[index * size..(index + 1) * size];
        row.iter().zip(right).map(|(cross, factor)| cross * factor).sum()
    };
    left.iter()
        .enumerate()
        .filter(|(_, factor)| factor.abs() > 0.0)
        .map(|(index, factor)| factor * row(index))
        .sum()
}

fn arm_value(sample: &MultiSample, combined: &(Combination, Vec<Combination>), slopes: &[f64]) -> ArmValue {
    let (outcome, covariates) = combined;
    let mut value = outcome.value;
    let mut coefficients = outcome.coefficients.clone();
    for (covariate, slope) in covariates.iter().zip(slopes) {
        value -= slope * covariate.value;
        for (total, factor) in coefficients.iter_mut().zip(&covariate.coefficients) {
            *total -= slope * factor;
        }
    }
    let n = sample.n as f64;
    ArmValue {
        value,
        variance: product(sample, &coefficients, &coefficients).max(0.0) / (n - 1.0) / n,
        df: n - 1.0,
        units: sample.n,
    }
}

/// Solves a symmetric positive system by Cholesky's method.
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Result<Vec<f64>, StatsError> {
    let size = right.len();
    let at = |row: usize, column: usize| row * size + column;
    for column in 0..size {
        let diagonal = matrix[at(column, column)];
        let mut pivot = diagonal;
        for k in 0..column {
            pivot -= matrix[at(column, k)].powi(2);
        }
        if pivot.is_nan() || pivot <= COLLINEAR * diagonal {
            return Err(StatsError::Collinear);
        }
        let root = pivot.sqrt();
        matrix[at(column, column)] = root;
        for row in column + 1..size {
            let mut rest = matrix[at(row, column)];
            for k in 0..column {
                rest -= matrix[at(row, k)] * matrix[at(column, k)];
            }
            matrix[at(row, column)] = rest / root;
        }
    }
    for row in 0..size {
        for k in 0..row {
            right[row] -= matrix[at(row, k)] * right[k];
        }
        right[row] /= matrix[at(row, row)];
    }
    for row in (0..size).rev() {
        for k in row + 1..size {
            right[row] -= matrix[at(k, row)] * right[k];
        }
        right[row] /= matrix[at(row, row)];
    }
    Ok(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: &[[f64; 3]]) -> MultiSample {
        let n = rows.len() as f64;
        let means: Vec<f64> = (0..3)
            .map(|index| rows.iter().map(|row| row[index]).sum::<f64>() / n)
            .collect();
        let mut cross = vec![0.0; 9];
        for row in rows {
            for i in 0..3 {
                for j in 0..3 {
                    cross[i * 3 + j] += (row[i] - means[i]) * (row[j] - means[j]);
                }
            }
        }
        MultiSample {
            n: rows.len() as u64,
            means,
            cross,
        }
    }

    #[test]
    fn two_covariates_that_explain_all_but_the_effect_find_it() {
        // The outcome is 2·a − b, plus 0.5 in the treatment, plus a little that neither explains.
        let rows = |shift: f64| -> Vec<[f64; 3]> {
            [
                (1.0, 2.0),
                (2.0, 1.0),
                (3.0, 5.0),
                (5.0, 1.0),
                (0.0, 4.0),
                (2.0, 2.0),
            ]
            .iter()
            .enumerate()
            .map(|(index, (a, b))| [2.0 * a - b + shift + [0.01, -0.01, 0.0][index % 3], *a, *b])
            .collect()
        };
        let answer = adjust_many(
            &sample(&rows(0.0)),
            &sample(&rows(0.5)),
            Quantity::Mean(0),
            &[Quantity::Mean(1), Quantity::Mean(2)],
        )
        .unwrap();
        assert!((answer.slopes[0] - 2.0).abs() < 0.02 && (answer.slopes[1] + 1.0).abs() < 0.02);
        assert!((answer.contrast.difference - 0.5).abs() < 1e-12);
        assert!(answer.variance_reduction.unwrap() > 0.999);
    }

    #[test]
    fn one_covariate_agrees_with_the_single_method() {
        let control = sample(&[[1.0, 2.0, 1.0], [4.0, 3.0, 1.5], [2.0, 2.5, 4.0], [7.0, 6.0, 2.0]]);
        let treatment = sample(&[[3.0, 2.0, 1.0], [4.0, 2.0, 2.5], [9.0, 6.5, 4.0], [6.0, 3.0, 2.0]]);
        let many = adjust_many(&control, &treatment, Quantity::Mean(0), &[Quantity::Mean(1)]).unwrap();
        let joint = |sample: &MultiSample| super::super::JointSample {
            x: super::super::Sample::from_variance(sample.n, sample.means[0], sample.cross[0] / 3.0),
            y: super::super::Sample::from_variance(sample.n, sample.means[1], sample.cross[4] / 3.0),
            cross: sample.cross[1],
        };
        let one =
            super::super::adjust(&joint(&control), &joint(&treatment), super::super::Slope::Within).unwrap();
        assert!((many.slopes[0] - one.theta).abs() < 1e-12);
        assert!((many.contrast.standard_error - one.contrast().unwrap().standard_error).abs() < 1e-12);
    }

    #[test]
    fn collinear_covariates_and_ratios_without_denominator_are_named() {
        let rows = sample(&[
            [1.0, 2.0, 4.0],
            [4.0, 3.0, 6.0],
            [2.0, 2.5, 5.0],
            [7.0, 6.0, 12.0],
        ]);
        let both = [Quantity::Mean(1), Quantity::Mean(2)];
        assert_eq!(
            adjust_many(&rows, &rows, Quantity::Mean(0), &both),
            Err(StatsError::Collinear)
        );
        let flat = sample(&[
            [1.0, 0.0, 4.0],
            [4.0, 0.0, 6.0],
            [2.0, 0.0, 5.0],
            [7.0, 0.0, 12.0],
        ]);
        let ratio = Quantity::Ratio {
            numerator: 0,
            denominator: 1,
        };
        let answer = adjust_many(&flat, &flat, ratio, &[Quantity::Mean(2)]);
        assert_eq!(answer, Err(StatsError::UndefinedDenominator { arm: "control" }));
    }
}
