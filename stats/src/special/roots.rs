//! Roots and extremes of functions of one variable: every loop keeps a bracket and has a limit.

use crate::error::StatsError;

/// Bisection halves 2¹⁰²³ down to nothing within this many steps.
const MAX_STEPS: u32 = 400;

/// An interval that holds a root.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bracket {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Bracket {
    /// A bracket from its ends, the lower first.
    pub fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }
}

/// A function's value and its slope's size at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// The value.
    pub value: f64,
    /// The slope.
    pub slope: f64,
}

/// The root of an increasing function by Newton's method, bisecting where Newton would leave the bracket.
///
/// Where the function has no root inside, the nearer end is given.
pub fn newton_monotone(bracket: Bracket, start: f64, function: impl Fn(f64) -> Slope) -> f64 {
    let Bracket { mut low, mut high } = bracket;
    let mut x = start.clamp(low, high);
    for step in 0..MAX_STEPS {
        let Slope { value, slope } = function(x);
        if value.is_nan() {
            return f64::NAN;
        }
        if value > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let mut next = x - value / slope;
        if (next - x).abs() <= 4.0 * f64::EPSILON * x.abs() {
            return next;
        }
        // A long run of Newton steps that do not settle is handed to bisection for good.
        if next.is_nan() || next <= low || next >= high || step > 60 {
            next = 0.5 * (low + high);
        }
        if (next - x).abs() <= 4.0 * f64::EPSILON * x.abs().max(f64::MIN_POSITIVE) {
            return next;
        }
        x = next;
    }
    x
}

/// The root of a continuous function that changes sign over the bracket (Brent 1973).
///
/// # Errors
/// [`StatsError::NoSolution`] when both ends have the same sign.
pub fn brent(
    what: &'static str,
    bracket: Bracket,
    tolerance: f64,
    function: impl Fn(f64) -> f64,
) -> Result<f64, StatsError> {
    let (mut a, mut b) = (bracket.low, bracket.high);
    let (mut fa, mut fb) = (function(a), function(b));
    if fa.is_nan() || fb.is_nan() || (fa > 0.0) == (fb > 0.0) && fa != 0.0 && fb != 0.0 {
        return Err(StatsError::NoSolution {
            what,
            why: "the function has one sign over the whole range",
        });
    }
    let (mut c, mut fc) = (a, fa);
    let mut width = b - a;
    let mut before = width;
    for _ in 0..MAX_STEPS {
        if (fb > 0.0) == (fc > 0.0) {
            (c, fc) = (a, fa);
            width = b - a;
            before = width;
        }
        if fc.abs() < fb.abs() {
            (a, b, c) = (b, c, b);
            (fa, fb, fc) = (fb, fc, fb);
        }
        let enough = 2.0 * f64::EPSILON * b.abs() + 0.5 * tolerance;
        let middle = 0.5 * (c - b);
        if middle.abs() <= enough || fb == 0.0 {
            return Ok(b);
        }
        let step = (before.abs() >= enough && fa.abs() > fb.abs())
            .then(|| interpolated_step([a, b, c], [fa, fb, fc], middle))
            .filter(|step| {
                2.0 * step.abs() < (3.0 * middle.abs() - enough).min(before.abs()) && step * middle > 0.0
            });
        (before, width) = match step {
            Some(step) => (width, step),
            None => (middle, middle),
        };
        (a, fa) = (b, fb);
        b += if width.abs() > enough {
            width
        } else {
            enough.copysign(middle)
        };
        fb = function(b);
    }
    Err(StatsError::NotConverged { what })
}

/// Brent's step by inverse quadratic interpolation, or by the secant where two points agree.
fn interpolated_step(points: [f64; 3], values: [f64; 3], middle: f64) -> f64 {
    let ([a, b, c], [fa, fb, fc]) = (points, values);
    let s = fb / fa;
    let (p, q) = if a.to_bits() == c.to_bits() {
        (2.0 * middle * s, 1.0 - s)
    } else {
        let (q, r) = (fa / fc, fb / fc);
        (
            s * (2.0 * middle * q * (q - r) - (b - a) * (r - 1.0)),
            (q - 1.0) * (r - 1.0) * (s - 1.0),
        )
    };
    if p > 0.0 { p / -q } else { -p / q }
}

/// The point where a function with one valley is least (golden section), to `tolerance` in the argument.
pub fn minimize(bracket: Bracket, tolerance: f64, function: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let Bracket { mut low, mut high } = bracket;
    let mut left = high - GOLDEN * (high - low);
    let mut right = low + GOLDEN * (high - low);
    let (mut at_left, mut at_right) = (function(left), function(right));
    for _ in 0..MAX_STEPS {
        if high - low <= tolerance {
            break;
        }
        if at_left < at_right {
            high = right;
            (right, at_right) = (left, at_left);
            left = high - GOLDEN * (high - low);
            at_left = function(left);
        } else {
            low = left;
            (left, at_left) = (right, at_right);
            right = low + GOLDEN * (high - low);
            at_right = function(right);
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_found_and_their_absence_is_said() {
        let root = brent("a root", Bracket::new(0.0, 10.0), 0.0, |x| x * x * x - 2.0).unwrap();
        assert!((root - 2.0_f64.cbrt()).abs() < 1e-15);
        let none = brent("a root", Bracket::new(0.0, 10.0), 0.0, |x| x + 1.0);
        assert!(matches!(none, Err(StatsError::NoSolution { .. })));
        let least = minimize(Bracket::new(-3.0, 8.0), 1e-9, |x| (x - 1.5).powi(2));
        assert!((least - 1.5).abs() < 1e-7);
    }
}
