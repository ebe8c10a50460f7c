//! People over a real socket: the first administrator, logging in and out, other sites, guessing, accounts.

use control::{AuditFilter, ObjectKind, Role};
use domain::Timestamp;
use serde_json::json;

use crate::access::{PASSWORD, flag, guarded, person, with_cookie};
use crate::stores::on_both_stores;
use crate::support::{NOW, Server, problem};

on_both_stores! {
    nobody_has_to_log_in_until_there_is_somebody,
    people_log_in_and_out_and_get_a_new_session_each_time,
    a_refused_login_stands_in_the_trail_with_where_it_came_from,
    a_session_changes_nothing_for_another_site,
    guessing_is_answered_alike_and_then_slowed_down,
    accounts_are_managed_by_administrators,
}

async fn nobody_has_to_log_in_until_there_is_somebody() {
    // What must never change: a fresh server on this machine works without accounts, and the first one closes it.
    let server = Server::start().await;
    assert_eq!(server.get("/api/v1/auth/session").await.json()["actor"], "local");
    let made = server.post("/api/v1/feature-flags", &flag("before")).await;
    assert_eq!(made.status, 201);
    let link = server
        .store
        .create_first_link(Timestamp::parse(NOW).unwrap())
        .await
        .unwrap()
        .unwrap();
    let body = json!({"link": link, "name": "anna", "password": PASSWORD});
    let entered = server.post("/api/v1/auth/redeem", &body).await;
    assert_eq!((entered.status, &entered.json()["role"]), (200, &json!("admin")));
    problem(&server.get("/api/v1/feature-flags").await, 401, "unauthenticated");
    assert!(
        server
            .get("/api/v1/feature-flags")
            .await
            .header("www-authenticate")
            .is_some()
    );
    problem(
        &server.post("/api/v1/auth/redeem", &body).await,
        410,
        "invalid_link",
    );
    let cookie = entered.header("set-cookie").unwrap().split(';').next().unwrap();
    assert_eq!(
        with_cookie(&server, ("GET", "/api/v1/feature-flags"), cookie, None)
            .await
            .status,
        200
    );
    for path in [
        "/",
        "/docs",
        "/livez",
        "/metrics",
        "/setup",
        "/login",
        "/access.js",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    server.stop().await;
}

async fn people_log_in_and_out_and_get_a_new_session_each_time() {
    let server = guarded().await;
    person(&server, "anna", Role::Analyst).await;
    let body = json!({"name": "Anna", "password": PASSWORD});
    let planted = "sid=0123456789012345678901234567890123456789012";
    let login = with_cookie(&server, ("POST", "/api/v1/auth/login"), planted, Some(&body)).await;
    let cookie = login.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/"), "{cookie}");
    let first = cookie.split(';').next().unwrap().to_owned();
    assert_ne!(first, planted);
    // A second login ends the session that it came by.
    let again = with_cookie(&server, ("POST", "/api/v1/auth/login"), &first, Some(&body)).await;
    let second = again
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let own = ("GET", "/api/v1/auth/session");
    problem(
        &with_cookie(&server, own, &first, None).await,
        401,
        "unauthenticated",
    );
    assert_eq!(
        with_cookie(&server, own, &second, None).await.json()["actor"],
        "person:anna"
    );
    let out = with_cookie(&server, ("POST", "/api/v1/auth/logout"), &second, None).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    let kind = Some(ObjectKind::Session);
    let filter = AuditFilter {
        kind,
        ..AuditFilter::default()
    };
    let trail = server.store.audit(&filter, 10).await.unwrap().items;
    let logins = trail.iter().filter(|record| record.action == "login");
    assert_eq!(
        logins
            .filter(|record| record.actor.as_str() == "person:anna")
            .count(),
        3,
        "by a link and twice by password: {trail:?}"
    );
    problem(
        &with_cookie(&server, own, &second, None).await,
        401,
        "unauthenticated",
    );
    server.stop().await;
}

async fn a_refused_login_stands_in_the_trail_with_where_it_came_from() {
    // What must never change: guessing leaves traces, without what was guessed.
    let server = guarded().await;
    person(&server, "anna", Role::Analyst).await;
    let wrong = "a wrong password";
    for name in ["anna", "x\u{1b}[31m", &*"n".repeat(2_000)] {
        let body = json!({"name": name, "password": wrong});
        let answer = server.post("/api/v1/auth/login", &body).await;
        problem(&answer, 401, "wrong_credentials");
    }
    let link = json!({"link": "made-up", "password": PASSWORD});
    problem(
        &server.post("/api/v1/auth/redeem", &link).await,
        410,
        "invalid_link",
    );
    let trail = server.store.audit(&AuditFilter::default(), 10).await.unwrap();
    let refused: Vec<_> = trail
        .items
        .iter()
        .filter(|record| record.action == "refuse_login")
        .collect();
    let keys: Vec<_> = refused.iter().map(|record| record.key.as_str()).collect();
    let cut = format!("\"{}\"...", "n".repeat(64));
    assert_eq!(keys, ["nobody", &cut, "\"x\\u{1b}[31m\"", "person:anna"]);
    for record in refused {
        let origin = record.origin.as_deref().unwrap();
        assert!(origin.starts_with("address 127.0.0.1, request "), "{origin}");
        let text = serde_json::to_string(record).unwrap();
        assert!(!text.contains(wrong) && !text.contains("made-up"), "{text}");
    }
    server.stop().await;
}

async fn a_session_changes_nothing_for_another_site() {
    // What must never change: a page elsewhere cannot use the session of whoever looks at it.
    let server = guarded().await;
    let cookie = person(&server, "anna", Role::Admin).await;
    let attempts = [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("accept", "*/*"),
    ];
    for (name, value) in attempts {
        let request = server
            .request("POST", "/api/v1/feature-flags")
            .json(&flag("forged"));
        let request = request.header("cookie", &cookie).header(name, value);
        problem(&server.send(request).await, 403, "cross_site");
    }
    let form = server
        .request("POST", "/api/v1/feature-flags")
        .header("cookie", &cookie)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "text/plain")
        .body(flag("forged").to_string());
    problem(&server.send(form).await, 415, "unsupported_media_type");
    assert_eq!(
        server
            .store
            .audit(&Default::default(), 50)
            .await
            .unwrap()
            .items
            .len(),
        4,
        "the account, its link, its password and its login, and nothing of the attempts"
    );
    server.stop().await;
}

