//! Who comes in and who may what, over a real socket: keys, sessions, roles, owners, and what leaks to whom.

use std::fmt::Write as _;

use control::access::{AccessMode, AccessSettings, KeyEnvironment, KeyKind};
use control::permission::{Authority, Principal, Reach};
use control::store::{FreshKey, NewKey};
use control::{AccountName, Actor, Change, Role};
use domain::Timestamp;
use query_api::{RateSettings, routes};
use serde_json::{Value, json};

use crate::stores::on_both_stores;
use crate::support::{Answer, NOW, Server, problem};

on_both_stores! {
    every_route_answers_every_role_as_the_matrix_says,
    somebody_elses_experiment_is_read_and_not_changed,
    a_key_is_made_used_rotated_and_revoked,
    a_key_that_cannot_be_is_not_made,
    a_key_of_another_environment_is_refused,
    each_caller_has_buckets_of_their_own,
}

pub const PASSWORD: &str = "correct horse battery";

pub fn change() -> Change {
    Change::new(Actor::system("test"), Timestamp::parse(NOW).unwrap())
}

/// A server on which everybody has to be known.
pub async fn guarded() -> Server {
    guarded_at(RateSettings::default()).await
}

pub async fn guarded_at(rates: RateSettings) -> Server {
    let settings = AccessSettings {
        mode: AccessMode::Required,
        ..AccessSettings::default()
    };
    Server::start_under(settings, rates).await
}

pub async fn key(server: &Server, kind: KeyKind, environment: Option<&str>) -> FreshKey {
    let new = NewKey {
        name: "test".to_owned(),
        kind,
        scopes: Vec::new(),
        environment: environment.and_then(KeyEnvironment::new),
        expires_at: None,
    };
    let fresh = server.store.create_key(&new, &change()).await.unwrap();
    server.access.refresh().await.unwrap();
    fresh
}

/// An account with a password and the cookie of a session of it.
pub async fn person(server: &Server, name: &str, role: Role) -> String {
    let account = AccountName::new(name).unwrap();
    server
        .store
        .create_account(&account, role, &change())
        .await
        .unwrap();
    let link = server.store.create_link(&account, &change()).await.unwrap();
    let entered = server.access.redeem(&link, None, PASSWORD, None).await.unwrap();
    format!("sid={}", entered.session)
}

pub async fn with_key(
    server: &Server,
    (method, path): (&str, &str),
    key: &str,
    body: Option<&Value>,
) -> Answer {
    let mut request = server
        .request(method, path)
        .header("authorization", format!("Bearer {key}"));
    if let Some(body) = body {
        request = request.json(body);
    }
    server.send(request).await
}

