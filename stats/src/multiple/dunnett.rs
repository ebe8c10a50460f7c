//! Many treatments against one control (Dunnett 1955): exact for normal values with a common variance.
//!
//! All comparisons share the control's noise z and the pooled standard deviation s; given both they are independent.
//! The chance that any of them exceeds c is integrated over z and s as a sum of tails, so that a p-value keeps its
//! digits however small it is.

use std::sync::OnceLock;

use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::estimate::Interval;
use crate::frequentist::contrast::Alternative;
use crate::frequentist::sample::{Sample, too_few};
use crate::special::quadrature::Node;
use crate::special::roots::{Bracket, brent};
use crate::special::{noncentral, normal, quadrature, student_t};

/// More treatments than this are refused: the tables stop there, and so does use.
pub const MAX_TREATMENTS: usize = 100;

/// Panels of the control's noise are this wide: 24 points each then leave an error below 10⁻¹².
const NOISE_PANEL: f64 = 3.0;

/// Standard deviations of the pooled standard deviation on either side of 1 that are integrated over.
const SCALE_REACH: f64 = 12.0;

/// Points of one piece of a curve; on a piece of width [`CURVE_PIECE`] the error is below 10⁻¹².
const CURVE_POINTS: usize = 16;

/// The widest piece of a curve, in standard errors.
const CURVE_PIECE: f64 = 2.0;

/// No more pieces than this: a scale further out has no weight.
const MAX_PIECES: f64 = 64.0;

/// Degrees of freedom beyond which the pooled standard deviation is known.
const KNOWN_SCALE: f64 = 1e7;

/// One treatment against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DunnettComparison {
    /// Treatment minus control.
    pub difference: f64,
    /// Its standard error from the variance pooled over all arms.
    pub standard_error: f64,
    /// The difference in standard errors.
    pub statistic: f64,
    /// The p-value adjusted for all treatments.
    pub p_value: f64,
    /// The interval that holds together with those of the other treatments.
    pub interval: Interval,
}

/// All treatments against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dunnett {
    /// The degrees of freedom of the pooled variance.
    pub df: f64,
    /// The critical value of the statistic.
    pub critical: f64,
    /// One comparison per treatment, in their order.
    pub comparisons: Vec<DunnettComparison>,
}

/// Compares every treatment with the control.
///
/// # Errors
/// [`StatsError::TooFewUnits`], [`StatsError::ZeroVariance`], or an input error.
pub fn test(
    control: &Sample,
    treatments: &[Sample],
    alpha: f64,
    alternative: Alternative,
) -> Result<Dunnett, StatsError> {
    check_rate("alpha", alpha)?;
    check_count(treatments.len())?;
    control.variance("control")?;
    let (mut m2, mut df) = (control.m2, control.n as f64 - 1.0);
    for treatment in treatments {
        if treatment.n == 0 {
            return Err(too_few("treatment", 0, 1));
        }
        m2 += treatment.m2;
        df += treatment.n as f64 - 1.0;
    }
    let variance = m2 / df;
    if variance.is_nan() || variance <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let loadings: Vec<f64> = treatments
        .iter()
        .map(|treatment| loading(control.n, treatment.n))
        .collect();
    let family = Family {
        loadings: &loadings,
        df,
        alternative,
    };
    let critical = family.critical(alpha)?;
    let comparisons = treatments
        .iter()
        .map(|treatment| {
            let difference = treatment.mean.minus(control.mean).to_f64();
            let standard_error = (variance * (1.0 / control.n as f64 + 1.0 / treatment.n as f64)).sqrt();
            let statistic = difference / standard_error;
            DunnettComparison {
                difference,
                standard_error,
                statistic,
                p_value: family.p_value(statistic),
                interval: interval(difference, critical * standard_error, 1.0 - alpha, alternative),
            }
        })
        .collect();
    Ok(Dunnett {
        df,
        critical,
        comparisons,
    })
}

/// Treatments of one size against a control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// How many treatments.
    pub treatments: usize,
    /// The degrees of freedom of the pooled variance.
    pub df: f64,
    /// The correlation between comparisons: a treatment's units over those of treatment and control, one half as a rule.
    pub rho: f64,
    /// Which way a treatment may differ.
    pub alternative: Alternative,
}

