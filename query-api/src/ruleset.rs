//! The ruleset that evaluations use: swapped whole, read without waiting for anything, kept on disk.
//!
//! A handle that has had a ruleset once serves it for ever. While the store does not answer, or has not answered yet, the
//! ruleset is [`Freshness::Stale`] and goes on deciding.

mod kept;
mod published;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use control::{Clock, ControlError, Store};
use domain::Timestamp;
use domain::rules::Ruleset;
use domain::rules::definition::Definitions;
use domain::timestamp::MICROS_PER_SECOND;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

pub use kept::KeptError;
pub use published::{Coding, Published};

/// How long a failed refresh waits before the next: the store is away, and evaluations go on meanwhile.
const RETRY_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
/// How often the store is asked without a sign of change: so a store that went away is noticed, and what another process
/// wrote is found. One look-up in an index, so it costs nothing to speak of.
const ASK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

/// How a ruleset stands to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// There is none: the store has not answered, and nothing was kept.
    Absent,
    /// The store confirmed it when it was asked last.
    Current,
    /// The store did not answer when it was asked last, or was not asked yet.
    Stale,
}

impl Freshness {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Current => "current",
            Self::Stale => "stale",
        }
    }

    fn from_stored(number: u8) -> Self {
        match number {
            0 => Self::Absent,
            1 => Self::Current,
            _ => Self::Stale,
        }
    }
}

/// When the store last said that the ruleset is the newest.
#[derive(Debug, Clone, Copy)]
enum Confirmed {
    Never,
    /// By this process.
    Here(Instant),
    /// By the process that kept the file.
    Kept(Timestamp),
}

/// Where rulesets are kept, and by which clock.
struct Keeping {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// Whether the last write failed.
    failed: std::sync::atomic::AtomicBool,
}

/// Holds the ruleset. Readers take it as it is; a change replaces it and tells the followers of [`Self::versions`].
pub struct RulesetHandle {
    current: ArcSwap<Ruleset>,
    published: ArcSwap<Published>,
    versions: watch::Sender<u64>,
    freshness: AtomicU8,
    confirmed: SyncMutex<Confirmed>,
    keeping: Option<Keeping>,
    // One refresh at a time: two at once could put the older one last.
    refreshing: Mutex<()>,
}

impl RulesetHandle {
    /// A handle on a ruleset that counts as current and is kept nowhere.
    pub fn new(ruleset: Ruleset) -> Self {
        let handle = Self::absent(None);
        handle.versions.send_replace(ruleset.version());
        handle.current.store(Arc::new(ruleset));
        handle.set_freshness(Freshness::Current);
        handle
    }

    /// A handle that keeps every ruleset in a file and starts, stale, with what is there. Without a file it is absent
    /// until the store has answered; so it is with a file that cannot be used, which is logged.
    pub fn kept_in(path: &Path, clock: Arc<dyn Clock>) -> Self {
        let kept = kept::read(path);
        let handle = Self::absent(Some(Keeping {
            path: path.to_owned(),
            clock,
            failed: false.into(),
        }));
        match kept {
            Ok(Some(kept)) => {
                let compiled = Ruleset::compile_lenient(&kept.definitions);
                tracing::info!(
                    ruleset.version = compiled.ruleset.version(),
                    "serving the ruleset that was kept until the store answers"
                );
                handle.published.store(Arc::new(Published::of(&kept.definitions)));
                handle.versions.send_replace(compiled.ruleset.version());
                handle.current.store(Arc::new(compiled.ruleset));
                handle.confirm(Confirmed::Kept(kept.kept_at));
                handle.set_freshness(Freshness::Stale);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(error = %error, "the ruleset that was kept cannot be used"),
        }
        handle
    }

    fn absent(keeping: Option<Keeping>) -> Self {
        let (versions, _) = watch::channel(0);
        Self {
            current: ArcSwap::from_pointee(Ruleset::default()),
            published: ArcSwap::from_pointee(Published::of(&Definitions::default())),
            versions,
            freshness: AtomicU8::new(Freshness::Absent as u8),
            confirmed: SyncMutex::new(Confirmed::Never),
            keeping,
            refreshing: Mutex::new(()),
        }
    }

    /// The ruleset as it is now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Ruleset>> {
        self.current.load()
    }

    /// The ruleset as it is now, for longer than a moment.
    pub fn load_full(&self) -> Arc<Ruleset> {
        self.current.load_full()
    }

    /// The definitions of the ruleset as SDKs get them.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// How the ruleset stands to the store.
    pub fn freshness(&self) -> Freshness {
        Freshness::from_stored(self.freshness.load(Ordering::Relaxed))
    }

