//! Refused logins: each leaves a record that says who was named and why, and a flood of them does not fill the store.

use super::*;
use crate::store::{AuditFilter, AuditRecord};

on_both_stores! {
    every_refused_login_leaves_a_record,
    a_flood_of_refused_logins_leaves_as_many_records_as_the_ration_and_their_number,
}

async fn refusals(desk: &Desk) -> Vec<AuditRecord> {
    let filter = AuditFilter {
        kind: Some(ObjectKind::Session),
        ..AuditFilter::default()
    };
    let mut records = desk.store.audit(&filter, 200).await.unwrap().items;
    records.retain(|record| record.action == "refuse_login");
    records.reverse();
    records
}

async fn every_refused_login_leaves_a_record() {
    // What must never change: whoever tries to come in and may not stands in the trail, and their secrets do not.
    let desk = Desk::open().await;
    desk.account("boss", Role::Admin).await;
    let anna = desk.account("anna", Role::Viewer).await;
    let gone = desk.account("gone", Role::Viewer).await;
    let out = (None, Some(false));
    desk.store
        .change_account(&gone, out, &desk.change())
        .await
        .unwrap();
    desk.access.refresh().await.unwrap();
    let link = desk.store.create_link(&anna, &desk.change()).await.unwrap();
    let from = || Some("address ::1".to_owned());
    let secret = "a secret that is no password";
    let attempt = async |name: &str| {
        let refused = desk.access.login(name, secret, from()).await;
        assert!(refused.is_err(), "{name}");
    };
    for name in ["anna", "Nobody", "gone", "no\u{0}\nname"] {
        attempt(name).await;
    }
    for _ in 0..6 {
        attempt("anna").await;
    }
    desk.clock.advance(86_400);
    let late = desk.access.redeem(&link, None, PASSWORD, from()).await;
    assert!(matches!(late, Err(ControlError::InvalidLink)));
    let eve = AccountName::new("eve").unwrap();
    let made_up = desk.access.redeem("made up", Some(&eve), PASSWORD, from()).await;
    assert!(matches!(made_up, Err(ControlError::InvalidLink)));

    let records = refusals(&desk).await;
    let found: Vec<_> = records
        .iter()
        .map(|record| (record.key.as_str(), record.reason.as_deref().unwrap()))
        .collect();
    let wrong = ("person:anna", "the password is wrong");
    let link_ended = "the one-time link was used, has ended, or never was";
    let expected = [
        wrong,
        ("person:nobody", "no account has this name"),
        ("person:gone", "the account is disabled"),
        ("\"no\\u{0}\\nname\"", "no account has this name"),
        wrong,
        wrong,
        wrong,
        wrong,
        wrong,
        ("person:anna", "too many attempts under this name failed before"),
        ("nobody", link_ended),
        ("person:eve", link_ended),
    ];
    assert_eq!(found, expected);
    for record in &records {
        assert_eq!(
            (record.actor.as_str(), record.origin.as_deref()),
            ("nobody", Some("address ::1"))
        );
        let text = serde_json::to_string(record).unwrap();
        for hidden in [secret, link.as_str(), "made up", PASSWORD] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

async fn a_flood_of_refused_logins_leaves_as_many_records_as_the_ration_and_their_number() {
    let desk = Desk::open().await;
    let answer = SignOnAnswer::default();
    let flooded = sign_on::with_provider(&desk).await;
    for _ in 0..130 {
        let refused = flooded.finish_sign_on(None, &answer, None).await;
        assert!(matches!(refused, Err(ControlError::SignOnRefused { .. })));
    }
    assert_eq!(refusals(&desk).await.len(), 120);
    desk.clock.advance(5);
    flooded.finish_sign_on(None, &answer, None).await.unwrap_err();
    let records = refusals(&desk).await;
    assert_eq!(records.len(), 121);
    assert_eq!(records[120].after, Some(serde_json::json!({"left_out": 10})));
    assert!(records[..120].iter().all(|record| record.after.is_none()));
}
