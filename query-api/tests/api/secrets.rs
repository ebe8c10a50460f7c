//! Secrets and user attributes that are planted everywhere a caller can put them, and looked for everywhere they must not be.

use std::fmt::{Debug, Write as _};
use std::sync::{LazyLock, Mutex};

use control::Role;
use control::access::KeyKind;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::access::{PASSWORD, flag, guarded, key, person, with_cookie, with_key};
use crate::support::Server;

/// Everything that the platform has logged in this process, at every level.
static LOGGED: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);

struct Capture;

struct Line<'l>(&'l mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["control", "query_api", "ingest", "sqlx"]
            .iter()
            .any(|part| metadata.target().starts_with(part))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Line(&mut LOGGED.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut LOGGED.lock().unwrap()));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut logged = LOGGED.lock().unwrap();
        event.record(&mut Line(&mut logged));
        logged.push('\n');
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Puts secrets and attributes wherever a caller can put them.
async fn plant(server: &Server, text: &str) {
    let forged = format!("{}planted", &text[..text.len() - 7]);
    let attribute = "planted-attribute-4711";
    let login = json!({"name": "anna", "password": PASSWORD});
    assert_eq!(server.post("/api/v1/auth/login", &login).await.status, 200);
    let wrong = json!({"name": "anna", "password": "planted-wrong-password"});
    assert_eq!(server.post("/api/v1/auth/login", &wrong).await.status, 401);
    let broken = json!({"name": "anna", "password": ["planted-wrong-shape"]});
    assert_eq!(server.post("/api/v1/auth/login", &broken).await.status, 400);
    assert_eq!(
        with_key(server, ("GET", "/api/v1/metrics"), &forged, None)
            .await
            .status,
        401
    );
    assert_eq!(
        with_key(
            server,
            ("GET", &format!("/api/v1/metrics?key={text}")),
            text,
            None
        )
        .await
        .status,
        400
    );
    assert_eq!(
        with_key(server, ("POST", "/api/v1/feature-flags"), text, Some(&flag("f")))
            .await
            .status,
        201
    );
    let unit = json!({"user_id": attribute, "context": {"email": attribute}});
    let evaluated = with_key(
        server,
        ("POST", "/api/v1/feature-flags/f/evaluate"),
        text,
        Some(&unit),
    )
    .await;
    assert!([200, 404].contains(&evaluated.status));
    let event = json!([{"event_id": "1", "type": "track", "ts": "2026-01-31T12:00:00Z", "user_id": attribute,
        "event": "e", "properties": {"email": attribute}}, {"type": attribute}]);
    assert_eq!(
        with_key(server, ("POST", "/api/v1/events"), text, Some(&event))
            .await
            .status,
        202
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_attribute_of_a_user_is_logged_or_shown() {
    // What must never change: whoever reads logs, metrics or audit records learns no secret and nothing about a user.
    let _ = tracing::subscriber::set_global_default(Capture);
    let server = guarded().await;
    let cookie = person(&server, "anna", Role::Admin).await;
    let fresh = key(&server, KeyKind::Admin, None).await;
    let text = fresh.text.reveal();
    let (_, secret) = text.rsplit_once('_').unwrap();
    plant(&server, text).await;
    let hook = json!({"url": "http://127.0.0.1:9/hook"});
    let hook = with_cookie(
        &server,
        ("POST", "/api/v1/webhook-endpoints"),
        &cookie,
        Some(&hook),
    )
    .await;
    let hook_secret = hook.json()["secret"].as_str().unwrap().to_owned();

    let audit = with_cookie(&server, ("GET", "/api/v1/audit-logs"), &cookie, None)
        .await
        .text;
    let hooks = with_cookie(&server, ("GET", "/api/v1/webhook-endpoints"), &cookie, None)
        .await
        .text;
    let metrics = server.get("/metrics").await.text;
    let logged = LOGGED.lock().unwrap().clone();
    // It looks where something is: the failed login was logged, and the key is named by its public part.
    assert!(logged.contains("a login failed") && audit.contains(&fresh.key.selector));
    let session = cookie.strip_prefix("sid=").unwrap();
    for planted in [
        secret,
        PASSWORD,
        "planted",
        session,
        hook_secret.trim_start_matches("whsec_"),
        "argon2id$",
    ] {
        for (place, shown) in [
            ("logs", &logged),
            ("audit", &audit),
            ("hooks", &hooks),
            ("metrics", &metrics),
        ] {
            assert!(!shown.contains(planted), "{planted} stands in the {place}");
        }
    }
    server.stop().await;
}
