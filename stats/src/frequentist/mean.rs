//! The difference of two means: Welch's t-test, which is the default, and the pooled t-test.

use super::contrast::{ArmValue, Contrast, Question};
use super::sample::Sample;
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate};

/// What a t-test on means rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "units are independent of each other",
    "the mean of each arm is nearly normal: many units, and no single unit that dominates",
    "looked at once, when the planned number of units is reached",
];

/// Fewer units than this in an arm and a skewed metric's t-interval misses more often than its level says.
pub const MANY_UNITS: u64 = 100;

/// Welch's t-test for treatment minus control (Welch 1947): variances may differ.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two units in an arm, [`StatsError::ZeroVariance`] when neither arm varies,
/// [`StatsError::NegativeVariance`] for sums that contradict each other.
///
/// # Example
/// ```
/// use domain::Moments;
/// use stats::frequentist::{contrast::Question, mean};
///
/// let control = Moments::from_values(&[1.0, 2.0, 3.0, 4.0]).into();
/// let treatment = Moments::from_values(&[3.0, 4.0, 5.0, 6.0]).into();
/// let answer = mean::welch(&control, &treatment, Question::two_sided(0.05))?;
/// assert_eq!(answer.estimate, Some(2.0));
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn welch(control: &Sample, treatment: &Sample, question: Question) -> Result<Estimate, StatsError> {
    let contrast = welch_contrast(control, treatment)?;
    Ok(noted(contrast.estimate("welch_t", question)?, control, treatment))
}

/// The pooled t-test (Student 1908): both arms have the same variance.
///
/// # Errors
/// As [`welch`].
pub fn pooled(control: &Sample, treatment: &Sample, question: Question) -> Result<Estimate, StatsError> {
    let contrast = pooled_contrast(control, treatment)?;
    Ok(noted(
        contrast.estimate("pooled_t", question)?,
        control,
        treatment,
    ))
}

/// The difference of two means with its standard error, after Welch.
///
/// # Errors
/// As [`welch`].
pub fn welch_contrast(control: &Sample, treatment: &Sample) -> Result<Contrast, StatsError> {
    let left = arm_value(control, "control")?;
    let right = arm_value(treatment, "treatment")?;
    Contrast::welch(left, right, difference(control, treatment))
}

/// The difference of two means with a common variance.
///
/// # Errors
/// As [`welch`].
pub fn pooled_contrast(control: &Sample, treatment: &Sample) -> Result<Contrast, StatsError> {
    control.variance("control")?;
    treatment.variance("treatment")?;
    let (left, right) = (control.n as f64, treatment.n as f64);
    let df = left + right - 2.0;
    let variance = (control.m2 + treatment.m2) / df;
    let arm = |n: f64, sample: &Sample| ArmValue {
        value: sample.mean.to_f64(),
        variance: variance / n,
        df,
        units: sample.n,
    };
    let contrast = Contrast::welch(
        arm(left, control),
        arm(right, treatment),
        difference(control, treatment),
    )?;
    Ok(Contrast { df, ..contrast })
}

/// The mean of an arm as an estimate.
///
/// # Errors
/// [`StatsError::TooFewUnits`] and [`StatsError::NegativeVariance`].
pub fn arm_value(sample: &Sample, arm: &'static str) -> Result<ArmValue, StatsError> {
    Ok(ArmValue {
        value: sample.mean.to_f64(),
        variance: sample.variance(arm)? / sample.n as f64,
        df: (sample.n - 1) as f64,
        units: sample.n,
    })
}

/// Treatment mean minus control mean, with the digits that both share cancelled exactly.
pub fn difference(control: &Sample, treatment: &Sample) -> f64 {
    treatment.mean.minus(control.mean).to_f64()
}

/// The warning for arms with few units.
pub fn few_units(units: ArmUnits) -> Option<String> {
    (units.control.min(units.treatment) < MANY_UNITS).then(|| {
        format!("an arm has fewer than {MANY_UNITS} units: the interval relies on values without long tails")
    })
}

