//! The one thread that owns the engine and commits epochs.
//!
//! An epoch is committed in this order: event files and id runs are written, the derived rows that are due are written, the
//! manifest is written, the `events` table is committed (now the epoch is true), the other tables are committed, and only
//! then sources learn that their records are safe. A crash between any two of these steps loses nothing and repeats
//! nothing: `recovery` finishes what a true epoch owes, and what belongs to one that never came true is swept.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use domain::metric::MeasurementPlan;
use domain::{EventKind, PartitionId, Position, Positions, Timestamp};
use ingest::{EventBatch, Rejection};

use crate::PipelineError;
use crate::columns::EventColumns;
use crate::engine::Engine;
use crate::event_files::EventFiles;
use crate::failpoint::{self, Step};
use crate::lake::{DataFile, Lake, partition_app_id};
use crate::metrics;
use crate::reconcile;
use crate::schema::Table;
use crate::seals::Seals;
use crate::settings::Settings;
use crate::state::{self, Counters, DerivedWritten, MANIFEST_VERSION, Manifest, StoredRuns};
use crate::view::{CommitObserver, CommitOutcome, LiveView};

/// Rows of one day that are handed to the file writer at once.
const FLUSH_ROWS: usize = 8_192;
/// Events are late when they are older than the watermark by more than this: the allowed lateness of ten minutes.
const LATE_MICROS: i64 = 600 * 1_000_000;
/// How often the worker looks whether a commit is due while nothing comes in.
const TICK: Duration = Duration::from_millis(20);

/// What the worker is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Decoded events.
    Batch(EventBatch),
    /// All sources have ended.
    Finished,
    /// Stop after committing what has come.
    Stop,
}

/// What the worker knows of the epoch under way.
#[derive(Debug, Default)]
struct Epoch {
    sequence: i64,
    received: u64,
    days: BTreeMap<i32, EventColumns>,
    rejections: Vec<(String, Rejection)>,
    partitions: BTreeSet<PartitionId>,
    derived_due: bool,
}

/// Owns the engine.
pub(crate) struct Worker {
    pub engine: Engine,
    pub lake: Lake,
    pub settings: Settings,
    pub plan: MeasurementPlan,
    pub seals: Seals,
    /// The sealed experiments of whose exposures the log was told.
    sealed_told: BTreeSet<String>,
    pub runtime: tokio::runtime::Handle,
    pub observer: Arc<dyn CommitObserver>,
    pub committed: tokio::sync::watch::Sender<Positions>,
    pub last: Option<Manifest>,
    pub lookup: StoredRuns,
    pub files: EventFiles,
    pub positions: Positions,
    pub watermarks: BTreeMap<PartitionId, Timestamp>,
    pub counters: Counters,
    pub restored: RestoredSize,
    epoch: Epoch,
    last_seen: BTreeMap<PartitionId, Instant>,
    last_commit: Instant,
    last_derived: Instant,
    last_reconciled: Instant,
    pub last_vacuum: Instant,
}

/// How much has to be read back when the state is restored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RestoredSize {
    /// The full snapshot to start from.
    pub base: Option<i64>,
    /// Events accepted after it.
    pub events_since: u64,
}

/// What recovery hands to a worker.
pub(crate) struct WorkerParts {
    pub engine: Engine,
    pub lake: Lake,
    /// The plan with the experiments that the lake has sealed.
    pub plan: MeasurementPlan,
    pub seals: Seals,
    pub last: Option<Manifest>,
    pub restored: RestoredSize,
    /// What guardrails learnt from the last epoch.
    pub looks: Vec<domain::guardrail::GuardrailLook>,
}

