//! Who asks, and whether they may: every request passes [`identify`], every route of the table [`enforce`].
//!
//! A caller says who they are by a key or token (`Authorization: Bearer`, or `X-API-Key`) or by the cookie of a session. Who
//! says nothing is nobody, or, while nobody has to log in, whoever sits at the machine. A route whose permission stands in
//! no row of the table is refused to everybody.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use control::access::ProxyNetwork;
use control::permission::{self, Authority, Permission, Reach};
use control::store::Ownership;
use control::{ControlError, Denied, Document, ObjectKind, Principal, Resource, authorize};
use domain::RolloutScheduleKey;
use domain::rollout::{RolloutScheduleDefinition, RolloutStatus};

use crate::cookies;
use crate::handlers::definitions::STORE_RETRY_SECONDS;
use crate::metrics;
use crate::problem::{ApiResult, Code, Problem};
use crate::rates::{Bucket, Standing, Subject};
use crate::server::Peer;
use crate::state::ApiState;

/// The header that carries a key where `Authorization` is taken already.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The longest credential: a token of an identity provider with many groups.
const CREDENTIAL_MAX_BYTES: usize = 16 * 1024;

/// What a route asks of its caller, as a request extension that its row in the table sets.
#[derive(Debug, Clone, Copy)]
pub struct RoutePermission(pub &'static str);

/// The version of a draft that its caller may act on, as a request extension. A draft can turn to another flag, which they
/// may not be allowed to change.
#[derive(Debug, Clone, Copy)]
pub struct AllowedVersion(pub i64);

/// Who asks and from where, as a request extension.
#[derive(Clone)]
pub struct Caller {
    /// Who, or why they are refused wherever somebody has to be known.
    pub principal: Result<Principal, Problem>,
    /// Whether it could not be read who may come in.
    pub is_unread: bool,
    /// The secret of the session that they came by.
    pub session: Option<Arc<str>>,
    /// The address of their machine, or of the proxy that does not say whose.
    pub address: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::internal(Unidentified))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a request reached a route without having been identified")]
struct Unidentified;

/// Says who asks. Whether they may is for [`enforce`], which knows the route.
pub async fn identify(State(state): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let trusted = &state.access.settings().trusted_proxies;
    let address = peer.map(|peer| client_address(peer, trusted, request.headers()));
    let public_url = state.access.settings().public_url.as_deref();
    let session = cookies::session(request.headers(), public_url);
    let is_unsafe = !request.method().is_safe();
    // A request without credentials in local mode needs nothing to be read.
    let is_unread = state.access.needs_login() && !state.access.is_read();
    let principal = if is_unread {
        Ok(state.access.unread_principal())
    } else {
        principal(&state, request.headers(), (session.as_deref(), is_unsafe)).await
    };
    request.extensions_mut().insert(Caller {
        principal,
        is_unread,
        session,
        address,
    });
    request.extensions_mut().insert(state);
    next.run(request).await
}

async fn principal(
    state: &ApiState,
    headers: &HeaderMap,
    (session, is_unsafe): (Option<&str>, bool),
) -> Result<Principal, Problem> {
    if let Some(credential) = credential(headers)? {
        let known = state.access.check_bearer(credential).await;
        return known.ok_or_else(unauthenticated);
    }
    if let Some(session) = session
        && let Some(principal) = state.access.check_session(session).await?
    {
        if is_unsafe {
            refuse_unsaid_origin(headers)?;
        }
        return Ok(principal);
    }
    if state.access.needs_login() {
        return Ok(Principal::nobody());
    }
    Ok(Principal::local())
}

/// The key or token of a request.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let authorization = headers.get(header::AUTHORIZATION).map(|value| {
        let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(credential.trim())
    });
    let key = headers.get(API_KEY).map(|value| value.to_str().ok());
    match authorization.or(key) {
        None => Ok(None),
        Some(Some(credential)) if credential.len() <= CREDENTIAL_MAX_BYTES => Ok(Some(credential)),
        Some(_) => Err(unauthenticated()),
    }
}

/// The same words whatever is wrong: an answer that told more would help to guess.
fn unauthenticated() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "this needs a valid key in the header Authorization or X-API-Key, or a session",
    )
    .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// A browser says with every change from where it is made; a change by cookie that says nothing comes from no browser
/// that guards its cookies, and could be forged. That what is said is this site is seen to for all requests.
fn refuse_unsaid_origin(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Ok(());
    }
    Err(Problem::new(
        Code::CrossSite,
        "a change by session needs the header Origin; programs use keys",
    ))
}

/// Whether an address is one of a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[ProxyNetwork]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.0.contains(&address))
}

/// The address that a request came from: what trusted proxies say, read from the nearest on.
fn client_address(peer: IpAddr, trusted: &[ProxyNetwork], headers: &HeaderMap) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let said = headers.get_all("x-forwarded-for").iter().rev();
    let said = said.flat_map(|value| value.to_str().unwrap_or("").rsplit(','));
    for text in said {
        let Ok(address) = text.trim().parse::<IpAddr>() else {
            break;
        };
        if !is_trusted(nearest, trusted) {
            break;
        }
        nearest = address.to_canonical();
    }
    nearest
}

