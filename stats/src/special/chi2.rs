//! The chi-square distribution.

use super::gamma;

/// P(X > x).
pub fn sf(x: f64, df: f64) -> f64 {
    ln_sf(x, df).exp()
}

/// ln P(X > x).
pub fn ln_sf(x: f64, df: f64) -> f64 {
    gamma::ln_gamma_tails(0.5 * df, 0.5 * x).upper
}

/// P(X ≤ x).
pub fn cdf(x: f64, df: f64) -> f64 {
    gamma::ln_gamma_tails(0.5 * df, 0.5 * x).lower.exp()
}

/// The x that P(X > x) = p holds for.
pub fn isf(p: f64, df: f64) -> f64 {
    2.0 * gamma::gamma_isf(0.5 * df, p)
}

/// The x that P(X ≤ x) = p holds for.
pub fn quantile(p: f64, df: f64) -> f64 {
    2.0 * gamma::gamma_quantile(0.5 * df, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_hold() {
        assert!((isf(0.05, 1.0) - 3.841_458_820_694_124).abs() < 1e-13);
        assert!((sf(3.841_458_820_694_124, 1.0) - 0.05).abs() < 1e-15);
        assert!((sf(1000.0, 1.0) / 1.795_832_784_800_726e-219 - 1.0).abs() < 1e-11);
    }
}
