//! Student's t distribution with real degrees of freedom, up to infinity (the normal distribution).
//!
//! Tails are incomplete beta integrals. With many degrees of freedom they are computed from the normal tail and a series
//! in 1/df² (DiDonato and Morris 1992, BGRAT), a few terms instead of a continued fraction of hundreds.

use std::sync::OnceLock;

use super::beta::{Share, ln_beta_tails, ln_beta_terms};
use super::{normal, roots};

/// From here on the t and the normal distribution agree in all digits that the tail has.
const NORMAL_FROM: f64 = 1e17;

/// From here on, and for t² up to df, the series about the normal tail has all digits.
const SERIES_FROM: f64 = 30.0;

/// The most terms of that series; at most ten are needed.
const SERIES_TERMS: usize = 12;

/// ln P(T > t).
pub fn ln_sf(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if df > NORMAL_FROM {
        return normal::ln_sf(t);
    }
    if t < 0.0 {
        return (-ln_sf(-t, df).exp()).ln_1p();
    }
    ln_two_sided(t, df) - std::f64::consts::LN_2
}

/// ln P(|T| > |t|).
pub fn ln_two_sided(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if df > NORMAL_FROM {
        return normal::ln_two_sided(t);
    }
    if df >= SERIES_FROM && t * t <= df {
        return ln_two_sided_by_series(t, df);
    }
    let (share, scale) = share_of(t, df);
    if share.x <= 0.0 {
        // So far out that t² is infinite: the tail is a power of t, whose factor is the distribution's own.
        let a = 0.5 * df;
        return ln_beta_terms(a, 0.5, Share { x: 0.5, y: 0.5 }) + (a + 0.5) * std::f64::consts::LN_2
            - a.ln()
            - df * scale;
    }
    ln_beta_tails(0.5 * df, 0.5, share).lower
}

/// ln P(|T| > |t|) = ln I(df/(df + t²); df/2, ½) by the expansion for a large first and a small second parameter.
fn ln_two_sided_by_series(t: f64, df: f64) -> f64 {
    const B: f64 = 0.5;
    let steps = series_coefficients();
    let large = 0.5 * df - 0.25;
    let ln_x = (t * t / df).ln_1p();
    let u = large * ln_x;
    if u <= f64::MIN_POSITIVE {
        return 0.0;
    }
    let scale = 0.25 / (large * large);
    let mut part = 2.0 * normal::scaled_sf((2.0 * u).sqrt()) * (std::f64::consts::PI / u).sqrt();
    let (mut sum, mut power) = (part, 1.0);
    for (index, coefficient) in steps.iter().enumerate() {
        let n = 2.0 * index as f64;
        part = scale * ((B + n) * (B + n + 1.0) * part + (u + B + n + 1.0) * power);
        power *= 0.25 * ln_x * ln_x;
        let term = coefficient * part;
        sum += term;
        if term.abs() < 1e-17 * sum {
            break;
        }
    }
    // One logarithm for both factors.
    ((u / std::f64::consts::PI).sqrt() * sum).ln() - u + ln_gamma_ratio(large)
}

/// The coefficients p₁, p₂, … of the series for b = ½.
fn series_coefficients() -> &'static [f64; SERIES_TERMS] {
    static COEFFICIENTS: OnceLock<[f64; SERIES_TERMS]> = OnceLock::new();
    COEFFICIENTS.get_or_init(|| {
        let factorial = |n: usize| (2..=2 * n + 1).map(|k| k as f64).product::<f64>();
        let mut p = [0.0; SERIES_TERMS];
        for n in 1..=SERIES_TERMS {
            let earlier: f64 = (1..n)
                .map(|m| (0.5 * m as f64 - n as f64) / factorial(m) * p[n - m - 1])
                .sum();
            p[n - 1] = -0.5 / factorial(n) + earlier / n as f64;
        }
        p
    })
}

/// ln Γ(T + ¾) − ln Γ(T + ¼) − ½ ln T for T above 14, from Bernoulli polynomials at ¼.
fn ln_gamma_ratio(large: f64) -> f64 {
    const TERMS: [f64; 6] = [
        0.015625,
        -0.00244140625,
        0.0012410481770833333,
        -0.0013208389282226562,
        0.002409029006958008,
        -0.006712389489014943,
    ];
    let inverse = 1.0 / (large * large);
    TERMS.iter().rev().fold(0.0, |sum, term| (sum + term) * inverse)
}

/// df / (df + t²) with its complement, and ln(|t|/√df) for where t² is infinite.
fn share_of(t: f64, df: f64) -> (Share, f64) {
    let ratio = t.abs() / df.sqrt();
    let share = if ratio > 1.0 {
        let inverse = 1.0 / (ratio * ratio);
        Share {
            x: inverse / (1.0 + inverse),
            y: 1.0 / (1.0 + inverse),
        }
    } else {
        let square = ratio * ratio;
        Share {
            x: 1.0 / (1.0 + square),
            y: square / (1.0 + square),
        }
    };
    (share, ratio.ln())
}

