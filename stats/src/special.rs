//! Special functions: tails, their logarithms and their inverses.
//!
//! Every distribution answers the lower tail, the upper tail and the logarithms of both, each computed from its own
//! side, so that no tail is ever one minus the other. `statrs` gives `erfc` and its inverse, which hold to a few units
//! in the last place; its incomplete beta and gamma functions stop after a fixed number of terms and its Student t
//! tail goes through one minus the other side, so those are our own.

pub mod beta;
pub mod chi2;
pub mod discrete;
pub mod gamma;
pub mod logs;
pub mod noncentral;
pub mod normal;
pub mod quadrature;
pub mod roots;
pub mod student_t;
