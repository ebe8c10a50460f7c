//! Error-spending functions: how much of the error rate may be used up by a share of the information.
//!
//! Lan and DeMets (1983), Kim and DeMets (1987), Hwang, Shih and DeCani (1990).

use crate::error::{StatsError, check_finite, check_positive};
use crate::special::normal;

/// How an error rate is spread over the information.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spending {
    /// Almost nothing early, close to O'Brien and Fleming's boundary: 2·(1 − Φ(z₁₋α/₂ / √t)).
    ObrienFleming,
    /// Evenly, close to Pocock's boundary: α·ln(1 + (e − 1)·t).
    Pocock,
    /// α·t to the power rho.
    Power {
        /// Above 0; 1 is even, 3 is close to O'Brien and Fleming.
        rho: f64,
    },
    /// α·(1 − e^(−γt)) / (1 − e^(−γ)).
    HwangShihDecani {
        /// Any finite number; 1 is close to Pocock, −4 to O'Brien and Fleming, 0 is even.
        gamma: f64,
    },
}

impl Spending {
    /// Checks the parameter.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when it is out of range.
    pub fn check(&self) -> Result<(), StatsError> {
        match *self {
            Self::ObrienFleming | Self::Pocock => Ok(()),
            Self::Power { rho } => check_positive("rho", rho).map(drop),
            Self::HwangShihDecani { gamma } => check_finite("gamma", gamma).map(drop),
        }
    }

    /// The error spent when the share `fraction` of the information is there, out of `alpha` in all.
    ///
    /// A fraction above 1 counts as 1: what was observed beyond the plan has nothing left to spend.
    pub fn spent(&self, fraction: f64, alpha: f64) -> f64 {
        let t = fraction.clamp(0.0, 1.0);
        match *self {
            Self::ObrienFleming => 2.0 * normal::sf(normal::isf(alpha / 2.0) / t.sqrt()),
            Self::Pocock => alpha * (t * (std::f64::consts::E - 1.0)).ln_1p(),
            Self::Power { rho } => alpha * t.powf(rho),
            Self::HwangShihDecani { gamma } if gamma.abs() < 1e-12 => alpha * t,
            // Both forms are the same; each is used where its exponentials do not overflow.
            Self::HwangShihDecani { gamma } if gamma > 0.0 => {
                alpha * (-gamma * t).exp_m1() / (-gamma).exp_m1()
            }
            Self::HwangShihDecani { gamma } => {
                alpha * (gamma * (1.0 - t)).exp() * (gamma * t).exp_m1() / gamma.exp_m1()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_starts_at_nothing_and_ends_at_alpha() {
        let functions = [
            Spending::ObrienFleming,
            Spending::Pocock,
            Spending::Power { rho: 2.0 },
            Spending::HwangShihDecani { gamma: -4.0 },
            Spending::HwangShihDecani { gamma: 0.0 },
            Spending::HwangShihDecani { gamma: 800.0 },
            Spending::HwangShihDecani { gamma: -800.0 },
        ];
        for function in functions {
            assert!(function.spent(0.0, 0.05) < 1e-300 && (function.spent(1.0, 0.05) - 0.05).abs() < 1e-12);
            let path: Vec<f64> = (0..=100)
                .map(|step| function.spent(f64::from(step) / 100.0, 0.05))
                .collect();
            assert!(
                path.windows(2).all(|pair| pair[0] <= pair[1] + 1e-17),
                "{function:?}"
            );
            assert!((function.spent(7.0, 0.05) - 0.05).abs() < 1e-12);
        }
        assert!(Spending::Power { rho: 0.0 }.check().is_err());
        assert!(Spending::HwangShihDecani { gamma: f64::NAN }.check().is_err());
    }
}