/// P(T > t).
pub fn sf(t: f64, df: f64) -> f64 {
    ln_sf(t, df).exp()
}

/// P(T ≤ t).
pub fn cdf(t: f64, df: f64) -> f64 {
    ln_sf(-t, df).exp()
}

/// P(|T| > |t|).
pub fn two_sided(t: f64, df: f64) -> f64 {
    ln_two_sided(t, df).exp()
}

/// The logarithm of the density at t ≥ 0.
fn ln_pdf(t: f64, df: f64) -> f64 {
    // xᵃ·√y / B(a, ½) over √y is the density times √(df + t²).
    let (share, _) = share_of(t, df);
    ln_beta_terms(0.5 * df, 0.5, share) - t.ln()
}

/// The t that P(T > t) = p holds for; ±∞ at 0 and 1, not a number outside.
pub fn isf(p: f64, df: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if p > 0.5 {
        // The rest to 1 is exact here, and its tail is the smaller one.
        return -isf(1.0 - p, df);
    }
    if p <= 0.0 {
        return f64::INFINITY;
    }
    if df > NORMAL_FROM {
        return normal::isf(p);
    }
    if p >= 0.5 {
        return 0.0;
    }
    let start = match start_of(p, df) {
        Start::Exact(t) => return t,
        Start::Near(t) => t,
    };
    let target = p.ln();
    // In asinh(t) both the normal-like middle and the power-law tail are close to straight.
    let bent = roots::newton_monotone(roots::Bracket::new(0.0, 709.0), start.asinh(), |bent| {
        let t = bent.sinh();
        let tail = ln_sf(t, df);
        roots::Slope {
            value: target - tail,
            slope: (ln_pdf(t, df) - tail).exp() * bent.cosh(),
        }
    });
    bent.sinh()
}

/// A first answer of the inverse.
enum Start {
    /// All digits are there.
    Exact(f64),
    /// Newton's method has to go on from here.
    Near(f64),
}

/// Cornish and Fisher's expansion, or the power law of the tail for few degrees of freedom.
fn start_of(p: f64, df: f64) -> Start {
    let z = normal::isf(p);
    if df < 4.0 {
        // P(T > t) < c·t⁻ᵈᶠ with c about 1: a start is all that is asked for.
        return Start::Near((z.max(0.1)).max(0.5 * p.powf(-1.0 / df)).min(1e300));
    }
    let (y, w) = (1.0 / df, z * z);
    let terms = [
        (1.0 + w) / 4.0,
        (3.0 + w * (16.0 + w * 5.0)) / 96.0,
        (-15.0 + w * (17.0 + w * (19.0 + w * 3.0))) / 384.0,
        (-945.0 + w * (-1920.0 + w * (1482.0 + w * (776.0 + w * 79.0)))) / 92_160.0,
        (17_955.0 + w * (-765.0 + w * (-1782.0 + w * (930.0 + w * (339.0 + w * 27.0))))) / 368_640.0,
    ];
    let series = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * y);
    let t = z + z * series;
    // What is left out is smaller than the last term by a factor of about (z² + 10)/df.
    let left_out = terms[4].abs() * y.powi(5) * (w + 10.0) * y;
    if left_out < 1e-17 {
        Start::Exact(t)
    } else {
        Start::Near(t)
    }
}

/// The t that P(T ≤ t) = p holds for.
pub fn quantile(p: f64, df: f64) -> f64 {
    -isf(p, df)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_hold_to_the_last_digits() {
        // Truth: mpmath with 40 digits. The second is where one minus the other side answers 0.
        let cases = [
            (1e-8, 1.0, 0.499_999_996_816_901_14),
            (12.0, 200.0, 1.211_068_002_623_315_7e-25),
            (2.0, 3.5, 0.063_069_261_287_956_77),
            (0.01, 30.0, 0.496_043_746_286_588_87),
            (3.0, 40.0, 0.002_315_069_892_078_069),
            (5.5, 31.0, 2.560_097_950_570_188e-6),
            (2.5, 10000.0, 0.006_217_609_775_291_849),
            (30.0, 1000.0, 7.687_343_722_021_741e-142),
        ];
        for (t, df, truth) in &cases {
            assert!(
                (sf(*t, *df) / truth - 1.0).abs() < 1e-13,
                "{t} {df} {:e}",
                sf(*t, *df)
            );
        }
        let far = ln_sf(40.0, 1e9) * std::f64::consts::LOG10_E;
        assert!((far + 349.436_728_163_846_6).abs() < 1e-10, "{far}");
    }

    #[test]
    fn quantiles_invert_tails() {
        for df in [0.5, 1.0, 2.0, 3.7, 30.0, 1e4, 1e9] {
            for p in [1e-100, 1e-10, 0.001, 0.025, 0.3, 0.499_999, 0.975] {
                let back = sf(isf(p, df), df);
                assert!((back / p - 1.0).abs() < 1e-11, "{df} {p} {back}");
            }
        }
        assert!((isf(0.025, f64::INFINITY) - 1.959_963_984_540_054).abs() < 1e-14);
    }
}
