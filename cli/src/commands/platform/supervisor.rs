//! Keeps a pipeline running: opens it, runs it, and opens it again after a failure or when the plan has changed.
//!
//! Opening restores exactly what was committed, so that opening again is always safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use control::{Actor, Change, Receipt, Store};
use domain::metric::MeasurementPlan;
use domain::{ExperimentKey, PartitionId, Position, Positions};
use ingest::sources::log::{LOG_PARTITION, LogSource};
use ingest::{EmbeddedLog, Source};
use pipeline::engine::Watch;
use pipeline::lake::Root;
use pipeline::settings::Watches;
use pipeline::{Pipeline, Settings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::health::{Doing, EngineHealth, blind};
use super::observer::Observer;
use super::retention::Retention;
use crate::clock::{self, Now};
use crate::erasures;
use crate::settings::PlatformSettings;

/// The wait after a first failure.
const RETRY_WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait: a disk that was freed or a stream that is back is found within half a minute.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often the log is asked how far it is committed.
const COMMITTED_POLL: Duration = Duration::from_millis(50);

/// Everything that a pipeline is opened with.
pub struct Supervisor {
    /// The settings of the platform.
    pub settings: PlatformSettings,
    /// Where the lake is.
    pub root: Root,
    /// Where HTTP puts events.
    pub log: EmbeddedLog,
    /// The definitions.
    pub store: Store,
    /// Who is told of commits.
    pub observer: Arc<Observer>,
    /// What guardrails watch.
    pub watches: watch::Receiver<Vec<Watch>>,
    /// What the engine says of itself.
    pub health: EngineHealth,
    /// When what is too old was looked for last.
    pub retention: Retention,
    /// The clock.
    pub now: Now,
}

impl Supervisor {
    /// Runs pipelines until `stop`; what has come is committed before this returns, unless the last one fails.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = RETRY_WAIT_MIN;
        while !stop.is_cancelled() {
            self.health.set(Doing::Restoring);
            let started = Instant::now();
            let Err(error) = Box::pin(self.run_once(&stop)).await else {
                continue;
            };
            // The alternate form tells the causes too.
            let why = format!("{error:#}");
            tracing::error!(error = %why, retry_seconds = wait.as_secs(), "the pipeline failed and is opened again");
            self.health.set(Doing::Waiting(why));
            // One that ran for a while had got over what it failed by before.
            if started.elapsed() > RETRY_WAIT_MAX {
                wait = RETRY_WAIT_MIN;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(RETRY_WAIT_MAX);
        }
    }

    /// Runs one pipeline until `stop`, a failure, or a new plan.
    async fn run_once(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let changes = self.store.subscribe();
        let plan = self
            .store
            .measurement_plan()
            .await
            .context("cannot read what to measure")?;
        let observer = Arc::clone(&self.observer);
        let pipeline = Pipeline::open(
            self.root.clone(),
            plan.clone(),
            self.pipeline_settings(),
            observer,
        );
        let mut pipeline = Box::pin(pipeline).await.context("cannot open the pipeline")?;
        if let Some(kept) = self.settings.events_days.micros() {
            pipeline = pipeline.with_retention(kept);
        }
        advance(&self.log, &pipeline.positions()).await?;
        for flag in blind(&self.watches.borrow(), &self.observer.sealed()) {
            tracing::error!(flag.key = %flag, "a guardrail sees no harm because its flag is sealed; use a flag of another key");
        }
        self.health.set(Doing::Running);
        // Sources are made anew: what one has read ahead belongs to the run before.
        let mut source = self.source();
        let run_stop = stop.child_token();
        let run = pipeline.run(source.as_mut(), run_stop.clone());
        let (erases, deletes) = (AtomicBool::new(false), AtomicBool::new(false));
        tokio::select! {
            outcome = run => outcome.map(drop).context("the pipeline cannot go on")?,
            () = self.stop_on_new_plan(changes, plan.clone(), &run_stop) => {}
            () = self.stop_to_erase(&run_stop, &erases) => {}
            () = self.stop_to_delete(&run_stop, &deletes) => {}
        }
        if erases.load(Ordering::Acquire) && !stop.is_cancelled() {
            self.health.set(Doing::Erasing);
            Box::pin(self.erase()).await.context("cannot erase users")?;
        }
        if deletes.load(Ordering::Acquire) && !stop.is_cancelled() {
            self.health.set(Doing::Deleting);
            Box::pin(self.delete_old(plan)).await;
        }
        Ok(())
    }

    /// Ends the run when a user is to be erased, as soon as all that came before is committed, because what waits in the log
    /// would bring the user back; never answers.
    async fn stop_to_erase(&self, run_stop: &CancellationToken, erases: &AtomicBool) {
        let mut changes = self.store.subscribe();
        loop {
            match self.waiting_erasures().await {
                Ok(waiting) if waiting.is_empty() => {
                    if changes.changed().await.is_err() {
                        break;
                    }
                }
                Ok(_) => {
                    self.commit_log().await;
                    erases.store(true, Ordering::Release);
                    run_stop.cancel();
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "whom to erase cannot be read and is read again");
                    tokio::time::sleep(RETRY_WAIT_MAX).await;
                }
            }
        }
        std::future::pending().await
    }

    /// Waits until the log holds nothing on disk that came before now.
    async fn commit_log(&self) {
        if let Err(error) = self.log.start_segment().await {
            tracing::warn!(%error, "the log cannot begin another segment; records of an erased user stay in it for now");
        }
        let end = self.log.durable_offset();
        while self.log.released_offset() < end {
            tokio::time::sleep(COMMITTED_POLL).await;
        }
    }

    /// The erasures that the store knows and this data folder has no receipt of: new ones, those that other processes on the
    /// store were asked for, and all since the backup that the folder may come from.
    async fn waiting_erasures(&self) -> anyhow::Result<Vec<Receipt>> {
        let known = self.store.erasures().await?;
        let done = erasures::read_receipts(&erasures::receipts_file(&self.settings.data))?;
        let receipts = known.into_iter().map(|erasure| erasure.receipt);
        Ok(receipts.filter(|receipt| !done.contains(receipt)).collect())
    }

    /// Erases everybody of whom it was asked.
    async fn erase(&self) -> anyhow::Result<()> {
        let receipts = self.waiting_erasures().await?;
        if receipts.is_empty() {
            return Ok(());
        }
        let settings = Settings::replay(Arc::clone(&self.now), clock::run_id());
        let erased = erasures::erase_users(self.root.clone(), settings, receipts.clone()).await?;
        erasures::keep_receipts(&erasures::receipts_file(&self.settings.data), &receipts)?;
        let change = Change::new(Actor::system("erasure"), (self.now)());
        for receipt in &receipts {
            let rows = erasures::rows(&erased);
            self.store.finish_erasure(&receipt.receipt, rows, &change).await?;
        }
        tracing::info!(users = receipts.len(), rows = erased.events, "users were erased");
        Ok(())
    }

    fn pipeline_settings(&self) -> Settings {
        Settings {
            commit_interval: Duration::from_millis(self.settings.commit_interval_ms),
            derived_interval: Duration::from_secs(self.settings.derived_interval_seconds),
            watches: Watches::following(self.watches.clone()),
            ..Settings::live(Arc::clone(&self.now), clock::run_id())
        }
    }

    #[cfg(feature = "kinesis")]
    fn source(&self) -> Box<dyn Source> {
        use ingest::sources::kinesis::{KinesisSettings, KinesisSource};
        let log = Box::new(LogSource::new(self.log.clone()));
        let section = &self.settings.kinesis;
        let Some(stream) = &section.stream else { return log };
        let mut settings = KinesisSettings::new(stream, &section.region, Arc::clone(&self.now));
        settings.endpoint_url.clone_from(&section.endpoint);
        let kinesis = Box::new(KinesisSource::new(settings));
        Box::new(ingest::sources::merged::MergedSource::new(vec![log, kinesis]))
    }

    #[cfg(not(feature = "kinesis"))]
    fn source(&self) -> Box<dyn Source> {
        Box::new(LogSource::new(self.log.clone()))
    }

    /// Ends the run when the store asks for another plan than the one that runs; never answers.
    async fn stop_on_new_plan(
        &self,
        mut changes: watch::Receiver<u64>,
        running: MeasurementPlan,
        run_stop: &CancellationToken,
    ) {
        while changes.changed().await.is_ok() {
            match self.store.measurement_plan().await {
                Ok(plan) if plan == running => {}
                Ok(_) => {
                    tracing::info!("the definitions changed; the pipeline is opened again to follow them");
                    run_stop.cancel();
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "changed definitions cannot be read; they are read at the next change")
                }
            }
        }
        std::future::pending().await
    }
}