/// The critical value of the greatest statistic.
///
/// # Errors
/// An input error, for alpha outside 0 to 1, no treatment, or a correlation outside 0 to 1.
pub fn critical_value(shape: Shape, alpha: f64) -> Result<f64, StatsError> {
    check_rate("alpha", alpha)?;
    check_count(shape.treatments)?;
    check_positive("df", shape.df)?;
    if !(0.0..1.0).contains(&shape.rho) {
        return Err(StatsError::invalid("rho", "must be at least 0 and below 1"));
    }
    let loadings = vec![shape.rho.sqrt(); shape.treatments];
    let family = Family {
        loadings: &loadings,
        df: shape.df,
        alternative: shape.alternative,
    };
    family.critical(alpha)
}

fn check_count(treatments: usize) -> Result<(), StatsError> {
    match treatments {
        0 => Err(StatsError::invalid("treatments", "must hold at least one")),
        count if count > MAX_TREATMENTS => Err(StatsError::TooLarge {
            what: "the number of treatments",
            size: count as u64,
            limit: MAX_TREATMENTS as u64,
        }),
        _ => Ok(()),
    }
}

/// How strongly a comparison shares the control's noise.
fn loading(control: u64, treatment: u64) -> f64 {
    (treatment as f64 / (treatment as f64 + control as f64)).sqrt()
}

fn interval(difference: f64, margin: f64, level: f64, alternative: Alternative) -> Interval {
    match alternative {
        Alternative::TwoSided => Interval::around(difference, margin, level),
        Alternative::Greater => Interval::new(difference - margin, f64::INFINITY, level),
        Alternative::Less => Interval::new(f64::NEG_INFINITY, difference + margin, level),
    }
}

/// Comparisons with one control.
#[derive(Debug, Clone, Copy)]
struct Family<'a> {
    loadings: &'a [f64],
    df: f64,
    alternative: Alternative,
}

impl Family<'_> {
    /// The chance that the most extreme comparison is beyond `statistic`.
    fn p_value(&self, statistic: f64) -> f64 {
        let bound = match self.alternative {
            Alternative::TwoSided => statistic.abs(),
            Alternative::Greater => statistic,
            Alternative::Less => -statistic,
        };
        if bound.is_nan() {
            return f64::NAN;
        }
        if bound.is_infinite() {
            return if bound > 0.0 { 0.0 } else { 1.0 };
        }
        let grid = Grid::new(self, bound.abs());
        let curve = Curve::new(&grid.limits(bound, bound), |limit| {
            self.any_beyond_ln(&grid, limit)
        });
        grid.mean_over_scales(|scale| curve.at(bound * scale).exp())
            .min(1.0)
    }

    fn critical(&self, alpha: f64) -> Result<f64, StatsError> {
        let ln_alpha = alpha.ln();
        let side = if self.alternative == Alternative::TwoSided {
            0.5 * alpha
        } else {
            alpha
        };
        // Between no adjustment and Bonferroni's, with a little room for rounding and for a single treatment.
        let room = |bound: f64| 1e-3 * (1.0 + bound.abs());
        let low = student_t::isf(side, self.df);
        let high = student_t::isf(side / self.loadings.len() as f64, self.df);
        let bracket = Bracket::new(low - room(low), high + room(high));
        let grid = Grid::new(self, bracket.low.abs().max(bracket.high.abs()));
        let curve = Curve::new(&grid.limits(bracket.low, bracket.high), |limit| {
            self.any_beyond_ln(&grid, limit)
        });
        brent("the critical value", bracket, 1e-10, |bound| {
            let chance = grid.mean_over_scales(|scale| curve.at(bound * scale).exp());
            chance.max(f64::MIN_POSITIVE).ln() - ln_alpha
        })
    }

    /// ln of the chance that any comparison is beyond the limit, over the control's noise.
    fn any_beyond_ln(&self, grid: &Grid, limit: f64) -> f64 {
        let chance: f64 = grid
            .noises
            .iter()
            .map(|noise| noise.weight * self.any_beyond(limit, noise.at))
            .sum();
        // A chance that has vanished is as good as the smallest there is.
        chance.clamp(f64::MIN_POSITIVE, 1.0).ln()
    }

    /// The chance that any comparison is beyond the limit, given the control's noise.
    fn any_beyond(&self, limit: f64, z: f64) -> f64 {
        let mut ln_none = 0.0;
        let mut last = (f64::NAN, 0.0);
        for loading in self.loadings {
            // Arms of equal size share one tail, which is most of the work.
            if loading.to_bits() != last.0.to_bits() {
                last = (*loading, (-self.tail(limit, z, *loading)).ln_1p());
            }
            ln_none += last.1;
        }
        -ln_none.exp_m1()
    }

    fn tail(&self, limit: f64, z: f64, loading: f64) -> f64 {
        let rest = (1.0 - loading * loading).sqrt();
        let upper = normal::sf((limit - loading * z) / rest);
        if self.alternative == Alternative::TwoSided {
            (upper + normal::sf((limit + loading * z) / rest)).min(1.0)
        } else {
            upper
        }
    }
}

