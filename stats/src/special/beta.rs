//! The incomplete beta function, which binomial, Student t and F tails are made of.
//!
//! Arguments come with their complement, `x` and `y` = 1 − x, so that neither loses digits near its end.

mod asymptotic;

use super::gamma::{LnTails, ln_gamma, stirling_error};
use super::logs::{HALF_LN_TWO_PI, ln_1m_exp, ln_1p_minus};
use super::roots;

/// Below [`asymptotic::SMALLEST`] the fraction needs some hundred terms at most, farther from the mean than
/// [`asymptotic::NEAREST`] some tens; what is left over is not answered rather than answered wrong.
const MAX_TERMS: u32 = 100_000;

/// A number of the unit interval together with its complement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The number.
    pub x: f64,
    /// One minus the number.
    pub y: f64,
}

impl Share {
    /// The share `x`, its complement by subtraction: right where `x` is the value that is meant.
    pub fn new(x: f64) -> Self {
        Self { x, y: 1.0 - x }
    }

    /// The share `part` of `part + rest`.
    pub fn of(part: f64, rest: f64) -> Self {
        let whole = part + rest;
        Self {
            x: part / whole,
            y: rest / whole,
        }
    }

    /// The complement as the share.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { x: self.y, y: self.x }
    }
}

/// ln B(a, b).
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large < 10.0 {
        return ln_gamma(small) + ln_gamma(large) - ln_gamma(small + large);
    }
    let total = small + large;
    let body = (small - 0.5) * (small / total).ln() - large * (small / large).ln_1p() - 0.5 * total.ln();
    body + HALF_LN_TWO_PI + stirling_error(small) + stirling_error(large) - stirling_error(total)
        + 0.5 * (total / large).ln()
}

/// ln[xᵃ·yᵇ / B(a, b)] without cancellation (saddle-point form after Loader 2000).
pub fn ln_beta_terms(a: f64, b: f64, share: Share) -> f64 {
    let Share { x, y } = share;
    if x <= 0.0 || y <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let total = a + b;
    let shift = difference_of_products([b, x], [a, y]);
    let part = |weight: f64, relative: f64, ratio: f64| {
        if relative.abs() < 0.5 {
            weight * ln_1p_minus(relative) + weight * relative
        } else {
            weight * ratio.ln()
        }
    };
    let (left, right) = (shift / a, -shift / b);
    let body = if left.abs() < 0.5 && right.abs() < 0.5 {
        a * ln_1p_minus(left) + b * ln_1p_minus(right)
    } else {
        part(a, left, total / a * x) + part(b, right, total / b * y)
    };
    let scale = 0.5 * (a.ln() + (b / total).ln()) - HALF_LN_TWO_PI;
    body + scale + stirling_error(total) - stirling_error(a) - stirling_error(b)
}

/// b·x − a·y, with the rounding of the first product given back where it would count.
fn difference_of_products(left: [f64; 2], right: [f64; 2]) -> f64 {
    let product = right[0] * right[1];
    let lost = right[0].mul_add(-right[1], product);
    left[0].mul_add(left[1], -product) + lost
}

/// Both tails of the beta distribution with parameters a, b > 0, in logarithms.
///
/// Near the mean of two large parameters by an expansion, elsewhere by a continued fraction. Parameters out of range,
/// and a fraction that does not settle, give no number.
pub fn ln_beta_tails(a: f64, b: f64, share: Share) -> LnTails {
    let valid = a > 0.0 && b > 0.0 && a.is_finite() && b.is_finite();
    if !valid || share.x.is_nan() || share.y.is_nan() {
        return LnTails {
            lower: f64::NAN,
            upper: f64::NAN,
        };
    }
    if share.x <= 0.0 {
        return LnTails {
            lower: f64::NEG_INFINITY,
            upper: 0.0,
        };
    }
    if share.y <= 0.0 {
        return LnTails {
            lower: 0.0,
            upper: f64::NEG_INFINITY,
        };
    }
    let expanded = asymptotic::applies(a, b, share);
    let below = if expanded {
        asymptotic::below_mean(a, b, share)
    } else {
        share.x < (a + 1.0) / (a + b + 2.0)
    };
    let ln_tail = |a, b, share| {
        let tail = if expanded {
            asymptotic::ln_tail(a, b, share)
        } else {
            ln_beta_terms(a, b, share) + fraction(a, b, share).value.ln()
        };
        // Not `min`, which would answer 0 in place of no number.
        if tail > 0.0 { 0.0 } else { tail }
    };
    if below {
        let lower = ln_tail(a, b, share);
        LnTails {
            lower,
            upper: ln_1m_exp(lower),
        }
    } else {
        let upper = ln_tail(b, a, share.swapped());
        LnTails {
            lower: ln_1m_exp(upper),
            upper,
        }
    }
}

/// What a continued fraction came to.
struct Converged {
    /// Its value; not a number where the terms did not settle.
    value: f64,
    /// The terms that it took.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests hold the number of terms to its bound")
    )]
    terms: u32,
}