fn noted(mut answer: Estimate, control: &Sample, treatment: &Sample) -> Estimate {
    answer.assumptions = ASSUMPTIONS;
    answer.warnings.extend(few_units(answer.units));
    if control.ill_conditioned || treatment.ill_conditioned {
        answer
            .warnings
            .push("the sums are too large against the variance: it is made of rounding".to_owned());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::contrast::Alternative;
    use crate::frequentist::sample::PlainSums;

    fn sample(n: u64, mean: f64, variance: f64) -> Sample {
        Sample::from_variance(n, mean, variance)
    }

    #[test]
    fn a_far_tail_keeps_its_logarithm() {
        // Where a well-known route answers 0: t = 12 on 200 degrees of freedom, truth from mpmath.
        let step = 12.0 * (2.0 / 101.0_f64).sqrt();
        let contrast = pooled_contrast(&sample(101, 0.0, 1.0), &sample(101, step, 1.0)).unwrap();
        let p = contrast.p_value(Alternative::TwoSided);
        assert!((p.p / 2.422_136_005_246_631_4e-25 - 1.0).abs() < 1e-11, "{p:?}");
        let far = pooled_contrast(&sample(1000, 0.0, 1.0), &sample(1000, 1e6, 1.0)).unwrap();
        assert!(far.p_value(Alternative::TwoSided).log10 < -5000.0);
    }

    #[test]
    fn units_of_measure_do_not_matter() {
        let base = welch_contrast(&sample(50, 3.0, 2.0), &sample(70, 4.0, 5.0)).unwrap();
        for scale in [1e-9, 1e3, 1e9] {
            let square = scale * scale;
            let scaled = welch_contrast(
                &sample(50, 3.0 * scale, 2.0 * square),
                &sample(70, 4.0 * scale, 5.0 * square),
            );
            let scaled = scaled.unwrap();
            assert!((scaled.df / base.df - 1.0).abs() < 1e-12);
            assert!((scaled.statistic() / base.statistic() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn swapping_arms_turns_the_sign_and_nothing_else() {
        let forward = welch(
            &sample(50, 3.0, 2.0),
            &sample(70, 4.0, 5.0),
            Question::two_sided(0.1),
        )
        .unwrap();
        let backward = welch(
            &sample(70, 4.0, 5.0),
            &sample(50, 3.0, 2.0),
            Question::two_sided(0.1),
        )
        .unwrap();
        assert_eq!(forward.p_value, backward.p_value);
        assert_eq!(
            forward.interval.unwrap().lower,
            backward.interval.unwrap().upper.map(|upper| -upper)
        );
    }

    #[test]
    fn what_has_no_answer_has_a_reason() {
        let question = Question::two_sided(0.05);
        let one = welch(&sample(1, 3.0, 0.0), &sample(10, 3.0, 1.0), question);
        assert!(matches!(one, Err(StatsError::TooFewUnits { units: 1, .. })));
        let flat = welch(&sample(10, 5.0, 0.0), &sample(10, 6.0, 0.0), question);
        assert_eq!(flat, Err(StatsError::ZeroVariance));
        let lost = PlainSums {
            n: 100,
            sum: 1e11,
            sum_squares: 1e20 - 1e9,
        };
        let lost = welch(&Sample::from_sums(lost).unwrap(), &sample(10, 3.0, 1.0), question);
        assert!(matches!(lost, Err(StatsError::NegativeVariance { .. })));
    }

    #[test]
    fn a_quiet_control_is_not_in_the_way() {
        // 0 of 10 000 against 300 of 10 000: overwhelming, where a well-known platform answers p = 1.
        let control = sample(10_000, 0.0, 0.0);
        let treatment = Sample::from_sums(PlainSums {
            n: 10_000,
            sum: 300.0,
            sum_squares: 300.0,
        });
        let answer = welch(&control, &treatment.unwrap(), Question::two_sided(0.05)).unwrap();
        assert!(answer.log10_p.unwrap() < -60.0, "{answer:?}");
    }
}