impl Worker {
    pub fn new(
        parts: WorkerParts,
        settings: Settings,
        observer: Arc<dyn CommitObserver>,
        committed: tokio::sync::watch::Sender<Positions>,
    ) -> Result<Self, PipelineError> {
        let runtime = tokio::runtime::Handle::current();
        let now = Instant::now();
        let last = parts.last;
        let derived_due = last
            .as_ref()
            .is_some_and(|last| last.derived == DerivedWritten::Nothing);
        Ok(Self {
            lookup: StoredRuns::new(parts.lake.root().clone(), runtime.clone()),
            files: EventFiles::start()?,
            positions: last
                .as_ref()
                .map(|last| last.positions.clone())
                .unwrap_or_default(),
            watermarks: last
                .as_ref()
                .map(|last| last.watermarks.clone())
                .unwrap_or_default(),
            counters: last.as_ref().map(|last| last.counters).unwrap_or_default(),
            engine: parts.engine,
            lake: parts.lake,
            settings,
            plan: parts.plan,
            seals: parts.seals,
            sealed_told: BTreeSet::new(),
            runtime,
            observer,
            committed,
            last,
            restored: parts.restored,
            epoch: Epoch {
                derived_due,
                ..Epoch::default()
            },
            last_seen: BTreeMap::new(),
            last_commit: now,
            last_derived: now,
            last_reconciled: now,
            last_vacuum: now,
        })
    }

