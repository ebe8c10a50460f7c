//! Who asks: every request passes [`identify`]. Whether they may is for [`crate::enforce`], which knows the route.
//!
//! A caller says who they are by a key or token (`Authorization: Bearer`, or `X-API-Key`) or by the cookie of a session. Who
//! says nothing is nobody, or, while nobody has to log in, whoever sits at the machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use control::Principal;
use control::access::ProxyNetwork;

use crate::cookies;
use crate::problem::{Code, Problem};
use crate::state::ApiState;

/// The header that carries a key where `Authorization` is taken already.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The longest credential: a token of an identity provider with many groups.
const CREDENTIAL_MAX_BYTES: usize = 16 * 1024;

/// Who asks and from where.
#[derive(Clone)]
pub struct Caller {
    /// Who, or why they are refused wherever somebody has to be known.
    pub principal: Result<Principal, Problem>,
    /// Whether it could not be read who may come in.
    pub is_unread: bool,
    /// The secret of the session that they came by.
    pub session: Option<Arc<str>>,
    /// The address of their machine, or of the proxy that does not say whose.
    pub address: IpAddr,
}

/// Says who asks. Whether they may is for [`crate::enforce`], which knows the route.
pub async fn identify<B>(state: &ApiState, peer: IpAddr, request: &Request<B>) -> Caller {
    let headers = request.headers();
    let settings = state.access.settings();
    let address = client_address(peer, &settings.trusted_proxies, headers);
    let session = cookies::session(headers, settings.public_url.as_deref());
    // A request without credentials in local mode needs nothing to be read.
    let is_unread = state.access.needs_login() && !state.access.is_read();
    let principal = if is_unread {
        Ok(state.access.unread_principal())
    } else {
        let is_unsafe = !request.method().is_safe();
        principal(state, headers, (session.as_deref(), is_unsafe)).await
    };
    Caller {
        principal,
        is_unread,
        session,
        address,
    }
}

/// The principal of a request's credentials.
///
/// # Errors
/// `unauthenticated` when they are wrong, `cross_site` for a change by session that does not say from where.
pub async fn principal(
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
pub fn unauthenticated() -> Problem {
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
