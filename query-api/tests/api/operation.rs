//! Health, metrics, documentation, and what every answer has in common.

use control::access::{AccessSettings, ProxyNetwork};
use query_api::RateSettings;
use serde_json::{Value, json};

use crate::support::{Server, problem};

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_at_four_paths() {
    let server = Server::start().await;
    assert_eq!(server.get("/livez").await.json(), json!({"status": "alive"}));
    assert_eq!(server.get("/readyz").await.json(), json!({"status": "ready"}));
    for path in ["/healthz", "/health"] {
        let health = server.get(path).await;
        assert_eq!(
            (health.status, &health.json()["status"]),
            (200, &json!("healthy")),
            "{path}"
        );
        assert_eq!(health.json()["checks"][0]["name"], "store");
    }
    server.set_health("engine", query_api::HealthStatus::Unhealthy);
    let health = server.get("/healthz").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &json!("unhealthy"))
    );
    assert_eq!(server.get("/livez").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_are_scraped_as_they_are_shown() {
    let server = Server::start().await;
    let text = server.get("/metrics").await;
    assert!(
        text.header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    for line in [
        "exp_ingest_events_total{result=\"received\"} 0",
        "exp_ingest_late_total 0",
        "exp_ruleset_version 0",
    ] {
        assert!(text.text.lines().any(|found| found == line), "{line}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_committed_one() {
    // What must never change: a change of the contract is seen in review. To accept one:
    // `cargo run -p query-api --example openapi > query-api/openapi.json`.
    let committed: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let server = Server::start().await;
    let served = server.get("/api/v1/openapi.json").await.json();
    for (path, item) in committed["paths"].as_object().unwrap() {
        assert_eq!(&served["paths"][path], item, "{path}");
    }
    assert_eq!(served, committed);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_without_scripts_and_without_the_network() {
    let server = Server::start().await;
    for path in ["/", "/docs"] {
        let page = server.get(path).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(
            !page.text.contains("<script") && !page.text.contains("https://cdn"),
            "{path}"
        );
    }
    assert_eq!(
        server.get("/style.css").await.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_guarded_and_named() {
    let server = Server::start().await;
    for path in [
        "/",
        "/livez",
        "/metrics",
        "/api/v1/metrics",
        "/nothing",
        "/api/v1/openapi.json",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert!(answer.header("content-security-policy").is_some(), "{path}");
        for policy in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
            assert_eq!(answer.header(policy), Some("same-origin"), "{path}");
        }
        let is_page = answer.header("content-type").unwrap().starts_with("text/html");
        assert_eq!(answer.header("permissions-policy").is_some(), is_page, "{path}");
        assert_eq!(answer.header("strict-transport-security"), None, "{path}");
        assert!(answer.header("cache-control").is_some(), "{path}");
        assert!(answer.header("server").is_none(), "{path}");
        assert_eq!(answer.header("x-request-id").unwrap().len(), 36, "{path}");
    }
    let id = "0198c5de-7a30-7c3e-9d5b-6f6f0c9e1a11";
    let named = server
        .send(server.request("GET", "/nothing").header("x-request-id", id))
        .await;
    problem(&named, 404, "unknown_path");
    assert_eq!(named.json()["instance"], format!("urn:uuid:{id}"));
    assert_eq!(named.json()["type"], "urn:experimently:problem:unknown_path");
    server.stop().await;
}

/// The header by which browsers stay with HTTPS, of an answer to a request that a proxy marked.
async fn strict_transport(settings: AccessSettings) -> Option<String> {
    let server = Server::start_under(settings, RateSettings::default()).await;
    let marked = server
        .request("GET", "/livez")
        .header("x-forwarded-proto", "https");
    let answer = server.send(marked).await;
    let plain = server.get("/nothing").await;
    let value = answer.header("strict-transport-security").map(str::to_owned);
    assert!(plain.header("strict-transport-security").is_none() || value.is_some());
    server.stop().await;
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_stay_with_https_where_it_is_there() {
    // What must never change: no client on plain HTTP can make us promise HTTPS, and behind it we always do.
    let a_year = Some("max-age=31536000; includeSubDomains".to_owned());
    let plain = AccessSettings::default();
    assert_eq!(strict_transport(plain.clone()).await, None);
    let behind_proxy = AccessSettings {
        trusted_proxies: vec![ProxyNetwork::try_from("127.0.0.0/8".to_owned()).unwrap()],
        ..plain.clone()
    };
    assert_eq!(strict_transport(behind_proxy).await, a_year);
    let by_setting = AccessSettings {
        public_url: Some("https://experiments.example.com".to_owned()),
        ..plain
    };
    assert_eq!(strict_transport(by_setting).await, a_year);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start().await;
    let answer = server.delete("/api/v1/metrics", None).await;
    problem(&answer, 405, "method_not_allowed");
    let mut allowed: Vec<_> = answer
        .header("allow")
        .unwrap()
        .split(',')
        .map(str::trim)
        .collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_and_other_names_are_refused() {
    // What must never change: a page on another site cannot use the browser of whoever sits at this machine.
    let server = Server::start().await;
    let body = json!({"key": "m", "kind": "sum", "event": "e"});
    let across = server.request("POST", "/api/v1/metrics").json(&body);
    problem(
        &server.send(across.header("origin", "https://evil.example")).await,
        403,
        "cross_site",
    );
    let across = server.request("POST", "/api/v1/metrics").json(&body);
    problem(
        &server.send(across.header("sec-fetch-site", "cross-site")).await,
        403,
        "cross_site",
    );
    let rebound = server
        .request("GET", "/api/v1/metrics")
        .header("host", "evil.example");
    problem(&server.send(rebound).await, 421, "unknown_host");
    assert_eq!(server.post("/api/v1/metrics", &body).await.status, 201);
    server.stop().await;
}
