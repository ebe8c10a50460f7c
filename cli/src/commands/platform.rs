//! The embedded platform: log, lake, definitions, engine and HTTP in one process over one folder.

mod health;
mod observer;
mod retention;
mod supervisor;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use control::access::AccessMode;
use control::audit::Notary;
use control::{Access, Clock, RollbackRecord, Scheduler, Store, StoreAddress, Summaries, WebhookWorker};
use domain::{ExperimentKey, Timestamp};
use ingest::{Collector, CollectorSettings, EmbeddedLog, FolderLock, LogSettings};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pipeline::lake::Root;
use query_api::{
    ApiState, ExposureLog, Freshness, HostPolicy, Rates, ResultsView, RulesetHandle, WatchedResults,
};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::health::EngineHealth;
use self::observer::{Observer, Parts};
use self::retention::Retention;
use self::supervisor::Supervisor;
use crate::clock::{self, Now};
use crate::settings::PlatformSettings;
use crate::{erasures, store};

/// Rollbacks that a slow listener may lag behind.
const ROLLBACK_QUEUE: usize = 64;
/// How often the metrics recorder tidies its histograms.
const METRICS_UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);
/// How often a store is tried that could not be opened: whoever mends it sees the effect.
const STORE_RETRY_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// How often the log is asked whether it holds anything.
const CAUGHT_UP_POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// A running platform.
pub struct Platform {
    /// Where HTTP listens.
    pub address: SocketAddr,
    /// The definitions.
    pub store: Store,
    /// Who comes in.
    pub access: Arc<Access>,
    /// Where events become durable.
    pub collector: Collector,
    /// What evaluations use.
    pub ruleset: Arc<RulesetHandle>,
    /// The newest results.
    pub views: watch::Receiver<Arc<ResultsView>>,
    /// The clock.
    pub now: Now,
    log: EmbeddedLog,
    root: Root,
    rollbacks: broadcast::Sender<Arc<RollbackRecord>>,
    stop: CancellationToken,
    http: JoinHandle<std::io::Result<()>>,
    engine: Ended,
    helpers: Ended,
    _lock: FolderLock,
}

/// Tasks that end after a token was cancelled.
struct Ended {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Ended {
    fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: Vec::new(),
        }
    }

    async fn wait(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await.context("a task of the platform panicked")?;
        }
        Ok(())
    }
}

