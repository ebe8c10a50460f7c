//! The whole API over 350 generated flags, for measuring evaluations over HTTP.
//!
//! `evaluation ADDRESS`; the flags are `flag-0` to `flag-349`, each with two rules and a rollout.

use std::error::Error;
use std::sync::Arc;

use control::{Access, AccessSettings, Store, WebhookSettings};
use domain::Timestamp;
use domain::rules::{Definitions, Ruleset};
use ingest::{Collector, CollectorSettings, EmbeddedLog, LogSettings};
use metrics_exporter_prometheus::PrometheusBuilder;
use query_api::{
    ApiState, Counters, ExposureLog, HostPolicy, RateSettings, Rates, ResultsView, RulesetHandle,
    WatchedResults, serve, service,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A flag as they are in the field, and in `domain/benches/rules.rs`.
fn flag(number: usize) -> Value {
    let email =
        json!({"attribute": "email", "operator": "ends_with", "value": format!("@company-{number}.example")});
    json!({"key": format!("flag-{number}"), "type": "boolean", "enabled": true, "off_variation": "off",
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "rules": [
            {"id": "country", "condition": {"attribute": "country", "operator": "in", "value": ["FR", "IT", "ES"]},
                "serve": {"variation": "on"}},
            {"id": "app", "condition": {"all": [{"attribute": "app_version", "operator": "version_in_range",
                "value": format!("^{}.1", number % 9)}, email]},
                "serve": {"rollout": [{"variation": "on", "percent": 12.5}]}}],
        "default": {"rollout": [{"variation": "on", "percent": 10}, {"variation": "off", "percent": 90}]}})
}

fn ruleset() -> Result<Ruleset, Box<dyn Error>> {
    let flags: Vec<Value> = (0..350).map(flag).collect();
    let definitions: Definitions = serde_json::from_value(json!({"version": 1, "flags": flags}))?;
    Ok(Ruleset::compile_lenient(&definitions).ruleset)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8082".to_owned());
    let folder = tempfile::TempDir::new()?;
    let (log, _) = EmbeddedLog::open(&folder.path().join("log"), LogSettings::default())?;
    let (_views, view) = watch::channel(Arc::new(ResultsView {
        epoch: 0,
        as_of: Timestamp(0),
        experiments: [].into(),
        sealed: [].into(),
        counters: Counters::default(),
    }));
    let shutdown = CancellationToken::new();
    let store = Store::open(&folder.path().join("store.sqlite")).await?;
    let clock: Arc<dyn control::Clock> = Arc::new(|| Timestamp(0));
    let access = Access::open(store.clone(), Arc::clone(&clock), AccessSettings::default()).await?;
    let state = ApiState {
        access: Arc::new(access),
        rates: Rates::new(RateSettings::default()),
        store,
        collector: Collector::new(log, CollectorSettings::default()),
        ruleset: Arc::new(RulesetHandle::new(ruleset()?)),
        exposures: ExposureLog::default(),
        user_data: Arc::new(|_| tokio::sync::mpsc::channel(1).1),
        results: Arc::new(WatchedResults(view)),
        clock,
        health: Arc::new(Vec::new),
        prometheus: PrometheusBuilder::new().install_recorder()?,
        hosts: HostPolicy::Local,
        webhooks: WebhookSettings {
            allow_private_targets: false,
        },
        shutdown: shutdown.clone(),
    };
    serve(TcpListener::bind(address).await?, service(state), shutdown).await?;
    Ok(())
}
