//! A pipeline from a source to committed tables.
//!
//! Three steps work beside each other: the source is read on the async runtime, records are decoded on a thread, and the
//! engine runs on another, which also commits. Between them stand bounded queues, so that the slowest sets the pace.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use domain::Positions;
use domain::metric::MeasurementPlan;
use ingest::decode::{DecodeLimits, decode};
use ingest::sources::file::FileSource;
use ingest::{RawBatch, Source, SourceEvent};
use tokio_util::sync::CancellationToken;

use crate::PipelineError;
use crate::lake::Root;
use crate::recovery;
use crate::settings::Settings;
use crate::state::Counters;
use crate::view::{CommitObserver, CommitOutcome, KeepView, LiveView};
use crate::worker::{Message, Worker};

/// Raw batches of a megabyte waiting to be decoded.
const RAW_QUEUE_BATCHES: usize = 4;
/// Decoded batches waiting for the engine.
const DECODED_QUEUE_BATCHES: usize = 4;

/// A pipeline that is restored and ready to take events.
pub struct Pipeline {
    worker: Worker,
    positions: tokio::sync::watch::Receiver<Positions>,
    retention_micros: Option<i64>,
}

impl Pipeline {
    /// Opens the lake under a root, finishes what a crash left unfinished, and restores the state.
    ///
    /// The observer is told of the last commit again, with the same epoch, before this returns.
    ///
    /// # Errors
    /// When the plan is not valid, or the lake or the state beside it cannot be used.
    pub async fn open(
        root: Root,
        plan: MeasurementPlan,
        settings: Settings,
        observer: Arc<dyn CommitObserver>,
    ) -> Result<Self, PipelineError> {
        plan.check()?;
        let parts = recovery::recover(root, &plan, &settings).await?;
        let positions = parts
            .last
            .as_ref()
            .map(|last| last.positions.clone())
            .unwrap_or_default();
        if let Some(last) = &parts.last {
            let view = LiveView::of(&parts.engine, &parts.seals, last.epoch, last.counters);
            let outcome = CommitOutcome {
                view: Arc::new(view),
                looks: parts.looks.clone(),
            };
            observer
                .committed(outcome)
                .await
                .map_err(PipelineError::Observer)?;
        }
        let (committed, positions) = tokio::sync::watch::channel(positions);
        let worker = Worker::new(parts, settings, observer, committed)?;
        Ok(Self {
            worker,
            positions,
            retention_micros: None,
        })
    }

    /// Turns away events of live sources that are older than this many microseconds when they come.
    #[must_use]
    pub fn with_retention(mut self, micros: i64) -> Self {
        self.retention_micros = Some(micros);
        self
    }

    /// Where each partition stands in the lake.
    pub fn positions(&self) -> Positions {
        self.positions.borrow().clone()
    }

    /// Runs until the source has ended or `stop` is cancelled; what has come is committed before this returns.
    ///
    /// # Errors
    /// When the source fails for good, or a commit cannot be made. Opening the pipeline again goes on without a loss.
    pub async fn run(
        self,
        source: &mut dyn Source,
        stop: CancellationToken,
    ) -> Result<Counters, PipelineError> {
        let positions = self.positions();
        // A source may try for long to reach what it reads; until it has, there is nothing to commit.
        tokio::select! {
            started = source.start(&positions) => started?,
            () = stop.cancelled() => return Ok(self.worker.counters),
        }
        let (raw_in, mut raw_out) = tokio::sync::mpsc::channel::<RawBatch>(RAW_QUEUE_BATCHES);
        let (decoded_in, decoded_out) = std::sync::mpsc::sync_channel(DECODED_QUEUE_BATCHES);
        let worker = self.worker;
        let limits = DecodeLimits {
            retention_micros: self.retention_micros,
        };
        let decoding = tokio::task::spawn_blocking({
            let decoded = decoded_in.clone();
            move || {
                while let Some(raw) = raw_out.blocking_recv() {
                    if decoded.send(Message::Batch(decode(raw, &limits))).is_err() {
                        return;
                    }
                }
            }
        });
        let mut working = tokio::task::spawn_blocking(move || worker.run(&decoded_out));
        let gone = |_| PipelineError::WorkerGone { worker: "engine" };
        let reading = read(source, raw_in, self.positions.clone(), stop);
        let read = tokio::select! {
            read = reading => read,
            ended = &mut working => return ended.map_err(gone)?,
        };
        decoding
            .await
            .map_err(|_| PipelineError::WorkerGone { worker: "decoder" })?;
        tell(decoded_in, matches!(read, Ok(Ended::Finished))).await;
        let counters = working.await.map_err(gone)??;
        read?;
        let committed = self.positions.borrow().clone();
        source.committed(&committed).await?;
        Ok(counters)
    }
}

/// Finishes what was begun and writes everything that follows from the events, under a plan: all windows, all that came too
/// late. Nothing else may write to the lake meanwhile.
///
/// # Errors
/// As [`Pipeline::open`] and [`Pipeline::run`].
pub async fn write_all(root: Root, plan: MeasurementPlan, settings: Settings) -> Result<(), PipelineError> {
    let now = (settings.now)();
    let (views, _) = tokio::sync::watch::channel(Arc::new(LiveView::default()));
    let pipeline = Box::pin(Pipeline::open(root, plan, settings, Arc::new(KeepView(views)))).await?;
    let mut nothing = FileSource::new(Vec::new(), now);
    pipeline.run(&mut nothing, CancellationToken::new()).await?;
    Ok(())
}

enum Ended {
    Finished,
    Stopped,
}

/// Tells the worker that nothing more comes; the queue may be full, and waiting must not hold up the runtime.
async fn tell(decoded: SyncSender<Message>, finished: bool) {
    let message = if finished {
        Message::Finished
    } else {
        Message::Stop
    };
    // A worker that is gone reports its own error.
    drop(tokio::task::spawn_blocking(move || drop(decoded.send(message))).await);
}

async fn read(
    source: &mut dyn Source,
    raw: tokio::sync::mpsc::Sender<RawBatch>,
    mut positions: tokio::sync::watch::Receiver<Positions>,
    stop: CancellationToken,
) -> Result<Ended, PipelineError> {
    loop {
        if positions.has_changed().unwrap_or(false) {
            let committed = positions.borrow_and_update().clone();
            source.committed(&committed).await?;
        }
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            event = source.next() => event,
        };
        match event {
            Ok(SourceEvent::Batch(batch)) => {
                if raw.send(batch).await.is_err() {
                    return Ok(Ended::Stopped);
                }
            }
            Ok(SourceEvent::Idle) => {}
            Ok(SourceEvent::Finished) => return Ok(Ended::Finished),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the source failed and is asked again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How long a source that failed for the moment is left alone.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
