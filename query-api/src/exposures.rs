//! Exposures that the server logs for its callers: durable before the caller hears of them, and one a day.
//!
//! A user who asks a hundred times a day is written once. What this process has written it remembers, within limits;
//! what it has forgotten, or another process wrote, carries the same event id within the hour, by which the pipeline
//! counts it once. `docs/decisions/0021-exposures-logged-by-the-server.md` says why the hour.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use domain::Timestamp;
use domain::timestamp::{MICROS_PER_DAY, MICROS_PER_SECOND};
use ingest::{CollectError, CollectRequest, Collector};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// How many exposures each of the two halves of the memory holds: together at most 20 MB, and the users of a busy day
/// of most products.
const REMEMBERED_MAX: usize = 250_000;
/// For how long the pipeline knows an event id again, whatever time its copy carries.
const SAME_ID_MICROS: i64 = 3_600 * MICROS_PER_SECOND;

/// A user who gets a variant of something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure<'a> {
    /// The experiment, or the flag with a measured rollout.
    pub experiment: &'a str,
    /// The variant.
    pub variant: &'a str,
    /// The user.
    pub user_id: &'a str,
}

/// Why exposures are not logged.
#[derive(Debug, thiserror::Error)]
pub enum NotLogged {
    /// The log takes nothing at the moment.
    #[error("exposures could not be made durable")]
    Collect(#[from] CollectError),
    /// The collector did not take an event that this module made.
    #[error("an exposure was rejected: {detail}")]
    Rejected {
        /// What it says.
        detail: String,
    },
}

/// Logs exposures, and remembers which.
#[derive(Debug, Default)]
pub struct ExposureLog {
    remembered: Mutex<Halves>,
}

impl ExposureLog {
    /// Makes exposures durable, except for those that were today.
    ///
    /// # Errors
    /// `NotLogged`; some may be durable then, and logging them again is harmless.
    pub async fn log(
        &self,
        collector: &Collector,
        now: Timestamp,
        exposures: &[Exposure<'_>],
    ) -> Result<(), NotLogged> {
        let day = now.0.div_euclid(MICROS_PER_DAY);
        let mut marks = Vec::new();
        let mut lines = String::new();
        for exposure in exposures {
            let mark = digest(exposure, "day", day);
            if marks.contains(&mark) || self.remembers(&mark) {
                continue;
            }
            marks.push(mark);
            let event = Event {
                event_id: event_id(exposure, now),
                kind: "exposure",
                ts: now,
                user_id: exposure.user_id,
                experiment: exposure.experiment,
                variant: exposure.variant,
            };
            // Writing texts and a time to a string cannot fail.
            let _ = writeln!(lines, "{}", serde_json::to_string(&event).unwrap_or_default());
        }
        if marks.is_empty() {
            return Ok(());
        }
        let request = CollectRequest {
            content_type: Some("application/x-ndjson"),
            content_encoding: None,
            body: lines.into(),
            received_at: now,
        };
        let report = collector.collect(request).await?;
        if let Some(rejected) = report.rejected.into_iter().next() {
            return Err(NotLogged::Rejected {
                detail: rejected.detail,
            });
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            remembered.insert(mark);
        }
        Ok(())
    }

    fn remembers(&self, mark: &[u8; 16]) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.newer.contains(mark) || remembered.older.contains(mark)
    }
}

/// Two sets that take turns: when one is full the other is forgotten.
#[derive(Debug, Default)]
struct Halves {
    newer: HashSet<[u8; 16]>,
    older: HashSet<[u8; 16]>,
}

impl Halves {
    fn insert(&mut self, mark: [u8; 16]) {
        if self.newer.len() >= REMEMBERED_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(mark);
    }
}

#[derive(Serialize)]
struct Event<'a> {
    event_id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    ts: Timestamp,
    user_id: &'a str,
    experiment: &'a str,
    variant: &'a str,
}

/// The id of an exposure: the same for all copies within an hour.
fn event_id(exposure: &Exposure<'_>, now: Timestamp) -> Uuid {
    let hour = now.0.div_euclid(SAME_ID_MICROS);
    Builder::from_custom_bytes(digest(exposure, "hour", hour)).into_uuid()
}

/// A fingerprint that nobody can make two users share. The variant takes part: a user who gets another one on the same
/// day is a crossover, which must be seen.
fn digest(exposure: &Exposure<'_>, unit: &str, number: i64) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for text in [unit, exposure.experiment, exposure.variant, exposure.user_id] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.update(number.to_le_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposure<'a>(experiment: &'a str, variant: &'a str, user_id: &'a str) -> Exposure<'a> {
        Exposure {
            experiment,
            variant,
            user_id,
        }
    }

    #[test]
    fn an_id_is_the_same_within_the_hour_and_for_nothing_else() {
        // What must never change: copies of one exposure are one event, and no two exposures are.
        let at = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        let end = Timestamp::parse("2026-01-31T12:59:59.999999Z").unwrap();
        let later = Timestamp::parse("2026-01-31T13:00:00Z").unwrap();
        let id = event_id(&exposure("e", "v", "u"), at);
        assert_eq!(id, event_id(&exposure("e", "v", "u"), end));
        for (other, moment) in [
            (exposure("e", "v", "u"), later),
            (exposure("e", "v", "w"), at),
            (exposure("e", "w", "u"), at),
            (exposure("ev", "", "u"), at),
            (exposure("v", "e", "u"), at),
        ] {
            assert_ne!(id, event_id(&other, moment), "{other:?}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest_first() {
        let mut halves = Halves::default();
        let mark = |number: usize| {
            let mut mark = [0; 16];
            mark[..8].copy_from_slice(&(number as u64).to_le_bytes());
            mark
        };
        for number in 0..REMEMBERED_MAX * 3 {
            halves.insert(mark(number));
        }
        assert!(halves.newer.len() <= REMEMBERED_MAX && halves.older.len() <= REMEMBERED_MAX);
        assert!(halves.newer.contains(&mark(REMEMBERED_MAX * 3 - 1)));
        assert!(halves.older.contains(&mark(REMEMBERED_MAX * 2 - 1)));
        assert!(!halves.older.contains(&mark(0)));
    }
}
