//! What guards people whose browsers come here: requests that only a page of another site would send are refused, and the
//! headers of every answer forbid the guessing of types, framing, reading across sites, and the way back to plain HTTP.

use std::net::IpAddr;

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Request, Uri};

use crate::access;
use crate::cors;
use crate::problem::{Code, Problem};
use crate::state::{ApiState, HostPolicy};

/// Which features of the browser a page may use; a header of pages.
pub const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// Who may embed an answer.
pub const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// None: our pages show text and forms.
pub const NO_FEATURES: HeaderValue = HeaderValue::from_static(
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), publickey-credentials-get=(), usb=()",
);

/// Nothing may be loaded, framed or sent from an answer that is data.
const DATA_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// A year, as ASVS 3.4.1 asks; names below ours are ours too.
const ENCRYPTED_ALWAYS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Whether a browser reaches the server over HTTPS: the settings say so, or a trusted proxy does for this request.
pub fn is_encrypted(state: &ApiState, peer: IpAddr, headers: &HeaderMap) -> bool {
    let settings = state.access.settings();
    let public_url = settings.public_url.as_deref();
    if public_url.is_some_and(|url| url.starts_with("https://")) {
        return true;
    }
    access::is_trusted(peer, &settings.trusted_proxies) && says_https(headers)
}

/// What the nearest proxy says, which stands last.
fn says_https(headers: &HeaderMap) -> bool {
    let said = headers.get_all("x-forwarded-proto").iter().next_back();
    let said = said.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    said.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// Writes the headers that every answer has unless its handler chose others.
pub fn write(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, SAME_ORIGIN);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, DATA_POLICY);
}

/// Keeps a browser that came over HTTPS there.
pub fn write_encrypted(headers: &mut HeaderMap) {
    headers.insert(header::STRICT_TRANSPORT_SECURITY, ENCRYPTED_ALWAYS);
}

/// Refuses what only a browser on another site's page would send.
///
/// While nobody has to log in, whoever reaches the port may do everything, so a page must not be able to use the
/// browser's place on this machine: neither by a request across sites, nor by a name that it makes point to 127.0.0.1.
///
/// # Errors
/// `unknown_host` and `cross_site`.
pub fn refuse_other_sites<B>(hosts: HostPolicy, request: &Request<B>) -> Result<(), Problem> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let host = host_of(uri, headers);
    if hosts == HostPolicy::Local && !host.is_some_and(is_local) {
        return Err(Problem::new(
            Code::UnknownHost,
            "this server answers for localhost and 127.0.0.1 only",
        ));
    }
    if method.is_safe() || cors::is_open(uri.path()) {
        return Ok(());
    }
    let fetch_site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign_site = fetch_site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let origin = headers
        .get(header::ORIGIN)
        .map(|value| value.to_str().unwrap_or(""));
    let foreign_origin = origin.is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none() || authority != host
    });
    if foreign_site || foreign_origin {
        return Err(Problem::new(
            Code::CrossSite,
            "a page of another site may not change anything here",
        ));
    }
    Ok(())
}

fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    named.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    let address = name.parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_loopback()) || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Method;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn check(hosts: HostPolicy, method: &Method, pairs: &[(&'static str, &'static str)]) -> Option<Code> {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        *request.uri_mut() = Uri::from_static("/api/v1/metrics");
        *request.headers_mut() = headers(pairs);
        let refused = refuse_other_sites(hosts, &request);
        refused.err().map(|problem| problem.code())
    }

    #[test]
    fn a_page_of_another_site_cannot_use_the_browsers_place() {
        // What must never change: without keys, a page elsewhere reads nothing and changes nothing.
        let local = ("host", "127.0.0.1:8080");
        assert_eq!(check(HostPolicy::Local, &Method::GET, &[local]), None);
        assert_eq!(
            check(HostPolicy::Local, &Method::POST, &[("host", "[::1]:80")]),
            None
        );
        assert_eq!(
            check(HostPolicy::Local, &Method::POST, &[("host", "LOCALHOST")]),
            None
        );
        for rebound in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
        ] {
            let refused = check(HostPolicy::Local, &Method::GET, &[("host", rebound)]);
            assert_eq!(refused, Some(Code::UnknownHost), "{rebound}");
        }
        assert_eq!(
            check(HostPolicy::Any, &Method::GET, &[("host", "ab.example")]),
            None
        );
        let across = [
            [local, ("sec-fetch-site", "cross-site")],
            [local, ("sec-fetch-site", "same-site")],
            [local, ("origin", "https://evil.example")],
            [local, ("origin", "null")],
        ];
        for pairs in across {
            assert_eq!(
                check(HostPolicy::Local, &Method::POST, &pairs),
                Some(Code::CrossSite)
            );
            assert_eq!(check(HostPolicy::Local, &Method::GET, &pairs), None);
        }
        let own = [
            local,
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(check(HostPolicy::Local, &Method::POST, &own), None);
    }

    #[test]
    fn the_nearest_proxy_says_how_the_browser_came() {
        // What must never change: what a client writes in front of the proxy's word counts for nothing.
        let says = |values: &[&'static str]| {
            let pairs = values.iter().map(|value| {
                (
                    HeaderName::from_static("x-forwarded-proto"),
                    HeaderValue::from_static(value),
                )
            });
            says_https(&pairs.collect())
        };
        assert!(says(&["https"]) && says(&["http, HTTPS"]) && says(&["http", "https"]));
        assert!(!says(&[]) && !says(&["http"]) && !says(&["https, http"]) && !says(&["https", "http"]));
    }
}
