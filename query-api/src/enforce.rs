//! Whether a caller may: every route of the table is behind [`Enforce`].
//!
//! Where the caller is known and nothing that they could own is asked for, which is so for every evaluation, memory alone
//! answers, at once. A route whose permission stands in no row of the table is refused to everybody.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use axum::routing::future::RouteFuture;
use control::permission::{Authority, Permission, Reach, authorize_by, permission};
use control::store::Ownership;
use control::{ControlError, Denied, Document, ObjectKind, Principal, Resource};
use domain::RolloutScheduleKey;
use domain::rollout::{RolloutScheduleDefinition, RolloutStatus};
use futures::future::BoxFuture;
use tower::{Layer, Service};

use crate::access::{self, Caller, unauthenticated};
use crate::gate::Arrival;
use crate::handlers::definitions::STORE_RETRY_SECONDS;
use crate::metrics;
use crate::problem::{Code, Problem};
use crate::rates::{Bucket, Standing, Subject};
use crate::routes::Passage;
use crate::state::ApiState;

/// The version of a draft that its caller may act on, as a request extension. A draft can turn to another flag, which they
/// may not be allowed to change.
#[derive(Debug, Clone, Copy)]
pub struct AllowedVersion(pub i64);

/// The permission that whoever acts on a rollout needs for its flag.
const CHANGE_FLAGS: &str = "flags:write";

/// Puts a route behind what it asks of its callers.
#[derive(Debug, Clone, Copy)]
pub struct Enforce(pub Passage);

impl Layer<Route> for Enforce {
    type Service = Enforced;

    fn layer(&self, route: Route) -> Enforced {
        Enforced {
            passage: self.0,
            route,
        }
    }
}

/// A route behind what it asks of its callers.
#[derive(Clone)]
pub struct Enforced {
    passage: Passage,
    route: Route,
}

