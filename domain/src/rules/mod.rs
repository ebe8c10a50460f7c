//! The rules engine: who gets what.
pub mod definition;
