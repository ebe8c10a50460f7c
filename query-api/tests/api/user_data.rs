//! What is held of a user is exported and erased on request, by whoever may, and the store never learns who it was.

use control::ErasedRows;
use control::access::KeyKind;
use domain::Timestamp;
use serde_json::json;

use crate::access::{key, with_key};
use crate::stores::on_both_stores;
use crate::support::{NOW, Server, problem};

on_both_stores! {
    a_user_is_exported_and_erased_by_administrators,
    erasures_are_listed_in_pages_and_by_state,
}

const EXPORT: (&str, &str) = ("POST", "/api/v1/user-data/export");
const ERASURES: (&str, &str) = ("POST", "/api/v1/user-data/erasures");

async fn a_user_is_exported_and_erased_by_administrators() {
    // What must never change: the id stands in the request and in no record of it.
    let server = Server::start().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let reader = key(&server, KeyKind::Server, None).await;
    let (admin, reader) = (admin.text.reveal(), reader.text.reveal());
    let user = json!({"user_id": "u-4711"});
    for route in [EXPORT, ERASURES] {
        problem(
            &with_key(&server, route, reader, Some(&user)).await,
            403,
            "forbidden",
        );
        let wrong = with_key(&server, route, admin, Some(&json!({"user": "u-4711"}))).await;
        problem(&wrong, 400, "invalid_body");
    }
    let rows = with_key(&server, EXPORT, admin, Some(&user)).await;
    assert_eq!(
        (rows.status, rows.header("content-type")),
        (200, Some("application/x-ndjson"))
    );
    assert_eq!(rows.json()["row"]["user_id"], "u-4711");

    let asked = with_key(&server, ERASURES, admin, Some(&user)).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    assert_eq!(asked.json()["done_at"], json!(null));
    let place = asked.header("location").unwrap().to_owned();
    let open = server.store.erasures().await.unwrap();
    assert!(open.len() == 1 && open[0].receipt.is_of("u-4711"), "{open:?}");
    let erased = ErasedRows {
        events: 2,
        ..ErasedRows::default()
    };
    let receipt = &open[0].receipt;
    let by = control::Change::new(control::Actor::system("erasure"), receipt.at);
    server
        .store
        .finish_erasure(&receipt.receipt, erased, &by)
        .await
        .unwrap();
    let done = with_key(&server, ("GET", &place), admin, None).await.json();
    assert_eq!(
        (&done["done_at"], &done["erased"]["events"]),
        (&done["at"], &json!(2)),
        "{done}"
    );
    let unknown = ("GET", "/api/v1/user-data/erasures/erasure_0");
    problem(&with_key(&server, unknown, admin, None).await, 404, "not_found");
    let trail = with_key(&server, ("GET", "/api/v1/audit-logs?kind=erasure"), admin, None).await;
    assert_eq!(trail.json()["items"].as_array().unwrap().len(), 2);
    assert!(!trail.text.contains("u-4711") && !done.to_string().contains("u-4711"));
    server.stop().await;
}

async fn erasures_are_listed_in_pages_and_by_state() {
    // What must never change: what waits is found without its id, and by nobody who only reads definitions.
    let server = Server::start().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let reader = key(&server, KeyKind::Server, None).await;
    let (admin, reader) = (admin.text.reveal(), reader.text.reveal());
    let ask = async |user: &str| {
        let asked = with_key(&server, ERASURES, admin, Some(&json!({"user_id": user}))).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        asked.json()
    };
    let list = async |query: &str| {
        let path = format!("/api/v1/user-data/erasures{query}");
        with_key(&server, ("GET", &path), admin, None).await
    };
    assert_eq!(list("").await.json(), json!({"items": []}));
    let (done, waiting) = (ask("u-4711").await, ask("u-4712").await);
    let by = control::Change::new(control::Actor::system("erasure"), Timestamp::parse(NOW).unwrap());
    let receipt = done["receipt"].as_str().unwrap();
    let finished = server.store.finish_erasure(receipt, ErasedRows::default(), &by);
    finished.await.unwrap();
    assert_eq!(list("?state=waiting").await.json(), json!({"items": [waiting]}));
    let finished = list("?state=done").await.json();
    assert_eq!(finished["items"][0]["receipt"], receipt);
    assert_eq!(finished["items"][0]["done_at"], NOW);
    let first = list("?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = list(&format!("?limit=1&cursor={cursor}")).await.json();
    assert_eq!(rest["next_cursor"], json!(null));
    // Of two that were asked for at the same instant either may be the first.
    let mut listed = [&first, &rest].map(|page| page["items"][0]["receipt"].to_string());
    let mut asked = [&done, &waiting].map(|erasure| erasure["receipt"].to_string());
    listed.sort();
    asked.sort();
    assert_eq!(listed, asked);
    for wrong in ["?state=open", "?limit=0", "?limit=201", "?page=2"] {
        problem(&list(wrong).await, 400, "invalid_query");
    }
    let all = ("GET", "/api/v1/user-data/erasures");
    problem(&with_key(&server, all, reader, None).await, 403, "forbidden");
    server.stop().await;
}
