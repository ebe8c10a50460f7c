//! Every route over a real socket: happy paths, each error by its status and code, streams, limits and shutdown.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod conformance;
mod definitions;
mod evaluation;
mod events;
mod operation;
mod results;
mod safety;
mod server;
mod stream;
mod support;
