//! What an attacker tries with credentials of their own, or with none: other people's things, headers said twice, texts that
//! do not fit, and keys that repeat a foreign request.

use control::access::KeyKind;
use control::{AuditFilter, Role};
use query_api::{RateSettings, routes};
use serde_json::{Value, json};

use crate::access::{flag, guarded, guarded_at, key, person, with_cookie, with_key};
use crate::stores::on_both_stores;
use crate::support::{Answer, Server, problem};

on_both_stores! {
    nothing_that_a_path_holds_is_a_defect,
    a_text_that_a_database_cannot_look_for_is_refused_by_both,
    a_key_in_a_browser_reaches_evaluations_and_events_alone,
    an_idempotency_key_is_its_owners_alone,
    a_version_is_believed_from_one_plain_header_alone,
    nobody_raises_themselves,
    what_is_said_twice_or_instead_opens_nothing,
}

/// A server that refuses nothing because it is too much: its clock stands still, so that no bucket is ever filled again.
async fn patient() -> Server {
    guarded_at(RateSettings {
        manage_per_second: 10_000,
        unknown_per_second: 10_000,
        ..RateSettings::default()
    })
    .await
}

async fn as_person(
    server: &Server,
    (method, path): (&str, &str),
    cookie: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = server
        .request(method, path)
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request).await
}

async fn nothing_that_a_path_holds_is_a_defect() {
    // What must never change: no text makes the server fail, or say what it is made of.
    let server = patient().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let admin = admin.text.reveal();
    let long = "k".repeat(20_000);
    let keys = [
        "%00",
        "a%00b",
        "%FF",
        "%0A",
        "..%2F..%2Fetc%2Fpasswd",
        "'%20OR%201=1--",
        "%F0%9F%92%A9",
        &long,
    ];
    for route in routes::table() {
        // Nothing is stored under these, streams never end, and what ends the session or makes links is not the point.
        if route.method != "GET" || route.path.ends_with("/stream") || !route.path.contains("{key}") {
            continue;
        }
        for text in keys {
            let path = route.path.replace("{key}", text);
            let answer = with_key(&server, ("GET", &path), admin, None).await;
            let (status, name) = (answer.status, &path[..path.len().min(120)]);
            assert!([400, 404].contains(&status), "{name}: {status} {}", answer.text);
            assert!(answer.text.len() < 64_000, "{name}");
            for word in ["SQL", "sqlx", "postgres", "sqlite", "panicked"] {
                assert!(!answer.text.contains(word), "{name}: {}", answer.text);
            }
        }
    }
    server.stop().await;
}

