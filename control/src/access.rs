//! Who comes in: keys, passwords, sessions. It answers from memory where it can and says who is asking.
//!
//! [`Access`] keeps the keys that were not revoked and the roles of accounts in memory. A change made in this process is
//! in force when the call that makes it returns and [`Access::refresh`] was awaited; one made by another process over the
//! same store is found by [`Access::follow`] within [`POLL_INTERVAL`]. What may be done is for [`crate::permission`].

mod directory;
mod kept;
pub mod key;
mod password;
mod provider;
mod refusals;
pub(crate) mod secret;
mod settings;
mod sign_on;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

pub use key::{KEY_PREFIX, KeyEnvironment, KeyKind, KeyText};
pub use provider::OidcSettings;
pub use settings::{AccessMode, AccessSettings, InvalidAccessSettings, ProxyNetwork};
pub use sign_on::{
    BegunSignOn, CALLBACK_PATH, ClientSecret, RefusedSignOn, SignOnAnswer, SignOnSettings, SignedOn,
};
pub use token::TokenAlgorithm;

use directory::{Directory, KnownKey};
use kept::Kept;
use provider::Provider;
use refusals::{Ration, RefusedLogin, named};

use crate::change::{Actor, Change};
use crate::clock::Clock;
use crate::error::ControlError;
use crate::permission::{Authority, Principal, Role, Scope};
use crate::store::{Account, AccountName, SessionFacts, Store};

/// How often other processes' changes are looked for: a revoked key is refused everywhere within a second.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How often the last use of keys is written: often enough to find unused keys, seldom enough to cost nothing.
const USES_INTERVAL: Duration = Duration::from_secs(30);

/// Passwords that are hashed at once: each takes a core and 19 MiB for some tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;

/// Nothing was used yet.
const NEVER: i64 = i64::MIN;

/// Who comes in. Shared by everything that asks.
pub struct Access {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: AccessSettings,
    provider: Option<Provider>,
    directory: ArcSwap<Directory>,
    kept: Option<PathBuf>,
    // One refresh at a time: two at once could put the older one last.
    refreshing: Mutex<()>,
    hashing: Semaphore,
    refusals: Ration,
}

/// Somebody who has just logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The account.
    pub account: Account,
    /// The secret of the session: for the cookie alone.
    pub session: String,
}

