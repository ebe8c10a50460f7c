//! Tails of the noncentral t distribution, which the power of a t test is made of.
//!
//! T = (Z + δ)/S with S = √(χ²/df): the normal tail is integrated over the density of S, so that every term is positive
//! and no tail is one minus the other side.

use super::gamma::stirling_error;
use super::logs::{HALF_LN_TWO_PI, ln_1p_minus};
use super::{normal, quadrature};

/// Standard deviations of S on either side of 1 that are integrated over; the rest is below 10⁻¹⁵.
const REACH: f64 = 12.0;

/// ln of the density of S = √(χ²/df) at s > 0.
pub fn ln_chi_scale_pdf(s: f64, df: f64) -> f64 {
    // df·(ln s − (s² − 1)/2) = df·[ln(1 + e) − e − e²/2] with e = s − 1: all large terms cancel by hand.
    let e = s - 1.0;
    let body = df * (ln_1p_minus(e) - 0.5 * e * e);
    body - s.ln() + 0.5 * df.ln() + 0.5 * std::f64::consts::LN_2 - HALF_LN_TWO_PI - stirling_error(0.5 * df)
}

/// The mean of `function` over S = √(χ²/df), with panels refined around `kinks`.
pub fn mean_over_scale(df: f64, kinks: &[f64], function: impl Fn(f64) -> f64) -> f64 {
    let spread = REACH / (2.0 * df).sqrt();
    let (low, high) = ((1.0 - spread).max(0.0), 1.0 + spread);
    let mut cuts = vec![low, high];
    cuts.extend(kinks.iter().copied().filter(|cut| *cut > low && *cut < high));
    cuts.sort_by(f64::total_cmp);
    cuts.windows(2)
        .map(|pair| {
            let panels = if df < 3.0 { 24 } else { 6 };
            quadrature::integrate(pair[0], pair[1], panels, |s| {
                if s <= 0.0 {
                    return 0.0;
                }
                function(s) * ln_chi_scale_pdf(s, df).exp()
            })
        })
        .sum()
}

/// P(T > t) of the noncentral t distribution.
pub fn t_sf(t: f64, df: f64, noncentrality: f64) -> f64 {
    if t.is_nan() || noncentrality.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if df > 1e12 {
        return normal::sf(t - noncentrality);
    }
    mean_over_scale(df, &kinks(t, noncentrality), |s| {
        normal::sf(t.mul_add(s, -noncentrality))
    })
    .clamp(0.0, 1.0)
}

/// Where the integrand turns from 0 to 1: around s = δ/t, over a width of a few 1/t.
fn kinks(t: f64, noncentrality: f64) -> Vec<f64> {
    if t.abs() < 1e-9 {
        return Vec::new();
    }
    let (middle, width) = (noncentrality / t, 1.0 / t.abs());
    [-9.0, -3.0, 0.0, 3.0, 9.0]
        .iter()
        .map(|steps| middle + steps * width)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_match_published_power() {
        // R: power.t.test(n = 20, delta = 1) is 0.8689528.
        let df = 38.0;
        let critical = crate::special::student_t::isf(0.025, df);
        let shift = (10.0_f64).sqrt();
        let power = t_sf(critical, df, shift) + t_sf(critical, df, -shift);
        assert!((power - 0.868_953).abs() < 5e-7, "{power}");
        let central = t_sf(2.0, 3.5, 0.0);
        assert!((central - crate::special::student_t::sf(2.0, 3.5)).abs() < 1e-12);
    }
}
