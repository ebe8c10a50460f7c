//! Tests of who comes in: over a real store, with a clock that is turned by hand.

mod people;
mod refusals;
mod sign_on;

use std::sync::Arc;

use super::*;
use crate::change::Change;
use crate::permission::{Resource, Scope, authorize};
use crate::store::{NewKey, Ownership};
use crate::test_support::{
    Backend, ManualClock, Place, anna, flag, flag_key, instant, on_both_stores, open, run_on,
};
use crate::{ObjectKind, PageRequest};

on_both_stores! {
    a_key_opens_what_its_scopes_say_until_it_is_revoked,
    a_key_is_refused_when_one_letter_is_another,
    a_key_ends_at_its_time,
    rotation_lets_two_keys_overlap_and_no_third_begin,
    a_kind_does_not_get_scopes_that_it_cannot_have,
    the_last_use_of_a_key_is_written_behind,
    another_process_that_revokes_is_heard,
    a_key_alone_makes_a_login_necessary,
    whoever_makes_something_owns_it_and_may_share_it,
    keys_and_accounts_are_listed_in_pages,
    a_start_without_the_store_knows_the_keys_that_were_kept,
}

const PASSWORD: &str = "correct horse battery";

struct Desk {
    place: Place,
    store: Store,
    clock: Arc<ManualClock>,
    access: Arc<Access>,
}

impl Desk {
    async fn open() -> Self {
        let (place, store) = open().await;
        let clock = Arc::new(ManualClock::at(1_000));
        let access = Access::open(store.clone(), clock.clone(), AccessSettings::default())
            .await
            .unwrap();
        Self {
            place,
            store,
            clock,
            access: Arc::new(access),
        }
    }

    fn change(&self) -> Change {
        Change::new(Actor::person("anna"), self.clock.now())
    }

    async fn key(&self, kind: KeyKind) -> crate::store::FreshKey {
        let key = self
            .store
            .create_key(&new_key(kind), &self.change())
            .await
            .unwrap();
        self.access.refresh().await.unwrap();
        key
    }

    /// An account with a password.
    async fn account(&self, name: &str, role: Role) -> AccountName {
        let name = AccountName::new(name).unwrap();
        self.store
            .create_account(&name, role, &self.change())
            .await
            .unwrap();
        let link = self.store.create_link(&name, &self.change()).await.unwrap();
        self.access.redeem(&link, None, PASSWORD, None).await.unwrap();
        name
    }

    fn may(&self, text: &str, action: &str) -> bool {
        let principal = self.access.check_key(text);
        principal.is_some_and(|principal| authorize(&principal, action, Resource::default()).is_ok())
    }
}

fn new_key(kind: KeyKind) -> NewKey {
    NewKey {
        name: "shop".to_owned(),
        kind,
        scopes: Vec::new(),
        environment: KeyEnvironment::new("production"),
        expires_at: None,
    }
}

async fn a_start_without_the_store_knows_the_keys_that_were_kept() {
    // What must never change: a key evaluates although the store is gone, and only what the key always might do.
    let desk = Desk::open().await;
    let kept = desk.place.folder().join("access.kept");
    let clock = || -> Arc<dyn Clock> { desk.clock.clone() };
    let settings = AccessSettings::default();
    let keeping = Access::open(desk.store.clone(), clock(), settings.clone())
        .await
        .unwrap()
        .keeping(&kept);
    let (live, revoked) = (desk.key(KeyKind::Client).await, desk.key(KeyKind::Server).await);
    desk.store
        .revoke_key(&revoked.key.selector, &desk.change())
        .await
        .unwrap();
    keeping.refresh().await.unwrap();
    assert!(
        !std::fs::read_to_string(&kept)
            .unwrap()
            .contains(live.text.reveal()),
        "a key is kept as it is"
    );

    let gone = || Store::open_when_used(&desk.place.folder().join("nowhere/control.db")).unwrap();
    let access = Access::open(gone(), clock(), settings.clone()).await.unwrap();
    assert!(access.check_key(live.text.reveal()).is_none());
    let access = access.keeping(&kept);
    assert_eq!(
        access.check_key(live.text.reveal()),
        keeping.check_key(live.text.reveal())
    );
    assert!(access.check_key(live.text.reveal()).is_some() && access.needs_login() && access.is_read());
    assert!(access.check_key(revoked.text.reveal()).is_none());
    // What is damaged lets nobody in, and the store is asked again as ever.
    std::fs::write(&kept, "{").unwrap();
    let access = Access::open(gone(), clock(), settings)
        .await
        .unwrap()
        .keeping(&kept);
    assert!(access.check_key(live.text.reveal()).is_none() && access.needs_login());
}

