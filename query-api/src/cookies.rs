//! The cookies of a session, and of a login that is on its way through the identity provider.
//!
//! Behind HTTPS a session's is `__Host-sid`, which browsers send to this host alone, over HTTPS alone, and show to no script.
//! On plain HTTP, which this machine alone can speak to, browsers would not keep such a cookie, so it is `sid` without
//! `Secure`. That of a login is the same under another name, and ends with the login's time. It has to come back with a
//! link from another site, which is what `SameSite=Lax` lets it do.

use std::sync::Arc;

use axum::http::header::{self, HeaderMap, HeaderValue};

/// What the names behind HTTPS begin with: browsers take them only with `Secure`, for the whole host, and from the host itself.
const SECURE_PREFIX: &str = "__Host-";

/// A session's name, without the prefix.
const SESSION: &str = "sid";

/// The name of a login on its way, without the prefix.
const SIGN_ON: &str = "sign-on";

/// How long a browser keeps the secret of a login on its way: as long as the login can be finished.
const SIGN_ON_AGE: &str = "; Max-Age=600";

/// What takes a cookie back.
const ENDED: &str = "; Max-Age=0";

/// The secret of the session that a request came by. Behind HTTPS only the name counts that no other host can set: a
/// neighbour's page could put its own session under the plain one.
pub fn session(headers: &HeaderMap, public_url: Option<&str>) -> Option<Arc<str>> {
    find(headers, public_url, SESSION).map(Into::into)
}

/// The secret of the login that a browser has begun, under the names that count for a session.
pub fn sign_on(headers: &HeaderMap, public_url: Option<&str>) -> Option<String> {
    find(headers, public_url, SIGN_ON).map(str::to_owned)
}

fn find<'h>(headers: &'h HeaderMap, public_url: Option<&str>, wanted: &str) -> Option<&'h str> {
    let is_secure = is_secure(public_url);
    find_named(headers, |name| match name.strip_prefix(SECURE_PREFIX) {
        Some(name) => name == wanted,
        None => name == wanted && !is_secure,
    })
}

fn find_named(headers: &HeaderMap, is_wanted: impl Fn(&str) -> bool) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies.flat_map(|value| value.to_str().unwrap_or("").split(';'));
    pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        is_wanted(name).then_some(value)
    })
}

/// The header that gives a browser its session, or takes it back when the secret is empty.
pub fn set_session(public_url: Option<&str>, secret: &str) -> HeaderValue {
    let age = if secret.is_empty() { ENDED } else { "" };
    set(public_url, (SESSION, secret), age)
}

/// The header that gives a browser the secret of a login, or takes it back when the secret is empty.
pub fn set_sign_on(public_url: Option<&str>, secret: &str) -> HeaderValue {
    let age = if secret.is_empty() { ENDED } else { SIGN_ON_AGE };
    set(public_url, (SIGN_ON, secret), age)
}

fn set(public_url: Option<&str>, (name, secret): (&str, &str), age: &str) -> HeaderValue {
    let (prefix, secure) = match is_secure(public_url) {
        true => (SECURE_PREFIX, "; Secure"),
        false => ("", ""),
    };
    let text = format!("{prefix}{name}={secret}{secure}; HttpOnly; SameSite=Lax; Path=/{age}");
    let mut value = HeaderValue::from_str(&text)
        .unwrap_or_else(|_| unreachable!("secrets are letters and digits, which a header can hold"));
    value.set_sensitive(true);
    value
}

fn is_secure(public_url: Option<&str>) -> bool {
    public_url.is_some_and(|url| url.starts_with("https://"))
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
        assert_eq!(session(&headers, None), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; __Host-sid=abc"));
        assert_eq!(session(&headers, None).as_deref(), Some("abc"));
    }

    #[test]
    fn no_other_host_plants_a_session_behind_https() {
        // What must never change: nobody works in an attacker's session because a neighbouring host set a cookie.
        let secure = Some("https://exp.example.com");
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("sid=planted; __Host-sidx=1"),
        );
        assert_eq!(session(&headers, secure), None);
        assert_eq!(session(&headers, None).as_deref(), Some("planted"));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-sid=own"));
        assert_eq!(session(&headers, secure).as_deref(), Some("own"));
    }

    #[test]
    fn a_login_on_its_way_is_kept_apart_from_sessions_and_ends_by_itself() {
        // What must never change: behind HTTPS no other host of the domain can plant a login of its own.
        let secure = Some("https://exp.example.com");
        assert_eq!(
            set_sign_on(secure, "abc"),
            "__Host-sign-on=abc; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=600"
        );
        assert_eq!(
            set_sign_on(None, ""),
            "sign-on=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("sign-on=planted; sid=1"));
        assert_eq!(sign_on(&headers, secure), None);
        assert_eq!(sign_on(&headers, None).as_deref(), Some("planted"));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-sign-on=abc"));
        assert_eq!(sign_on(&headers, secure).as_deref(), Some("abc"));
        assert_eq!(session(&headers, None).as_deref(), Some("1"));
    }
}
