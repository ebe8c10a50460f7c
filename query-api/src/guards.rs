//! The headers by which browsers guard what they were given: no guessing of types, no framing, no reading across sites,
//! and no way back to plain HTTP.

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::access;
use crate::server::Peer;
use crate::state::ApiState;

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
pub fn is_encrypted(state: &ApiState, request: &Request) -> bool {
    let settings = state.access.settings();
    let public_url = settings.public_url.as_deref();
    if public_url.is_some_and(|url| url.starts_with("https://")) {
        return true;
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let is_trusted = peer.is_some_and(|peer| access::is_trusted(peer, &settings.trusted_proxies));
    is_trusted && says_https(request.headers())
}

/// What the nearest proxy says, which stands last.
fn says_https(headers: &HeaderMap) -> bool {
    let said = headers.get_all("x-forwarded-proto").iter().next_back();
    let said = said.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    said.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// Adds the headers that every answer has; those that a handler chose stay.
pub fn write(headers: &mut HeaderMap, is_encrypted: bool) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, SAME_ORIGIN);
    headers.entry(RESOURCE_POLICY).or_insert(SAME_ORIGIN);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(DATA_POLICY);
    if is_encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, ENCRYPTED_ALWAYS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