impl Service<Request> for Enforced {
    type Response = Response;
    type Error = Infallible;
    type Future = Passing;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, context)
    }

    fn call(&mut self, request: Request) -> Passing {
        let arrival = match Arrival::of(request.extensions()) {
            Ok(arrival) => Arc::clone(arrival),
            Err(problem) => return Passing::refused(problem),
        };
        // A request has one route: that it is said already cannot be.
        let _ = arrival.passage.set(self.passage);
        let Some(row) = self.passage.permission else {
            return Passing::refused(Problem::internal(UnknownPermission(self.passage.pattern)));
        };
        if row.word == "public" {
            return Passing::Through(self.route.call(request), None);
        }
        if arrival.caller.is_unread || row.owned.is_some() {
            return Passing::Asking(Box::pin(ask(arrival, row, request, self.route.clone())));
        }
        let standing = match admit(&arrival.state, row, &arrival.caller, request.headers()) {
            Ok(standing) => standing,
            Err(problem) => return Passing::refused(problem),
        };
        let allowed = checked(row, &arrival.caller)
            .and_then(|principal| may(&arrival.state, &principal, row, &Ownership::default()));
        match allowed {
            Ok(()) => Passing::Through(self.route.call(request), standing),
            Err(problem) => Passing::Refused(Some(denied(problem, row, standing))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the permission for {0} stands in no row of the table")]
struct UnknownPermission(&'static str);

/// The answer of a route, or a refusal before it.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly every request is; a box would cost each an allocation"
)]
pub enum Passing {
    /// The handler runs; how its caller's bucket stands is added to its answer.
    Through(RouteFuture<Infallible>, Option<Standing>),
    /// The store has to be asked first.
    Asking(BoxFuture<'static, Response>),
    /// The handler does not run.
    Refused(Option<Response>),
}

impl Passing {
    fn refused(problem: Problem) -> Self {
        Self::Refused(Some(problem.into_response()))
    }
}

impl Future for Passing {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.get_mut() {
            Self::Through(route, standing) => {
                let Ok(mut response) = ready!(Pin::new(route).poll(context));
                if let Some(standing) = standing {
                    standing.write(response.headers_mut());
                }
                response
            }
            Self::Asking(answer) => ready!(answer.as_mut().poll(context)),
            Self::Refused(response) => response.take().unwrap_or_default(),
        };
        Poll::Ready(Ok(response))
    }
}

/// Asks the store what memory does not know, and lets the request through when its caller may, and often enough.
async fn ask(
    mut arrival: Arc<Arrival>,
    row: &'static Permission,
    mut request: Request,
    mut route: Route,
) -> Response {
    let said = (request.headers(), !request.method().is_safe());
    match known_again(&arrival, row, said).await {
        Ok(None) => {}
        Ok(Some(caller)) => {
            arrival = Arc::new(Arrival {
                state: Arc::clone(&arrival.state),
                id: arrival.id,
                caller,
                passage: arrival.passage.clone(),
            });
            request.extensions_mut().insert(Arc::clone(&arrival));
        }
        Err(problem) => return problem.into_response(),
    }
    let standing = match admit(&arrival.state, row, &arrival.caller, request.headers()) {
        Ok(standing) => standing,
        Err(problem) => return problem.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    // A key that is no UTF-8 names nothing that anybody could own; the handler says what is wrong with it.
    let parameters = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
    let key = parameters.as_ref().and_then(|found| found.iter().next());
    let key = key.map(|(_, value)| value);
    match check(&arrival.state, row, &arrival.caller, key).await {
        Ok(Some(version)) => drop(parts.extensions.insert(version)),
        Ok(None) => {}
        Err(problem) => return denied(problem, row, standing),
    }
    let Ok(mut response) = route.call(Request::from_parts(parts, body)).await;
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    response
}

/// The answer to a caller who may not.
fn denied(problem: Problem, row: &Permission, standing: Option<Standing>) -> Response {
    if problem.code() == Code::Forbidden {
        metrics::count_denial(row.word);
    }
    let mut response = problem.into_response();
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    response
}

/// Asks again who a caller is of whom nothing could be read, unless what they want is for everybody even then.
async fn known_again(
    arrival: &Arrival,
    row: &Permission,
    (headers, is_unsafe): (&HeaderMap, bool),
) -> Result<Option<Caller>, Problem> {
    let (state, caller) = (&arrival.state, &arrival.caller);
    let may = |principal: &Principal| authorize_by(row, principal, Resource::default()).is_ok();
    if !caller.is_unread || caller.principal.as_ref().is_ok_and(may) {
        return Ok(None);
    }
    if !state.access.is_read_by_now().await {
        let detail = "the store does not answer, so it is not known who may do this; evaluations go on";
        return Err(Problem::unavailable(detail, STORE_RETRY_SECONDS));
    }
    let session = (caller.session.as_deref(), is_unsafe);
    let principal = access::principal(state, headers, session).await;
    Ok(Some(Caller {
        principal,
        is_unread: false,
        ..caller.clone()
    }))
}

/// Takes the request out of its bucket. Whoever sits at the machine is not counted: they would only slow themselves.
fn admit(
    state: &ApiState,
    row: &Permission,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<Standing>, Problem> {
    let known = caller.principal.as_ref().ok();
    let known = known.filter(|principal| principal.authority != Authority::Nobody);
    if known.is_some_and(|principal| principal.actor.is_local()) {
        return Ok(None);
    }
    let now = state.clock.now();
    let (bucket, subject) = match known {
        _ if row.word == "session:open" => (Bucket::Login, Subject::Address(caller.address)),
        Some(principal) => (Bucket::of(row.word), Subject::Actor(&principal.actor)),
        None => (Bucket::Unknown, Subject::Address(caller.address)),
    };
    if bucket == Bucket::Ingest {
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        state
            .rates
            .take((Bucket::IngestBytes, subject), length.unwrap_or(0), now)?;
    }
    state.rates.take((bucket, subject), 1, now).map(Some)
}

/// The principal whose rights count. What is public is open to those too whose credentials are wrong: they may be on their
/// way to new ones.
fn checked<'c>(row: &Permission, caller: &'c Caller) -> Result<Cow<'c, Principal>, Problem> {
    match &caller.principal {
        Ok(principal) => Ok(Cow::Borrowed(principal)),
        Err(_) if row.public => Ok(Cow::Owned(Principal::nobody())),
        Err(problem) => Err(problem.clone()),
    }
}

async fn check(
    state: &ApiState,
    row: &Permission,
    caller: &Caller,
    key: Option<&str>,
) -> Result<Option<AllowedVersion>, Problem> {
    let principal = checked(row, caller)?;
    let owned = match (row.owned, key, principal.authority) {
        (Some(kind), Some(key), Authority::Role(role)) if row.roles[role as usize] == Reach::Own => {
            state.store.ownership(kind, key).await?
        }
        _ => Ownership::default(),
    };
    may(state, &principal, row, &owned)?;
    if let (Some(ObjectKind::RolloutSchedule), Some(key)) = (row.owned, key)
        && let Some(schedule) = schedule(state, key).await?
    {
        refuse_foreign_flag(state, &principal, schedule.definition.flag.as_str()).await?;
        let is_draft = schedule.definition.progress.status == RolloutStatus::Draft;
        return Ok(is_draft.then_some(AllowedVersion(schedule.version)));
    }
    Ok(None)
}

fn may(state: &ApiState, principal: &Principal, row: &Permission, owned: &Ownership) -> Result<(), Problem> {
    let resource = Resource {
        owner: owned.owner.as_ref(),
        editors: &owned.editors,
        environment: Some(state.access.settings().environment.as_str()),
    };
    authorize_by(row, principal, resource).map_err(|denied| refusal(denied, principal, row.word))
}

/// Refuses whoever may not change a flag, and so may not let a schedule change it.
///
/// # Errors
/// `forbidden`.
pub async fn refuse_foreign_flag(state: &ApiState, principal: &Principal, flag: &str) -> Result<(), Problem> {
    let owned = state.store.ownership(ObjectKind::Flag, flag).await?;
    let row = permission(CHANGE_FLAGS).ok_or_else(|| Problem::internal(UnknownPermission(CHANGE_FLAGS)))?;
    may(state, principal, row, &owned)
}

/// A rollout schedule, when there is such a one.
async fn schedule(
    state: &ApiState,
    key: &str,
) -> Result<Option<Document<RolloutScheduleDefinition>>, Problem> {
    let Ok(key) = RolloutScheduleKey::new(key) else {
        return Ok(None);
    };
    match state.store.get::<RolloutScheduleDefinition>(&key).await {
        Ok(document) => Ok(Some(document)),
        Err(ControlError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn refusal(denied: Denied, principal: &Principal, word: &str) -> Problem {
    match denied {
        Denied::Unauthenticated => unauthenticated(),
        Denied::Forbidden => {
            let detail = format!(
                "{} may not do this; it needs the permission {}",
                principal.actor, word
            );
            Problem::new(Code::Forbidden, detail)
        }
        Denied::NotOwner => Problem::new(
            Code::Forbidden,
            "this belongs to somebody else, who can share it; administrators may change it too",
        ),
        Denied::OtherEnvironment => Problem::new(Code::Forbidden, "the key is bound to another environment"),
    }
}
