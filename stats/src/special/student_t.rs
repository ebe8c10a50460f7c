//! Student's t distribution with real degrees of freedom, up to infinity (the normal distribution).

use super::beta::{Share, ln_beta_tails, ln_beta_terms};
use super::{normal, roots};

/// From here on the t and the normal distribution agree in all digits that the tail has.
const NORMAL_FROM: f64 = 1e17;

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
    let target = p.ln();
    let start = start_of(p, df);
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

/// A start for the inverse: Cornish and Fisher's expansion, or the power law of the tail for few degrees of freedom.
fn start_of(p: f64, df: f64) -> f64 {
    let z = normal::isf(p);
    if df < 4.0 {
        // P(T > t) < c·t⁻ᵈᶠ with c about 1: a start is all that is asked for.
        return (z.max(0.1)).max(0.5 * p.powf(-1.0 / df)).min(1e300);
    }
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * df)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * df * df)
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * df.powi(3))
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
