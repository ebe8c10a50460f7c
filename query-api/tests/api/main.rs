//! Every route over a real socket: happy paths, each error by its status and code, streams, limits and shutdown.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod access;
mod analysis_plans;
mod attacks;
mod browser;
mod catalog;
mod conformance;
mod definitions;
mod evaluation;
mod events;
mod exposures;
mod life_cycle;
mod ofrep;
mod openfeature;
mod operation;
mod owners;
mod people;
mod postgres;
mod results;
mod safety;
mod schemathesis;
mod secrets;
mod server;
mod serving;
mod sign_on;
mod staleness;
mod stores;
mod stream;
mod support;
mod user_data;
