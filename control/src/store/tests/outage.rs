//! A PostgreSQL server that dies, freezes and comes back: what was answered stays, calls fail in time, and all heals.

use fixtures::postgres::PostgresServer;
use tokio_util::sync::CancellationToken;

use super::*;

#[track_caller]
fn is_away<T: fmt::Debug>(outcome: Result<T, ControlError>) {
    let error = outcome.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_and_comes_back_is_used_again() {
    // What must never change: nobody has to restart anything after the database was away.
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let address = StoreAddress::parse(&server.url()).unwrap();
    let store = Store::connect(&address).await.unwrap();
    let other = Store::connect(&address).await.unwrap();
    let mut heard = other.subscribe();
    let stop = CancellationToken::new();
    let following = tokio::spawn(other.clone().follow_others(stop.clone()));
    store.create(&flag(), &anna(0)).await.unwrap();
    heard.changed().await.unwrap();

    let open = store.begin().await.unwrap();
    server.kill();
    is_away(store.commit_quietly(open).await);
    is_away(store.update(&flag(), 1, &anna(1)).await);
    is_away(store.get::<FlagDefinition>(&flag_key()).await);
    is_away(store.ping().await);
    // Who starts now is told the reason, or waits for the store with what it has.
    assert!(matches!(
        Store::connect(&address).await,
        Err(ControlError::Open { .. })
    ));
    let waiting = Store::connect_when_used(&address).unwrap();
    is_away(waiting.ping().await);

    server.restart();
    let updated = store.update(&flag(), 1, &anna(2)).await.unwrap();
    assert_eq!(updated.version, 2);
    for healed in [&other, &waiting] {
        assert_eq!(healed.get::<FlagDefinition>(&flag_key()).await.unwrap(), updated);
    }
    heard.changed().await.unwrap();
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_is_not_waited_for_without_end() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let address = StoreAddress::parse(&server.url()).unwrap();
    let store = Store::connect(&address).await.unwrap();
    store.create(&flag(), &anna(0)).await.unwrap();
    let mut open = store.begin().await.unwrap();
    store.ping().await.unwrap();

    server.freeze();
    // One whose write is under way, one who finds idle connections, and one who comes anew.
    let (under_way, idle, anew) = tokio::join!(
        notice::newest_record(&mut *open),
        store.ping(),
        Store::connect(&address),
    );
    is_away(under_way);
    is_away(idle);
    assert!(matches!(anew, Err(ControlError::Open { .. })));
    // Once given up, a write stays given up.
    is_away(store.commit_quietly(open).await);

    server.thaw();
    assert_eq!(store.update(&flag(), 1, &anna(1)).await.unwrap().version, 2);
    store.ping().await.unwrap();
}