/// Sets a log that begins anew to where the lake stands: it must not use offsets again that the lake has seen, so nothing
/// is taken before.
pub async fn take_up(root: &Root, log: &EmbeddedLog) -> anyhow::Result<()> {
    let positions = Box::pin(pipeline::committed_positions(root.clone())).await;
    advance(log, &positions.context("cannot read the lake")?).await
}

async fn advance(log: &EmbeddedLog, positions: &Positions) -> anyhow::Result<()> {
    if let Some(Position::Offset(committed)) = positions.get(&PartitionId(LOG_PARTITION.into())) {
        log.advance(*committed)
            .await
            .context("cannot take up the embedded log")?;
    }
    Ok(())
}

/// What the guardrails of a store watch.
pub async fn watched(store: &Store) -> anyhow::Result<Vec<Watch>> {
    let guardrails = store.watched().await.context("cannot read the guardrails")?;
    let watch = |guardrail: control::Guardrail| {
        let experiment = ExperimentKey::new(guardrail.definition.flag.as_str()).ok()?;
        Some(Watch {
            experiment,
            event: guardrail.definition.event,
        })
    };
    let mut watches: Vec<Watch> = guardrails.into_iter().filter_map(watch).collect();
    watches.sort();
    watches.dedup();
    Ok(watches)
}

/// Keeps the watches as new as the store until `stop`.
pub async fn follow_watches(store: Store, watches: watch::Sender<Vec<Watch>>, stop: CancellationToken) {
    let mut changes = store.subscribe();
    loop {
        changes.mark_unchanged();
        let read = watched(&store).await;
        match &read {
            Ok(new) => drop(watches.send_if_modified(|old| {
                let changed = old != new;
                old.clone_from(new);
                changed
            })),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the guardrails cannot be read and are read again")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed(), if read.is_ok() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(RETRY_WAIT_MIN), if read.is_err() => {}
        }
    }
}