async fn a_key_opens_what_its_scopes_say_until_it_is_revoked() {
    // What must never change: a revoked key opens nothing, and a client key never manages.
    let desk = Desk::open().await;
    let fresh = desk.key(KeyKind::Client).await;
    let text = fresh.text.reveal();
    assert!(desk.may(text, "flags:evaluate") && desk.may(text, "events:write"));
    assert!(!desk.may(text, "flags:read") && !desk.may(text, "keys:write"));
    let principal = desk.access.check_key(text).unwrap();
    assert_eq!(principal.environment.as_deref(), Some("production"));
    assert_eq!(principal.actor.as_str(), format!("key:{}", fresh.key.selector));
    let revoked = desk
        .store
        .revoke_key(&fresh.key.selector, &desk.change())
        .await
        .unwrap();
    assert_eq!(revoked.revoked_at, Some(desk.clock.now()));
    desk.access.refresh().await.unwrap();
    assert!(desk.access.check_key(text).is_none());
}

async fn a_key_is_refused_when_one_letter_is_another() {
    let desk = Desk::open().await;
    let fresh = desk.key(KeyKind::Server).await;
    let other = desk.key(KeyKind::Server).await;
    // The selector of one with the secret of the other, and a right checksum: only the digest can tell.
    let (head, _) = fresh.text.reveal().rsplit_once('_').unwrap();
    let (_, tail) = other.text.reveal().rsplit_once('_').unwrap();
    let body = format!("{head}_{}", &tail[..43]);
    let forged = format!(
        "{body}{}",
        secret::number_text(crc32fast::hash(body.as_bytes()), 6)
    );
    assert_eq!(key::selector_of(&forged), Some(fresh.key.selector.as_str()));
    assert!(desk.access.check_key(&forged).is_none());
    assert!(desk.access.check_key(fresh.text.reveal()).is_some());
}

async fn a_key_ends_at_its_time() {
    let desk = Desk::open().await;
    let new = NewKey {
        expires_at: Some(instant(1_060)),
        ..new_key(KeyKind::Server)
    };
    let fresh = desk.store.create_key(&new, &desk.change()).await.unwrap();
    desk.access.refresh().await.unwrap();
    desk.clock.advance(59);
    assert!(desk.access.check_key(fresh.text.reveal()).is_some());
    desk.clock.advance(1);
    assert!(desk.access.check_key(fresh.text.reveal()).is_none());
    let refused = desk.store.create_key(&new, &desk.change()).await;
    assert!(matches!(refused, Err(ControlError::InvalidKey { .. })));
}

async fn rotation_lets_two_keys_overlap_and_no_third_begin() {
    // What must never change: a rotation refuses neither key before the overlap is over.
    let desk = Desk::open().await;
    let first = desk.key(KeyKind::Server).await;
    let overlap_end = instant(1_100);
    let second = desk
        .store
        .rotate_key(&first.key.selector, overlap_end, &desk.change())
        .await
        .unwrap();
    desk.access.refresh().await.unwrap();
    assert_eq!(second.key.slot, first.key.slot);
    assert_eq!(
        (&second.key.scopes, &second.key.name),
        (&first.key.scopes, &first.key.name)
    );
    for key in [&first, &second] {
        assert!(desk.access.check_key(key.text.reveal()).is_some());
    }
    let third = desk
        .store
        .rotate_key(&second.key.selector, overlap_end, &desk.change())
        .await;
    assert!(matches!(third, Err(ControlError::InvalidKey { .. })));
    desk.clock.advance(100);
    assert!(desk.access.check_key(first.text.reveal()).is_none());
    assert!(desk.access.check_key(second.text.reveal()).is_some());
    desk.store
        .rotate_key(&second.key.selector, instant(1_200), &desk.change())
        .await
        .unwrap();
    let ended = desk
        .store
        .rotate_key(&first.key.selector, instant(1_200), &desk.change())
        .await;
    assert!(matches!(ended, Err(ControlError::InvalidKey { .. })));
}

async fn a_kind_does_not_get_scopes_that_it_cannot_have() {
    let desk = Desk::open().await;
    for (kind, scope) in [
        (KeyKind::Client, Scope::Read),
        (KeyKind::Client, Scope::Admin),
        (KeyKind::Ingest, Scope::Evaluate),
        (KeyKind::Server, Scope::Admin),
    ] {
        let new = NewKey {
            scopes: vec![scope],
            ..new_key(kind)
        };
        let refused = desk.store.create_key(&new, &desk.change()).await;
        assert!(
            matches!(refused, Err(ControlError::InvalidKey { .. })),
            "{kind:?} {scope:?}"
        );
    }
}

#[tokio::test]
async fn nothing_that_is_kept_opens_anything() {
    // What the database keeps is in files of its own on SQLite only; the rows are the same on both.
    run_on(Backend::Sqlite, no_file_opens_anything()).await;
}

