//! What an evaluation gives back, and why.

use serde::Serialize;
use serde_json::Value;

use super::definition::ValueType;
use crate::ids::{ExperimentKey, FlagKey, HoldoutKey, LayerKey, VariantKey};

/// Why a value was given, in the words of OpenFeature. [`Cause`] says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The flag has one answer for everybody.
    Static,
    /// A rule or an override matched and has one answer.
    TargetingMatch,
    /// The unit's bucket decided.
    Split,
    /// The flag or experiment is off, or rests on one that did not give what is needed.
    Disabled,
    /// No rule matched.
    Default,
    /// The answer was kept from before. The engine never says so; what serves it may.
    Cached,
    /// The ruleset could not be refreshed. The engine never says so; what serves it may.
    Stale,
    /// There is no answer; `error` says why.
    Error,
}

impl Reason {
    /// The reason as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Default => "DEFAULT",
            Self::Cached => "CACHED",
            Self::Stale => "STALE",
            Self::Error => "ERROR",
        }
    }
}

/// Which step of the evaluation decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "key", rename_all = "snake_case")]
pub enum Cause<'r> {
    /// The flag is off.
    Off,
    /// The flag is archived.
    Archived,
    /// The experiment's status lets nobody new in.
    NotRunning,
    /// The unit has an override.
    Override,
    /// This prerequisite did not give what is needed.
    Prerequisite(&'r FlagKey),
    /// The unit is held out by this holdout.
    Holdout(&'r HoldoutKey),
    /// The unit is outside the slot in this layer.
    Layer(&'r LayerKey),
    /// The unit keeps the variant that it had.
    Sticky,
    /// The unit is not in the experiment's audience.
    Audience,
    /// The unit is outside the experiment's share of the traffic.
    Traffic,
    /// The unit's bucket chose the variant.
    Bucket,
    /// A rule matched.
    Rule,
    /// No rule matched.
    Default,
    /// The attribute to bucket by is absent.
    NoUnit,
    /// There is no answer.
    Error,
}

impl Cause<'_> {
    /// The cause's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Archived => "archived",
            Self::NotRunning => "not_running",
            Self::Override => "override",
            Self::Prerequisite(_) => "prerequisite",
            Self::Holdout(_) => "holdout",
            Self::Layer(_) => "layer",
            Self::Sticky => "sticky",
            Self::Audience => "audience",
            Self::Traffic => "traffic",
            Self::Bucket => "bucket",
            Self::Rule => "rule",
            Self::Default => "default",
            Self::NoUnit => "no_unit",
            Self::Error => "error",
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EvaluationError {
    /// The ruleset has nothing under the key.
    #[error("no such flag or experiment")]
    FlagNotFound,
    /// The definition did not compile, or rests on one that did not.
    #[error("the definition has errors and is not served")]
    InvalidDefinition,
    /// A bucket is needed and the context has no user id.
    #[error("a user id is needed to choose between the variations")]
    TargetingKeyMissing,
}

/// The answer for one unit, borrowed from the ruleset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision<'r> {
    /// The value; `null` when there is none.
    pub value: &'r Value,
    /// The type of the flag's values; JSON for experiments and unknown keys.
    pub value_type: ValueType,
    /// The variation or variant; absent when a unit takes no part in an experiment, or on an error without
    /// one.
    pub variation: Option<&'r VariantKey>,
    /// Why, in standard words.
    pub reason: Reason,
    /// Which step decided.
    pub cause: Cause<'r>,
    /// The rule that served.
    pub rule_id: Option<&'r str>,
    /// The version of the ruleset.
    pub ruleset_version: u64,
    /// The bucket that decided, when one did.
    pub bucket: Option<u32>,
    /// Where a split-URL variant sends the visitor.
    pub url: Option<&'r str>,
    /// The experiment whose exposure this is, with `variation` as the variant; absent when nothing is
    /// measured.
    pub exposure: Option<&'r str>,
    /// Why there is no answer, when the reason is `ERROR`.
    pub error: Option<EvaluationError>,
}

/// The value of decisions that have none.
static NULL: Value = Value::Null;

impl<'r> Decision<'r> {
    /// A decision without value.
    pub(crate) fn nothing(reason: Reason, cause: Cause<'r>, ruleset_version: u64) -> Self {
        Self {
            value: &NULL,
            value_type: ValueType::Json,
            variation: None,
            reason,
            cause,
            rule_id: None,
            ruleset_version,
            bucket: None,
            url: None,
            exposure: None,
            error: None,
        }
    }

    /// A decision that there is no answer.
    pub(crate) fn error(error: EvaluationError, ruleset_version: u64) -> Self {
        let mut decision = Self::nothing(Reason::Error, Cause::Error, ruleset_version);
        decision.error = Some(error);
        decision
    }
}

/// What an experiment's key is for an exposure event.
pub(crate) fn exposure_of(key: &ExperimentKey) -> Option<&str> {
    Some(key.as_str())
}
