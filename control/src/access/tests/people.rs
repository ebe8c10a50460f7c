//! People: first administrators, links, sessions, roles, and guessing.

use super::*;

on_both_stores! {
    the_first_administrator_comes_by_one_link_once,
    links_end_after_a_day_and_when_there_is_a_newer_one,
    a_session_ends_by_idling_by_age_and_by_leaving,
    a_role_changes_and_an_account_ends_in_the_middle_of_a_session,
    the_last_administrator_stays,
    guessing_is_slowed_down_alike_for_names_that_exist_and_names_that_do_not,
}

async fn the_first_administrator_comes_by_one_link_once() {
    let desk = Desk::open().await;
    assert!(!desk.access.needs_login());
    let superseded = desk
        .store
        .create_first_link(desk.clock.now())
        .await
        .unwrap()
        .unwrap();
    let link = desk
        .store
        .create_first_link(desk.clock.now())
        .await
        .unwrap()
        .unwrap();
    let name = AccountName::new("Anna@Example.org").unwrap();
    let nameless = desk.access.redeem(&link, None, PASSWORD, None).await;
    assert!(matches!(nameless, Err(ControlError::NameMissing)));
    for wrong in ["", "x", &superseded] {
        let refused = desk.access.redeem(wrong, Some(&name), PASSWORD, None).await;
        assert!(matches!(refused, Err(ControlError::InvalidLink)), "{wrong}");
    }
    let entered = desk
        .access
        .redeem(&link, Some(&name), PASSWORD, None)
        .await
        .unwrap();
    assert_eq!(
        (entered.account.role, entered.account.name.as_str()),
        (Role::Admin, "anna@example.org")
    );
    assert!(desk.access.needs_login());
    let again = desk
        .access
        .redeem(&link, Some(&AccountName::new("eve").unwrap()), PASSWORD, None)
        .await;
    assert!(matches!(again, Err(ControlError::InvalidLink)));
    assert_eq!(
        desk.store.create_first_link(desk.clock.now()).await.unwrap(),
        None
    );
}

async fn links_end_after_a_day_and_when_there_is_a_newer_one() {
    let desk = Desk::open().await;
    let name = desk.account("anna", Role::Viewer).await;
    let older = desk.store.create_link(&name, &desk.change()).await.unwrap();
    let newer = desk.store.create_link(&name, &desk.change()).await.unwrap();
    assert!(matches!(
        desk.access.redeem(&older, None, PASSWORD, None).await,
        Err(ControlError::InvalidLink)
    ));
    desk.clock.advance(86_400);
    assert!(matches!(
        desk.access.redeem(&newer, None, PASSWORD, None).await,
        Err(ControlError::InvalidLink)
    ));
}

async fn a_session_ends_by_idling_by_age_and_by_leaving() {
    let desk = Desk::open().await;
    desk.account("anna", Role::Developer).await;
    let idle = desk.access.login("anna", PASSWORD, None).await.unwrap().session;
    desk.clock.advance(30 * 60);
    assert_eq!(desk.access.check_session(&idle).await.unwrap(), None);

    let busy = desk.access.login("anna", PASSWORD, None).await.unwrap().session;
    for _ in 0..35 {
        desk.clock.advance(20 * 60);
        let principal = desk.access.check_session(&busy).await.unwrap().unwrap();
        assert_eq!(
            principal,
            Principal::person(Actor::person("anna"), Role::Developer)
        );
    }
    desk.clock.advance(20 * 60);
    assert_eq!(
        desk.access.check_session(&busy).await.unwrap(),
        None,
        "after 12 hours"
    );

    let left = desk.access.login("anna", PASSWORD, None).await.unwrap().session;
    let other = desk.access.login("anna", PASSWORD, None).await.unwrap().session;
    desk.access.logout(&left).await.unwrap();
    assert_eq!(desk.access.check_session(&left).await.unwrap(), None);
    assert!(desk.access.check_session(&other).await.unwrap().is_some());
}

async fn a_role_changes_and_an_account_ends_in_the_middle_of_a_session() {
    let desk = Desk::open().await;
    desk.account("boss", Role::Admin).await;
    let name = desk.account("anna", Role::Admin).await;
    let session = desk.access.login("anna", PASSWORD, None).await.unwrap().session;
    let demoted = (Some(Role::Viewer), None);
    desk.store
        .change_account(&name, demoted, &desk.change())
        .await
        .unwrap();
    desk.access.refresh().await.unwrap();
    let principal = desk.access.check_session(&session).await.unwrap().unwrap();
    assert_eq!(principal.authority, Authority::Role(Role::Viewer));
    desk.store
        .change_account(&name, (None, Some(false)), &desk.change())
        .await
        .unwrap();
    desk.access.refresh().await.unwrap();
    assert_eq!(desk.access.check_session(&session).await.unwrap(), None);
    let refused = desk.access.login("anna", PASSWORD, None).await;
    assert!(matches!(refused, Err(ControlError::WrongCredentials)));
}

async fn the_last_administrator_stays() {
    // What must never change: nobody locks everybody out.
    let desk = Desk::open().await;
    let boss = desk.account("boss", Role::Admin).await;
    // An account that has no password yet cannot log in, so it is no help.
    let invited = AccountName::new("invited").unwrap();
    desk.store
        .create_account(&invited, Role::Admin, &desk.change())
        .await
        .unwrap();
    for change in [(Some(Role::Developer), None), (None, Some(false))] {
        let refused = desk.store.change_account(&boss, change, &desk.change()).await;
        assert!(
            matches!(refused, Err(ControlError::LastAdmin { .. })),
            "{change:?}"
        );
    }
    assert_eq!(desk.store.account(&boss).await.unwrap().role, Role::Admin);
    desk.account("second", Role::Admin).await;
    desk.store
        .change_account(&boss, (None, Some(false)), &desk.change())
        .await
        .unwrap();
}

async fn guessing_is_slowed_down_alike_for_names_that_exist_and_names_that_do_not() {
    // What must never change: neither answers nor delays tell which accounts exist.
    let desk = Desk::open().await;
    desk.account("anna", Role::Viewer).await;
    for name in ["anna", "nobody"] {
        for attempt in 0..6 {
            let refused = desk.access.login(name, "a wrong password", None).await;
            assert!(
                matches!(refused, Err(ControlError::WrongCredentials)),
                "{name} {attempt}"
            );
        }
        let locked = desk.access.login(name, PASSWORD, None).await;
        assert!(
            matches!(
                locked,
                Err(ControlError::LockedOut {
                    retry_after_seconds: 31
                })
            ),
            "{name} {locked:?}"
        );
    }
    desk.clock.advance(30);
    desk.access.login("anna", PASSWORD, None).await.unwrap();
    // The right password makes a clean slate.
    for _ in 0..5 {
        let _ = desk.access.login("anna", "a wrong password", None).await;
    }
    desk.access.login("anna", PASSWORD, None).await.unwrap();
}
