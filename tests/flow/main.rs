//! Whole-system tests: the program itself is run on files, streams and sockets, killed, starved and fed with rubbish, and its
//! tables are read back. What is tested is what a user relies on, never how it is done.
#![expect(
    clippy::print_stderr,
    reason = "who runs the tests is to know what they did not test"
)]

mod bad_input;
mod compat;
mod crash;
mod datasets;
mod dead_letters;
mod disk;
mod kept_ruleset;
mod kinesis;
mod operation;
mod peers;
mod power;
mod privacy;
mod refusals;
mod replay;
mod retention;
mod serve;
mod server;
mod support;
