//! Who changes something, when, from where and why: what every write must say and every audit record repeats.

use std::fmt;

use domain::Timestamp;
use serde::{Deserialize, Serialize};

/// What people begin with whom the identity provider vouches for.
const VOUCHED_FOR: &str = "person:oidc/";

/// The text of [`Actor::local`].
const LOCAL: &str = "local";

/// Who acts: `system:<part>`, `person:<name>`, `key:<selector>` or `local`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(Box<str>);

impl Actor {
    /// A part of the platform, such as `safety` or `discovery`.
    pub fn system(part: &str) -> Self {
        Self(format!("system:{part}").into())
    }

    /// A person, by the name under which they signed in.
    pub fn person(name: &str) -> Self {
        Self(format!("person:{name}").into())
    }

    /// A person whom the identity provider vouches for, by its own name for them. No local account has a slash in its name.
    pub fn vouched_for(subject: &str) -> Self {
        Self(format!("{VOUCHED_FOR}{subject}").into())
    }

    /// A machine, by the public selector of its key.
    pub fn key(selector: &str) -> Self {
        Self(format!("key:{selector}").into())
    }

    /// Whoever sits at the machine: the actor while no accounts exist.
    pub fn local() -> Self {
        Self(LOCAL.into())
    }

    /// Whether this is [`Self::local`].
    pub fn is_local(&self) -> bool {
        *self.0 == *LOCAL
    }

    /// Nobody in particular: whoever asks for what is public.
    pub fn nobody() -> Self {
        Self("nobody".into())
    }

    /// A person or a machine out of its text, such as `person:anna`.
    pub fn principal(text: &str) -> Option<Self> {
        let name = text
            .strip_prefix("person:")
            .or_else(|| text.strip_prefix("key:"))?;
        let fits = !name.is_empty() && name.len() <= 256 && !name.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// Whether it is a person or a machine that made itself known.
    pub fn is_principal(&self) -> bool {
        self.0.starts_with("person:") || self.0.starts_with("key:")
    }

    /// Whether it is a person whom the identity provider vouches for.
    pub fn is_vouched_for(&self) -> bool {
        self.0.starts_with(VOUCHED_FOR)
    }

    /// Whether a part of the platform acts by itself.
    pub fn is_system(&self) -> bool {
        self.0.starts_with("system:")
    }

    /// The actor as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The actor that a stored text names.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a writer says about a write; it goes into the audit record of the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
    /// Why, in the writer's words; may be absent.
    pub reason: Option<String>,
    /// From where, such as an address or a request id; may be absent.
    pub origin: Option<String>,
    /// A creation repeated with the same key gives the document of the first one. See [`crate::Store::create`].
    pub idempotency_key: Option<String>,
}

impl Change {
    /// A change by `actor` at `at`, without reason, origin or idempotency key.
    pub fn new(actor: Actor, at: Timestamp) -> Self {
        Self {
            actor,
            at,
            reason: None,
            origin: None,
            idempotency_key: None,
        }
    }

    /// The same change with a reason.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }
}