async fn a_text_that_a_database_cannot_look_for_is_refused_by_both() {
    // What must never change: what is asked for is answered alike whichever database holds the definitions.
    let server = patient().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let admin = admin.text.reveal();
    for query in [
        "feature-flags?search=%00",
        "feature-flags?tag=a%00",
        "feature-flags?cursor=%00",
        "audit-logs?key=%00",
        "guardrails?cursor=%00",
        "user-data/erasures?cursor=%00",
        "api-keys?cursor=%00",
    ] {
        let path = format!("/api/v1/{query}");
        let answer = with_key(&server, ("GET", &path), admin, None).await;
        problem(&answer, 400, "invalid_query");
    }
    let words = "w%20".repeat(5_000);
    let found = with_key(
        &server,
        ("GET", &format!("/api/v1/metrics?search={words}")),
        admin,
        None,
    )
    .await;
    assert_eq!(found.status, 200, "{}", found.text);
    let made = with_key(
        &server,
        ("POST", "/api/v1/feature-flags"),
        admin,
        Some(&flag("x")),
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let reason = json!({"reason": "a\u{0}b"});
    let answer = with_key(
        &server,
        ("POST", "/api/v1/safety/rollback/x"),
        admin,
        Some(&reason),
    )
    .await;
    problem(&answer, 400, "invalid_body");
    server.stop().await;
}

async fn a_key_in_a_browser_reaches_evaluations_and_events_alone() {
    // What must never change: what anybody can read out of a page opens four kinds of routes, whatever stands in the path.
    let server = patient().await;
    let client = key(&server, KeyKind::Client, None).await;
    let client = client.text.reveal();
    let open = [
        "flags:evaluate",
        "events:write",
        "session:own",
        "session:open",
        "public",
    ];
    for route in routes::table() {
        if route.path.ends_with("/stream") || route.permission == "session:open" {
            continue;
        }
        let path = route.path.replace("{key}", "nothing");
        let answer = with_key(&server, (route.method.as_str(), &path), client, None).await;
        let is_open = open.contains(&route.permission);
        assert_eq!(
            answer.status != 403,
            is_open,
            "{} {path}: {}",
            route.method,
            answer.text
        );
    }
    // Nor by another spelling of a path: what is no route is told to be none, and not served as one.
    for path in [
        "/api/v1//feature-flags",
        "/api/v1/feature-flags/",
        "/api/v1/./feature-flags",
        "/API/V1/feature-flags",
        "/api/v1/feature-flags;a=b",
        "/ofrep/v1/evaluate/flags/../../../../api/v1/feature-flags",
    ] {
        let answer = with_key(&server, ("GET", path), client, None).await;
        assert!(
            [403, 404, 405].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
    server.stop().await;
}

async fn an_idempotency_key_is_its_owners_alone() {
    // What must never change: repeating somebody's key neither gives what they made nor stands in their way.
    let server = guarded().await;
    let anna = person(&server, "anna", Role::Developer).await;
    let ben = person(&server, "ben", Role::Developer).await;
    let make = async |cookie: &str, body: &Value, idempotency: &str| {
        let request = server
            .request("POST", "/api/v1/feature-flags")
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin")
            .header("idempotency-key", idempotency);
        server.send(request.json(body)).await
    };
    assert_eq!(make(&anna, &flag("hers"), "one").await.status, 201);
    assert_eq!(make(&anna, &flag("hers"), "one").await.status, 201);
    problem(&make(&ben, &flag("hers"), "one").await, 409, "already_exists");
    problem(
        &make(&anna, &flag("other"), "one").await,
        422,
        "idempotency_key_reused",
    );
    assert_eq!(make(&ben, &flag("his"), "one").await.status, 201);
    for wrong in ["", "two words", &*"k".repeat(256), "\"a\"b\""] {
        problem(&make(&ben, &flag("y"), wrong).await, 400, "invalid_header");
    }
    let twice = server
        .request("POST", "/api/v1/feature-flags")
        .header("cookie", &ben)
        .header("sec-fetch-site", "same-origin")
        .header("idempotency-key", "three")
        .header("idempotency-key", "four");
    problem(&server.send(twice.json(&flag("y"))).await, 400, "invalid_header");
    // A key opens nothing to whoever may no longer change anything.
    let ana = person(&server, "ana", Role::Analyst).await;
    problem(&make(&ana, &flag("hers"), "one").await, 403, "forbidden");
    server.stop().await;
}

async fn a_version_is_believed_from_one_plain_header_alone() {
    // What must never change: nobody overwrites what they have not seen by a header that is read in two ways.
    let server = guarded().await;
    let anna = person(&server, "anna", Role::Developer).await;
    let all = ("POST", "/api/v1/feature-flags");
    let made = with_cookie(&server, all, &anna, Some(&flag("x"))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let one = ("DELETE", "/api/v1/feature-flags/x");
    problem(
        &as_person(&server, one, &anna, &[]).await,
        428,
        "version_required",
    );
    for wrong in [
        "*",
        "v1",
        "\"v01\"",
        "\"v+1\"",
        "W/\"v1\"",
        "\"v1\", \"v2\"",
        "\"v99999999999999999999\"",
    ] {
        let answer = as_person(&server, one, &anna, &[("if-match", wrong)]).await;
        problem(&answer, 400, "invalid_header");
    }
    for old in ["\"v0\"", "\"v2\""] {
        let answer = as_person(&server, one, &anna, &[("if-match", old)]).await;
        problem(&answer, 412, "version_mismatch");
    }
    let twice = [("if-match", "\"v1\""), ("if-match", "\"v2\"")];
    problem(
        &as_person(&server, one, &anna, &twice).await,
        400,
        "invalid_header",
    );
    let gone = as_person(&server, one, &anna, &[("if-match", "\"v1\"")]).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    server.stop().await;
}

async fn nobody_raises_themselves() {
    // What must never change: no role below the administrator's, and no key but theirs, makes accounts, keys or links.
    let server = guarded().await;
    person(&server, "boss", Role::Admin).await;
    let reader = key(&server, KeyKind::Server, None).await;
    let reader = reader.text.reveal();
    let before = server.store.audit_head().await.unwrap();
    let made = server.store.audit(&AuditFilter::default(), 1).await.unwrap();
    assert_eq!(made.items[0].seq, before.seq);
    let mut credentials = Vec::new();
    for role in [Role::Viewer, Role::Analyst, Role::Developer] {
        credentials.push((role, person(&server, role.as_str(), role).await));
    }
    let before = server.store.audit_head().await.unwrap();
    for (role, cookie) in &credentials {
        let own = format!("/api/v1/users/{}", role.as_str());
        let link = format!("{own}/link");
        for (method, path, body) in [
            ("PATCH", own.as_str(), json!({"role": "admin"})),
            ("PATCH", "/api/v1/users/boss", json!({"enabled": false})),
            ("POST", "/api/v1/users", json!({"name": "eve", "role": "admin"})),
            ("POST", link.as_str(), json!({})),
            ("POST", "/api/v1/users/boss/link", json!({})),
            (
                "POST",
                "/api/v1/api-keys",
                json!({"name": "eve", "kind": "admin"}),
            ),
            (
                "PUT",
                "/api/v1/safety/settings",
                json!({"automatic_rollback": false}),
            ),
            (
                "POST",
                "/api/v1/webhook-endpoints",
                json!({"url": "https://evil.example/"}),
            ),
            ("POST", "/api/v1/user-data/export", json!({"user_id": "u1"})),
            ("POST", "/api/v1/user-data/erasures", json!({"user_id": "u1"})),
        ] {
            let answer = with_cookie(&server, (method, path), cookie, Some(&body)).await;
            problem(&answer, 403, "forbidden");
            problem(
                &with_key(&server, (method, path), reader, Some(&body)).await,
                403,
                "forbidden",
            );
        }
    }
    // Somebody who owns nothing does not come to own things by a name in a body.
    let (_, developer) = &credentials[2];
    let mut forged = flag("x");
    for member in ["created_by", "actor", "permissions", "role"] {
        forged[member] = json!("person:boss");
        let answer = with_cookie(
            &server,
            ("POST", "/api/v1/feature-flags"),
            developer,
            Some(&forged),
        )
        .await;
        problem(&answer, 400, "invalid_body");
        forged.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(
        server.store.audit_head().await.unwrap(),
        before,
        "a refusal changed something"
    );
    server.stop().await;
}

async fn what_is_said_twice_or_instead_opens_nothing() {
    // What must never change: a header that stands beside another, or claims what only a proxy may, gives no more rights.
    let server = guarded().await;
    let viewer = person(&server, "vera", Role::Viewer).await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let bearer = format!("Bearer {}", admin.text.reveal());
    let users = ("GET", "/api/v1/users");
    for (name, value) in [
        ("x-forwarded-user", "boss"),
        ("x-remote-user", "boss"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-original-url", "/livez"),
        ("x-rewrite-url", "/livez"),
        ("x-http-method-override", "GET"),
        ("forwarded", "for=127.0.0.1;by=boss"),
    ] {
        problem(
            &as_person(&server, users, &viewer, &[(name, value)]).await,
            403,
            "forbidden",
        );
        let nobody = server
            .send(server.request("GET", users.1).header(name, value))
            .await;
        problem(&nobody, 401, "unauthenticated");
    }
    // A credential that is wrong is not passed over for another that is right.
    for wrong in ["Bearer exp_admin_any_x", "Basic YTpi", "Bearer", ""] {
        let request = server
            .request("GET", users.1)
            .header("authorization", wrong)
            .header("x-api-key", admin.text.reveal());
        problem(&server.send(request).await, 401, "unauthenticated");
        let request = server
            .request("GET", "/api/v1/feature-flags")
            .header("authorization", wrong)
            .header("cookie", &viewer);
        problem(&server.send(request).await, 401, "unauthenticated");
    }
    assert_eq!(
        server
            .send(server.request("GET", users.1).header("authorization", &bearer))
            .await
            .status,
        200
    );
    // A method in a header changes nothing: what was asked for is a read.
    let read = as_person(
        &server,
        ("GET", "/api/v1/feature-flags"),
        &viewer,
        &[("x-http-method-override", "DELETE")],
    );
    assert_eq!(read.await.status, 200);
    server.stop().await;
}
