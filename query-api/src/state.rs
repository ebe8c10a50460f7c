//! What the handlers work with. `cli` builds it, once.

use std::sync::Arc;

use control::{Access, Clock, Store, WebhookSettings};
use ingest::Collector;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::exposures::ExposureLog;
use crate::rates::Rates;
use crate::results::ResultsSource;
use crate::ruleset::RulesetHandle;
use crate::user_data::UserData;

/// Gives the health of the parts that this crate does not see, at once and without waiting for any of them.
pub type HealthSource = Arc<dyn Fn() -> Vec<HealthCheck> + Send + Sync>;

/// Everything that a handler may need.
pub struct ApiState {
    /// Definitions, safety records, audit trail.
    pub store: Store,
    /// Who comes in.
    pub access: Arc<Access>,
    /// How often each caller may ask.
    pub rates: Rates,
    /// Where events become durable.
    pub collector: Collector,
    /// What evaluations use.
    pub ruleset: Arc<RulesetHandle>,
    /// The exposures that the server logs for its callers.
    pub exposures: ExposureLog,
    /// What the tables hold of single users.
    pub user_data: Arc<dyn UserData>,
    /// What results are read from.
    pub results: Arc<dyn ResultsSource>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The health of the engine, the log, the sources.
    pub health: HealthSource,
    /// The metrics of the process.
    pub prometheus: PrometheusHandle,
    /// Which hosts the server answers for.
    pub hosts: HostPolicy,
    /// Where webhooks may be sent.
    pub webhooks: WebhookSettings,
    /// Cancelled when the process is to end: streams end with it.
    pub shutdown: CancellationToken,
}

/// Which values of the Host header are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPolicy {
    /// This machine by its own names only: the rule while nobody has to log in.
    Local,
    /// Any: a proxy in front decides.
    Any,
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// As it should be.
    Healthy,
    /// Working, with something that a person should look at.
    Degraded,
    /// Not working.
    Unhealthy,
}

/// How one part is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HealthCheck {
    /// The part: `log`, `engine`, `lake`.
    pub name: String,
    /// How it is.
    pub status: HealthStatus,
    /// What there is to say, in one phrase without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
