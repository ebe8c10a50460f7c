//! Every route over a real socket: happy paths, each error by its status and code, streams, limits and shutdown.

mod definitions;
mod evaluation;
mod events;
mod operation;
mod results;
mod safety;
mod server;
mod stream;
mod support;