impl Platform {
    /// Opens everything and begins to serve; `stop` ends it, and [`Platform::finish`] waits for the end.
    pub async fn start(settings: PlatformSettings, stop: CancellationToken) -> anyhow::Result<Self> {
        settings.check()?;
        let now = clock::ahead(settings.clock_ahead_days);
        let lock = FolderLock::acquire(&settings.data).context("cannot use the data folder")?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| {
            format!(
                "cannot listen on {}; choose another address with --listen",
                settings.listen
            )
        })?;
        let prometheus = install_metrics()?;
        let root = Root::folder(&settings.data)?;
        let log_settings = LogSettings {
            segment_bytes: settings.log.segment_bytes,
            max_held_bytes: settings.log.max_held_bytes,
            ..LogSettings::default()
        };
        let (log, _) = EmbeddedLog::open(&settings.data.join("log"), log_settings)
            .context("cannot open the embedded log")?;
        let clock: Arc<dyn Clock> = {
            let now = Arc::clone(&now);
            Arc::new(move || now())
        };
        let kept = settings.data.join("ruleset.kept");
        let ruleset = Arc::new(RulesetHandle::kept_in(&kept, Arc::clone(&clock)));
        let store = open_store(&address_of(&settings), &ruleset).await?;
        let access = Access::open(store.clone(), clock, settings.auth.clone()).await;
        let access = access.context("cannot read who may come in")?;
        let access = Arc::new(access.keeping(&settings.data.join("access.kept")));
        let (views, view) = watch::channel(Arc::new(no_results()));
        store.use_summaries(summaries(view.clone()));
        ruleset.refresh_logged(&store).await;
        let (rollbacks, _) = broadcast::channel(ROLLBACK_QUEUE);
        let mut platform = Self {
            address: listener.local_addr().context("cannot tell the address")?,
            collector: Collector::new(log.clone(), collecting(&settings)),
            store,
            access,
            ruleset,
            views: view,
            now,
            log: log.clone(),
            root: root.clone(),
            rollbacks,
            http: tokio::spawn(async { Ok(()) }),
            engine: Ended::new(),
            helpers: Ended::new(),
            stop,
            _lock: lock,
        };
        let engine = platform.start_engine(&settings, root, log.clone(), views).await?;
        platform.start_helpers(&settings, &prometheus)?;
        let health = health::source(
            engine,
            log,
            settings.log.max_held_bytes,
            platform.views.clone(),
            Arc::clone(&platform.now),
        );
        let service = query_api::service(platform.api_state(&settings, prometheus, health));
        platform.http = tokio::spawn(query_api::serve(listener, service, platform.stop.clone()));
        Ok(platform)
    }

    /// Hears of rollbacks from now on.
    pub fn rollbacks(&self) -> broadcast::Receiver<Arc<RollbackRecord>> {
        self.rollbacks.subscribe()
    }

    /// Waits until everything taken so far is committed and seen in the results.
    pub async fn caught_up(&self) {
        while self.log.held_bytes() > 0 {
            tokio::time::sleep(CAUGHT_UP_POLL).await;
        }
    }

    /// Waits until the platform was told to stop, then until requests are answered, events committed and files closed.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.stop.cancelled().await;
        self.http
            .await
            .context("the server panicked")?
            .context("the server failed")?;
        // Nothing comes in any more: what has come is committed now.
        self.engine.wait().await?;
        self.helpers.wait().await?;
        self.store.close().await;
        Ok(())
    }

    async fn start_engine(
        &mut self,
        settings: &PlatformSettings,
        root: Root,
        log: EmbeddedLog,
        views: watch::Sender<Arc<ResultsView>>,
    ) -> anyhow::Result<EngineHealth> {
        // Guardrails that cannot be read now are read by the task that follows them.
        let watched = supervisor::watched(&self.store).await;
        let (watches_in, watches) = watch::channel(watched.unwrap_or_default());
        let follow = supervisor::follow_watches(self.store.clone(), watches_in, self.helpers.stop.clone());
        self.helpers.tasks.push(tokio::spawn(follow));
        let health = EngineHealth::new((self.now)(), watches.clone());
        let observer = Observer::new(Parts {
            store: self.store.clone(),
            ruleset: Arc::clone(&self.ruleset),
            views,
            rollbacks: self.rollbacks.clone(),
            now: Arc::clone(&self.now),
        });
        if log.durable_offset() == 0 {
            supervisor::take_up(&root, &log).await?;
        }
        let supervisor = Supervisor {
            settings: settings.clone(),
            root,
            log,
            store: self.store.clone(),
            observer: Arc::new(observer),
            watches,
            health: health.clone(),
            retention: Retention::default(),
            now: Arc::clone(&self.now),
        };
        self.engine
            .tasks
            .push(tokio::spawn(supervisor.run(self.engine.stop.clone())));
        Ok(health)
    }

    fn start_helpers(
        &mut self,
        settings: &PlatformSettings,
        prometheus: &PrometheusHandle,
    ) -> anyhow::Result<()> {
        let stop = &self.helpers.stop;
        let ruleset = Arc::clone(&self.ruleset).follow(self.store.clone(), stop.clone());
        let access = Arc::clone(&self.access).follow(stop.clone());
        let notary = Notary::open(
            self.store.clone(),
            self.clock(),
            &settings.data.join("audit"),
            settings.audit_days,
        );
        let notary = notary.context("cannot sign the audit trail")?.run(stop.clone());
        let worker = WebhookWorker::new(self.store.clone(), self.clock(), &settings.webhooks);
        let worker = worker
            .context("cannot start the sending of webhooks")?
            .run(stop.clone());
        let upkeep = {
            let (prometheus, stop) = (prometheus.clone(), stop.clone());
            async move {
                while tokio::time::timeout(METRICS_UPKEEP, stop.cancelled())
                    .await
                    .is_err()
                {
                    prometheus.run_upkeep();
                }
            }
        };
        let reopening = open_again(address_of(settings), stop.clone());
        if !self.store.is_open() {
            self.helpers.tasks.push(tokio::spawn(reopening));
        }
        let scheduler = Scheduler::new(self.store.clone(), self.clock()).run(stop.clone());
        let others = self.store.clone().follow_others(stop.clone());
        self.helpers.tasks.extend([
            tokio::spawn(ruleset),
            tokio::spawn(access),
            tokio::spawn(notary),
            tokio::spawn(worker),
            tokio::spawn(upkeep),
            tokio::spawn(scheduler),
            tokio::spawn(others),
        ]);
        Ok(())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        let now = Arc::clone(&self.now);
        Arc::new(move || now())
    }

    fn api_state(
        &self,
        settings: &PlatformSettings,
        prometheus: PrometheusHandle,
        health: query_api::HealthSource,
    ) -> ApiState {
        ApiState {
            store: self.store.clone(),
            access: Arc::clone(&self.access),
            rates: Rates::new(settings.rates.clone()),
            collector: self.collector.clone(),
            ruleset: Arc::clone(&self.ruleset),
            exposures: ExposureLog::default(),
            user_data: {
                let root = self.root.clone();
                Arc::new(move |user| erasures::export(root.clone(), user))
            },
            results: Arc::new(WatchedResults(self.views.clone())),
            clock: self.clock(),
            health,
            prometheus,
            hosts: match settings.auth.mode {
                AccessMode::Required => HostPolicy::Any,
                AccessMode::Auto | AccessMode::Local => HostPolicy::Local,
            },
            webhooks: settings.webhooks,
            shutdown: self.stop.clone(),
        }
    }
}

