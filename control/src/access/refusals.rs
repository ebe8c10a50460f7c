//! The records of logins that were refused: who was named, from where and why; never a password, a link or a token.
//!
//! Anybody can be refused as often as they like, so records are rationed: so many at once and so many a minute of each
//! process. What was refused beyond that is counted, and the next record says how many there were.

use std::sync::{Mutex, PoisonError};

use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;

use super::Access;
use crate::change::{Actor, Change};
use crate::error::ControlError;
use crate::metrics;
use crate::store::AccountName;

/// Records at once: a working day's worth of people who mistype.
const AT_ONCE: i64 = 120;
/// The time in which another record comes free. One address has ten logins a minute, so alone it never runs out; a flood
/// from everywhere that never ends leaves some six megabytes a day.
const INTERVAL_MICROS: i64 = 5 * MICROS_PER_SECOND;
/// The characters that are kept of a name that no account could have.
const NAME_MAX_CHARS: usize = 64;

/// Why a login by password or link was refused. The caller is told less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RefusedLogin {
    #[error("no account has this name")]
    UnknownName,
    #[error("the account is disabled")]
    Disabled,
    #[error("the password is wrong")]
    WrongPassword,
    #[error("too many attempts under this name failed before")]
    LockedOut,
    #[error("the one-time link was used, has ended, or never was")]
    InvalidLink,
}

/// A login that was refused.
pub(super) struct Refusal {
    /// Who it is known to be; nobody, unless the identity provider vouched for them.
    pub actor: Actor,
    /// Who was named, safe to store and to show.
    pub named: String,
    /// Why.
    pub reason: String,
    /// From where, when known.
    pub origin: Option<String>,
}

/// Who was named at a login, as the actor that they would have been; a name that no account can have stands in quotes,
/// cut short, with whatever is not plain ASCII written out.
pub(super) fn named(text: &str) -> String {
    if let Ok(name) = AccountName::new(text) {
        return name.actor().to_string();
    }
    let kept: String = text.chars().take(NAME_MAX_CHARS).collect();
    let rest = if kept.len() < text.len() { "..." } else { "" };
    format!("\"{}\"{rest}", kept.escape_default())
}

/// How many records may be written now, and how many refusals were left out.
pub(super) struct Ration(Mutex<Left>);

struct Left {
    /// When the ration is whole again, in microseconds.
    full_at: i64,
    left_out: u64,
}

impl Ration {
    pub fn new() -> Self {
        Self(Mutex::new(Left {
            full_at: i64::MIN,
            left_out: 0,
        }))
    }

    /// Takes one record out of the ration and gives the refusals that were left out before it; nothing when there is none
    /// left now.
    fn take(&self, now: Timestamp) -> Option<u64> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not stop the records for longer than an empty ration does.
        let whole = now.0.saturating_add(AT_ONCE * INTERVAL_MICROS);
        left.full_at = left.full_at.clamp(now.0, whole);
        let after = left.full_at.saturating_add(INTERVAL_MICROS);
        if after > whole {
            left.left_out = left.left_out.saturating_add(1);
            return None;
        }
        left.full_at = after;
        Some(std::mem::take(&mut left.left_out))
    }

    /// Counts refusals whose record could not be written.
    fn give_back(&self, count: u64) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.left_out = left.left_out.saturating_add(count);
    }
}

impl Access {
    /// Leaves the record of a refused login, or counts it when there were too many.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be written.
    pub(super) async fn record_refusal(&self, refusal: Refusal) -> Result<(), ControlError> {
        let now = self.clock.now();
        let taken = self.refusals.take(now);
        metrics::login_refused(taken.is_some());
        let Some(left_out) = taken else { return Ok(()) };
        let change = Change {
            reason: Some(refusal.reason),
            origin: refusal.origin,
            ..Change::new(refusal.actor, now)
        };
        let recorded = self.store.record_refused_login(&refusal.named, left_out, &change);
        recorded
            .await
            .inspect_err(|_| self.refusals.give_back(left_out.saturating_add(1)))
    }

    /// Leaves the record of a login by password or link that is refused.
    pub(super) async fn refuse(
        &self,
        named: String,
        reason: RefusedLogin,
        origin: Option<String>,
    ) -> Result<(), ControlError> {
        let refusal = Refusal {
            actor: Actor::nobody(),
            named,
            reason: reason.to_string(),
            origin,
        };
        self.record_refusal(refusal).await
    }

    /// Why somebody does not come in by a password that does not fit.
    pub(super) fn why_refused(&self, name: &AccountName) -> RefusedLogin {
        match self.directory.load().accounts.get(name) {
            None => RefusedLogin::UnknownName,
            Some(account) if !account.enabled => RefusedLogin::Disabled,
            Some(_) => RefusedLogin::WrongPassword,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stored_short_and_plain_whatever_was_sent() {
        // What must never change: nobody writes what they like into the trail by failing to log in.
        for (text, expected) in [
            ("Anna", "person:anna"),
            ("anna@example.org", "person:anna@example.org"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("oidc/4711", "\"oidc/4711\""),
            ("x\n\u{0}\u{1b}[2J", "\"x\\n\\u{0}\\u{1b}[2J\""),
            ("\u{202e}\"ü", "\"\\u{202e}\\\"\\u{fc}\""),
        ] {
            assert_eq!(named(text), expected, "{text:?}");
        }
        let long = named(&"\u{10ffff}".repeat(10_000));
        assert!(
            long.len() <= NAME_MAX_CHARS * 10 + 5 && long.ends_with("\"..."),
            "{long}"
        );
        assert!(named(&"a".repeat(129)).ends_with("\"..."));
    }

    #[test]
    fn the_ration_counts_what_it_leaves_out() {
        // What must never change: a flood writes no more than the ration, and none of it goes unsaid.
        let ration = Ration::new();
        let at = |seconds: i64| Timestamp(seconds * MICROS_PER_SECOND);
        for _ in 0..AT_ONCE {
            assert_eq!(ration.take(at(1_000)), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(ration.take(at(1_004)), None);
        }
        assert_eq!(ration.take(at(1_005)), Some(3));
        assert_eq!(ration.take(at(1_005)), None);
        ration.give_back(4);
        assert_eq!(ration.take(at(1_010)), Some(5));
        // After a clock that was set back, and after a long time.
        assert_eq!(ration.take(at(0)), None);
        assert_eq!(ration.take(at(5)), Some(1));
        for _ in 0..AT_ONCE {
            assert_eq!(ration.take(at(100_000)), Some(0));
        }
        assert_eq!(ration.take(at(100_000)), None);
    }
}
