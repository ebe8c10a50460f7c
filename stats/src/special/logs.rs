//! Sums, differences and near-cancellations in logarithms.

/// ½·ln(2π).
pub const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// ln(1 + x) − x without cancellation, for x > −1.
pub fn ln_1p_minus(x: f64) -> f64 {
    if !(-0.5..=1.0).contains(&x) {
        return x.ln_1p() - x;
    }
    // ln(1 + x) = 2·atanh(r) with r = x/(2 + x), of which 2r − x = −x·r is taken out by hand.
    let r = x / (2.0 + x);
    let r2 = r * r;
    let (mut sum, mut power) = (0.0, 1.0);
    for k in 1..60 {
        let term = power / f64::from(2 * k + 1);
        sum += term;
        if term <= sum * 1e-18 {
            break;
        }
        power *= r2;
    }
    r * (2.0 * r2 * sum - x)
}

/// ln(1 − eˣ) for x ≤ 0 (Mächler 2012).
pub fn ln_1m_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 {
        (-x.exp_m1()).ln()
    } else {
        (-x.exp()).ln_1p()
    }
}

/// ln(eᵃ + eᵇ).
pub fn ln_add_exp(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high.is_infinite() {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// ln Σ eˣ over a list; −∞ for an empty one.
pub fn ln_sum_exp(terms: &[f64]) -> f64 {
    let high = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high.is_infinite() {
        return high;
    }
    high + terms.iter().map(|term| (term - high).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancellation_leaves_all_digits() {
        // Truth: mpmath with 40 digits.
        let cases = [
            (1e-10, -4.999_999_999_666_667e-21),
            (-0.3, -0.056_674_943_938_732_37),
            (0.9, -0.258_146_113_827_605_2),
        ];
        for (x, truth) in cases {
            assert!((ln_1p_minus(x) / truth - 1.0).abs() < 4e-16, "{x}");
        }
        assert!((ln_1m_exp(-1e-20) + 46.051_701_859_880_914).abs() < 1e-12);
        assert!((ln_add_exp(-1000.0, -1000.0) + 999.306_852_819_440_1).abs() < 1e-12);
        assert!(ln_sum_exp(&[]).is_infinite());
    }
}
