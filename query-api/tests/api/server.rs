//! Connections: slow ones, many headers, panics, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use query_api::{Gate, ServerLimits, serve_with_limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::Server;

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that the server resets has ended too.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    // What must never change: connections that say nothing, or too little, do not stay.
    let limits = ServerLimits {
        header_read_timeout: Duration::from_millis(100),
        ..ServerLimits::default()
    };
    let server = Server::start_with(limits).await;
    for beginning in ["", "G", "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: "] {
        let mut stream = connect(&server).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let answer = rest_of(stream).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_with_too_many_or_too_large_headers_are_refused() {
    let server = Server::start().await;
    let many = "x-a: b\r\n".repeat(65);
    let large = format!("x-a: {}\r\n", "b".repeat(512 * 1024));
    for headers in [many, large] {
        let mut stream = connect(&server).await;
        let head = format!("GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
        // The server may answer and close before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = rest_of(stream).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(server.get("/livez").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_give_their_places_back() {
    let limits = ServerLimits {
        connections_max: 2,
        ..ServerLimits::default()
    };
    let server = Server::start_with(limits).await;
    for _ in 0..20 {
        let mut stream = connect(&server).await;
        let request = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        assert!(rest_of(stream).await.starts_with("HTTP/1.1 200"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_is_answered_before_the_end() {
    // What must never change: a restart cuts off nobody who is being served.
    let server = Server::start().await;
    let mut stream = connect(&server).await;
    let body = r#"{"calls": [{"id": 1}]}"#;
    let head = format!(
        "POST /api/v1/stats HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 Continue"));
    server.begin_stop();
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = rest_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_is_a_problem_that_shows_nothing() {
    let server = Server::start().await;
    let router = axum::Router::new().route("/defect", axum::routing::get(defect));
    let gate = Gate::new(Arc::new(server.state()), router);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/defect", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve_with_limits(
        listener,
        gate,
        shutdown.clone(),
        ServerLimits::default(),
    ));
    for _ in 0..2 {
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!(answer.status().as_u16(), 500);
        let text = answer.text().await.unwrap();
        assert!(
            text.contains("\"internal\"") && !text.contains("secret"),
            "{text}"
        );
    }
    shutdown.cancel();
    task.await.unwrap().unwrap();
    server.stop().await;
}

async fn defect() -> &'static str {
    panic!("the secret of the defect")
}
