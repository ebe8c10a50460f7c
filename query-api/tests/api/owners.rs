//! Whose definitions may be changed by whom, and what keys in browsers do not get.

use control::access::KeyKind;
use control::{AuditFilter, ObjectKind, Role};
use serde_json::{Value, json};

use crate::access::{flag, guarded, key, person, with_cookie, with_key};
use crate::stores::on_both_stores;
use crate::support::{Answer, Server, problem};

on_both_stores! {
    each_kind_belongs_to_whoever_made_it,
    a_rollout_acts_for_whoever_may_change_its_flag,
    a_guardrail_is_shared_like_definitions_and_made_by_whoever_may_change_the_flag,
    the_ruleset_is_for_servers_and_evaluations_for_every_key,
}

/// A definition of each kind that has owners, but for flags: the collection, the definition, and what to patch.
fn definitions() -> Vec<(&'static str, Value)> {
    vec![
        ("metrics", json!({"key": "k", "kind": "sum", "event": "purchase"})),
        ("segments", json!({"key": "k"})),
        ("layers", json!({"key": "k"})),
        ("holdouts", json!({"key": "k", "percent": 1.0})),
        ("environments", json!({"key": "k"})),
        ("dimensions", json!({"key": "k", "property": "country"})),
        ("projects", json!({"key": "k"})),
        ("tags", json!({"key": "k"})),
        (
            "experiments",
            json!({"key": "k", "control": "a", "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]}),
        ),
    ]
}

fn schedule(flag: &str) -> Value {
    json!({"key": "r", "flag": flag, "variation": "on", "control": "off",
        "stages": [{"percent": 1.0, "trigger": {"type": "after", "seconds": 0}}]})
}

/// A change of what is at version 1.
async fn versioned(server: &Server, (method, path): (&str, &str), cookie: &str, body: &Value) -> Answer {
    let request = server.request(method, path).header("cookie", cookie);
    let request = request.header("origin", format!("http://{}", server.address));
    server.send(request.header("if-match", "\"v1\"").json(body)).await
}

async fn post(server: &Server, path: &str, cookie: &str, body: &Value) -> Answer {
    with_cookie(server, ("POST", path), cookie, Some(body)).await
}

async fn each_kind_belongs_to_whoever_made_it() {
    // What must never change: a foreign developer is refused, changes nothing, and reads; an analyst reads alone. With its
    // owner's leave they change it, and the owner can take that back.
    let server = guarded().await;
    let anna = person(&server, "anna", Role::Developer).await;
    let ben = person(&server, "ben", Role::Developer).await;
    let ana = person(&server, "ana", Role::Analyst).await;
    for (collection, definition) in definitions() {
        let all = format!("/api/v1/{collection}");
        let one = format!("{all}/k");
        let refused = post(&server, &all, &ana, &definition).await;
        problem(&refused, 403, "forbidden");
        let made = post(&server, &all, &anna, &definition).await;
        assert_eq!(made.status, 201, "{collection}: {}", made.text);
        for other in [&ben, &ana] {
            for method in ["PUT", "DELETE"] {
                let answer = with_cookie(&server, (method, &one), other, Some(&definition)).await;
                problem(&answer, 403, "forbidden");
            }
            let restored = format!("{one}/restore");
            let answer = with_cookie(&server, ("POST", &restored), other, None).await;
            problem(&answer, 403, "forbidden");
            let read = with_cookie(&server, ("GET", &one), other, None).await;
            assert_eq!((read.status, &read.json()["version"]), (200, &json!(1)));
        }
        let sharing = format!("{one}/sharing");
        let shared = json!({"owner": "person:anna", "editors": ["person:ben"]});
        for other in [&ben, &ana] {
            let answer = with_cookie(&server, ("PUT", &sharing), other, Some(&shared)).await;
            problem(&answer, 403, "forbidden");
        }
        let answer = with_cookie(&server, ("PUT", &sharing), &anna, Some(&shared)).await;
        assert_eq!((answer.status, &answer.json()), (200, &shared), "{collection}");
        let changed = with_cookie(&server, ("PUT", &one), &ben, Some(&definition)).await;
        assert_eq!(changed.status, 200, "{collection}: {}", changed.text);
        let own = json!({"owner": "person:anna", "editors": []});
        let answer = with_cookie(&server, ("PUT", &sharing), &ben, Some(&own)).await;
        assert_eq!(answer.status, 200, "{collection}: {}", answer.text);
        let read = with_cookie(&server, ("GET", &sharing), &ana, None).await;
        assert_eq!((read.status, &read.json()), (200, &own), "{collection}");
        let current = with_cookie(&server, ("GET", &one), &anna, None).await;
        let deleted = server
            .request("DELETE", &one)
            .header("cookie", &anna)
            .header("origin", format!("http://{}", server.address))
            .header("if-match", current.header("etag").unwrap());
        let deleted = server.send(deleted).await;
        assert_eq!(deleted.status, 204, "{collection}: {}", deleted.text);
        // It is still hers to bring back.
        let restored = format!("{one}/restore");
        let answer = with_cookie(&server, ("POST", &restored), &ben, None).await;
        problem(&answer, 403, "forbidden");
        let answer = with_cookie(&server, ("POST", &restored), &anna, None).await;
        assert_eq!(answer.status, 200, "{collection}: {}", answer.text);
    }
    server.stop().await;
}

async fn a_rollout_acts_for_whoever_may_change_its_flag() {
    // What must never change: a schedule is no way around the owner of a flag.
    let server = guarded().await;
    let anna = person(&server, "anna", Role::Developer).await;
    let ben = person(&server, "ben", Role::Developer).await;
    for (owner, key) in [(&anna, "hers"), (&ben, "his")] {
        let made = post(&server, "/api/v1/feature-flags", owner, &flag(key)).await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let all = "/api/v1/rollout-schedules";
    let made = post(&server, all, &ben, &schedule("his")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    // Nor can its owner tie it to a flag that they may not change, and lock themselves out.
    let one = "/api/v1/rollout-schedules/r";
    for (method, body) in [("PUT", schedule("hers")), ("PATCH", json!({"flag": "hers"}))] {
        problem(
            &versioned(&server, (method, one), &ben, &body).await,
            403,
            "forbidden",
        );
    }
    problem(
        &post(&server, all, &ben, &schedule("hers")).await,
        403,
        "forbidden",
    );
    let renamed = versioned(&server, ("PATCH", one), &ben, &json!({"name": "Slowly"})).await;
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    let given = json!({"owner": "person:anna"});
    let place = "/api/v1/feature-flags/his/sharing";
    let given = with_cookie(&server, ("PUT", place), &ben, Some(&given)).await;
    assert_eq!(given.status, 200, "{}", given.text);
    for action in ["start", "pause", "advance", "rollback"] {
        let path = format!("{all}/r/{action}");
        let answer = with_cookie(&server, ("POST", &path), &ben, None).await;
        problem(&answer, 403, "forbidden");
    }
    let untouched = with_cookie(&server, ("GET", "/api/v1/feature-flags/his"), &anna, None).await;
    assert_eq!(untouched.json()["version"], json!(1));
    // A version that was not the one looked at is told, as everywhere.
    let admin = person(&server, "boss", Role::Admin).await;
    let own = format!("http://{}", server.address);
    let request = server
        .request("POST", "/api/v1/rollout-schedules/r/start")
        .header("cookie", &admin)
        .header("origin", own)
        .header("if-match", "\"v1\"");
    problem(&server.send(request).await, 412, "version_mismatch");
    let path = "/api/v1/rollout-schedules/r/start";
    let started = with_cookie(&server, ("POST", path), &admin, None).await;
    assert_eq!(started.status, 200, "{}", started.text);
    server.stop().await;
}

async fn a_guardrail_is_shared_like_definitions_and_made_by_whoever_may_change_the_flag() {
    // What must never change: a foreign developer neither retires a guardrail nor gives themselves the right to, and puts
    // none on a flag that they may not change: it could turn the flag, and weakens those that are there.
    let server = guarded().await;
    let anna = person(&server, "anna", Role::Developer).await;
    let ben = person(&server, "ben", Role::Developer).await;
    let ana = person(&server, "ana", Role::Analyst).await;
    let made = post(&server, "/api/v1/feature-flags", &anna, &flag("x")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let all = "/api/v1/guardrails";
    let guardrail = json!({"flag": "x", "event": "error", "control": "off", "treatment": "on"});
    for other in [&ben, &ana] {
        problem(&post(&server, all, other, &guardrail).await, 403, "forbidden");
    }
    let made = post(&server, all, &anna, &guardrail).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let one = format!("{all}/{}", made.json()["id"].as_str().unwrap());
    let sharing = format!("{one}/sharing");
    let ask = async |method, path: &str, cookie: &str, body: Option<&Value>| {
        with_cookie(&server, (method, path), cookie, body).await
    };
    let shared = json!({"owner": "person:anna", "editors": ["person:ben"]});
    let own = json!({"owner": "person:anna", "editors": []});
    for other in [&ben, &ana] {
        assert_eq!(ask("GET", &sharing, other, None).await.json(), own);
        problem(
            &ask("PUT", &sharing, other, Some(&shared)).await,
            403,
            "forbidden",
        );
        problem(&ask("DELETE", &one, other, None).await, 403, "forbidden");
    }
    let answer = ask("PUT", &sharing, &anna, Some(&shared)).await;
    assert_eq!((answer.status, answer.json()), (200, shared.clone()));
    assert_eq!(ask("PUT", &sharing, &ben, Some(&own)).await.json(), own);
    problem(&ask("DELETE", &one, &ben, None).await, 403, "forbidden");
    let trail = server
        .store
        .audit(&AuditFilter::default(), 1)
        .await
        .unwrap()
        .items;
    assert_eq!(
        (trail[0].action.as_str(), trail[0].kind),
        ("share", ObjectKind::Guardrail)
    );
    assert_eq!(ask("PUT", &sharing, &anna, Some(&shared)).await.status, 200);
    assert_eq!(ask("DELETE", &one, &ben, None).await.status, 204);
    // What is retired belongs to nobody, and nobody makes it theirs.
    for (method, body) in [("GET", None), ("PUT", Some(&shared))] {
        problem(&ask(method, &sharing, &anna, body).await, 404, "not_found");
    }
    server.stop().await;
}

async fn the_ruleset_is_for_servers_and_evaluations_for_every_key() {
    // What must never change: what names users leaves for no key that anybody can read.
    let server = guarded().await;
    let admin = key(&server, KeyKind::Admin, None).await;
    let made = ("POST", "/api/v1/feature-flags");
    let made = with_key(&server, made, admin.text.reveal(), Some(&flag("x"))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let client = key(&server, KeyKind::Client, None).await;
    let product = key(&server, KeyKind::Server, None).await;
    let ingest = key(&server, KeyKind::Ingest, None).await;
    let [client, product, ingest] = [&client, &product, &ingest].map(|fresh| fresh.text.reveal());
    let ofrep = json!({"context": {"targetingKey": "u1"}});
    let own = json!({"user_id": "u1"});
    let evaluations = [
        ("/ofrep/v1/evaluate/flags/x", &ofrep),
        ("/ofrep/v1/evaluate/flags", &ofrep),
        ("/api/v1/feature-flags/x/evaluate", &own),
    ];
    for (path, body) in evaluations {
        for secret in [client, product] {
            let request = server.request("POST", path).header("x-api-key", secret);
            let answer = server.send(request.json(body)).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
        let refused = with_key(&server, ("POST", path), ingest, Some(body)).await;
        problem(&refused, 403, "forbidden");
    }
    let ruleset = ("GET", "/api/v1/ruleset");
    assert_eq!(with_key(&server, ruleset, product, None).await.status, 200);
    for (path, method) in [
        ("/api/v1/ruleset", "GET"),
        ("/api/v1/stream", "GET"),
        ("/api/v1/feature-flags/x/explain?user_id=u1", "GET"),
        ("/api/v1/feature-flags/x/explain", "POST"),
        ("/api/v1/segments/k/ids", "GET"),
    ] {
        let refused = with_key(&server, (method, path), client, None).await;
        problem(&refused, 403, "forbidden");
    }
    // A page of another site may ask what it may send, before it has any key.
    let request = server
        .request("OPTIONS", "/ofrep/v1/evaluate/flags")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 204);
    server.stop().await;
}
