//! Special functions: tails, their logarithms and their inverses.
//!
//! Every distribution answers the lower tail, the upper tail and the logarithms of both, each computed from its own
//! side, so that no tail is ever one minus the other. All are our own: those of `statrs` lose digits from the eleventh on
//! (`erfc`), stop after a fixed number of terms (incomplete beta and gamma) or go through one minus the other side
//! (Student t). Tests hold both against each other where `statrs` is right.

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
