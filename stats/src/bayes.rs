//! Bayesian comparison of arms: chance to win, expected loss, credible intervals and the region of practical equivalence.
//!
//! A posterior is one of four kinds ([`posterior::Posterior`]); everything about two or more of them is an
//! integral over one variable and done by Gauss–Legendre panels, so nothing here is random. Priors are always stated by
//! the caller. A posterior is a statement about belief: it does not hold its error rate under repeated looks.

pub mod arms;
pub mod conjugate;
pub mod difference;
pub mod effect;
pub mod posterior;