/// What is taken over HTTP: nothing that is older than events are kept.
fn collecting(settings: &PlatformSettings) -> CollectorSettings {
    let mut collecting = CollectorSettings::default();
    collecting.limits.retention_micros = settings.events_days.micros();
    collecting
}

/// Where the store is.
fn address_of(settings: &PlatformSettings) -> StoreAddress {
    let named = settings.store.clone();
    named.unwrap_or_else(|| store::in_folder(&settings.data))
}

/// The store; or, when it cannot be opened and a ruleset was kept, one that will work as soon as it can.
async fn open_store(address: &StoreAddress, ruleset: &RulesetHandle) -> anyhow::Result<Store> {
    match Store::connect(address).await {
        Ok(store) => Ok(store),
        Err(error) if ruleset.freshness() == Freshness::Absent => {
            Err(error).context("cannot open the definitions")
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(
                error,
                "the definitions cannot be opened; the ruleset that was kept is served"
            );
            Store::connect_when_used(address).context("cannot open the definitions")
        }
    }
}

/// Tries to open a store that could not be opened, which brings its schema up to date, until it works.
async fn open_again(address: StoreAddress, stop: CancellationToken) {
    while tokio::time::timeout(STORE_RETRY_WAIT, stop.cancelled())
        .await
        .is_err()
    {
        if let Ok(store) = Store::connect(&address).await {
            store.close().await;
            tracing::info!("the definitions can be opened again");
            return;
        }
    }
}

/// The engine's newest numbers, as the parts that act on them ask for them.
fn summaries(view: watch::Receiver<Arc<ResultsView>>) -> Arc<dyn Summaries> {
    Arc::new(move |experiment: &ExperimentKey| view.borrow().experiments.get(experiment).cloned())
}

fn no_results() -> ResultsView {
    ResultsView {
        epoch: 0,
        as_of: Timestamp(0),
        experiments: std::collections::BTreeMap::new(),
        sealed: std::collections::BTreeMap::new(),
        counters: query_api::Counters::default(),
    }
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .context("cannot install the metrics recorder")?;
    ingest::metrics::describe();
    #[cfg(feature = "kinesis")]
    ingest::sources::kinesis::metrics::describe();
    pipeline::metrics::describe();
    control::metrics::describe();
    Ok(handle)
}
