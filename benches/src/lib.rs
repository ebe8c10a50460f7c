//! Nothing but a place for the benchmarks in `benches/`; `cargo bench` runs them.