async fn guessing_is_answered_alike_and_then_slowed_down() {
    let server = guarded().await;
    person(&server, "anna", Role::Viewer).await;
    let login = |name: &str| json!({"name": name, "password": "not the password"});
    let mut answers = Vec::new();
    for name in ["anna", "nobody", "not a name!"] {
        let answer = server.post("/api/v1/auth/login", &login(name)).await;
        problem(&answer, 401, "wrong_credentials");
        answers.push(answer.json()["detail"].clone());
    }
    assert!(answers.iter().all(|detail| *detail == answers[0]));
    // Ten a minute from one address, whatever the names.
    for attempt in 0..7 {
        let answer = server
            .post("/api/v1/auth/login", &login(&format!("name{attempt}")))
            .await;
        assert_eq!(answer.status, 401);
    }
    let limited = server.post("/api/v1/auth/login", &login("anna")).await;
    problem(&limited, 429, "rate_limited");
    assert_eq!(limited.header("retry-after"), Some("6"));
    server.stop().await;
}

async fn accounts_are_managed_by_administrators() {
    let server = guarded().await;
    let boss = person(&server, "boss", Role::Admin).await;
    let made = with_cookie(
        &server,
        ("POST", "/api/v1/users"),
        &boss,
        Some(&json!({"name": "Ben", "role": "viewer"})),
    )
    .await;
    assert_eq!((made.status, &made.json()["name"]), (201, &json!("ben")));
    let again = with_cookie(
        &server,
        ("POST", "/api/v1/users"),
        &boss,
        Some(&json!({"name": "ben", "role": "admin"})),
    )
    .await;
    problem(&again, 409, "already_exists");
    let link = with_cookie(&server, ("POST", "/api/v1/users/ben/link"), &boss, None).await;
    let path = link.json()["path"].as_str().unwrap().to_owned();
    let secret = path.strip_prefix("/setup#link=").unwrap();
    let short = json!({"link": secret, "password": "short"});
    problem(
        &server.post("/api/v1/auth/redeem", &short).await,
        400,
        "invalid_body",
    );
    let entered = server
        .post(
            "/api/v1/auth/redeem",
            &json!({"link": secret, "password": PASSWORD}),
        )
        .await;
    assert_eq!(entered.json()["role"], "viewer");
    let changed = with_cookie(
        &server,
        ("PATCH", "/api/v1/users/ben"),
        &boss,
        Some(&json!({"role": "developer"})),
    )
    .await;
    assert_eq!(changed.json()["role"], "developer");
    for change in [json!({"role": "viewer"}), json!({"enabled": false})] {
        let refused = with_cookie(&server, ("PATCH", "/api/v1/users/boss"), &boss, Some(&change)).await;
        problem(&refused, 409, "conflict");
    }
    let listed = with_cookie(&server, ("GET", "/api/v1/users"), &boss, None).await;
    assert_eq!(listed.json()["items"][0]["name"], "ben");
    assert!(!listed.text.contains("argon2"));
    assert_eq!(
        with_cookie(&server, ("GET", "/api/v1/users/ben"), &boss, None)
            .await
            .json()["has_password"],
        true
    );
    problem(
        &with_cookie(&server, ("GET", "/api/v1/users/eve"), &boss, None).await,
        404,
        "not_found",
    );
    server.stop().await;
}
