//! Numerical integration by Gauss–Legendre panels.

use std::sync::OnceLock;

/// Points of one panel: exact for polynomials up to degree 47.
pub const POINTS: usize = 24;

/// A point of the rule on [−1, 1] with its weight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Node {
    /// Where.
    pub at: f64,
    /// How much.
    pub weight: f64,
}

/// The rule on [−1, 1]: the roots of the Legendre polynomial by Newton's method.
pub fn legendre() -> &'static [Node; POINTS] {
    static RULE: OnceLock<[Node; POINTS]> = OnceLock::new();
    RULE.get_or_init(|| {
        let mut rule = [Node::default(); POINTS];
        let n = POINTS as f64;
        for (index, node) in rule.iter_mut().enumerate() {
            let mut x = (std::f64::consts::PI * (index as f64 + 0.75) / (n + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..20 {
                let (mut before, mut value) = (1.0, x);
                for k in 2..=POINTS {
                    let k = k as f64;
                    (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
                }
                slope = n * (x * value - before) / (x * x - 1.0);
                x -= value / slope;
            }
            *node = Node {
                at: x,
                weight: 2.0 / ((1.0 - x * x) * slope * slope),
            };
        }
        rule
    })
}

/// The points of `panels` equal panels from `low` to `high`, for integrals that are taken more than once.
pub fn nodes(low: f64, high: f64, panels: u32) -> Vec<Node> {
    let half = 0.5 * (high - low) / f64::from(panels);
    (0..panels)
        .flat_map(|panel| {
            let middle = low + half * f64::from(2 * panel + 1);
            legendre().iter().map(move |node| Node {
                at: half.mul_add(node.at, middle),
                weight: half * node.weight,
            })
        })
        .collect()
}

/// The integral of `function` from `low` to `high` in `panels` equal panels.
pub fn integrate(low: f64, high: f64, panels: u32, function: impl Fn(f64) -> f64) -> f64 {
    let half = 0.5 * (high - low) / f64::from(panels);
    let mut sum = 0.0;
    for panel in 0..panels {
        let middle = low + half * f64::from(2 * panel + 1);
        let part: f64 = legendre()
            .iter()
            .map(|node| node.weight * function(half.mul_add(node.at, middle)))
            .sum();
        sum += part * half;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_functions_are_integrated_to_the_last_digits() {
        let value = integrate(0.0, 3.0, 2, f64::exp);
        assert!((value / 3.0_f64.exp_m1() - 1.0).abs() < 1e-15);
        let weights: f64 = legendre().iter().map(|node| node.weight).sum();
        assert!((weights - 2.0).abs() < 1e-14);
    }
}
