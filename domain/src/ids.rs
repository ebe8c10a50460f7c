//! Identifiers, each its own type, so that a variant can never be passed where a metric is meant.
//!
//! A key is valid by construction: 1 to 256 bytes of UTF-8 without control characters. What a key refers to
//! is not known here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest key in bytes: long enough for URLs and paths, short enough for an index entry.
pub const KEY_MAX_BYTES: usize = 256;

/// Why a text cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The text has no bytes.
    #[error("a key has at least one character")]
    Empty,
    /// The text has more than [`KEY_MAX_BYTES`] bytes.
    #[error("a key has at most {KEY_MAX_BYTES} bytes, this one has {size_bytes}")]
    TooLong {
        /// The size of the text in bytes.
        size_bytes: usize,
    },
    /// The text holds a control character, which no log or table shows well.
    #[error("a key has no control characters")]
    ControlCharacter,
}

fn check(text: &str) -> Result<(), InvalidKey> {
    if text.is_empty() {
        return Err(InvalidKey::Empty);
    }
    if text.len() > KEY_MAX_BYTES {
        return Err(InvalidKey::TooLong {
            size_bytes: text.len(),
        });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidKey::ControlCharacter);
    }
    Ok(())
}

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes a text as a key.
            ///
            /// # Errors
            /// [`InvalidKey`] says what is wrong with the text.
            pub fn new(text: &str) -> Result<Self, InvalidKey> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The key as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidKey;
            fn try_from(text: String) -> Result<Self, InvalidKey> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> String {
                key.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

key_type!(
    /// The key of an experiment; a flag with a measured rollout uses its flag key.
    ExperimentKey
);
key_type!(
    /// The key of a variant of an experiment, or of a variation of a flag.
    VariantKey
);
key_type!(
    /// The key of a metric.
    MetricKey
);
key_type!(
    /// The name of a tracked event, as in `"event": "purchase"`.
    EventName
);
key_type!(
    /// The key of a feature flag.
    FlagKey
);
key_type!(
    /// The key of a segment: a named group of units.
    SegmentKey
);
key_type!(
    /// The key of a layer, whose experiments exclude each other.
    LayerKey
);
key_type!(
    /// The key of a holdout: units kept out of every change that names it.
    HoldoutKey
);
key_type!(
    /// The key of a deployment environment, as in a flag's `environments`.
    EnvironmentKey
);
key_type!(
    /// The key of a dimension: a property by which results are broken down.
    DimensionKey
);
key_type!(
    /// The key of a project: what belongs together.
    ProjectKey
);
key_type!(
    /// The key of a tag.
    TagKey
);
key_type!(
    /// The key of a rollout schedule.
    RolloutScheduleKey
);
key_type!(
    /// The randomization unit: a user, an account, a device.
    UnitId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_visible() {
        // What must never change: no key that a log line or an index cannot hold gets in.
        assert_eq!(ExperimentKey::new(""), Err(InvalidKey::Empty));
        assert_eq!(ExperimentKey::new("a\nb"), Err(InvalidKey::ControlCharacter));
        assert_eq!(
            ExperimentKey::new(&"x".repeat(257)),
            Err(InvalidKey::TooLong { size_bytes: 257 })
        );
        assert!(ExperimentKey::new("checkout/π").is_ok());
        assert!(serde_json::from_str::<FlagKey>("\"\"").is_err());
    }
}
