//! The store in PostgreSQL goes away under a running server: evaluation goes on, writes are refused in time, all heals.

use control::{Store, StoreAddress};
use fixtures::postgres::PostgresServer;
use serde_json::json;

use crate::staleness::{flag, native};
use crate::support::{Server, problem};

#[tokio::test(flavor = "multi_thread")]
async fn evaluation_goes_on_while_the_database_is_away_and_writes_come_back_with_it() {
    // What must never change: nobody who asks for a flag sees that the database is gone.
    let Some(mut database) = PostgresServer::start() else {
        return;
    };
    let address = StoreAddress::parse(&database.url()).unwrap();
    let server = Server::start_on(Store::connect(&address).await.unwrap()).await;
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);
    let before = native(&server).await;
    assert_eq!(before.status, 200, "{}", before.text);

    database.kill();
    let metric = json!({"key": "revenue", "kind": "sum", "event": "purchase"});
    let refused = server.post("/api/v1/metrics", &metric).await;
    problem(&refused, 503, "unavailable");
    assert!(refused.header("retry-after").is_some());
    assert!(!refused.text.contains("postgres"), "{}", refused.text);
    let during = native(&server).await;
    assert_eq!(during.status, 200, "{}", during.text);
    assert_eq!(during.json()["value"], before.json()["value"]);

    database.restart();
    assert_eq!(server.post("/api/v1/metrics", &metric).await.status, 201);
    assert_eq!(native(&server).await.json()["value"], before.json()["value"]);
    server.stop().await;
}
