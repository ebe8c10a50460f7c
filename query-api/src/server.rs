//! The listening loop: connections with limits, and an orderly end.
//!
//! HTTP/1.1 alone: encryption and HTTP/2 are left to the proxy in front, and a server that need not guess the protocol
//! starts the clock of the header timeout with the connection, not with its first byte.

mod turns;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::Gate;

pub use turns::{Turn, Turns};

/// What one connection, and all of them together, may take.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// How long a request's head may take to arrive, from the moment the connection is free for it. Ten seconds: a
    /// phone on a bad network needs three, a slowloris wants minutes.
    pub header_read_timeout: Duration,
    /// The most headers of a request. Browsers send about twenty, proxies add a dozen.
    pub headers_max: usize,
    /// The bytes of a request's head beyond which no more of it is read: four times what common proxies let through.
    /// What has arrived with the last read is still looked at, so that up to twice as much may pass.
    pub head_max_bytes: usize,
    /// The most open connections. Each costs about 40 KiB when idle; beyond that, new ones wait to be accepted.
    pub connections_max: usize,
    /// How long running requests may go on after shutdown began.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(10),
            headers_max: 64,
            head_max_bytes: 64 * 1024,
            connections_max: 10_000,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The wait after a failed `accept`: it fails when the process has no file descriptor left, and asking again at once
/// would burn a core until one comes free.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets running requests end; returns when the last connection is closed or cut.
///
/// # Errors
/// None today: a failure to accept is waited out. The type leaves room for listeners that can end.
pub async fn serve(listener: TcpListener, gate: Gate, shutdown: CancellationToken) -> io::Result<()> {
    serve_with_limits(listener, gate, shutdown, ServerLimits::default()).await
}

/// [`serve`] with limits of the caller's choice.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with_limits(
    listener: TcpListener,
    gate: Gate,
    shutdown: CancellationToken,
    limits: ServerLimits,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    // Cut is what ends connections that are still busy when the drain time is over.
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let ends = (shutdown.clone(), cut.clone());
        let connection = serve_connection((stream, peer), gate.clone(), ends, limits.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "cutting connections that are still busy"
        );
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // The slot first: what is accepted is served, and what cannot be served waits in the kernel's queue.
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are small and written whole; waiting to fill a packet would only delay them.
    stream.set_nodelay(true)?;
    Ok((stream, peer, slot))
}

async fn serve_connection(
    (stream, peer): (TcpStream, SocketAddr),
    gate: Gate,
    (shutdown, cut): (CancellationToken, CancellationToken),
    limits: ServerLimits,
) {
    let turns = Turns::default();
    let service = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(gate.answer(request, peer, &turns).await)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(Turns::default())
        .header_read_timeout(limits.header_read_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_max_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A token is asked under a lock that all connections share; in here it is asked when it has something to say.
    let mut stop: FuturesUnordered<_> = [shutdown.cancelled()].into_iter().collect();
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        _ = stop.next() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = outcome {
        // Clients go away all the time; that is worth a line only when one hunts for it.
        tracing::debug!(error = %error, "a connection ended early");
    }
}