    /// Works until told to stop or finished.
    pub fn run(mut self, inbox: &Receiver<Message>) -> Result<Counters, PipelineError> {
        loop {
            match inbox.recv_timeout(TICK) {
                Ok(Message::Batch(batch)) => self.take(batch)?,
                Ok(Message::Finished) => {
                    self.finish()?;
                    return Ok(self.counters);
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.commit(DerivedWritten::Closed)?;
                    return Ok(self.counters);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.commit_when_due()?;
        }
    }

    fn take(&mut self, batch: EventBatch) -> Result<(), PipelineError> {
        let mut accepted = Vec::with_capacity(batch.events.len());
        self.engine.apply(&batch, &mut self.lookup, &mut accepted)?;
        let received = batch.received_count();
        self.counters.received += received;
        self.counters.accepted += accepted.len() as u64;
        self.counters.duplicate += (batch.events.len() - accepted.len()) as u64;
        self.counters.invalid += batch.rejections.len() as u64;
        self.epoch.received += received;
        let watermark = self.watermarks.get(&batch.partition).copied();
        if let Some(watermark) = watermark {
            let late =
                |place: &&u32| batch.events[**place as usize].ts.0 < watermark.0.saturating_sub(LATE_MICROS);
            self.counters.late += accepted.iter().filter(late).count() as u64;
        }
        if !self.plan.sealed.is_empty() {
            self.count_sealed(&batch, &accepted);
        }
        for place in accepted {
            self.keep(&batch, place as usize)?;
        }
        self.advance(&batch, watermark);
        let partition = batch.partition.0.clone();
        self.epoch.rejections.extend(
            batch
                .rejections
                .into_iter()
                .map(|rejection| (partition.clone(), rejection)),
        );
        Ok(())
    }

    fn keep(&mut self, batch: &EventBatch, place: usize) -> Result<(), PipelineError> {
        let day = batch.events[place].ts.day();
        let epoch = self.next_epoch();
        let columns = self.epoch.days.entry(day).or_default();
        columns.push(batch, place, self.epoch.sequence);
        self.epoch.sequence += 1;
        if columns.len() >= FLUSH_ROWS {
            let rows = columns.finish(epoch)?;
            self.files.write(day, rows)?;
        }
        Ok(())
    }

    /// Counts the exposures that measure nothing, and says so once of each experiment.
    fn count_sealed(&mut self, batch: &EventBatch, accepted: &[u32]) {
        for place in accepted {
            let event = &batch.events[*place as usize];
            if event.kind != EventKind::Exposure || !self.plan.is_sealed(batch.text(event.name)) {
                continue;
            }
            ::metrics::counter!(metrics::SEALED_EXPOSURES).increment(1);
            let experiment = batch.text(event.name);
            if !self.sealed_told.contains(experiment) {
                tracing::warn!(
                    experiment.id = experiment,
                    "exposures to a sealed experiment are kept and measure nothing; measure under another key"
                );
                self.sealed_told.insert(experiment.to_owned());
            }
        }
    }

    /// Moves a partition's position and watermark past a batch.
    ///
    /// The watermark follows the median of the batch's event times: one event from the future must not close a window.
    fn advance(&mut self, batch: &EventBatch, watermark: Option<Timestamp>) {
        let mut times: Vec<i64> = batch
            .events
            .iter()
            .map(|event| event.ts.0.min(event.received_at.0))
            .collect();
        if !times.is_empty() {
            let middle = times.len() / 2;
            let median = Timestamp(*times.select_nth_unstable(middle).1);
            let advanced = watermark.map_or(median, |watermark| watermark.max(median));
            self.watermarks.insert(batch.partition.clone(), advanced);
            self.last_seen.insert(batch.partition.clone(), Instant::now());
        }
        self.positions.insert(batch.partition.clone(), batch.end.clone());
        self.epoch.partitions.insert(batch.partition.clone());
    }

    fn next_epoch(&self) -> i64 {
        self.last.as_ref().map_or(1, |last| last.epoch + 1)
    }

    fn commit_when_due(&mut self) -> Result<(), PipelineError> {
        if self.settings.watches.refresh() {
            self.engine.watch(&self.settings.watches.current());
        }
        let waited = self.last_commit.elapsed() >= self.settings.commit_interval;
        let full = self.epoch.received >= self.settings.commit_records;
        let derived_due = self.last_derived.elapsed() >= self.settings.derived_interval;
        let pending = !self.epoch.partitions.is_empty();
        if full || (waited && (pending || (derived_due && self.epoch.derived_due))) {
            let derived = if derived_due {
                DerivedWritten::Closed
            } else {
                DerivedWritten::Nothing
            };
            self.commit(derived)?;
        }
        let reconcile_due = self.last_reconciled.elapsed() >= self.settings.reconcile_interval;
        if reconcile_due && !self.engine.dirty().is_empty() && self.epoch.partitions.is_empty() {
            self.commit_reconciled(DerivedWritten::Closed)?;
        }
        Ok(())
    }

    /// Commits what has come, makes good what came too late, and writes all windows.
    fn finish(&mut self) -> Result<(), PipelineError> {
        if self.engine.dirty().is_empty() {
            return self.commit(DerivedWritten::All);
        }
        self.commit(DerivedWritten::Nothing)?;
        self.commit_reconciled(DerivedWritten::All)
    }

    fn commit_reconciled(&mut self, derived: DerivedWritten) -> Result<(), PipelineError> {
        let up_to = self.next_epoch() - 1;
        let mended = self.runtime.block_on(reconcile::reconcile(
            &mut self.engine,
            &self.lake,
            up_to,
            self.settings.mend_events,
        ))?;
        self.last_reconciled = Instant::now();
        self.commit_epoch(derived, Some(mended))
    }

    fn commit(&mut self, derived: DerivedWritten) -> Result<(), PipelineError> {
        let owes = derived != DerivedWritten::Nothing && self.epoch.derived_due;
        let all_written = self
            .last
            .as_ref()
            .is_none_or(|last| last.derived == DerivedWritten::All);
        let unwritten_windows = derived == DerivedWritten::All && !all_written;
        if self.epoch.partitions.is_empty() && !owes && !unwritten_windows {
            return Ok(());
        }
        self.commit_epoch(derived, None)
    }

    fn commit_epoch(
        &mut self,
        derived: DerivedWritten,
        mended: Option<reconcile::Mended>,
    ) -> Result<(), PipelineError> {
        let started = Instant::now();
        let epoch = self.next_epoch();
        let event_files = self.write_events(epoch)?;
        failpoint::at(Step::EventFilesWritten);
        let watermark = self.watermark();
        for run in self.engine.end_epoch(watermark, epoch) {
            self.runtime.block_on(state::write_run(self.lake.root(), &run))?;
        }
        let looks = self.engine.take_looks(epoch);
        let reconciled = mended.is_some();
        let mut owed = self.write_derived(epoch, derived, mended)?;
        if let Some(dead) = self.write_dead_letters(epoch)? {
            owed.insert(Table::DeadLetters, dead);
        }
        failpoint::at(Step::DerivedFilesWritten);
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            epoch,
            positions: self.positions.clone(),
            watermarks: self.watermarks.clone(),
            watermark,
            counters: self.counters,
            horizons: self.settings.horizons,
            plan: self.plan.clone(),
            base: self.restored.base,
            derived,
            reconciled,
            dirty_days: self.engine.dirty().days.clone(),
            dirty_users: self.engine.dirty().users.len() as u64,
            owed,
        };
        self.runtime
            .block_on(state::write_manifest(self.lake.root(), &manifest))?;
        failpoint::at(Step::ManifestWritten);
        self.make_true(&manifest, &event_files)?;
        self.restored.events_since += self.epoch.sequence as u64;
        let derived_due = match derived {
            DerivedWritten::Nothing => self.epoch.derived_due || self.epoch.received > 0,
            DerivedWritten::Closed | DerivedWritten::All => false,
        };
        self.epoch = Epoch {
            derived_due,
            ..Epoch::default()
        };
        self.last_commit = Instant::now();
        if derived != DerivedWritten::Nothing {
            self.last_derived = self.last_commit;
        }
        self.last = Some(manifest);
        self.report(started, epoch);
        self.keep_house(epoch)?;
        self.announce(epoch, looks)
    }

    fn report(&self, started: Instant, epoch: i64) {
        let dirty = self.engine.dirty();
        ::metrics::histogram!(metrics::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        ::metrics::gauge!(metrics::EPOCH).set(epoch as f64);
        ::metrics::gauge!(metrics::USERS).set(self.engine.user_count() as f64);
        ::metrics::gauge!(metrics::WAITING).set((dirty.days.len() + dirty.users.len()) as f64);
    }

    /// Commits the epoch to every table, `events` first.
    fn make_true(&mut self, manifest: &Manifest, event_files: &[DataFile]) -> Result<(), PipelineError> {
        let app_ids: Vec<String> = self.epoch.partitions.iter().map(partition_app_id).collect();
        let nothing_replaced = BTreeSet::new();
        let commit = self.lake.commit(
            Table::Events,
            manifest.epoch,
            event_files,
            &nothing_replaced,
            &app_ids,
        );
        self.runtime.block_on(commit)?;
        failpoint::at(Step::EventsCommitted);
        for (table, owed) in &manifest.owed {
            let commit = self
                .lake
                .commit(*table, manifest.epoch, &owed.files, &owed.replaced_days, &[]);
            self.runtime.block_on(commit)?;
            failpoint::at(Step::DerivedCommitted);
        }
        Ok(())
    }

    /// Tells the observer and the sources that an epoch is true.
    fn announce(
        &mut self,
        epoch: i64,
        looks: Vec<domain::guardrail::GuardrailLook>,
    ) -> Result<(), PipelineError> {
        let view = LiveView::of(&self.engine, &self.seals, epoch, self.counters);
        let outcome = CommitOutcome {
            view: Arc::new(view),
            looks,
        };
        self.runtime
            .block_on(self.observer.committed(outcome))
            .map_err(PipelineError::Observer)?;
        failpoint::at(Step::ObserverTold);
        self.committed.send_replace(self.positions.clone());
        Ok(())
    }

    /// The watermark of the slowest partition that is not idle and has not ended.
    fn watermark(&self) -> Timestamp {
        let now = (self.settings.now)();
        let idle = |partition: &PartitionId| {
            let seen = self.last_seen.get(partition);
            self.settings.live && seen.is_none_or(|seen| seen.elapsed() >= self.settings.idle_after)
        };
        let ended = |partition: &PartitionId| self.positions.get(partition) == Some(&Position::End);
        let active = self
            .watermarks
            .iter()
            .filter(|(partition, _)| !idle(partition) && !ended(partition));
        let slowest = active.map(|(_, watermark)| *watermark).min();
        let latest = self
            .watermarks
            .values()
            .max()
            .copied()
            .unwrap_or(Timestamp(i64::MIN));
        match slowest {
            Some(slowest) => slowest,
            // Nobody is active: history has ended where it ended; live time goes on without events.
            None if self.settings.live => {
                let idle_micros = i64::try_from(self.settings.idle_after.as_micros()).unwrap_or(i64::MAX);
                latest.max(now.plus_micros(-idle_micros))
            }
            None => latest,
        }
    }

    /// Writes a full snapshot when much has to be read back, and compacts small files.
    fn keep_house(&mut self, epoch: i64) -> Result<(), PipelineError> {
        crate::housekeeping::after_commit(self, epoch)
    }
}
