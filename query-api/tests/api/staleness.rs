//! Without the store: a start from what was kept, a start from nothing, and a store that goes away and comes back.

use control::access::{AccessMode, AccessSettings};
use control::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Server, problem};

pub fn flag() -> Value {
    json!({"key": "f", "type": "boolean", "enabled": true, "off_variation": "off",
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "rules": [{"id": "pro", "condition": {"attribute": "plan", "operator": "equals", "value": "pro"},
            "serve": {"variation": "on"}}],
        "default": {"variation": "off"}})
}

/// A folder in which a server has kept one flag.
async fn kept() -> (TempDir, u64) {
    let folder = TempDir::new().unwrap();
    let server = Server::start_keeping(folder.path()).await;
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);
    let version = server.ruleset.version();
    server.stop().await;
    (folder, version)
}

pub async fn native(server: &Server) -> Answer {
    let user = json!({"user_id": "u", "context": {"plan": "pro"}});
    server.post("/api/v1/feature-flags/f/evaluate", &user).await
}

async fn protocol(server: &Server) -> Answer {
    let user = json!({"context": {"targetingKey": "u", "plan": "pro"}});
    server.post("/ofrep/v1/evaluate/flags/f", &user).await
}

fn check_of<'a>(health: &'a Value, name: &str) -> &'a Value {
    let checks = health["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_store_serves_what_was_kept() {
    // What must never change: a restart needs nothing but its own disk to decide as before, and says that it may be behind.
    let (folder, version) = kept().await;
    let server = Server::start_without_store(folder.path()).await;
    let own = native(&server).await;
    assert_eq!(own.status, 200, "{}", own.text);
    let own = own.json();
    assert_eq!(
        (&own["value"], &own["reason"], &own["stale"]),
        (&json!(true), &json!("TARGETING_MATCH"), &json!(true))
    );
    assert_eq!(own["ruleset_version"], version);
    let answer = protocol(&server).await.json();
    assert_eq!(
        (&answer["value"], &answer["reason"]),
        (&json!(true), &json!("STALE"))
    );
    assert_eq!(answer["metadata"]["decided_by"], "TARGETING_MATCH");
    assert_eq!(
        server.get("/api/v1/ruleset").await.header("x-ruleset-freshness"),
        Some("stale")
    );

    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("degraded")));
    let health = server.get("/healthz").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("degraded"))
    );
    let ruleset = &health.json()["ruleset"];
    assert_eq!(
        (&ruleset["state"], &ruleset["version"]),
        (&json!("stale"), &json!(version))
    );
    assert!(ruleset["age_seconds"].is_u64(), "{ruleset}");
    problem(&server.get("/api/v1/feature-flags").await, 503, "unavailable");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_store_and_without_anything_kept_refuses_and_says_when_to_come_back() {
    let empty = TempDir::new().unwrap();
    let damaged = TempDir::new().unwrap();
    std::fs::write(damaged.path().join("ruleset.kept"), "{}\n[]").unwrap();
    for folder in [empty, damaged] {
        let server = Server::start_without_store(folder.path()).await;
        for answer in [
            native(&server).await,
            server.get("/readyz").await,
            server.get("/api/v1/ruleset").await,
            server.get("/api/v1/feature-flags/f/explain?user_id=u").await,
            server
                .post(
                    "/api/v1/feature-flags/evaluate",
                    &json!({"users": [{"user_id": "u"}]}),
                )
                .await,
            server
                .post("/api/v1/experiments/e/assign", &json!({"user_id": "u"}))
                .await,
        ] {
            problem(&answer, 503, "unavailable");
            assert!(answer.header("retry-after").is_some());
        }
        for path in ["/ofrep/v1/evaluate/flags/f", "/ofrep/v1/evaluate/flags"] {
            let answer = server.post(path, &json!({})).await;
            assert_eq!(
                (answer.status, &answer.json()["errorCode"]),
                (503, &json!("GENERAL"))
            );
            assert!(answer.header("retry-after").is_some());
        }
        assert_eq!(server.get("/livez").await.status, 200);
        let health = server.get("/healthz").await;
        assert_eq!(
            (health.status, &check_of(&health.json(), "ruleset")["status"]),
            (503, &json!("unhealthy"))
        );
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_makes_decisions_stale_and_no_other() {
    let folder = TempDir::new().unwrap();
    let server = Server::start_keeping(folder.path()).await;
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);
    let before = native(&server).await.json();
    assert_eq!(before.get("stale"), None);
    assert_eq!(protocol(&server).await.json()["reason"], "TARGETING_MATCH");
    assert_eq!(server.get("/readyz").await.json()["status"], "ready");

    server.store.close().await;
    assert!(server.ruleset.refresh(&server.store).await.is_err());
    let mut after = native(&server).await.json();
    assert_eq!(after["stale"].take(), json!(true));
    after.as_object_mut().unwrap().remove("stale");
    assert_eq!(after, before);
    assert_eq!(protocol(&server).await.json()["reason"], "STALE");
    assert_eq!(server.get("/readyz").await.json()["status"], "degraded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_again_ends_the_staleness() {
    // What must never change: what was kept gives way to what the store says, whatever number it bears there.
    let (folder, version) = kept().await;
    let server = Server::start_keeping(folder.path()).await;
    assert_eq!(native(&server).await.json()["stale"], true);
    let mut other = flag();
    other["rules"] = json!([]);
    let definition: domain::rules::definition::FlagDefinition = serde_json::from_value(other).unwrap();
    let change = control::Change::new(control::Actor::system("test"), domain::Timestamp(0));
    server.store.create(&definition, &change).await.unwrap();
    server.ruleset.refresh(&server.store).await.unwrap();
    assert_eq!(
        server.ruleset.version(),
        version,
        "the test is about two rulesets of one number"
    );
    let now = native(&server).await.json();
    assert_eq!((&now["value"], now.get("stale")), (&json!(false), None));
    assert_eq!(server.get("/readyz").await.json()["status"], "ready");
    server.stop().await;

    // And what the store said is what is kept from then on.
    let server = Server::start_without_store(folder.path()).await;
    assert_eq!(native(&server).await.json()["value"], false);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ruleset_that_cannot_be_kept_is_served_and_shown_in_the_health() {
    let folder = TempDir::new().unwrap();
    // A folder stands where the file should be.
    std::fs::create_dir_all(folder.path().join("ruleset.kept/in-the-way")).unwrap();
    let server = Server::start_keeping(folder.path()).await;
    assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, 201);
    assert_eq!(native(&server).await.json()["value"], true);
    let health = server.get("/healthz").await;
    assert_eq!(check_of(&health.json(), "ruleset")["status"], "degraded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_could_not_be_opened_is_used_as_soon_as_it_can_be() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("later/store.sqlite");
    let store = control::Store::open_when_used(&path).unwrap();
    let ruleset = query_api::RulesetHandle::kept_in(
        &folder.path().join("ruleset.kept"),
        std::sync::Arc::new(|| domain::Timestamp(0)),
    );
    assert!(ruleset.refresh(&store).await.is_err() && !store.is_open());
    assert!(!path.exists(), "whoever mends the store finds it as it was");
    let mended = control::Store::open(&path).await.unwrap();
    ruleset.refresh(&store).await.unwrap();
    assert_eq!(ruleset.freshness(), query_api::Freshness::Current);
    mended.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_it_is_read_who_may_come_in_nothing_is_but_evaluations() {
    // What must never change: a store that is away opens nothing, takes no right away for good, and is heard of at once
    // when it is back.
    for (mode, evaluated, made) in [(AccessMode::Auto, 404, 201), (AccessMode::Required, 503, 401)] {
        let folder = TempDir::new().unwrap();
        let place = folder.path().join("store.sqlite");
        std::fs::create_dir(&place).unwrap();
        let settings = AccessSettings {
            mode,
            ..AccessSettings::default()
        };
        let store = Store::open_when_used(&place).unwrap();
        let server = Server::start_before_its_store(store, settings).await;
        assert_eq!(native(&server).await.status, evaluated);
        let refused = server.post("/api/v1/feature-flags", &flag()).await;
        problem(&refused, 503, "unavailable");
        assert_eq!(refused.header("retry-after"), Some("2"));
        for path in ["/api/v1/feature-flags", "/api/v1/ruleset"] {
            problem(&server.get(path).await, 503, "unavailable");
        }
        assert_eq!(server.get("/livez").await.status, 200);
        std::fs::remove_dir(&place).unwrap();
        Store::open(&place).await.unwrap().close().await;
        assert_eq!(server.post("/api/v1/feature-flags", &flag()).await.status, made);
        server.stop().await;
    }
}
