//! The id of a request, by which people find it in logs, problems and audit records.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The header that carries a request's id in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl RequestId {
    /// The caller's id where it is a UUID in any spelling, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let given = given.and_then(|text| Uuid::parse_str(text).ok());
        Self(given.unwrap_or_else(fresh))
    }

    /// A number that differs between requests: ids are random.
    pub fn spread(self) -> u64 {
        self.0.as_u64_pair().1
    }

    /// The id as a header.
    pub fn header(self) -> HeaderValue {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = self.0.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text)
            .unwrap_or_else(|_| unreachable!("digits, letters and hyphens are a header value"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An id that no other request has. It is no secret, so it is made from one random number and a count: asking the
/// system for random bytes takes as long as an evaluation.
fn fresh() -> Uuid {
    static START: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mixed = xxh3_128_with_seed(&START.to_le_bytes(), count);
    Builder::from_random_bytes(mixed.to_le_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> RequestId {
        let pair = (REQUEST_ID, HeaderValue::from_static(value));
        RequestId::of(&[pair].into_iter().collect())
    }

    #[test]
    fn a_request_keeps_the_id_that_a_proxy_gave_it() {
        let given = of("0198c5de7a307c3e9d5b6f6f0c9e1a11");
        assert_eq!(given.to_string(), "0198c5de-7a30-7c3e-9d5b-6f6f0c9e1a11");
        assert_eq!(given.header(), "0198c5de-7a30-7c3e-9d5b-6f6f0c9e1a11");
        assert_ne!(of("' or 1=1"), of("' or 1=1"));
    }
}
