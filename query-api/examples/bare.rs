//! A bare axum handler that answers with a constant: what `evaluation` is compared with.
//!
//! `bare ADDRESS`; `POST /single` answers with 220 bytes, `POST /bulk` with 90 000, and neither looks at its body; `POST /json`
//! reads it as JSON, which no evaluation can do without, and answers with 220 bytes.

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::TcpListener;

static SINGLE: [u8; 220] = [b'7'; 220];
static BULK: [u8; 90_000] = [b'7'; 90_000];

fn constant(body: &'static [u8]) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], body)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned());
    let router = Router::new()
        .route("/single", post(async || constant(&SINGLE)))
        .route(
            "/json",
            post(async |Json(_): Json<serde_json::Value>| constant(&SINGLE)),
        )
        .route("/bulk", post(async || constant(&BULK)));
    axum::serve(TcpListener::bind(address).await?, router).await
}