/// I(x; a, b) over xᵃ·yᵇ/B(a, b): the even part of the continued fraction of DLMF 8.17.22, written with both x and y
/// so that it keeps its digits where one of them is close to 0 (DiDonato and Morris 1992).
fn fraction(a: f64, b: f64, share: Share) -> Converged {
    let Share { x, y } = share;
    let c = 1.0 + (a * y - b * x);
    let (c0, c1) = (b / a, 1.0 + 1.0 / a);
    let (mut p, mut s) = (1.0, a + 1.0);
    let mut ratio = c1 / c;
    let (mut an, mut bn) = (0.0, ratio);
    let (mut an_next, mut bn_next) = (ratio, 1.0);
    for index in 1..MAX_TERMS {
        let n = f64::from(index);
        let t = n / a;
        let w = n * (b - n) * x;
        let e = a / s;
        let alpha = p * (p + c0) * e * e * (w * x);
        let e = (1.0 + t) / (c1 + t + t);
        let beta = n + w / s + e * (c + n * (1.0 + y));
        p = 1.0 + t;
        s += 2.0;
        (an, an_next) = (an_next, alpha * an + beta * an_next);
        (bn, bn_next) = (bn_next, alpha * bn + beta * bn_next);
        let before = ratio;
        ratio = an_next / bn_next;
        if (ratio - before).abs() <= 1e-16 * ratio {
            return Converged {
                value: ratio,
                terms: index,
            };
        }
        // Both recurrences are scaled so that neither overflows.
        an /= bn_next;
        bn /= bn_next;
        an_next = ratio;
        bn_next = 1.0;
    }
    Converged {
        value: f64::NAN,
        terms: MAX_TERMS,
    }
}

/// P(X ≤ x) for the beta distribution.
pub fn beta_cdf(a: f64, b: f64, x: f64) -> f64 {
    ln_beta_tails(a, b, Share::new(x)).lower.exp()
}

/// P(X > x) for the beta distribution.
pub fn beta_sf(a: f64, b: f64, x: f64) -> f64 {
    ln_beta_tails(a, b, Share::new(x)).upper.exp()
}

/// The share that P(X ≤ x) = p holds for.
pub fn beta_quantile(a: f64, b: f64, p: f64) -> Share {
    if p > 0.5 {
        // The rest to 1 is exact here, and the other tail is the smaller one.
        return beta_isf(a, b, 1.0 - p);
    }
    solve(a, b, p)
}

/// The share that P(X > x) = p holds for.
pub fn beta_isf(a: f64, b: f64, p: f64) -> Share {
    if p > 0.5 {
        return beta_quantile(a, b, 1.0 - p);
    }
    solve(b, a, p).swapped()
}

/// Solves the lower tail for the log-odds of x, in which its logarithm is concave and close to straight.
fn solve(a: f64, b: f64, p: f64) -> Share {
    let valid = a > 0.0 && b > 0.0 && a.is_finite() && b.is_finite() && p >= 0.0;
    if !valid {
        return Share {
            x: f64::NAN,
            y: f64::NAN,
        };
    }
    if p <= 0.0 {
        return Share { x: 0.0, y: 1.0 };
    }
    let target = p.ln();
    let at = |log_odds: f64| Share {
        x: 1.0 / (1.0 + (-log_odds).exp()),
        y: 1.0 / (1.0 + log_odds.exp()),
    };
    let start = (a / b).ln();
    let log_odds = roots::newton_monotone(roots::Bracket::new(-708.0, 708.0), start, |log_odds| {
        let share = at(log_odds);
        let value = ln_beta_tails(a, b, share).lower;
        roots::Slope {
            value: value - target,
            slope: (ln_beta_terms(a, b, share) - value).exp(),
        }
    });
    at(log_odds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, truth: f64, tolerance: f64) {
        assert!(
            (value - truth).abs() <= tolerance * truth.abs(),
            "{value:e} is not {truth:e}"
        );
    }

    #[test]
    fn known_values_hold() {
        // Truth: mpmath with 40 digits.
        close(ln_beta(0.5, 1e9), -9.789_267_975_423_505, 1e-14);
        close(beta_cdf(0.5, 0.5, 0.001), 0.020_135_041_633_377_492, 1e-14);
        close(beta_cdf(50.0, 950.0, 0.02), 7.638_592_891_716_726e-9, 1e-12);
        close(beta_sf(2.0, 3.0, 0.999), 3.997_000_000_000_01e-9, 1e-12);
    }

    #[test]
    fn quantiles_invert_tails() {
        for (a, b) in [
            (0.1, 0.5),
            (0.5, 0.5),
            (1.0, 1.0),
            (5e3, 3e5),
            (1e7, 2e7),
            (3.0, 1e9),
        ] {
            for p in [1e-12, 0.025, 0.5, 0.975] {
                let share = beta_quantile(a, b, p);
                close(ln_beta_tails(a, b, share).lower.exp(), p, 1e-9);
                let share = beta_isf(a, b, p);
                close(ln_beta_tails(a, b, share).upper.exp(), p, 1e-9);
            }
        }
    }
}
