//! The documented shapes of definitions.
//!
//! The domain's types read and write themselves; these say the same to OpenAPI, with examples. A test holds the two
//! together: each example is read by the domain's type, and each member of the domain's type stands here.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A key: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
pub struct Key(pub String);

/// What the platform adds to a document; ignored when it is sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stored {
    /// 1 at creation, one more with each change; what the ETag carries.
    #[schema(read_only, required = false, example = 1)]
    pub version: i64,
    /// Whether the platform made it because it saw events of it.
    #[schema(read_only, required = false, example = false)]
    pub discovered: bool,
    /// When it was created.
    #[schema(read_only, required = false, format = DateTime, example = "2026-01-31T12:00:00Z")]
    pub created_at: String,
    /// When it was last changed.
    #[schema(read_only, required = false, format = DateTime, example = "2026-01-31T12:00:00Z")]
    pub updated_at: String,
    /// When it was deleted.
    #[schema(read_only, required = false, format = DateTime)]
    pub deleted_at: Option<String>,
}

/// A metric.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Metric, example = json!({
    "key": "revenue", "name": "Revenue per user", "kind": "sum", "event": "purchase", "direction": "up",
    "conversion_window_seconds": 604_800, "cap": 500.0
}))]
pub struct MetricDocument {
    /// The key.
    pub key: Key,
    /// What a person reads.
    #[schema(required = false)]
    pub name: String,
    /// How a user's events become the user's value.
    pub kind: MetricKind,
    /// The name of the events that count.
    pub event: Key,
    /// Which way is good.
    #[schema(required = false, default = "up")]
    pub direction: Direction,
    /// Events count within this many seconds of the first exposure; without limit when absent.
    #[schema(minimum = 1)]
    pub conversion_window_seconds: Option<u32>,
    /// A user's sum counts as at most this; for the kind `sum`.
    pub cap: Option<f64>,
    /// What the platform adds.
    #[serde(flatten)]
    pub stored: Stored,
}

/// How a user's events become the user's value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// The sum of `value`.
    Sum,
    /// The number of events.
    Count,
    /// 1 when there is at least one event, else 0.
    Proportion,
}

/// Which way is good.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

/// A guardrail to be put on a flag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewGuardrail, example = json!({
    "flag": "new-checkout", "event": "error", "control": "off", "treatment": "on", "margin": 0.1, "alpha": 0.01
}))]
pub struct GuardrailDocument {
    /// The flag that is turned to `control` when harm is proven.
    pub flag: Key,
    /// The event that means harm.
    pub event: Key,
    /// The variation that is known to be safe.
    pub control: Key,
    /// The variation being rolled out.
    pub treatment: Key,
    /// How much more often affected is still accepted, relative.
    #[schema(required = false, minimum = 0, default = 0.1)]
    pub margin: f64,
    /// The chance of rolling back a harmless rollout, over all looks together; between 0 and 1.
    #[schema(required = false, default = 0.01)]
    pub alpha: f64,
}

/// A guardrail as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Guardrail {
    /// Its id.
    #[schema(example = "grd_0198c5de7a307c3e9d5b6f6f0c9e1a11")]
    pub id: String,
    /// What it watches.
    pub definition: GuardrailDocument,
    /// Whether it may roll back; not after a rollback, until a person enables the flag again.
    pub armed: bool,
    /// 1 at first, one more with each re-arming; evidence is collected anew in each phase.
    pub phase: i64,
    /// The last commit that counted.
    pub last_epoch: Option<i64>,
    /// The evidence after that commit.
    pub evidence: Option<Evidence>,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When a person took it away.
    #[schema(format = DateTime)]
    pub retired_at: Option<String>,
}

/// What is known against a treatment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Evidence {
    /// Looks that counted in this phase.
    pub looks: u64,
    /// Users of the treatment affected in this phase.
    pub affected_treatment: u64,
    /// Users of the control affected in this phase.
    pub affected_control: u64,
    /// The natural logarithm of the e-value.
    pub log_e_value: f64,
    /// What `log_e_value` must reach.
    pub log_threshold: f64,
    /// The anytime-valid p-value.
    pub p_value: f64,
    /// Whether it crossed.
    pub crossed: bool,
}

/// A rollback as it happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rollback {
    /// Its id.
    #[schema(example = "rbk_0198c5de7a307c3e9d5b6f6f0c9e1a11")]
    pub id: String,
    /// The flag.
    #[schema(example = "new-checkout")]
    pub flag: Key,
    /// What everybody gets since.
    #[schema(example = "off")]
    pub safe_variation: String,
    /// Whether the platform decided.
    pub automatic: bool,
    /// Who decided.
    #[schema(example = "system:safety")]
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The guardrail that crossed; absent when a person decided.
    pub guardrail: Option<String>,
    /// The guardrail's phase.
    pub phase: Option<i64>,
    /// The commit at which it crossed.
    pub epoch: Option<i64>,
    /// The evidence at that commit.
    pub evidence: Option<Evidence>,
    /// The flag before.
    #[schema(value_type = Object)]
    pub before: Value,
    /// The flag since.
    #[schema(value_type = Object)]
    pub after: Value,
    /// The flag's version before.
    pub version_before: i64,
    /// The flag's version since.
    pub version_after: i64,
}

