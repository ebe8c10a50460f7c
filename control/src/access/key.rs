//! The text of an API key: `exp_<kind>_<environment>_<selector>_<secret><checksum>`.
//!
//! The selector is public: it finds the key, and lists and logs show it. The secret carries 256 bits. The checksum lets
//! programs that look for leaked secrets tell a key from any other text, and us refuse a mistyped one without a look-up.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::secret::{SECRET_CHARS, SELECTOR_CHARS, digest, number_text, random_text};
use crate::permission::{Authority, Scope};

/// How every key begins.
pub const KEY_PREFIX: &str = "exp_";

/// What stands in a key that is bound to no environment.
const ANY_ENVIRONMENT: &str = "any";

/// The characters of the checksum: a CRC-32 fits.
const CHECKSUM_CHARS: usize = 6;

/// The longest name of an environment in a key.
const ENVIRONMENT_MAX_CHARS: usize = 32;

/// Who uses a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Products on servers of their own.
    Server,
    /// Browsers and apps, where anybody can read it.
    Client,
    /// Whatever only delivers events.
    Ingest,
    /// Programs that manage the platform.
    Admin,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Server, Self::Client, Self::Ingest, Self::Admin];

    /// The kind as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Ingest => "ingest",
            Self::Admin => "admin",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The scopes that a key of this kind can have; all of them unless fewer are asked for.
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Server => &[Scope::Evaluate, Scope::Events, Scope::Read],
            Self::Client => &[Scope::Evaluate, Scope::Events],
            Self::Ingest => &[Scope::Events],
            Self::Admin => &Scope::ALL,
        }
    }

    /// What a key of this kind may at most, with these scopes.
    pub fn authority(self, scopes: &[Scope]) -> Authority {
        match self {
            Self::Client => Authority::client_key(scopes),
            Self::Server | Self::Ingest | Self::Admin => Authority::secret_key(scopes),
        }
    }
}

/// The environment that a key is bound to: 1 to 32 lowercase letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyEnvironment(Box<str>);

impl KeyEnvironment {
    /// An environment out of its name; absent when it cannot stand in a key.
    pub fn new(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let length = (1..=ENVIRONMENT_MAX_CHARS).contains(&name.len());
        (length && name != ANY_ENVIRONMENT && name.bytes().all(fits)).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_stored(name: &str) -> Self {
        Self(name.into())
    }
}

/// A whole key as its user has it. It does not show itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// A fresh key and its selector.
    pub(crate) fn generate(kind: KeyKind, environment: Option<&KeyEnvironment>) -> (Self, String) {
        let selector = random_text(SELECTOR_CHARS);
        let environment = environment.map_or(ANY_ENVIRONMENT, KeyEnvironment::as_str);
        let secret = random_text(SECRET_CHARS);
        let mut text = format!("{KEY_PREFIX}{}_{environment}_{selector}_{secret}", kind.as_str());
        text.push_str(&checksum(&text));
        (Self(text), selector)
    }

    /// The key as text: to be shown once and never logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        digest(&self.0)
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyText(…)")
    }
}

/// The selector of a text that has the form of a key, with a right checksum.
pub fn selector_of(text: &str) -> Option<&str> {
    let mut parts = text.strip_prefix(KEY_PREFIX)?.splitn(5, '_');
    let (_kind, _environment) = (parts.next()?, parts.next()?);
    let (selector, secret) = (parts.next()?, parts.next()?);
    let has_lengths = selector.len() == SELECTOR_CHARS && secret.len() == SECRET_CHARS + CHECKSUM_CHARS;
    if parts.next().is_some() || !has_lengths || !secret.is_ascii() {
        return None;
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
    (checksum(body) == sum).then_some(selector)
}

fn checksum(text: &str) -> String {
    number_text(crc32fast::hash(text.as_bytes()), CHECKSUM_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_it_was_made() {
        // What must never change: keys that are out there keep their form.
        let production = KeyEnvironment::new("production").unwrap();
        let (key, selector) = KeyText::generate(KeyKind::Client, Some(&production));
        let text = key.reveal();
        assert!(
            text.starts_with(&format!("exp_client_production_{selector}_")),
            "{text}"
        );
        assert_eq!(text.len(), "exp_client_production_".len() + 22 + 1 + 43 + 6);
        assert_eq!(selector_of(text), Some(selector.as_str()));
        let (free, _) = KeyText::generate(KeyKind::Admin, None);
        assert!(free.reveal().starts_with("exp_admin_any_"));
        assert_eq!(format!("{key:?}"), "KeyText(…)");
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_before_any_look_up() {
        let (key, _) = KeyText::generate(KeyKind::Server, None);
        let text = key.reveal();
        for at in 0..text.len() {
            let mut changed = text.to_owned();
            let other = if &text[at..=at] == "x" { "y" } else { "x" };
            changed.replace_range(at..=at, other);
            assert_eq!(selector_of(&changed), None, "{at}");
        }
        let longer = format!("{text}0");
        for other in ["", "exp_", "exp____", &text[1..], &longer, "exp_a_b_ü_ü"] {
            assert_eq!(selector_of(other), None, "{other}");
        }
    }

    #[test]
    fn environments_in_keys_are_plain_words() {
        for name in ["production", "eu-1", "a"] {
            assert_eq!(KeyEnvironment::new(name).unwrap().as_str(), name);
        }
        for name in ["", "any", "Prod", "a_b", "ü", &"a".repeat(33)] {
            assert!(KeyEnvironment::new(name).is_none(), "{name}");
        }
    }
}
