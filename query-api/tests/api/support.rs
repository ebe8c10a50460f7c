//! A whole server on a port of its own, with a real store and a real log in a folder of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use control::{Access, AccessSettings, Store, WebhookSettings};
use domain::results::ExperimentSummary;
use domain::rules::Ruleset;
use domain::{Positions, Timestamp, UnitId};
use ingest::sources::log::LogSource;
use ingest::{Collector, CollectorSettings, EmbeddedLog, LogSettings, Source, SourceEvent};
use metrics_exporter_prometheus::PrometheusBuilder;
use query_api::{
    ApiState, Counters, ExposureLog, HealthCheck, HealthStatus, HostPolicy, RateSettings, Rates, ResultsView,
    RulesetHandle, ServerLimits, WatchedResults,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{conformance, stores};

/// The moment at which all tests happen.
pub const NOW: &str = "2026-01-31T12:00:00Z";

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its store, for what the API cannot do.
    pub store: Store,
    /// Who comes in.
    pub access: Arc<Access>,
    rates: RateSettings,
    collector: Collector,
    log: EmbeddedLog,
    /// What its evaluations use.
    pub ruleset: Arc<RulesetHandle>,
    client: reqwest::Client,
    views: watch::Sender<Arc<ResultsView>>,
    health: Arc<Mutex<Vec<HealthCheck>>>,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    _folder: TempDir,
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub text: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every value of a header, such as each cookie.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap())
    }
}

/// Asserts that an answer is the problem of a code, whole and in its own media type.
#[track_caller]
pub fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!(
        (&body["code"], &body["status"]),
        (&code.into(), &status.into()),
        "{body}"
    );
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.ends_with(['.', '?', '!']) && detail.len() > 10, "{detail}");
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(body["instance"], format!("urn:uuid:{id}"));
}

/// What is held of every user: one event.
fn one_event_of(user: &UnitId) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (lines, given) = mpsc::channel(1);
    let line = json!({"table": "events", "row": {"event_id": "1", "user_id": user}});
    lines.try_send(Ok(format!("{line}\n").into())).unwrap();
    given
}

fn clock() -> Arc<dyn control::Clock> {
    Arc::new(|| Timestamp::parse(NOW).unwrap())
}

