//! What is known of keys and accounts, and the part of it that is kept for a start without the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use domain::Timestamp;

use super::NEVER;
use super::kept::{Kept, KeptKey};
use crate::change::Actor;
use crate::permission::{Authority, Principal};
use crate::store::{Account, AccountName};

/// What is known of keys and accounts, as of one version of the store.
#[derive(Default)]
pub(super) struct Directory {
    pub version: i64,
    pub is_read: bool,
    pub needs_login: bool,
    pub keys: HashMap<Box<str>, KnownKey>,
    pub accounts: HashMap<AccountName, Account>,
}

impl Directory {
    /// Before anything was read: a version that no store has, and a login that nobody can make.
    pub fn unread() -> Self {
        Self {
            version: -1,
            needs_login: true,
            ..Self::default()
        }
    }
}

impl Directory {
    /// What was kept, as of a version that no store has, so that the store replaces it when it answers.
    pub fn of_kept(kept: Kept) -> Self {
        let keys = kept.keys.into_iter().map(|key| {
            let known = KnownKey {
                digest: key.digest,
                principal: Principal {
                    actor: Actor::key(&key.selector),
                    authority: Authority::Key {
                        scopes: key.scopes,
                        secret: key.secret,
                    },
                    environment: key.environment.map(Into::into),
                },
                expires_at: key.expires_at.map(Timestamp),
                last_used: Arc::new(AtomicI64::new(NEVER)),
            };
            (key.selector.into(), known)
        });
        Self {
            is_read: true,
            needs_login: kept.needs_login,
            keys: keys.collect(),
            ..Self::unread()
        }
    }

    pub fn to_kept(&self) -> Kept {
        let keys = self.keys.iter().filter_map(|(selector, known)| {
            let Authority::Key { scopes, secret } = known.principal.authority else {
                return None;
            };
            Some(KeptKey {
                selector: selector.to_string(),
                digest: known.digest,
                scopes,
                secret,
                environment: known.principal.environment.as_deref().map(str::to_owned),
                expires_at: known.expires_at.map(|end| end.0),
            })
        });
        Kept::new(self.needs_login, keys.collect())
    }
}

/// A key that was not revoked.
pub(super) struct KnownKey {
    pub digest: [u8; 32],
    pub principal: Principal,
    pub expires_at: Option<Timestamp>,
    pub last_used: Arc<AtomicI64>,
}