/// Where the two noises that all comparisons share are evaluated, with the weight of each place.
#[derive(Debug)]
struct Grid {
    /// The pooled standard deviation over the true one.
    scales: Vec<Node>,
    /// The control's noise z.
    noises: Vec<Node>,
}

impl Grid {
    /// A grid on which a chance keeps its digits up to a statistic of `bound`.
    fn new(family: &Family<'_>, bound: f64) -> Self {
        // A far bound is passed where the control's noise is far out too.
        let far = 8.5 + bound.min(40.0);
        let panels = (far / NOISE_PANEL).ceil() as u32;
        // Turning the sign of z swaps the two tails, so half the line is enough for a two-sided test.
        let (low, panels, times) = match family.alternative {
            Alternative::TwoSided => (0.0, panels, 2.0),
            Alternative::Greater | Alternative::Less => (-far, 2 * panels, 1.0),
        };
        let noises = quadrature::nodes(low, far, panels)
            .into_iter()
            .map(|node| Node {
                weight: node.weight * times * normal::pdf(node.at),
                ..node
            })
            .collect();
        Self {
            scales: scales(family.df),
            noises,
        }
    }

    /// The limits that bounds from `low` to `high` stand for on this grid; a scale is above 0.
    fn limits(&self, low: f64, high: f64) -> [f64; 2] {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for scale in &self.scales {
            least = least.min(low * scale.at).min(high * scale.at);
            most = most.max(low * scale.at).max(high * scale.at);
        }
        [least, most]
    }

    fn mean_over_scales(&self, chance: impl Fn(f64) -> f64) -> f64 {
        self.scales
            .iter()
            .map(|scale| scale.weight * chance(scale.at))
            .sum()
    }
}

/// The pooled standard deviation over the true one, with the weight of each place.
fn scales(df: f64) -> Vec<Node> {
    if df > KNOWN_SCALE {
        return vec![Node { at: 1.0, weight: 1.0 }];
    }
    let panels = if df < 3.0 {
        24
    } else if df < 20.0 {
        6
    } else {
        3
    };
    let spread = SCALE_REACH / (2.0 * df).sqrt();
    let weigh = |node: Node| Node {
        weight: node.weight * noncentral::ln_chi_scale_pdf(node.at, df).exp(),
        ..node
    };
    quadrature::nodes((1.0 - spread).max(0.0), 1.0 + spread, panels)
        .into_iter()
        .map(weigh)
        .collect()
}

/// A smooth function of the limit, by its values at Chebyshev points in pieces: the scales ask for it at many limits.
#[derive(Debug)]
struct Curve {
    low: f64,
    width: f64,
    /// [`CURVE_POINTS`] values per piece, from its end to its beginning.
    values: Vec<f64>,
}

impl Curve {
    fn new(limits: &[f64; 2], function: impl Fn(f64) -> f64) -> Self {
        let [low, high] = *limits;
        let pieces = ((high - low) / CURVE_PIECE).ceil().clamp(1.0, MAX_PIECES);
        let width = ((high - low) / pieces).max(f64::MIN_POSITIVE);
        let mut values = Vec::with_capacity(pieces as usize * CURVE_POINTS);
        for piece in 0..pieces as usize {
            let middle = low + width * (piece as f64 + 0.5);
            values.extend(
                curve_points()
                    .iter()
                    .map(|at| function(middle + 0.5 * width * at)),
            );
        }
        Self { low, width, values }
    }