/// What sends the requests. It follows nobody: a test looks at what it was answered.
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(ServerLimits::default()).await
    }

    pub async fn start_with(limits: ServerLimits) -> Self {
        let access = (AccessSettings::default(), RateSettings::default());
        Self::start_parts(access, limits, RulesetHandle::new(Ruleset::default())).await
    }

    /// A server under settings of who comes in, and how often.
    pub async fn start_under(settings: AccessSettings, rates: RateSettings) -> Self {
        let ruleset = RulesetHandle::new(Ruleset::default());
        Self::start_parts((settings, rates), ServerLimits::default(), ruleset).await
    }

    /// A server whose store does not answer, with a ruleset that is kept in a folder.
    pub async fn start_without_store(folder: &std::path::Path) -> Self {
        let server = Self::start_keeping(folder).await;
        server.store.close().await;
        server
    }

    /// A server with a ruleset that is kept in a folder.
    pub async fn start_keeping(folder: &std::path::Path) -> Self {
        let ruleset = RulesetHandle::kept_in(&folder.join("ruleset.kept"), clock());
        let access = (AccessSettings::default(), RateSettings::default());
        Self::start_parts(access, ServerLimits::default(), ruleset).await
    }

    /// A server that was started while its store could not be opened.
    pub async fn start_before_its_store(store: Store, settings: AccessSettings) -> Self {
        let mut server = Self::start().await;
        let access = Access::open(store.clone(), clock(), settings).await.unwrap();
        (server.store, server.access) = (store, Arc::new(access));
        server.listen(ServerLimits::default()).await;
        server
    }

    async fn start_parts(
        access: (AccessSettings, RateSettings),
        limits: ServerLimits,
        ruleset: RulesetHandle,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let store = stores::open(folder.path()).await;
        Self::start_all(access, limits, ruleset, (store, folder)).await
    }

    /// A server on a store that is somewhere else.
    pub async fn start_on(store: Store) -> Self {
        let ruleset = RulesetHandle::new(Ruleset::default());
        let access = (AccessSettings::default(), RateSettings::default());
        let place = (store, TempDir::new().unwrap());
        Self::start_all(access, ServerLimits::default(), ruleset, place).await
    }

    async fn start_all(
        (settings, rates): (AccessSettings, RateSettings),
        limits: ServerLimits,
        ruleset: RulesetHandle,
        (store, folder): (Store, TempDir),
    ) -> Self {
        // Small, so that a test can fill it.
        let log_settings = LogSettings {
            segment_bytes: 1024 * 1024,
            max_held_bytes: 4 * 1024 * 1024,
            ..LogSettings::default()
        };
        let (log, _) = EmbeddedLog::open(&folder.path().join("log"), log_settings).unwrap();
        let collector = Collector::new(log.clone(), CollectorSettings::default());
        let (views, _) = watch::channel(Arc::new(ResultsView {
            epoch: 0,
            as_of: Timestamp(0),
            experiments: [].into(),
            sealed: [].into(),
            counters: Counters::default(),
        }));
        let access = Access::open(store.clone(), clock(), settings).await.unwrap();
        let mut server = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            store,
            access: Arc::new(access),
            rates,
            collector,
            log,
            ruleset: Arc::new(ruleset),
            client: client(),
            views,
            health: Arc::default(),
            shutdown: CancellationToken::new(),
            task: tokio::spawn(async { Ok(()) }),
            _folder: folder,
        };
        server.listen(limits).await;
        server
    }

    async fn listen(&mut self, limits: ServerLimits) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap();
        let service = query_api::service(self.state());
        let shutdown = self.shutdown.clone();
        self.task = tokio::spawn(query_api::serve_with_limits(listener, service, shutdown, limits));
    }

    /// The state that the handlers share, as the program would build it.
    pub fn state(&self) -> ApiState {
        let health = Arc::clone(&self.health);
        ApiState {
            store: self.store.clone(),
            access: Arc::clone(&self.access),
            rates: Rates::new(self.rates.clone()),
            collector: self.collector.clone(),
            ruleset: Arc::clone(&self.ruleset),
            exposures: ExposureLog::default(),
            user_data: Arc::new(|user: UnitId| one_event_of(&user)),
            results: Arc::new(WatchedResults(self.views.subscribe())),
            clock: clock(),
            health: Arc::new(move || health.lock().unwrap().clone()),
            prometheus: PrometheusBuilder::new().build_recorder().handle(),
            hosts: HostPolicy::Local,
            webhooks: WebhookSettings {
                allow_private_targets: true,
            },
            shutdown: self.shutdown.clone(),
        }
    }

    /// Shows a summary as the engine's newest commit.
    pub fn commit(&self, summary: ExperimentSummary) {
        self.views.send_modify(|view| {
            let mut next = ResultsView::clone(view);
            next.epoch = summary.epoch;
            next.as_of = summary.as_of;
            next.experiments
                .insert(summary.experiment.clone(), Arc::new(summary));
            *view = Arc::new(next);
        });
    }

    /// Every event that is durable, in the order in which it became so.
    pub async fn logged_events(&self) -> Vec<Value> {
        let mut source = LogSource::new(self.log.clone());
        source.start(&Positions::new()).await.unwrap();
        let mut events = Vec::new();
        while let SourceEvent::Batch(batch) = source.next().await.unwrap() {
            let lines = batch.bytes.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.is_empty());
            events.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        events
    }

    /// Where the log's durable records end.
    pub fn log_offset(&self) -> u64 {
        self.log.durable_offset()
    }

    /// Gives the log's space back, as commits do.
    pub fn release_log(&self) {
        self.log.release(self.log.durable_offset()).unwrap();
    }

    /// Sets how a part says that it is.
    pub fn set_health(&self, name: &str, status: HealthStatus) {
        self.health.lock().unwrap().push(HealthCheck {
            name: name.to_owned(),
            status,
            detail: None,
        });
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request and holds the answer against the document.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.client.execute(request).await.unwrap();
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        };
        let media = answer.header("content-type");
        conformance::check(method.as_str(), &path, answer.status, media, &answer.text);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    pub async fn put(&self, path: &str, version: Option<&str>, body: &Value) -> Answer {
        self.change("PUT", path, version, Some(body)).await
    }

    pub async fn patch(&self, path: &str, version: Option<&str>, body: &Value) -> Answer {
        self.change("PATCH", path, version, Some(body)).await
    }

    pub async fn delete(&self, path: &str, version: Option<&str>) -> Answer {
        self.change("DELETE", path, version, None).await
    }

    async fn change(&self, method: &str, path: &str, version: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(version) = version {
            request = request.header("if-match", version);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    /// Keeps the ruleset as new as the store, as the program does.
    pub fn follow(&self) -> JoinHandle<()> {
        let ruleset = Arc::clone(&self.ruleset);
        tokio::spawn(ruleset.follow(self.store.clone(), self.shutdown.clone()))
    }

    /// Begins to stop, without waiting for the end.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops and waits until every connection has ended.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}
