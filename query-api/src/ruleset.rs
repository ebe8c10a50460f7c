//! The ruleset that evaluations use: swapped whole, read without waiting for anything.

use std::sync::Arc;

use arc_swap::ArcSwap;
use control::{ControlError, Store};
use domain::rules::Ruleset;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

/// How long a failed refresh waits before the next: the store is away, and evaluations go on meanwhile.
const RETRY_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Holds the ruleset. Readers take it as it is; a change replaces it and tells the followers of [`Self::versions`].
pub struct RulesetHandle {
    current: ArcSwap<Ruleset>,
    versions: watch::Sender<u64>,
    // One refresh at a time: two at once could put the older one last.
    refreshing: Mutex<()>,
}

impl RulesetHandle {
    /// A handle on a ruleset, for example one kept from before.
    pub fn new(ruleset: Ruleset) -> Self {
        let (versions, _) = watch::channel(ruleset.version());
        Self {
            current: ArcSwap::from_pointee(ruleset),
            versions,
            refreshing: Mutex::new(()),
        }
    }

    /// The ruleset as it is now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Ruleset>> {
        self.current.load()
    }

    /// The version of the ruleset as it is now.
    pub fn version(&self) -> u64 {
        *self.versions.borrow()
    }

    /// The version as it changes.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Reads everything that decides who gets what, compiles it and swaps the ruleset when its version is another.
    ///
    /// Definitions that do not compile are logged and answer with an error when asked for; the others are served.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be read; the ruleset then stays as it is.
    pub async fn refresh(&self, store: &Store) -> Result<(), ControlError> {
        let _one_at_a_time = self.refreshing.lock().await;
        // The version first: what is written meanwhile is then at worst compiled twice, never missed.
        let version = store.definitions_version().await?;
        if version == self.version() && version != 0 {
            return Ok(());
        }
        let definitions = store.definitions(version).await?;
        // Ten thousand flags take a fifth of a second: too long for the threads that answer requests.
        let compiled = tokio::task::spawn_blocking(move || Ruleset::compile_lenient(&definitions)).await;
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(defect) => {
                tracing::error!(error = %defect, "compiling the ruleset panicked; the one before stays");
                return Ok(());
            }
        };
        for error in &compiled.errors {
            tracing::warn!(error = %error, "a definition is not served");
        }
        self.current.store(Arc::new(compiled.ruleset));
        self.versions.send_replace(version);
        Ok(())
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
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = changes.changed(), if refreshed.is_ok() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(RETRY_WAIT), if refreshed.is_err() => {}
            }
        }
    }
}