impl Access {
    /// Reads who may come in. When the store cannot be read now, nobody comes in until it can.
    ///
    /// # Errors
    /// [`ControlError`] when the identity provider cannot be asked as it is set.
    pub async fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: AccessSettings,
    ) -> Result<Self, ControlError> {
        let provider = settings
            .oidc
            .clone()
            .map(|oidc| Provider::new(oidc, Arc::clone(&clock)));
        let access = Self {
            store,
            clock,
            provider: provider.transpose()?,
            settings,
            directory: ArcSwap::from_pointee(Directory::unread()),
            kept: None,
            refreshing: Mutex::new(()),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            refusals: Ration::new(),
        };
        if let Err(error) = access.refresh().await {
            tracing::error!(error = %error, "who may come in cannot be read; nobody does until it can");
        }
        Ok(access)
    }

    /// Keeps the keys in a file from now on; while the store cannot be read, those that were kept there come in.
    #[must_use]
    pub fn keeping(mut self, path: &Path) -> Self {
        self.kept = Some(path.to_owned());
        if self.is_read() {
            self.keep();
            return self;
        }
        match Kept::read(path) {
            Ok(Some(kept)) => {
                tracing::warn!(
                    keys = kept.keys.len(),
                    "the keys that were kept come in until the store answers"
                );
                self.directory.store(Arc::new(Directory::of_kept(kept)));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "the keys that were kept cannot be read")
            }
        }
        self
    }

    /// Writes the keys to the file. Serving goes on without it: it is for a start without the store.
    fn keep(&self) {
        let Some(path) = &self.kept else { return };
        if let Err(error) = self.directory.load().to_kept().write(path) {
            tracing::error!(%error, path = %path.display(), "the keys cannot be kept for a start without the store");
        }
    }

    /// Whether it has been read who may come in. Until then nobody is known, and in [`AccessMode::Auto`] whoever reaches
    /// the port of this machine may evaluate: what stands in the ruleset that was kept, and nothing else.
    pub fn is_read(&self) -> bool {
        self.directory.load().is_read
    }

    /// Whoever asks while it could not be read who may come in.
    pub fn unread_principal(&self) -> Principal {
        let may_evaluate = self.settings.mode == AccessMode::Auto && self.provider.is_none();
        let authority = if may_evaluate {
            Authority::client_key(&[Scope::Evaluate])
        } else {
            Authority::Nobody
        };
        Principal {
            authority,
            ..Principal::nobody()
        }
    }

    /// The settings.
    pub fn settings(&self) -> &AccessSettings {
        &self.settings
    }

    /// Whether a request without credentials is refused. Otherwise it acts as whoever sits at the machine.
    pub fn needs_login(&self) -> bool {
        match self.settings.mode {
            AccessMode::Local => false,
            AccessMode::Required => true,
            AccessMode::Auto => self.provider.is_some() || self.directory.load().needs_login,
        }
    }

    /// Brings what is known to the state of the store, when that has changed.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be read; what is known then stays as it is.
    pub async fn refresh(&self) -> Result<(), ControlError> {
        let _one_at_a_time = self.refreshing.lock().await;
        self.read().await
    }

    /// Whether it has been read by now who may come in, having tried once more. Of many that ask at once one tries, so
    /// that they do not wait for a store that is away one after the other.
    pub async fn is_read_by_now(&self) -> bool {
        match self.refreshing.try_lock() {
            Ok(_one_at_a_time) => {
                if let Err(error) = self.read().await {
                    tracing::debug!(error = %error, "who may come in cannot be read yet");
                }
            }
            Err(_) => drop(self.refreshing.lock().await),
        }
        self.is_read()
    }

    async fn read(&self) -> Result<(), ControlError> {
        // The version first: what is written meanwhile is then at worst read twice, never missed.
        let version = self.store.access_version().await?;
        let known = self.directory.load_full();
        if known.version == version {
            return Ok(());
        }
        let mut keys = HashMap::new();
        for checked in self.store.checked_keys().await? {
            let before = known.keys.get(checked.key.selector.as_str());
            let last_used = before.map(|known| Arc::clone(&known.last_used));
            let Ok(digest) = checked.digest.as_slice().try_into() else {
                continue;
            };
            let known_key = KnownKey {
                digest,
                principal: Principal {
                    actor: Actor::key(&checked.key.selector),
                    authority: checked.key.kind.authority(&checked.key.scopes),
                    environment: checked.key.environment.as_ref().map(|name| name.as_str().into()),
                },
                expires_at: checked.key.expires_at,
                last_used: last_used.unwrap_or_else(|| Arc::new(AtomicI64::new(NEVER))),
            };
            keys.insert(checked.key.selector.into(), known_key);
        }
        let accounts = self.store.all_accounts().await?;
        self.directory.store(Arc::new(Directory {
            version,
            is_read: true,
            needs_login: self.store.has_accounts_or_keys().await?,
            keys,
            accounts: accounts
                .into_iter()
                .map(|account| (account.name.clone(), account))
                .collect(),
        }));
        self.keep();
        Ok(())
    }

    /// Who the bearer of a key or of the identity provider's access token is.
    pub async fn check_bearer(&self, credential: &str) -> Option<Principal> {
        if credential.starts_with(KEY_PREFIX) {
            return self.check_key(credential);
        }
        self.provider.as_ref()?.check(credential).await
    }

    /// Whose key it is, when it is live. Reads nothing but memory.
    pub fn check_key(&self, text: &str) -> Option<Principal> {
        let selector = key::selector_of(text)?;
        let directory = self.directory.load();
        let known = directory.keys.get(selector)?;
        let now = self.clock.now();
        let is_right = secret::same(&secret::digest(text), &known.digest);
        if !is_right || known.expires_at.is_some_and(|end| now >= end) {
            return None;
        }
        known.last_used.store(now.0, Ordering::Relaxed);
        Some(known.principal.clone())
    }

    /// Whose session it is, when it has not ended and its account may still come in.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be read.
    pub async fn check_session(&self, secret: &str) -> Result<Option<Principal>, ControlError> {
        let Some(facts) = self.store.session(secret, self.clock.now()).await? else {
            return Ok(None);
        };
        let role = match &facts.account {
            // The role as it is now, not as it was at the login.
            Some(name) => self.role_of(name),
            // Whom a provider vouched for stays for as long as the provider does.
            None => facts.role.filter(|_| self.provider.is_some()),
        };
        Ok(role.map(|role| Principal::person(facts.actor, role)))
    }

    fn role_of(&self, name: &AccountName) -> Option<Role> {
        let directory = self.directory.load();
        let account = directory.accounts.get(name).filter(|account| account.enabled);
        account.map(|account| account.role)
    }

    /// Opens a session for whoever knows the password of an account. Whatever comes of it leaves an audit record, with
    /// `origin` as where it comes from.
    ///
    /// # Errors
    /// [`ControlError::WrongCredentials`] whatever is wrong, after the same work; [`ControlError::LockedOut`] when too
    /// many attempts failed before, whether the account exists or not.
    pub async fn login(
        &self,
        name: &str,
        password: &str,
        origin: Option<String>,
    ) -> Result<LoggedIn, ControlError> {
        let Ok(name) = AccountName::new(name) else {
            self.refuse(named(name), RefusedLogin::UnknownName, origin)
                .await?;
            return Err(ControlError::WrongCredentials);
        };
        let now = self.clock.now();
        let facts = self.store.login_facts(&name).await?;
        if let Some(until) = facts.locked_until.filter(|until| now < *until) {
            let seconds = (until.0 - now.0).div_euclid(MICROS_PER_SECOND) + 1;
            let retry_after_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.refuse(named(name.as_str()), RefusedLogin::LockedOut, origin)
                .await?;
            return Err(ControlError::LockedOut { retry_after_seconds });
        }
        let (hash, given) = (facts.password_hash, password.to_owned());
        let is_right = self
            .hashing(move || password::verify(&given, hash.as_deref()))
            .await?;
        if !is_right {
            self.store.login_failed(&name, now).await?;
            self.refuse(named(name.as_str()), self.why_refused(&name), origin)
                .await?;
            return Err(ControlError::WrongCredentials);
        }
        self.enter(name, origin).await
    }

    /// Sets a password by a one-time link and opens a session. The link that makes the first administrator needs a name.
    /// What comes of it leaves an audit record, with `origin` as where it comes from.
    ///
    /// # Errors
    /// [`ControlError::InvalidLink`], [`ControlError::InvalidPassword`], [`ControlError::NameMissing`].
    pub async fn redeem(
        &self,
        link: &str,
        name: Option<&AccountName>,
        password: &str,
        origin: Option<String>,
    ) -> Result<LoggedIn, ControlError> {
        let given = password.to_owned();
        let hash = self.hashing(move || password::hash(&given)).await??;
        let redeemed = self.store.redeem_link(link, (name, &hash), self.clock.now());
        let account = match redeemed.await {
            Err(ControlError::InvalidLink) => {
                let named = name.map_or_else(|| Actor::nobody().to_string(), |name| named(name.as_str()));
                self.refuse(named, RefusedLogin::InvalidLink, origin).await?;
                return Err(ControlError::InvalidLink);
            }
            other => other?,
        };
        self.refresh().await?;
        self.enter(account.name, origin).await
    }

    async fn enter(&self, name: AccountName, origin: Option<String>) -> Result<LoggedIn, ControlError> {
        let account = self.store.account(&name).await?;
        let facts = SessionFacts {
            actor: name.actor(),
            account: Some(name),
            role: None,
        };
        let change = Change {
            origin,
            ..Change::new(facts.actor.clone(), self.clock.now()).because("by password")
        };
        let session = self.store.open_session(&facts, &change).await?;
        Ok(LoggedIn { account, session })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be written.
    pub async fn logout(&self, session: &str) -> Result<(), ControlError> {
        self.store.close_session(session).await
    }

    /// Does the slow work of a password where it holds up nobody, and not too much of it at once.
    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let _slot = self
            .hashing
            .acquire()
            .await
            .map_err(|_| ControlError::Interrupted)?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| ControlError::Interrupted)
    }

    /// Keeps what is known as new as the store and writes the last use of keys, until `shutdown`.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut polls: u32 = 0;
        let polls_per_write = (USES_INTERVAL.as_millis() / POLL_INTERVAL.as_millis()) as u32;
        loop {
            let is_last = tokio::time::timeout(POLL_INTERVAL, shutdown.cancelled())
                .await
                .is_ok();
            if let Err(error) = self.refresh().await {
                tracing::warn!(error = %error, "who may come in cannot be read; what was known before stays in force");
            }
            polls += 1;
            if is_last || polls.is_multiple_of(polls_per_write) {
                self.write_uses().await;
            }
            if is_last {
                return;
            }
        }
    }

    /// Writes when keys were last used, where that has changed.
    pub async fn write_uses(&self) {
        let directory = self.directory.load_full();
        let used = directory.keys.iter().filter_map(|(selector, known)| {
            let at = known.last_used.swap(NEVER, Ordering::Relaxed);
            (at != NEVER).then(|| (selector.to_string(), Timestamp(at)))
        });
        let used: Vec<_> = used.collect();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.store.touch_keys(&used).await {
            tracing::warn!(error = %error, "the last use of keys could not be written");
        }
    }
}
