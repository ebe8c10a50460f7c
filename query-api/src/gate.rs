//! What every request passes before its route and after its handler, in one step: an id, a deadline, a guard against other
//! sites, who asks, and the same headers and the same shape of errors on the way out.
//!
//! It is no stack of layers: each layer of a router boxes a future and copies the request once more, and a product asks for
//! a flag with every request of its own. What is known of a request before its route is one extension, [`Arrival`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::FromRequestParts;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{Either, select};
use tower::Service;

use crate::access::{self, Caller};
use crate::cors;
use crate::extract::JSON;
use crate::guards;
use crate::metrics::Observation;
use crate::problem::{ApiResult, Code, PROBLEM_JSON, Problem};
use crate::request_id::{REQUEST_ID, RequestId};
use crate::routes::Passage;
use crate::server::{Turn, Turns};
use crate::state::ApiState;

/// How long a request may take to arrive whole and be answered; streams count until their head is sent. Ten megabytes
/// arrive in that time at 3 Mbit/s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The route of requests that reach none, as a label of metrics.
const NO_ROUTE: &str = "unknown";

/// The service: routes behind their gate.
#[derive(Clone)]
pub struct Gate {
    state: Arc<ApiState>,
    router: Router,
}

/// What is known of a request before its route is, as its only extension of ours.
pub struct Arrival {
    /// What the handlers work with.
    pub state: Arc<ApiState>,
    /// The request's id.
    pub id: RequestId,
    /// Who asks.
    pub caller: Caller,
    /// What the route asks of the request; said once, by the route.
    pub passage: OnceLock<Passage>,
}

impl Arrival {
    /// The arrival that a request carries.
    ///
    /// # Errors
    /// `internal` for a request that came past the gate.
    pub fn of(extensions: &axum::http::Extensions) -> ApiResult<&Arc<Self>> {
        let arrival = extensions.get::<Arc<Self>>();
        arrival.ok_or_else(|| Problem::internal(PastTheGate))
    }

    /// The most bytes of a body that the route takes.
    pub fn body_max_bytes(extensions: &axum::http::Extensions) -> usize {
        let arrival = extensions.get::<Arc<Self>>();
        let passage = arrival.and_then(|arrival| arrival.passage.get());
        passage.map_or(0, |passage| passage.body_max_bytes)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a request reached a route without having passed the gate")]
struct PastTheGate;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        Arrival::of(&parts.extensions).map(|arrival| arrival.caller.clone())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        Arrival::of(&parts.extensions).map(|arrival| arrival.id)
    }
}

impl Gate {
    /// A gate before routes.
    pub fn new(state: Arc<ApiState>, router: Router) -> Self {
        Self { state, router }
    }

    /// Answers a request from the other end of a connection, whose timer ends it when it takes too long.
    pub async fn answer<B>(&self, request: Request<B>, peer: SocketAddr, turns: &Turns) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let observation = Observation::start();
        let deadline = turns.until(observation.started() + REQUEST_TIMEOUT);
        let id = RequestId::of(request.headers());
        let method = request.method().clone();
        let is_open = cors::is_open(request.uri().path());
        let is_encrypted = guards::is_encrypted(&self.state, peer.ip(), request.headers());
        let mut route = NO_ROUTE;
        let response = match guards::refuse_other_sites(self.state.hosts, &request) {
            Err(problem) => problem.into_response(),
            Ok(()) => match cors::preflight(&method, request.uri().path()) {
                Some(permission) => permission,
                None => self.pass(request, (id, peer), deadline, &mut route).await,
            },
        };
        let response = finish(response, id, (is_open, is_encrypted));
        observation.end(&method, route, response.status());
        response
    }

    /// The answer of the routes, or a problem when it took too long or a defect ended it.
    async fn pass<B>(
        &self,
        mut request: Request<B>,
        (id, peer): (RequestId, SocketAddr),
        deadline: Turn,
        route: &mut &'static str,
    ) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let arrived = OnceLock::new();
        let running = async {
            let caller = access::identify(&self.state, peer.ip(), &request).await;
            let arrival = Arc::new(Arrival {
                state: Arc::clone(&self.state),
                id,
                caller,
                passage: OnceLock::new(),
            });
            request
                .extensions_mut()
                .insert(Arc::clone(arrived.get_or_init(|| arrival)));
            let Ok(response): Result<_, Infallible> = self.router.clone().call(request).await;
            response
        };
        let running = pin!(AssertUnwindSafe(running).catch_unwind());
        let outcome = select(running, deadline).await;
        // Also of a request that took too long or met a defect it is known by then.
        if let Some(passage) = arrived
            .get()
            .and_then(|arrival: &Arc<Arrival>| arrival.passage.get())
        {
            *route = passage.pattern;
        }
        match outcome {
            Either::Left((Ok(response), _)) => response,
            Either::Left((Err(panic), _)) => {
                Problem::internal(Panicked(panic_text(panic.as_ref()))).into_response()
            }
            Either::Right(_) => Problem::new(
                Code::Timeout,
                "the request did not arrive whole, or could not be answered, in 30 seconds",
            )
            .into_response(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// The headers that every answer has, with room for those that most have: copied whole, and then written over.
static PLAIN: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(REQUEST_ID, HeaderValue::from_static(""));
    guards::write(&mut headers);
    headers
});

/// The same for what pages of other sites may read.
static OPEN: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = PLAIN.clone();
    cors::open(&mut headers);
    headers
});

/// Writes the body of a problem, logs its cause, and adds the headers that every answer has; those that a handler chose stay.
/// A body of which nobody says what it is is JSON.
fn finish(mut response: Response, id: RequestId, (is_open, is_encrypted): (bool, bool)) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        log(&problem, id);
        response = with_problem_body(response, &problem, id);
    }
    let every = if is_open { &*OPEN } else { &*PLAIN };
    let is_empty = response.body().size_hint().exact() == Some(0);
    let own = std::mem::replace(response.headers_mut(), every.clone());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.header());
    if is_empty {
        headers.remove(header::CONTENT_TYPE);
    }
    let mut latest = None;
    for (name, value) in own {
        match (name, &latest) {
            (Some(name), _) => {
                headers.insert(name.clone(), value);
                latest = Some(name);
            }
            (None, Some(name)) => drop(headers.append(name, value)),
            (None, None) => {}
        }
    }
    if is_encrypted {
        guards::write_encrypted(headers);
    }
    response
}

fn with_problem_body(response: Response, problem: &Problem, id: RequestId) -> Response {
    let (mut parts, _) = response.into_parts();
    let body = serde_json::to_vec(&problem.body(&id.to_string())).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(parts, Body::from(body))
}

fn log(problem: &Problem, id: RequestId) {
    let (code, cause) = (problem.code(), problem.cause_chain());
    let cause = cause.as_deref().unwrap_or("none");
    match code.status() {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(request.id = %id, code = code.as_str(), cause, "a request failed");
        }
        status if status.is_server_error() => {
            tracing::warn!(request.id = %id, code = code.as_str(), cause, "a request was put off");
        }
        _ => tracing::debug!(request.id = %id, code = code.as_str(), cause, "a request was refused"),
    }
}
