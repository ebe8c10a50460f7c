//! How often each caller may ask: a bucket per kind of work and caller, by the generic cell rate algorithm.
//!
//! A bucket holds one number, the instant at which it would be full again. It is looked at and moved on under a lock that is
//! held for some tens of nanoseconds. Buckets that are full again are forgotten, so that memory is bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use control::Actor;
use domain::Timestamp;
use serde::Deserialize;

use crate::problem::{Code, Problem};

/// Locks that share the work: more than there are cores on the machines that this runs on.
const SHARDS: usize = 16;

/// Buckets that one lock keeps before it looks for those that are full again: in all 24 bytes times 16 times this.
const SHARD_MAX: usize = 8_192;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How often each caller may ask, and how much at once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// Evaluations a second.
    pub evaluate_per_second: u32,
    /// Batches of events a second.
    pub ingest_per_second: u32,
    /// Bytes of events a second, as they come over the network.
    pub ingest_bytes_per_second: u32,
    /// Everything else a second.
    pub manage_per_second: u32,
    /// Logins a minute from one address.
    pub logins_per_minute: u32,
    /// Requests a second from one address without valid credentials.
    pub unknown_per_second: u32,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self {
            evaluate_per_second: 5_000,
            ingest_per_second: 500,
            ingest_bytes_per_second: 50_000_000,
            manage_per_second: 50,
            logins_per_minute: 10,
            unknown_per_second: 20,
        }
    }
}

/// The kinds of work that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Evaluations.
    Evaluate,
    /// Batches of events.
    Ingest,
    /// Bytes of events.
    IngestBytes,
    /// Everything else.
    Manage,
    /// Logins.
    Login,
    /// Requests without valid credentials.
    Unknown,
}

impl Bucket {
    /// The bucket of a permission.
    pub fn of(permission: &str) -> Self {
        match permission {
            "flags:evaluate" | "ruleset:read" => Self::Evaluate,
            "events:write" => Self::Ingest,
            _ => Self::Manage,
        }
    }

    /// The bucket as in the headers.
    fn as_str(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Ingest => "ingest",
            Self::IngestBytes => "ingest-bytes",
            Self::Manage => "manage",
            Self::Login => "login",
            Self::Unknown => "unknown",
        }
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, Hash)]
pub enum Subject<'a> {
    /// A key or a person.
    Actor(&'a Actor),
    /// An address, where nobody is known.
    Address(IpAddr),
}

impl Subject<'_> {
    /// The subject with the part of its address that one customer of a network cannot choose: of IPv6 the first 64 bits
    /// (RFC 6177), since whoever has one such address has 2⁶⁴.
    fn network(self) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(network.into()))
            }
            other => other,
        }
    }
}

/// A rate as the algorithm wants it.
#[derive(Debug, Clone, Copy)]
struct Quota {
    /// What the bucket holds: what may come at once.
    burst: i64,
    /// The time in which one more comes free, in nanoseconds.
    interval_nanos: i64,
}

impl Quota {
    fn new(count: u32, seconds: i64, burst_seconds: i64) -> Self {
        let count = i64::from(count.max(1));
        Self {
            burst: (count * burst_seconds / seconds).max(1),
            interval_nanos: (seconds * NANOS_PER_SECOND / count).max(1),
        }
    }

    fn window_nanos(self) -> i64 {
        self.burst.saturating_mul(self.interval_nanos)
    }
}

/// Every bucket of the server.
pub struct Rates {
    settings: RateSettings,
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, i64>>; SHARDS],
}

/// How a bucket stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    bucket: Bucket,
    burst: i64,
    window_seconds: i64,
    remaining: i64,
    reset_seconds: i64,
}