/// A receiver of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookEndpoint {
    /// Its id.
    #[schema(example = "whe_0198c5de7a307c3e9d5b6f6f0c9e1a11")]
    pub id: String,
    /// Where messages go.
    #[schema(example = "https://example.com/hooks/experimently")]
    pub url: String,
    /// Whether messages are sent; off after the receiver answered 410 or failed for five days.
    pub enabled: bool,
    /// Since when every attempt failed; absent when the last one worked.
    #[schema(format = DateTime)]
    pub failing_since: Option<String>,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// One place at which a document changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    /// Where, as a JSON pointer; an entry of a list of named things stands under its name.
    #[schema(example = "/rules/staff/serve/variation")]
    pub path: String,
    /// What stood there; absent where nothing did.
    #[schema(required = false, value_type = Value)]
    pub before: Value,
    /// What stands there; absent where nothing does.
    #[schema(required = false, value_type = Value)]
    pub after: Value,
}

/// One write, as it was.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRecord {
    /// Its place in the order of all writes.
    pub seq: i64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who.
    #[schema(example = "local")]
    pub actor: String,
    /// What was done.
    #[schema(example = "update")]
    pub action: String,
    /// To what kind of object.
    #[schema(example = "flag")]
    pub kind: String,
    /// Its key or id.
    #[schema(example = "new-checkout")]
    pub key: String,
    /// The object before; null at a creation.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The object after; null at a deletion.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// What changed, place by place: a rule of a flag stands under its id. Empty at a creation or deletion.
    pub changes: Vec<Difference>,
    /// Why, when a reason was given.
    pub reason: Option<String>,
    /// From where, when known.
    #[schema(example = "request 0198c5de-7a30-7c3e-9d5b-6f6f0c9e1a11")]
    pub origin: Option<String>,
}

macro_rules! page {
    ($(#[$doc:meta])* $name:ident of $item:ty, as $schema:ident) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        #[schema(as = $schema)]
        pub struct $name {
            /// The entries.
            pub items: Vec<$item>,
            /// The `cursor` of the next page; absent on the last.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub next_cursor: Option<String>,
        }
    };
}

page!(
    /// A page of experiments.
    ExperimentDocumentPage of ExperimentDocument, as ExperimentPage
);
page!(
    /// A page of metrics.
    MetricDocumentPage of MetricDocument, as MetricPage
);
page!(
    /// A page of flags.
    FlagDocumentPage of FlagDocument, as FeatureFlagPage
);
page!(
    /// A page of guardrails.
    GuardrailPage of Guardrail, as GuardrailPage
);
page!(
    /// A page of rollbacks.
    RollbackPage of Rollback, as RollbackPage
);
page!(
    /// A page of receivers.
    WebhookEndpointPage of WebhookEndpoint, as WebhookEndpointPage
);
page!(
    /// A page of audit records.
    AuditPage of AuditRecord, as AuditPage
);

page!(
    /// A page of erasures.
    ErasurePage of ErasureDocument, as ErasurePage
);

page!(
    /// A page of segments.
    SegmentDocumentPage of SegmentDocument, as SegmentPage
);
page!(
    /// A page of layers.
    LayerDocumentPage of LayerDocument, as LayerPage
);
page!(
    /// A page of holdouts.
    HoldoutDocumentPage of HoldoutDocument, as HoldoutPage
);
page!(
    /// A page of environments.
    EnvironmentDocumentPage of EnvironmentDocument, as EnvironmentPage
);
page!(
    /// A page of dimensions.
    DimensionDocumentPage of DimensionDocument, as DimensionPage
);
page!(
    /// A page of projects.
    ProjectDocumentPage of ProjectDocument, as ProjectPage
);
page!(
    /// A page of tags.
    TagDocumentPage of TagDocument, as TagPage
);
page!(
    /// A page of rollout schedules.
    RolloutScheduleDocumentPage of RolloutScheduleDocument, as RolloutSchedulePage
);

mod catalog;
mod experiment;
mod flag;
mod rollout;
mod user_data;

pub use catalog::{
    DimensionDocument, EnvironmentDocument, HoldoutDocument, LayerDocument, ProjectDocument, SegmentDocument,
    TagDocument,
};
pub use experiment::{ExperimentDocument, ExperimentStatus, Phase, PhaseList, Schedule, StartChecks};
pub use flag::FlagDocument;
pub use rollout::RolloutScheduleDocument;
pub use user_data::{ErasureDocument, UserDataLine};

#[cfg(test)]
mod tests;
