//! Binomial, Poisson and hypergeometric probabilities, from saddle-point terms and incomplete integrals.

use super::beta::{Share, ln_beta_tails, ln_beta_terms};
use super::gamma::{LnTails, ln_gamma_tails, ln_gamma_terms};

/// ln P(X = k) of n trials with success probability `share`.
pub fn ln_binomial_pmf(k: f64, n: f64, share: Share) -> f64 {
    if k < 0.0 || k > n {
        return f64::NEG_INFINITY;
    }
    if share.x <= 0.0 {
        return if k > 0.0 { f64::NEG_INFINITY } else { 0.0 };
    }
    if share.y <= 0.0 {
        return if k < n { f64::NEG_INFINITY } else { 0.0 };
    }
    if k <= 0.0 {
        return n * ln_share(share.swapped());
    }
    if k >= n {
        return n * ln_share(share);
    }
    ln_beta_terms(k + 1.0, n - k + 1.0, share) - share.x.ln() - share.y.ln() - (n + 1.0).ln()
}

/// The logarithm of a share, from its complement where that is the smaller.
fn ln_share(share: Share) -> f64 {
    if share.y < 0.5 {
        (-share.y).ln_1p()
    } else {
        share.x.ln()
    }
}

/// ln P(X ≤ k) and ln P(X > k) of n trials.
pub fn ln_binomial_tails(k: f64, n: f64, share: Share) -> LnTails {
    if k < 0.0 {
        return LnTails {
            lower: f64::NEG_INFINITY,
            upper: 0.0,
        };
    }
    if k >= n {
        return LnTails {
            lower: 0.0,
            upper: f64::NEG_INFINITY,
        };
    }
    let tails = ln_beta_tails(k + 1.0, n - k, share);
    LnTails {
        lower: tails.upper,
        upper: tails.lower,
    }
}

/// P(X ≤ k) of n trials.
pub fn binomial_cdf(k: f64, n: f64, p: f64) -> f64 {
    ln_binomial_tails(k, n, Share::new(p)).lower.exp()
}

/// P(X > k) of n trials.
pub fn binomial_sf(k: f64, n: f64, p: f64) -> f64 {
    ln_binomial_tails(k, n, Share::new(p)).upper.exp()
}

/// ln P(X = k) of a Poisson variable.
pub fn ln_poisson_pmf(k: f64, rate: f64) -> f64 {
    if rate <= 0.0 {
        return if k > 0.0 { f64::NEG_INFINITY } else { 0.0 };
    }
    if k <= 0.0 {
        return -rate;
    }
    ln_gamma_terms(k, rate) - k.ln()
}

/// ln P(X ≤ k) and ln P(X > k) of a Poisson variable.
pub fn ln_poisson_tails(k: f64, rate: f64) -> LnTails {
    if k < 0.0 {
        return LnTails {
            lower: f64::NEG_INFINITY,
            upper: 0.0,
        };
    }
    let tails = ln_gamma_tails(k + 1.0, rate);
    LnTails {
        lower: tails.upper,
        upper: tails.lower,
    }
}

/// An urn from which is drawn without replacement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Urn {
    /// All balls.
    pub total: f64,
    /// The marked balls.
    pub marked: f64,
    /// The drawn balls.
    pub drawn: f64,
}

impl Urn {
    /// The least number of marked balls that can be drawn.
    pub fn least(&self) -> f64 {
        (self.drawn + self.marked - self.total).max(0.0)
    }

    /// The greatest number of marked balls that can be drawn.
    pub fn greatest(&self) -> f64 {
        self.drawn.min(self.marked)
    }

    /// ln P(X = k), k marked balls among those drawn (hypergeometric, after Loader 2000).
    pub fn ln_pmf(&self, k: f64) -> f64 {
        if k < self.least() || k > self.greatest() {
            return f64::NEG_INFINITY;
        }
        if self.drawn <= 0.0 || self.drawn >= self.total {
            return 0.0;
        }
        let share = Share::of(self.drawn, self.total - self.drawn);
        ln_binomial_pmf(k, self.marked, share)
            + ln_binomial_pmf(self.drawn - k, self.total - self.marked, share)
            - ln_binomial_pmf(self.drawn, self.total, share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_match_the_products_they_stand_for() {
        let p = Share::new(0.3);
        let exact = 120.0 * 0.3_f64.powi(3) * 0.7_f64.powi(7);
        assert!((ln_binomial_pmf(3.0, 10.0, p).exp() / exact - 1.0).abs() < 1e-14);
        assert!((ln_binomial_pmf(0.0, 1e9, Share::new(1e-12)) + 1e-3).abs() < 1e-15);
        assert!((ln_poisson_pmf(2.0, 3.0).exp() - 4.5 * (-3.0_f64).exp()).abs() < 1e-15);
        let urn = Urn {
            total: 8.0,
            marked: 4.0,
            drawn: 4.0,
        };
        assert!((urn.ln_pmf(3.0).exp() - 16.0 / 70.0).abs() < 1e-14);
        assert!((binomial_cdf(2.0, 10.0, 0.3) - 0.382_782_786_4).abs() < 1e-10);
    }
}