pub async fn with_cookie(
    server: &Server,
    (method, path): (&str, &str),
    cookie: &str,
    body: Option<&Value>,
) -> Answer {
    let own = format!("http://{}", server.address);
    let mut request = server
        .request(method, path)
        .header("cookie", cookie)
        .header("origin", own);
    if method == "PUT" || method == "DELETE" {
        request = request.header("if-match", "\"v1\"");
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    server.send(request).await
}

pub fn flag(key: &str) -> Value {
    json!({"key": key, "type": "boolean", "enabled": true,
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "off_variation": "off", "default": {"variation": "on"}})
}

#[test]
fn the_matrix_of_roles_and_routes_is_the_one_that_was_decided() {
    // What must never change unseen: who may call which route. To accept a change, put the text printed by the failing
    // test into the file.
    let mut matrix =
        String::from("route | permission | viewer | analyst | developer | admin | scopes of keys\n");
    let reach = |reach: &Reach| match reach {
        Reach::No => "-",
        Reach::Own => "own",
        Reach::All => "yes",
    };
    for route in routes::table() {
        let row = control::permission::permission(route.permission).unwrap();
        let roles: Vec<_> = row.roles.iter().map(reach).collect();
        let mut scopes: Vec<_> = row.scopes.iter().map(|scope| scope.as_str()).collect();
        if row.confidential {
            scopes.push("(no client keys)");
        }
        let scopes = if row.public {
            "everybody".to_owned()
        } else {
            scopes.join(" ")
        };
        writeln!(
            matrix,
            "{} {} | {} | {} | {scopes}",
            route.method,
            route.path,
            route.permission,
            roles.join(" | ")
        )
        .unwrap();
    }
    let decided = include_str!("permissions.txt");
    assert!(matrix == decided, "{matrix}");
}

/// A path of a route with a key in it that names nothing.
fn concrete(path: &str) -> String {
    path.replace("{key}", "nothing")
}

async fn every_route_answers_every_role_as_the_matrix_says() {
    // What must never change: a caller without the permission learns nothing from any route, not even what exists.
    // Every route is tried without credentials, which is more than one address may at once.
    let rates = RateSettings {
        unknown_per_second: 1_000,
        ..RateSettings::default()
    };
    let server = guarded_at(rates).await;
    let mut principals: Vec<(String, Authority, &str)> = Vec::new();
    for role in Role::ALL {
        let cookie = person(&server, role.as_str(), role).await;
        principals.push((cookie, Authority::Role(role), "cookie"));
    }
    for kind in KeyKind::ALL {
        let fresh = key(&server, kind, None).await;
        let header = format!("Bearer {}", fresh.text.reveal());
        principals.push((header, kind.authority(kind.scopes()), "authorization"));
    }
    principals.push(("theme=dark".to_owned(), Authority::Nobody, "cookie"));
    for (credential, authority, header) in &principals {
        let principal = Principal {
            actor: Actor::nobody(),
            authority: *authority,
            environment: None,
        };
        for route in routes::table() {
            // A stream never ends, and logging out would end the session that the next rows need.
            if route.path.ends_with("/stream") || route.path == "/api/v1/auth/logout" {
                continue;
            }
            let request = server
                .request(route.method.as_str(), &concrete(route.path))
                .header(*header, credential)
                .header("sec-fetch-site", "same-origin");
            let answer = server.send(request).await;
            let name = format!("{} {} as {authority:?}", route.method, route.path);
            match control::authorize(&principal, route.permission, control::Resource::default()) {
                Ok(()) => assert!(![401, 403].contains(&answer.status), "{name}: {}", answer.text),
                Err(control::Denied::Unauthenticated) => problem(&answer, 401, "unauthenticated"),
                Err(_) => problem(&answer, 403, "forbidden"),
            }
        }
    }
    server.stop().await;
}

async fn somebody_elses_experiment_is_read_and_not_changed() {
    let server = guarded().await;
    let (anna, ben) = (
        person(&server, "anna", Role::Developer).await,
        person(&server, "ben", Role::Developer).await,
    );
    let admin = person(&server, "boss", Role::Admin).await;
    let place = "/api/v1/feature-flags/checkout";
    let made = with_cookie(
        &server,
        ("POST", "/api/v1/feature-flags"),
        &anna,
        Some(&flag("checkout")),
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(with_cookie(&server, ("GET", place), &ben, None).await.status, 200);
    problem(
        &with_cookie(&server, ("PUT", place), &ben, Some(&flag("checkout"))).await,
        403,
        "forbidden",
    );
    problem(
        &with_cookie(&server, ("DELETE", place), &ben, None).await,
        403,
        "forbidden",
    );
    let sharing = format!("{place}/sharing");
    let wanted = json!({"owner": "person:anna", "editors": ["person:ben"]});
    problem(
        &with_cookie(&server, ("PUT", &sharing), &ben, Some(&wanted)).await,
        403,
        "forbidden",
    );
    let shared = with_cookie(&server, ("PUT", &sharing), &anna, Some(&wanted)).await;
    assert_eq!((shared.status, shared.json()), (200, wanted));
    let changed = with_cookie(&server, ("PUT", place), &ben, Some(&flag("checkout"))).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    // What belongs to nobody is everybody's, and an administrator needs no leave.
    let free = json!({"owner": null, "editors": []});
    assert_eq!(
        with_cookie(&server, ("PUT", &sharing), &admin, Some(&free))
            .await
            .status,
        200
    );
    for body in [json!({"owner": "anna"}), json!({"owner": null, "role": "admin"})] {
        problem(
            &with_cookie(&server, ("PUT", &sharing), &admin, Some(&body)).await,
            400,
            "invalid_body",
        );
    }
    let records = with_cookie(&server, ("GET", "/api/v1/audit-logs?key=checkout"), &admin, None)
        .await
        .json();
    let actors: Vec<_> = records["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| &record["actor"])
        .collect();
    assert_eq!(
        actors,
        ["person:boss", "person:ben", "person:anna", "person:anna"]
    );
    let origin = records["items"][0]["origin"].as_str().unwrap();
    assert!(origin.starts_with("address 127.0.0.1, request "), "{origin}");
    server.stop().await;
}

async fn a_key_is_made_used_rotated_and_revoked() {
    let server = guarded().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let admin = admin.text.reveal();
    let body = json!({"name": "shop", "kind": "client", "environment": "production"});
    let made = with_key(&server, ("POST", "/api/v1/api-keys"), admin, Some(&body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let place = made.header("location").unwrap().to_owned();
    let shown = with_key(&server, ("GET", &place), admin, None).await;
    assert_eq!(shown.json(), made.json()["key"]);
    assert!(!shown.text.contains(&secret[secret.len() - 20..]));
    assert_eq!(shown.json()["scopes"], json!(["evaluate", "events"]));

    // Either header takes it; it sends events and manages nothing.
    for (header, value) in [
        ("authorization", format!("Bearer {secret}")),
        ("x-api-key", secret.clone()),
    ] {
        let request = server
            .request("GET", "/api/v1/auth/session")
            .header(header, value);
        let session = server.send(request).await.json();
        assert_eq!(
            session["permissions"],
            json!([
                "public",
                "session:open",
                "session:own",
                "events:write",
                "flags:evaluate"
            ])
        );
    }
    problem(
        &with_key(&server, ("GET", "/api/v1/feature-flags"), &secret, None).await,
        403,
        "forbidden",
    );
    problem(
        &with_key(&server, ("GET", "/api/v1/api-keys"), &secret, None).await,
        403,
        "forbidden",
    );

    let rotated = with_key(
        &server,
        ("POST", &format!("{place}/rotate")),
        admin,
        Some(&json!({"overlap_seconds": 60})),
    )
    .await;
    assert_eq!(rotated.status, 201, "{}", rotated.text);
    let fresh = rotated.json()["secret"].as_str().unwrap().to_owned();
    let own = ("GET", "/api/v1/auth/session");
    assert_eq!(with_key(&server, own, &secret, None).await.status, 200);
    assert_eq!(with_key(&server, own, &fresh, None).await.status, 200);
    assert_eq!(
        with_key(&server, ("DELETE", &place), admin, None).await.status,
        204
    );
    problem(
        &with_key(&server, own, &secret, None).await,
        401,
        "unauthenticated",
    );
    assert_eq!(with_key(&server, own, &fresh, None).await.status, 200);
    let listed = with_key(&server, ("GET", "/api/v1/api-keys"), admin, None)
        .await
        .json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    server.stop().await;
}

async fn a_key_that_cannot_be_is_not_made() {
    let server = guarded().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let admin = admin.text.reveal();
    for wrong in [
        json!({"name": "x", "kind": "client", "scopes": ["admin"]}),
        json!({"name": "", "kind": "client"}),
        json!({"name": "x", "kind": "client", "environment": "Prod_1"}),
    ] {
        let refused = with_key(&server, ("POST", "/api/v1/api-keys"), admin, Some(&wrong)).await;
        problem(&refused, 422, "invalid_definition");
    }
    for wrong in [
        json!({"name": "x", "kind": "client", "scopes": ["fly"]}),
        json!({"name": "x", "kind": "client", "created_by": "person:eve"}),
    ] {
        let refused = with_key(&server, ("POST", "/api/v1/api-keys"), admin, Some(&wrong)).await;
        problem(&refused, 400, "invalid_body");
    }
    let long = json!({"overlap_seconds": 2_592_001});
    let refused = with_key(&server, ("POST", "/api/v1/api-keys/x/rotate"), admin, Some(&long)).await;
    problem(&refused, 400, "invalid_body");
    server.stop().await;
}

async fn a_key_of_another_environment_is_refused() {
    let server = guarded().await;
    let staging = key(&server, KeyKind::Server, Some("staging")).await;
    let answer = with_key(
        &server,
        ("GET", "/api/v1/feature-flags"),
        staging.text.reveal(),
        None,
    )
    .await;
    problem(&answer, 403, "forbidden");
    server.stop().await;
}

async fn each_caller_has_buckets_of_their_own() {
    let server = guarded().await;
    let (one, other) = (
        key(&server, KeyKind::Server, None).await,
        key(&server, KeyKind::Server, None).await,
    );
    let session = ("GET", "/api/v1/auth/session");
    let first = with_key(&server, session, one.text.reveal(), None).await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"manage\";q=200;w=4"));
    for _ in 1..200 {
        assert_eq!(
            with_key(&server, session, one.text.reveal(), None).await.status,
            200
        );
    }
    problem(
        &with_key(&server, session, one.text.reveal(), None).await,
        429,
        "rate_limited",
    );
    assert_eq!(
        with_key(&server, session, other.text.reveal(), None).await.status,
        200
    );
    let body = json!({"user_id": "u1"});
    let evaluated = with_key(
        &server,
        ("POST", "/api/v1/feature-flags/x/evaluate"),
        one.text.reveal(),
        Some(&body),
    )
    .await;
    assert_eq!(evaluated.status, 404);
    // An address that a caller makes up does not give it another bucket.
    for attempt in 0..81 {
        let request = server
            .request("GET", "/api/v1/metrics")
            .header("x-forwarded-for", format!("192.0.2.{attempt}"));
        let answer = server.send(request).await;
        assert_eq!(answer.status, if attempt < 80 { 401 } else { 429 }, "{attempt}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_of_a_known_caller_is_counted() {
    // What must never change: whoever tries what they may not do shows in the metrics; whoever is unknown does not.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = guarded().await;
    let client = key(&server, KeyKind::Client, None).await;
    let flags = ("GET", "/api/v1/feature-flags");
    problem(
        &with_key(&server, flags, client.text.reveal(), None).await,
        403,
        "forbidden",
    );
    problem(&server.get(flags.1).await, 401, "unauthenticated");
    let text = recorder.handle().render();
    let denied: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("exp_authz_denied_total"))
        .collect();
    assert_eq!(denied, ["exp_authz_denied_total{permission=\"flags:read\"} 1"]);
    server.stop().await;
}
