//! Writes the OpenAPI document: `cargo run -p query-api --example openapi > query-api/openapi.json`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &query_api::openapi::document())?;
    out.write_all(b"\n")
}