/// Lets a request through to its handler when its caller may, and often enough.
pub async fn enforce(
    Extension(RoutePermission(word)): Extension<RoutePermission>,
    Extension(state): Extension<Arc<ApiState>>,
    mut caller: Caller,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(row) = permission::permission(word) else {
        return Problem::internal(UnknownPermission(word)).into_response();
    };
    if row.word == "public" {
        return next.run(request).await;
    }
    let said = (request.headers(), !request.method().is_safe());
    if let Err(problem) = make_known(&state, row, &mut caller, said).await {
        return problem.into_response();
    }
    let standing = match admit(&state, row, &caller, request.headers()) {
        Ok(standing) => standing,
        Err(problem) => return problem.into_response(),
    };
    // A key that is no UTF-8 names nothing that anybody could own; the handler says what is wrong with it.
    let key = parameters.as_ref().ok().and_then(|found| found.iter().next());
    let key = key.map(|(_, value)| value);
    let mut response = match check(&state, row, &caller, key).await {
        Ok(allowed) => {
            if let Some(version) = allowed {
                request.extensions_mut().insert(version);
            }
            next.run(request).await
        }
        Err(problem) => {
            if problem.code() == Code::Forbidden {
                metrics::count_denial(row.word);
            }
            problem.into_response()
        }
    };
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    response
}

#[derive(Debug, thiserror::Error)]
#[error("permission {0} stands in no row of the table")]
struct UnknownPermission(&'static str);

/// Asks again who a caller is of whom nothing could be read, unless what they want is for everybody even then.
async fn make_known(
    state: &ApiState,
    row: &Permission,
    caller: &mut Caller,
    (headers, is_unsafe): (&HeaderMap, bool),
) -> Result<(), Problem> {
    let may = |principal: &Principal| authorize(principal, row.word, Resource::default()).is_ok();
    if !caller.is_unread || caller.principal.as_ref().is_ok_and(may) {
        return Ok(());
    }
    if !state.access.is_read_by_now().await {
        let detail = "the store does not answer, so it is not known who may do this; evaluations go on";
        return Err(Problem::unavailable(detail, STORE_RETRY_SECONDS));
    }
    let session = (caller.session.as_deref(), is_unsafe);
    caller.principal = principal(state, headers, session).await;
    caller.is_unread = false;
    Ok(())
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
    if known.is_some_and(|principal| principal.actor == control::Actor::local()) {
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

async fn check(
    state: &ApiState,
    row: &Permission,
    caller: &Caller,
    key: Option<&str>,
) -> Result<Option<AllowedVersion>, Problem> {
    // What is public is open to those too whose credentials are wrong: they may be on their way to new ones.
    let nobody = Principal::nobody();
    let principal = match &caller.principal {
        Ok(principal) => principal,
        Err(_) if row.public => &nobody,
        Err(problem) => return Err(problem.clone()),
    };
    let owned = match (row.owned, key, principal.authority) {
        (Some(kind), Some(key), Authority::Role(role)) if row.roles[role as usize] == Reach::Own => {
            state.store.ownership(kind, key).await?
        }
        _ => Ownership::default(),
    };
    may(state, principal, (row.word, &owned))?;
    if let (Some(ObjectKind::RolloutSchedule), Some(key)) = (row.owned, key)
        && let Some(schedule) = schedule(state, key).await?
    {
        refuse_foreign_flag(state, principal, schedule.definition.flag.as_str()).await?;
        let is_draft = schedule.definition.progress.status == RolloutStatus::Draft;
        return Ok(is_draft.then_some(AllowedVersion(schedule.version)));
    }
    Ok(None)
}

fn may(state: &ApiState, principal: &Principal, (word, owned): (&str, &Ownership)) -> Result<(), Problem> {
    let resource = Resource {
        owner: owned.owner.as_ref(),
        editors: &owned.editors,
        environment: Some(state.access.settings().environment.as_str()),
    };
    authorize(principal, word, resource).map_err(|denied| refusal(denied, principal, word))
}

/// Refuses whoever may not change a flag, and so may not let a schedule change it.
///
/// # Errors
/// `forbidden`.
pub async fn refuse_foreign_flag(state: &ApiState, principal: &Principal, flag: &str) -> Result<(), Problem> {
    let owned = state.store.ownership(ObjectKind::Flag, flag).await?;
    may(state, principal, ("flags:write", &owned))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn an_address_is_believed_from_trusted_proxies_only() {
        // What must never change: nobody chooses the address under which they are counted.
        let trusted = ["10.0.0.0/8", "::1/128"].map(|text| ProxyNetwork::try_from(text.to_owned()).unwrap());
        let address = |peer: &str, said: &'static str| {
            let headers = headers(&[("x-forwarded-for", said)]);
            client_address(peer.parse().unwrap(), &trusted, &headers).to_string()
        };
        assert_eq!(address("198.51.100.7", "203.0.113.1"), "198.51.100.7");
        assert_eq!(address("10.0.0.1", "203.0.113.1"), "203.0.113.1");
        assert_eq!(address("10.0.0.1", "1.2.3.4, 203.0.113.1"), "203.0.113.1");
        assert_eq!(address("10.0.0.1", "203.0.113.1, 10.0.0.2"), "203.0.113.1");
        assert_eq!(address("10.0.0.1", "1.2.3.4, junk"), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", "203.0.113.1"), "203.0.113.1");
    }

    #[test]
    fn a_credential_is_read_from_two_headers() {
        let read = |pairs| {
            credential(&headers(pairs))
                .map(|found| found.map(str::to_owned))
                .ok()
        };
        assert_eq!(
            read(&[("authorization", "Bearer abc")]),
            Some(Some("abc".to_owned()))
        );
        assert_eq!(
            read(&[("authorization", "bearer  abc")]),
            Some(Some("abc".to_owned()))
        );
        assert_eq!(read(&[("x-api-key", "abc")]), Some(Some("abc".to_owned())));
        assert_eq!(read(&[]), Some(None));
        for wrong in ["Basic abc", "abc", ""] {
            let mut map = HeaderMap::new();
            map.insert(header::AUTHORIZATION, HeaderValue::from_static(wrong));
            assert!(credential(&map).is_err(), "{wrong}");
        }
    }
}