impl Standing {
    /// Tells the caller. The names and forms are those of the tenth draft of the IETF's rate limit headers.
    pub fn write(self, headers: &mut HeaderMap) {
        let name = self.bucket.as_str();
        let (burst, window) = (self.burst, self.window_seconds);
        let fields = [
            ("ratelimit-policy", format!("\"{name}\";q={burst};w={window}")),
            (
                "ratelimit",
                format!("\"{name}\";r={};t={}", self.remaining, self.reset_seconds),
            ),
        ];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl Rates {
    /// Full buckets for everybody.
    pub fn new(settings: RateSettings) -> Self {
        Self {
            settings,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Takes `cost` out of a bucket.
    ///
    /// # Errors
    /// `rate_limited` with `Retry-After` when the bucket does not hold that much now; nothing is taken then. A cost above
    /// what the bucket ever holds counts as a full bucket.
    pub fn take(
        &self,
        (bucket, subject): (Bucket, Subject<'_>),
        cost: i64,
        now: Timestamp,
    ) -> Result<Standing, Problem> {
        let quota = self.quota(bucket);
        // Two callers under one number would share a bucket: with random 64 bits that happens to nobody.
        let number = self.hasher.hash_one((bucket, subject.network()));
        let now_nanos = now.0.saturating_mul(1_000);
        let mut shard = self.shards[(number % SHARDS as u64) as usize]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if shard.len() >= SHARD_MAX {
            shard.retain(|_, full_at| *full_at > now_nanos);
            if shard.len() >= SHARD_MAX {
                // So many callers at once are no callers; forgetting them costs less than memory without end.
                shard.clear();
            }
        }
        let full_at = shard.entry(number).or_insert(now_nanos);
        let outcome = advance(quota, full_at, cost, now_nanos);
        let missing_nanos = (*full_at - now_nanos).max(0);
        drop(shard);
        let window_seconds = ceil_seconds(quota.window_nanos());
        match outcome {
            Ok(()) => Ok(Standing {
                bucket,
                burst: quota.burst,
                window_seconds,
                remaining: (quota.window_nanos() - missing_nanos) / quota.interval_nanos,
                reset_seconds: ceil_seconds(missing_nanos),
            }),
            Err(wait_nanos) => Err(refusal(bucket, ceil_seconds(wait_nanos).max(1))),
        }
    }

    fn quota(&self, bucket: Bucket) -> Quota {
        let settings = &self.settings;
        match bucket {
            Bucket::Evaluate => Quota::new(settings.evaluate_per_second, 1, 2),
            Bucket::Ingest => Quota::new(settings.ingest_per_second, 1, 2),
            Bucket::IngestBytes => Quota::new(settings.ingest_bytes_per_second, 1, 2),
            Bucket::Manage => Quota::new(settings.manage_per_second, 1, 4),
            Bucket::Login => Quota::new(settings.logins_per_minute, 60, 60),
            Bucket::Unknown => Quota::new(settings.unknown_per_second, 1, 4),
        }
    }
}

/// The step of the algorithm: moves the instant at which the bucket is full, or says how long to wait.
fn advance(quota: Quota, full_at: &mut i64, cost: i64, now: i64) -> Result<(), i64> {
    let window = quota.window_nanos();
    // A clock that was set back must not lock anybody out for longer than an empty bucket does.
    let full = (*full_at).clamp(now, now.saturating_add(window));
    let after = full.saturating_add(cost.clamp(0, quota.burst).saturating_mul(quota.interval_nanos));
    let beyond = after - now - window;
    if beyond > 0 {
        *full_at = full;
        return Err(beyond);
    }
    *full_at = after;
    Ok(())
}

fn ceil_seconds(nanos: i64) -> i64 {
    (nanos + NANOS_PER_SECOND - 1) / NANOS_PER_SECOND
}

fn refusal(bucket: Bucket, wait_seconds: i64) -> Problem {
    metrics::counter!("exp_rate_limited_total", "bucket" => bucket.as_str()).increment(1);
    let detail = format!(
        "too much at once in the bucket {}; come back in {wait_seconds} s",
        bucket.as_str()
    );
    Problem::new(Code::RateLimited, detail).retry_after(u32::try_from(wait_seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