    /// How long ago the store last said that the ruleset is the newest, in whole seconds; nothing when it never did.
    pub fn age_seconds(&self, now: Timestamp) -> Option<u64> {
        match *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) {
            Confirmed::Never => None,
            Confirmed::Here(at) => Some(at.elapsed().as_secs()),
            Confirmed::Kept(at) => u64::try_from(now.0.saturating_sub(at.0) / MICROS_PER_SECOND).ok(),
        }
    }

    /// Whether the last attempt to keep the ruleset on disk failed.
    pub fn keeping_failed(&self) -> bool {
        let keeping = self.keeping.as_ref();
        keeping.is_some_and(|keeping| keeping.failed.load(Ordering::Relaxed))
    }

    /// The version of the ruleset as it is now.
    pub fn version(&self) -> u64 {
        *self.versions.borrow()
    }

    /// The version as it changes.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Reads everything that decides who gets what, compiles it and swaps the ruleset when its version is another; then
    /// keeps it.
    ///
    /// Definitions that do not compile are logged and answer with an error when asked for; the others are served.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be read; the ruleset then stays as it is and is stale.
    pub async fn refresh(&self, store: &Store) -> Result<(), ControlError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let refreshed = self.read_and_swap(store).await;
        match (&refreshed, self.freshness()) {
            (Ok(_), _) => {
                self.confirm(Confirmed::Here(Instant::now()));
                self.set_freshness(Freshness::Current);
            }
            (Err(_), Freshness::Absent) => {}
            (Err(_), _) => self.set_freshness(Freshness::Stale),
        }
        let swapped = refreshed?;
        if let Some(definitions) = swapped {
            self.keep(definitions).await;
        }
        Ok(())
    }

    /// The definitions as JSON when the ruleset was swapped.
    async fn read_and_swap(&self, store: &Store) -> Result<Option<Vec<u8>>, ControlError> {
        // The version first: what is written meanwhile is then at worst compiled twice, never missed.
        let version = store.definitions_version().await?;
        // What was kept is not trusted to be what the store has under that number: it may come from before a restore.
        let was_read_here = matches!(
            *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner),
            Confirmed::Here(_)
        );
        if version == self.version() && version != 0 && was_read_here {
            return Ok(None);
        }
        let definitions = store.definitions(version).await?;
        // Ten thousand flags take a fifth of a second: too long for the threads that answer requests.
        let made = tokio::task::spawn_blocking(move || {
            let document = serde_json::to_vec(&definitions).unwrap_or_default();
            let compiled = Ruleset::compile_lenient(&definitions);
            (compiled, Published::of(&definitions), document)
        });
        let (compiled, published, document) = match made.await {
            Ok(made) => made,
            Err(defect) => {
                tracing::error!(error = %defect, "compiling the ruleset panicked; the one before stays");
                return Ok(None);
            }
        };
        for error in &compiled.errors {
            tracing::warn!(error = %error, "a definition is not served");
        }
        self.current.store(Arc::new(compiled.ruleset));
        self.published.store(Arc::new(published));
        // Only a change is one to tell of: streams and their clients sleep through a confirmation.
        self.versions.send_if_modified(|known| {
            let changed = *known != version;
            *known = version;
            changed
        });
        Ok(Some(document))
    }

    /// Writes the definitions to disk. The ruleset is served already, so a failure is logged and shown in the health.
    async fn keep(&self, definitions: Vec<u8>) {
        let Some(keeping) = &self.keeping else {
            return;
        };
        let (path, at) = (keeping.path.clone(), keeping.clock.now());
        let written = tokio::task::spawn_blocking(move || kept::write(&path, &definitions, at)).await;
        let outcome = written.map_err(|defect| defect.to_string());
        let outcome = outcome.and_then(|written| written.map_err(|error| full_text(&error)));
        if let Err(error) = &outcome {
            tracing::error!(error, "the ruleset could not be kept on disk");
        }
        keeping.failed.store(outcome.is_err(), Ordering::Relaxed);
    }

    fn confirm(&self, confirmed: Confirmed) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = confirmed;
    }

    fn set_freshness(&self, freshness: Freshness) {
        self.freshness.store(freshness as u8, Ordering::Relaxed);
    }

    /// [`Self::refresh`] for callers whose own work is done: a failure is logged, and [`Self::follow`] tries again.
    pub async fn refresh_logged(&self, store: &Store) {
        if let Err(error) = self.refresh(store).await {
            tracing::warn!(error = %error, "the ruleset could not be refreshed; the one before stays");
        }
    }

    /// Keeps the ruleset as new as the store until `shutdown`.
    pub async fn follow(self: Arc<Self>, store: Store, shutdown: CancellationToken) {
        let mut changes = store.subscribe();
        loop {
            changes.mark_unchanged();
            let refreshed = self.refresh(&store).await;
            if let Err(error) = &refreshed {
                tracing::warn!(error = %error, "the ruleset could not be refreshed; the one before stays");
            }
            let wait = if refreshed.is_ok() {
                ASK_INTERVAL
            } else {
                RETRY_WAIT
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.changed(), if refreshed.is_ok() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// An error and its causes in one line.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
