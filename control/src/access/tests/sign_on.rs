//! Logins by the identity provider as the store keeps them: used once, in time, and ended with their sessions.

use super::*;
use crate::store::SessionFacts;
use crate::test_support::sign_on_settings;

on_both_stores! {
    a_login_that_was_begun_is_used_once_and_in_time,
    a_session_by_the_provider_ends_as_others_do_and_with_the_provider,
    each_login_and_each_refusal_leaves_a_record,
}

fn facts(name: &str) -> SessionFacts {
    SessionFacts {
        account: None,
        actor: Actor::vouched_for(name),
        role: Some(Role::Analyst),
    }
}

pub(super) async fn with_provider(desk: &Desk) -> Access {
    Access::open(desk.store.clone(), desk.clock.clone(), sign_on_settings())
        .await
        .unwrap()
}

async fn a_login_that_was_begun_is_used_once_and_in_time() {
    // What must never change: what a browser keeps finishes one login, also when two processes are asked at once.
    let desk = Desk::open().await;
    let begin = |secret: &'static str| desk.store.begin_sign_on(secret, "/docs", desk.clock.now());
    let take = |secret: &'static str| desk.store.take_sign_on(secret, desk.clock.now());
    begin("one").await.unwrap();
    begin("other").await.unwrap();
    assert_eq!(take("none").await.unwrap(), None);
    let other = desk.place.open().await;
    let at_once = other.take_sign_on("one", desk.clock.now());
    let (here, there) = tokio::join!(take("one"), at_once);
    let mut taken = [here.unwrap(), there.unwrap()];
    taken.sort();
    assert_eq!(taken, [None, Some("/docs".to_owned())]);
    desk.clock.advance(599);
    begin("late").await.unwrap();
    assert_eq!(take("other").await.unwrap().as_deref(), Some("/docs"));
    desk.clock.advance(600);
    assert_eq!(take("late").await.unwrap(), None);
}

async fn a_session_by_the_provider_ends_as_others_do_and_with_the_provider() {
    let desk = Desk::open().await;
    let access = with_provider(&desk).await;
    let open = || async {
        let change = Change::new(Actor::vouched_for("4711"), desk.clock.now());
        desk.store.open_session(&facts("4711"), &change).await.unwrap()
    };
    let idle = open().await;
    let expected = Principal::person(Actor::vouched_for("4711"), Role::Analyst);
    assert_eq!(access.check_session(&idle).await.unwrap(), Some(expected));
    // Without a provider there is nobody who vouches.
    assert_eq!(desk.access.check_session(&idle).await.unwrap(), None);
    desk.clock.advance(30 * 60);
    assert_eq!(access.check_session(&idle).await.unwrap(), None);
    let busy = open().await;
    for _ in 0..35 {
        desk.clock.advance(20 * 60);
        assert!(access.check_session(&busy).await.unwrap().is_some());
    }
    desk.clock.advance(20 * 60);
    assert_eq!(access.check_session(&busy).await.unwrap(), None, "after 12 hours");
}

async fn each_login_and_each_refusal_leaves_a_record() {
    let desk = Desk::open().await;
    let access = with_provider(&desk).await;
    let begun = desk.clock.now();
    desk.store.begin_sign_on("secret", "/", begun).await.unwrap();
    let answer = SignOnAnswer::default();
    for secret in [None, Some("secret")] {
        let refused = access
            .finish_sign_on(secret, &answer, Some("address ::1".to_owned()))
            .await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ControlError::SignOnRefused { .. }), "{refused}");
    }
    let change = Change::new(Actor::vouched_for("4711"), desk.clock.now());
    desk.store.open_session(&facts("4711"), &change).await.unwrap();
    let records = desk.store.audit(&Default::default(), 10).await.unwrap().items;
    let found: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.action.as_str(),
                record.key.as_str(),
                record.origin.as_deref(),
            )
        })
        .collect();
    let from = Some("address ::1");
    let expected = [
        ("login", "person:oidc/4711", None),
        ("refuse_login", "nobody", from),
        ("refuse_login", "nobody", from),
    ];
    assert_eq!(found, expected);
    assert!(records.iter().all(|record| record.kind == ObjectKind::Session));
    assert_ne!(records[1].reason, records[2].reason);
    // A state that is not the login's leaves the login to whoever began it.
    let left = desk.store.take_sign_on("secret", desk.clock.now()).await.unwrap();
    assert_eq!(left.as_deref(), Some("/"));
}