async fn no_file_opens_anything() {
    // What must never change: whoever reads the file, a backup or the audit trail learns no secret.
    let desk = Desk::open().await;
    let key = desk.key(KeyKind::Admin).await;
    let name = desk.account("anna", Role::Admin).await;
    let link = desk.store.create_link(&name, &desk.change()).await.unwrap();
    let session = desk.access.login("anna", PASSWORD, None).await.unwrap().session;
    desk.store.close().await;
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(desk.place.folder()).unwrap() {
        kept.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&key.key.selector) && holds("$argon2id$"));
    let (_, secret) = key.text.reveal().rsplit_once('_').unwrap();
    for text in [secret, &secret[..20], PASSWORD, &link, &session] {
        assert!(!holds(text));
    }
}

async fn the_last_use_of_a_key_is_written_behind() {
    let desk = Desk::open().await;
    let fresh = desk.key(KeyKind::Server).await;
    let selector = &fresh.key.selector;
    desk.clock.advance(7);
    desk.access.check_key(fresh.text.reveal()).unwrap();
    assert_eq!(desk.store.key(selector).await.unwrap().last_used_at, None);
    desk.access.write_uses().await;
    assert_eq!(
        desk.store.key(selector).await.unwrap().last_used_at,
        Some(instant(1_007))
    );
    let records = desk.store.audit(&Default::default(), 10).await.unwrap();
    assert_eq!(records.items.len(), 1);
}

async fn another_process_that_revokes_is_heard() {
    // What must never change: a key revoked by the command line is refused by the server that runs.
    let desk = Desk::open().await;
    let fresh = desk.key(KeyKind::Server).await;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&desk.access).follow(shutdown.clone()));
    let elsewhere = desk.place.open().await;
    elsewhere
        .revoke_key(&fresh.key.selector, &desk.change())
        .await
        .unwrap();
    while desk.access.check_key(fresh.text.reveal()).is_some() {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    task.await.unwrap();
}

async fn a_key_alone_makes_a_login_necessary() {
    let desk = Desk::open().await;
    assert!(!desk.access.needs_login());
    let fresh = desk.key(KeyKind::Client).await;
    assert!(desk.access.needs_login());
    // And so it stays: nobody gets in by having the last key revoked.
    desk.store
        .revoke_key(&fresh.key.selector, &desk.change())
        .await
        .unwrap();
    desk.access.refresh().await.unwrap();
    assert!(desk.access.needs_login());
}

async fn whoever_makes_something_owns_it_and_may_share_it() {
    let desk = Desk::open().await;
    desk.store.create(&flag(), &anna(1)).await.unwrap();
    let key = flag_key();
    let kind = ObjectKind::Flag;
    let owned = desk.store.ownership(kind, key.as_str()).await.unwrap();
    assert_eq!(owned.owner, Some(Actor::person("anna")));
    let shared = Ownership {
        owner: Some(Actor::person("ben")),
        editors: vec![Actor::person("anna"), Actor::person("carl")],
    };
    desk.store
        .share((kind, key.as_str()), &shared, &anna(2))
        .await
        .unwrap();
    assert_eq!(desk.store.ownership(kind, key.as_str()).await.unwrap(), shared);
    desk.store
        .delete::<domain::rules::definition::FlagDefinition>(&key, 1, &anna(3))
        .await
        .unwrap();
    // What can be restored is still theirs.
    assert_eq!(desk.store.ownership(kind, key.as_str()).await.unwrap(), shared);
    // Whoever sits at the machine makes things for everybody, also under a key that was somebody's.
    let local = Change::new(Actor::local(), instant(4));
    desk.store.create(&flag(), &local).await.unwrap();
    assert_eq!(
        desk.store.ownership(kind, key.as_str()).await.unwrap(),
        Ownership::default()
    );
}

async fn keys_and_accounts_are_listed_in_pages() {
    let desk = Desk::open().await;
    for name in ["carl", "anna", "ben"] {
        let name = AccountName::new(name).unwrap();
        desk.store
            .create_account(&name, Role::Viewer, &desk.change())
            .await
            .unwrap();
        desk.key(KeyKind::Server).await;
    }
    let mut request = PageRequest {
        after: None,
        limit: 2,
    };
    let first = desk.store.accounts(&request).await.unwrap();
    let names: Vec<_> = first.items.iter().map(|account| account.name.as_str()).collect();
    assert_eq!((names, first.next.as_deref()), (vec!["anna", "ben"], Some("ben")));
    request.after = first.next;
    assert_eq!(desk.store.accounts(&request).await.unwrap().items.len(), 1);
    let keys = desk
        .store
        .keys(&PageRequest {
            after: None,
            limit: 2,
        })
        .await
        .unwrap();
    assert_eq!(
        desk.store
            .keys(&PageRequest {
                after: keys.next,
                limit: 2
            })
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}