    /// The function between its points, by the barycentric formula (Berrut and Trefethen 2004).
    fn at(&self, limit: f64) -> f64 {
        let last = self.values.len() / CURVE_POINTS - 1;
        let place = ((limit - self.low) / self.width).clamp(0.0, last as f64 + 1.0);
        let piece = (place as usize).min(last);
        let x = 2.0 * (place - piece as f64) - 1.0;
        let values = &self.values[piece * CURVE_POINTS..(piece + 1) * CURVE_POINTS];
        let (mut over, mut under) = (0.0, 0.0);
        for (index, (at, value)) in curve_points().iter().zip(values).enumerate() {
            let distance = x - at;
            if distance.abs() < f64::MIN_POSITIVE {
                return *value;
            }
            let end = index == 0 || index == CURVE_POINTS - 1;
            let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
            let weight = if end { 0.5 * sign } else { sign } / distance;
            over += weight * value;
            under += weight;
        }
        over / under
    }
}

/// Chebyshev points of the second kind on [−1, 1], from the end to the beginning.
fn curve_points() -> &'static [f64; CURVE_POINTS] {
    static POINTS: OnceLock<[f64; CURVE_POINTS]> = OnceLock::new();
    POINTS.get_or_init(|| {
        std::array::from_fn(|index| (std::f64::consts::PI * index as f64 / (CURVE_POINTS - 1) as f64).cos())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dunnetts_tables_are_met() {
        // Dunnett (1964), two-sided 5 %: 2 treatments with 27 and 3 with 76 degrees of freedom; Dunnett's own rounding.
        let critical = |treatments, df, alpha, rho| {
            let shape = Shape {
                treatments,
                df,
                rho,
                alternative: Alternative::TwoSided,
            };
            critical_value(shape, alpha).unwrap()
        };
        assert!((critical(2, 27.0, 0.05, 0.5) - 2.33).abs() < 0.006);
        assert!((critical(3, 76.0, 0.05, 0.5) - 2.40).abs() < 0.006);
        // One treatment is Student's test, and no correlation with many units is Šidák's.
        assert!((critical(1, 38.0, 0.01, 0.5) - 2.711_557_601_9).abs() < 1e-7);
        let sidak = normal::isf(0.5 * -(0.95_f64.ln() / 4.0).exp_m1());
        assert!((critical(4, 1e9, 0.05, 0.0) - sidak).abs() < 1e-8);
    }

    #[test]
    fn interval_and_p_value_agree_and_order_does_not_matter() {
        let control = Sample::from_variance(40, 10.0, 4.0);
        let arms = [
            Sample::from_variance(30, 11.3, 3.0),
            Sample::from_variance(50, 10.1, 5.0),
        ];
        let answer = test(&control, &arms, 0.05, Alternative::TwoSided).unwrap();
        for comparison in &answer.comparisons {
            assert_eq!(comparison.p_value < 0.05, !comparison.interval.contains(0.0));
        }
        let turned = test(&control, &[arms[1], arms[0]], 0.05, Alternative::TwoSided).unwrap();
        assert!((turned.comparisons[1].p_value / answer.comparisons[0].p_value - 1.0).abs() < 1e-10);
    }

    #[test]
    fn the_curve_is_as_good_as_the_function_itself() {
        // What must never change: pieces and points save time, not digits.
        for (df, statistic) in [(2.5, 3.0), (8.0, 2.0), (30.0, 2.4), (1e4, 5.0), (1e9, 3.0)] {
            for alternative in [Alternative::TwoSided, Alternative::Greater] {
                let family = Family {
                    loadings: &[0.6, 0.6, 0.8],
                    df,
                    alternative,
                };
                let grid = Grid::new(&family, statistic);
                let direct =
                    grid.mean_over_scales(|scale| family.any_beyond_ln(&grid, statistic * scale).exp());
                let curved = family.p_value(statistic);
                assert!(
                    (curved / direct - 1.0).abs() < 1e-11,
                    "{df} {curved:e} {direct:e}"
                );
            }
        }
    }

    #[test]
    fn a_far_tail_keeps_its_digits() {
        // With one treatment the answer is Student's, also where it is tiny.
        let family = Family {
            loadings: &[std::f64::consts::FRAC_1_SQRT_2],
            df: 200.0,
            alternative: Alternative::TwoSided,
        };
        let truth = crate::special::student_t::two_sided(12.0, 200.0);
        assert!(
            (family.p_value(12.0) / truth - 1.0).abs() < 1e-6,
            "{:e} {truth:e}",
            family.p_value(12.0)
        );
    }
}
