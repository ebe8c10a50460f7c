//! Evaluations of many users, assignments, explanations, and the ruleset for SDKs.

use serde_json::{Value, json};

use crate::support::{Server, problem};

fn switch(key: &str) -> Value {
    json!({"key": key, "type": "boolean", "enabled": true, "off_variation": "off", "name": "For people",
        "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "rules": [{"id": "pro", "description": "Paying customers", "serve": {"variation": "on"},
            "condition": {"attribute": "plan", "operator": "equals", "value": "pro"}}],
        "default": {"variation": "off"}, "environments": {"staging": {"enabled": false}}})
}

fn experiment() -> Value {
    json!({"key": "checkout/new", "status": "running", "control": "a",
        "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}]})
}

async fn with_definitions() -> Server {
    let server = Server::start().await;
    for key in ["one", "two", "evaluate"] {
        let saved = server.post("/api/v1/feature-flags", &switch(key)).await;
        assert_eq!(saved.status, 201, "{}", saved.text);
    }
    let saved = server.post("/api/v1/experiments", &experiment()).await;
    assert_eq!(saved.status, 201, "{}", saved.text);
    server
}

async fn lines(server: &Server, body: &Value) -> Vec<Value> {
    let request = server.request("POST", "/api/v1/feature-flags/evaluate");
    let answer = request.json(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = answer.text().await.unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_get_what_each_would_get_alone() {
    // What must never change: a line says for each flag what the single evaluation says.
    let server = with_definitions().await;
    let users: Vec<_> = (0..700)
        .map(|number| json!({"user_id": format!("u{number}"), "context": {"plan": if number % 3 == 0 { "pro" } else { "free" }}}))
        .collect();
    let answer = lines(&server, &json!({"users": users, "flags": ["two", "none", "one"]})).await;
    assert_eq!(answer.len(), users.len());
    for (user, line) in users.iter().zip(&answer) {
        assert_eq!(line["user_id"], user["user_id"]);
        let flags: Vec<_> = line["evaluations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["flag"])
            .collect();
        assert_eq!(flags, ["two", "none", "one"]);
        let unknown = &line["evaluations"][1];
        assert_eq!(
            (&unknown["reason"], &unknown["error"]["code"]),
            (&json!("ERROR"), &json!("FLAG_NOT_FOUND"))
        );
    }
    for at in [0, 1, 255, 256, 699] {
        let alone = server
            .post("/api/v1/feature-flags/two/evaluate", &users[at])
            .await
            .json();
        assert_eq!(answer[at]["evaluations"][0], alone, "{at}");
    }
    let all = lines(&server, &json!({"users": [{"user_id": "u"}]})).await;
    assert_eq!(all[0]["evaluations"].as_array().unwrap().len(), 3);
    let none = lines(
        &server,
        &json!({"users": [{"user_id": "u"}, {"user_id": "w"}], "flags": []}),
    )
    .await;
    assert_eq!(
        none,
        [
            json!({"user_id": "u", "evaluations": []}),
            json!({"user_id": "w", "evaluations": []})
        ]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_many_has_limits() {
    let server = with_definitions().await;
    let path = "/api/v1/feature-flags/evaluate";
    let users = |count: usize| vec![json!({"user_id": "u"}); count];
    let flags = |count: usize| (0..count).map(|number| format!("f{number}")).collect::<Vec<_>>();
    for body in [
        json!({}),
        json!({"users": []}),
        json!({"users": users(10_001), "flags": []}),
        json!({"users": users(1), "flags": flags(10_001)}),
        json!({"users": users(1_001), "flags": flags(1_000)}),
        json!({"users": [{"user_id": ""}]}),
        json!({"users": [{"user_id": "u", "track": true}]}),
    ] {
        problem(&server.post(path, &body).await, 400, "invalid_body");
    }
    let wrong = server
        .post(path, &json!({"users": [{"user_id": "u"}, {"user_id": 7}]}))
        .await;
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/users/1/user_id");
    let large = json!({"users": [{"user_id": "u", "context": {"text": "x".repeat(8 * 1024 * 1024)}}]});
    problem(&server.post(path, &large).await, 413, "body_too_large");
    let text = server
        .request("POST", path)
        .header("content-type", "text/plain")
        .body("{}");
    problem(&server.send(text).await, 415, "unsupported_media_type");
    // A flag that is called like the route is reached with its key percent-encoded.
    assert_eq!(
        server.get("/api/v1/feature-flags/%65valuate").await.json()["key"],
        "evaluate"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_assigned_to_the_same_variant_every_time() {
    let server = with_definitions().await;
    let path = "/api/v1/experiments/checkout%2Fnew/assign";
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..40 {
        let user = json!({"user_id": format!("u{number}")});
        let first = server.post(path, &user).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let body = first.json();
        assert_eq!(
            (&body["in_experiment"], &body["exposure"]),
            (&json!(true), &json!("checkout/new"))
        );
        assert_eq!(
            (&body["reason"], &body["cause"]),
            (&json!("SPLIT"), &json!("bucket"))
        );
        assert!(body["bucket"].as_u64().unwrap() < 100_000 && body.get("tracked").is_none());
        assert_eq!(server.post(path, &user).await.json(), body);
        seen.insert(body["variant"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 2, "forty users see both variants");
    problem(
        &server
            .post("/api/v1/experiments/none/assign", &json!({"user_id": "u"}))
            .await,
        404,
        "not_found",
    );
    problem(
        &server.post(path, &json!({"context": {}})).await,
        400,
        "invalid_body",
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_of_each_clause_what_it_found() {
    let server = with_definitions().await;
    let path = "/api/v1/feature-flags/one/explain";
    let user = json!({"user_id": "u", "context": {"plan": "free"}});
    let body = server.post(path, &user).await.json();
    assert_eq!(
        (&body["value"], &body["reason"]),
        (&json!(false), &json!("DEFAULT"))
    );
    let rule = &body["rules"][0];
    assert_eq!(
        (&rule["id"], &rule["matched"], &rule["served"]),
        (&json!("pro"), &json!(false), &json!(false))
    );
    let clause = &rule["condition"];
    assert_eq!(
        (&clause["outcome"], &clause["actual"]),
        (&json!("does_not_hold"), &json!("\"free\""))
    );

    // What must never change: both ways to ask are answered alike.
    let context = "%7B%22plan%22%3A%22free%22%7D";
    let asked = server.get(&format!("{path}?user_id=u&context={context}")).await;
    assert_eq!((asked.status, asked.json()), (200, body));
    let missing = server.get(&format!("{path}?user_id=u")).await.json();
    assert_eq!(missing["rules"][0]["condition"]["outcome"], "missing");

    let audience = server
        .get("/api/v1/experiments/checkout%2Fnew/explain?user_id=u")
        .await
        .json();
    assert_eq!(audience["rules"][0]["id"], "audience");
    assert!(
        audience["gates"][0].as_str().unwrap().contains("traffic"),
        "{audience}"
    );
    for query in [
        "",
        "?user_id=",
        "?user_id=u&context=1",
        "?user_id=u&context=%7B",
        "?user_id=u&plan=pro",
    ] {
        problem(&server.get(&format!("{path}{query}")).await, 400, "invalid_query");
    }
    problem(
        &server.get("/api/v1/feature-flags/none/explain?user_id=u").await,
        404,
        "not_found",
    );
    problem(
        &server.get("/api/v1/experiments/none/explain?user_id=u").await,
        404,
        "not_found",
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ruleset_is_sent_once_per_version() {
    let server = with_definitions().await;
    let path = "/api/v1/ruleset";
    let plain = server.get(path).await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
    let tag = plain.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && plain.header("vary").is_some());
    let document = plain.json();
    assert_eq!(document["flags"].as_array().unwrap().len(), 3);
    assert_eq!(document["experiments"][0]["key"], "checkout/new");
    assert!(document["version"].as_u64().unwrap() > 0);
    // What must never change: notes and other environments do not leave the server.
    for hidden in ["For people", "Paying customers", "staging"] {
        assert!(!plain.text.contains(hidden), "{hidden}");
    }
    // What an SDK compiles out of it decides as the server does.
    let definitions: domain::rules::Definitions = serde_json::from_value(document).unwrap();
    let ruleset = domain::rules::Ruleset::compile(&definitions).unwrap();
    let attributes = json!({"plan": "pro"});
    let context = domain::rules::Context::from_json("u", attributes.as_object().unwrap());
    assert_eq!(ruleset.evaluate("one", &context).value, true);

    for (coding, open) in [("gzip", true), ("zstd", true), ("br", false)] {
        let request = server.request("GET", path).header("accept-encoding", coding);
        let response = request.send().await.unwrap();
        let own_tag = response.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(own_tag != tag, open, "another coding has another tag");
        let bytes = response.bytes().await.unwrap();
        let text = match coding {
            "gzip" => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text)
                    .unwrap();
                text
            }
            "zstd" => String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap(),
            _ => String::from_utf8(bytes.to_vec()).unwrap(),
        };
        assert_eq!(text, plain.text);
        let again = server.request("GET", path).header("if-none-match", &own_tag);
        let known = server.send(again).await;
        assert_eq!((known.status, known.text.as_str()), (304, ""));
        assert!(known.header("etag").is_some());
    }

    let change = server
        .patch(
            "/api/v1/feature-flags/one",
            Some("\"v1\""),
            &json!({"enabled": false}),
        )
        .await;
    assert_eq!(change.status, 200);
    let changed = server
        .send(server.request("GET", path).header("if-none-match", &tag))
        .await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    server.stop().await;
}
