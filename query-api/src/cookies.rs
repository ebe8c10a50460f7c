//! The cookie of a session.
//!
//! Behind HTTPS it is `__Host-sid`, which browsers send to this host alone, over HTTPS alone, and show to no script. On plain
//! HTTP, which this machine alone can speak to, browsers would not keep such a cookie, so it is `sid` without `Secure`.

use std::sync::Arc;

use axum::http::header::{self, HeaderMap, HeaderValue};

/// The name behind HTTPS: browsers take it only with `Secure`, for the whole host, and from the host itself.
const SECURE_NAME: &str = "__Host-sid";

/// The name on plain HTTP.
const PLAIN_NAME: &str = "sid";

/// The secret of the session that a request came by.
pub fn session(headers: &HeaderMap) -> Option<Arc<str>> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies.flat_map(|value| value.to_str().unwrap_or("").split(';'));
    pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        [SECURE_NAME, PLAIN_NAME].contains(&name).then(|| value.into())
    })
}

/// The header that gives a browser its session, or takes it back when the secret is empty.
pub fn set_session(public_url: Option<&str>, secret: &str) -> HeaderValue {
    let is_secure = public_url.is_some_and(|url| url.starts_with("https://"));
    let (name, secure) = match is_secure {
        true => (SECURE_NAME, "; Secure"),
        false => (PLAIN_NAME, ""),
    };
    let age = if secret.is_empty() { "; Max-Age=0" } else { "" };
    let text = format!("{name}={secret}{secure}; HttpOnly; SameSite=Lax; Path=/{age}");
    let mut value = HeaderValue::from_str(&text)
        .unwrap_or_else(|_| unreachable!("secrets are letters and digits, which a header can hold"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_for_this_host_and_no_script() {
        // What must never change: no script and no other site gets hold of a session.
        let secure = set_session(Some("https://exp.example.com"), "abc");
        assert_eq!(secure, "__Host-sid=abc; Secure; HttpOnly; SameSite=Lax; Path=/");
        assert_eq!(
            set_session(None, "abc"),
            "sid=abc; HttpOnly; SameSite=Lax; Path=/"
        );
        assert_eq!(
            set_session(None, ""),
            "sid=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("theme=dark; sidx=1"));
        assert_eq!(session(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; __Host-sid=abc"));
        assert_eq!(session(&headers).as_deref(), Some("abc"));
    }
}
