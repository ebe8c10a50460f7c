//! The distribution of the most extreme of several comparisons with one control.
//!
//! Given the pooled standard deviation and the control's noise the comparisons are independent. The noise is integrated
//! over at each limit, and the result, a smooth function of the limit, tabulated: the standard deviation asks for it at
//! many limits.

use std::sync::OnceLock;

use crate::error::StatsError;
use crate::frequentist::contrast::Alternative;
use crate::special::quadrature::Node;
use crate::special::roots::{Bracket, brent};
use crate::special::{noncentral, normal, quadrature, student_t};

/// A chance below this is not told from 0.
const VANISHED: f64 = 1e-307;

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

/// Comparisons with one control.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family<'a> {
    /// How strongly each comparison shares the control's noise.
    pub loadings: &'a [f64],
    /// The degrees of freedom of the pooled variance.
    pub df: f64,
    /// Which way a treatment may differ.
    pub alternative: Alternative,
}

impl Family<'_> {
    /// What a statistic is compared with: its size in the direction that is tested.
    pub(super) fn bound(&self, statistic: f64) -> f64 {
        match self.alternative {
            Alternative::TwoSided => statistic.abs(),
            Alternative::Greater => statistic,
            Alternative::Less => -statistic,
        }
    }

    /// The chance of the most extreme comparison, for bounds from `low` to `high`.
    pub(super) fn law(&self, low: f64, high: f64) -> Law {
        let grid = Grid::new(self, low.abs().max(high.abs()));
        let curve = Curve::new(&grid.limits(low, high), |limit| self.any_beyond_ln(&grid, limit));
        Law {
            scales: grid.scales,
            curve,
        }
    }

    /// The chance that the most extreme comparison is beyond `bound`, from a law that was made for it or one of its own.
    pub(super) fn p_value(&self, bound: f64, shared: Option<&Law>) -> f64 {
        if bound.is_nan() {
            return f64::NAN;
        }
        if bound.is_infinite() {
            return if bound > 0.0 { 0.0 } else { 1.0 };
        }
        let p_value = match shared {
            Some(law) => law.chance(bound),
            None => self.law(bound, bound).chance(bound),
        };
        if p_value > VANISHED { p_value.min(1.0) } else { 0.0 }
    }

    /// The bounds between which the critical value lies.
    pub(super) fn bracket(&self, alpha: f64) -> Bracket {
        let side = if self.alternative == Alternative::TwoSided {
            0.5 * alpha
        } else {
            alpha
        };
        // Between no adjustment and Bonferroni's, with a little room for rounding and for a single treatment.
        let room = |bound: f64| 1e-3 * (1.0 + bound.abs());
        let low = student_t::isf(side, self.df);
        let high = student_t::isf(side / self.loadings.len() as f64, self.df);
        Bracket::new(low - room(low), high + room(high))
    }

    pub(super) fn critical(&self, alpha: f64, bracket: Bracket, law: &Law) -> Result<f64, StatsError> {
        let ln_alpha = alpha.ln();
        brent("the critical value", bracket, 1e-10, |bound| {
            law.chance(bound).max(f64::MIN_POSITIVE).ln() - ln_alpha
        })
    }

    /// ln of the chance that any comparison is beyond the limit, over the control's noise.
    fn any_beyond_ln(&self, grid: &Grid, limit: f64) -> f64 {
        let chance: f64 = grid
            .noises
            .iter()
            .map(|noise| noise.weight * self.any_beyond(limit, noise.at))
            .sum();
        // The logarithm of a chance that has vanished would break the curve.
        chance.clamp(VANISHED, 1.0).ln()
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
}

/// The distribution of the most extreme comparison over a range of bounds.
#[derive(Debug)]
pub(super) struct Law {
    scales: Vec<Node>,
    curve: Curve,
}

impl Law {
    /// The chance that the most extreme comparison is beyond `bound`.
    fn chance(&self, bound: f64) -> f64 {
        self.scales
            .iter()
            .map(|scale| scale.weight * self.curve.at(bound * scale.at).exp())
            .sum()
    }
}

/// The pooled standard deviation over the true one, with the weight of each place.
pub(super) fn scales(df: f64) -> Vec<Node> {
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
        // Limits that are not numbers have one piece, whose values are no numbers either.
        let pieces = if (high - low).is_finite() {
            ((high - low) / CURVE_PIECE).ceil().clamp(1.0, MAX_PIECES)
        } else {
            1.0
        };
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
                let direct: f64 = grid
                    .scales
                    .iter()
                    .map(|scale| scale.weight * family.any_beyond_ln(&grid, statistic * scale.at).exp())
                    .sum();
                let curved = family.p_value(statistic, None);
                let shared = family.p_value(statistic, Some(&family.law(0.0, 8.0)));
                assert!(
                    (shared / curved - 1.0).abs() < 1e-10,
                    "{df} {shared:e} {curved:e}"
                );
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
            (family.p_value(12.0, None) / truth - 1.0).abs() < 1e-6,
            "{:e} {truth:e}",
            family.p_value(12.0, None)
        );
    }
}
