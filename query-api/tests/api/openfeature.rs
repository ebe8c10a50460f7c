//! The published OpenFeature SDKs against a live server: what their users see of every type, error and change.
//!
//! `tests/emulators/setup.sh` installs them. Where it has not run, a test says so and ends without having tested.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::Server;

/// The exit code of the script that runs clients when they are not installed.
const NOT_INSTALLED: i32 = 3;

/// A program that drives an SDK. Dropping it ends it.
struct Sdk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Sdk {
    /// Starts the SDK for Node.js servers.
    fn node_server(server: &Server) -> Option<Self> {
        Self::start(server, "node", &[], "server.js")
    }

    /// Starts the SDK for browsers, with the event source that browsers have.
    fn web(server: &Server) -> Option<Self> {
        let options = ["--experimental-eventsource", "--no-warnings"];
        Self::start(server, "node", &options, "web.js")
    }

    /// Starts the SDK for Python.
    fn python(server: &Server) -> Option<Self> {
        Self::start(server, "python", &[], "client.py")
    }

    fn start(server: &Server, language: &str, options: &[&str], script: &str) -> Option<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let client = here.join("../tests/emulators/client.sh");
        let looked = Command::new(&client).arg(language).status().unwrap();
        if looked.code() == Some(NOT_INSTALLED) {
            skip(language);
            return None;
        }
        let mut child = Command::new(&client)
            .arg(language)
            .args(options)
            .arg(here.join("tests/api/openfeature").join(script))
            .arg(format!("http://{}", server.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, input, output })
    }

    /// Sends a line and waits for the line that answers it.
    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input, "{question}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{question}: {error}: {line:?}"))
    }

    fn evaluate(&mut self, kind: &str, key: &str, default: &Value, context: &Value) -> Value {
        self.ask(&json!({"type": kind, "key": key, "default": default, "context": context}))
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
fn skip(language: &str) {
    eprintln!(
        "the SDK for {language} is not installed, so nothing was tested; tests/emulators/setup.sh installs it"
    );
}

fn flag(key: &str, kind: &str, on: &Value, off: &Value) -> Value {
    json!({"key": key, "type": kind, "enabled": true, "off_variation": "off",
        "variations": [{"key": "on", "value": on}, {"key": "off", "value": off}], "default": {"variation": "off"},
        "rules": [{"id": "premium", "condition": {"attribute": "plan", "operator": "equals", "value": "premium"},
            "serve": {"variation": "on"}}]})
}

/// One flag of each type, with the types that SDKs tell apart.
fn typed() -> Vec<(&'static str, &'static str, Value, Value, &'static str)> {
    vec![
        ("Boolean", "team/bool", json!(true), json!(false), "boolean"),
        ("String", "text", json!("grün"), json!(""), "string"),
        ("Integer", "whole", json!(7), json!(5), "number"),
        ("Float", "fraction", json!(7.5), json!(5), "number"),
        (
            "Object",
            "object",
            json!({"a": [1, {"b": null}]}),
            json!([1, 2]),
            "json",
        ),
    ]
}

async fn server() -> Server {
    let server = Server::start().await;
    let mut flags: Vec<_> = typed()
        .into_iter()
        .map(|(_, key, on, off, kind)| flag(key, kind, &on, &off))
        .collect();
    let mut split = flag("split", "boolean", &json!(true), &json!(false));
    split["default"] = json!({"rollout": [{"variation": "on", "percent": 50.0}]});
    let mut disabled = flag("disabled", "boolean", &json!(true), &json!(false));
    disabled["enabled"] = json!(false);
    flags.extend([split, disabled]);
    for flag in flags {
        let saved = server.post("/api/v1/feature-flags", &flag).await;
        assert_eq!(saved.status, 201, "{}", saved.text);
    }
    server
}

/// What every SDK must show, however it names its methods.
fn check_everything(sdk: &mut Sdk, kind_of: fn(&str) -> &str) {
    let premium = json!({"targetingKey": "u1", "plan": "premium"});
    let free = json!({"targetingKey": "u1", "plan": "free"});
    for (kind, key, on, off, _) in typed() {
        // A default of the type, which no variation has.
        let default = match kind {
            "Boolean" => json!(false),
            "String" => json!("default"),
            "Integer" => json!(-1),
            "Float" => json!(-1.5),
            _ => json!({"default": true}),
        };
        for (context, value, variant, reason) in [
            (&premium, &on, "on", "TARGETING_MATCH"),
            (&free, &off, "off", "DEFAULT"),
        ] {
            let details = sdk.evaluate(kind_of(kind), key, &default, context);
            // 5 and 5.0 are one number in JavaScript and two types in Python.
            let same = details["value"] == *value
                || details["value"]
                    .as_f64()
                    .is_some_and(|got| Some(got) == value.as_f64());
            assert!(same, "{key}: {details}");
            assert_eq!(
                (&details["variant"], &details["reason"]),
                (&json!(variant), &json!(reason)),
                "{key}: {details}"
            );
            assert!(details["errorCode"].is_null(), "{details}");
            if let Some(python_type) = details["python_type"].as_str() {
                let own = [("Integer", "int"), ("Float", "float")];
                let expected = own.iter().find(|(own, _)| *own == kind).map(|(_, name)| *name);
                assert!(
                    expected.is_none_or(|expected| expected == python_type),
                    "{key}: {details}"
                );
            }
        }
    }
    let off = json!(false);
    let disabled = sdk.evaluate("Boolean", "disabled", &json!(true), &free);
    assert_eq!(
        (&disabled["value"], &disabled["reason"]),
        (&off, &json!("DISABLED")),
        "{disabled}"
    );
    let split = sdk.evaluate("Boolean", "split", &off, &free);
    assert_eq!(
        (&split["reason"], &split["errorCode"]),
        (&json!("SPLIT"), &Value::Null),
        "{split}"
    );
    assert!(split["flagMetadata"]["bucket"].is_number(), "{split}");
    let unknown = sdk.evaluate("Boolean", "no/such", &json!(true), &free);
    assert_eq!(
        (&unknown["value"], &unknown["errorCode"]),
        (&json!(true), &json!("FLAG_NOT_FOUND")),
        "{unknown}"
    );
    let mismatch = sdk.evaluate("Boolean", "text", &json!(true), &free);
    assert_eq!(
        (&mismatch["value"], &mismatch["errorCode"]),
        (&json!(true), &json!("TYPE_MISMATCH")),
        "{mismatch}"
    );
}

fn check_missing_key(sdk: &mut Sdk) {
    let missing = sdk.evaluate("Boolean", "split", &json!(true), &json!({"plan": "free"}));
    assert_eq!(
        (&missing["value"], &missing["errorCode"]),
        (&json!(true), &json!("TARGETING_KEY_MISSING")),
        "{missing}"
    );
    let details = missing["errorMessage"].as_str().unwrap();
    assert!(details.contains("targetingKey"), "{details}");
}

async fn check_change(server: &Server, sdk: &mut Sdk) {
    let free = json!({"targetingKey": "u1", "plan": "free"});
    let path = "/api/v1/feature-flags/text";
    let change = json!({"default": {"variation": "on"}});
    assert_eq!(server.patch(path, Some("\"v1\""), &change).await.status, 200);
    let details = sdk.evaluate("String", "text", &json!("default"), &free);
    assert_eq!(details["value"], "grün", "{details}");
}

fn number_type(kind: &str) -> &str {
    match kind {
        "Integer" | "Float" => "Number",
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_node_servers_sees_every_type_error_and_change() {
    // What must never change: a user of the published SDK gets the server's values, reasons and error codes.
    let server = server().await;
    if let Some(mut sdk) = Sdk::node_server(&server) {
        check_everything(&mut sdk, number_type);
        check_missing_key(&mut sdk);
        check_change(&server, &mut sdk).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_python_sees_every_type_error_and_change() {
    let server = server().await;
    if let Some(mut sdk) = Sdk::python(&server) {
        check_everything(&mut sdk, |kind| kind);
        check_missing_key(&mut sdk);
        check_change(&server, &mut sdk).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_browsers_follows_its_context_and_the_stream() {
    // What must never change: values follow the context at once and the flags by themselves, and what has not changed is
    // not sent again.
    let server = server().await;
    let Some(mut sdk) = Sdk::web(&server) else {
        return server.stop().await;
    };
    let free = json!({"set_context": {"targetingKey": "u1", "plan": "free"}});
    let premium = json!({"set_context": {"targetingKey": "u1", "plan": "premium"}});
    let first = sdk.ask(&free);
    assert_eq!(first[0]["status"], 200, "{first}");
    for (kind, key, on, off, _) in typed() {
        let question = json!({"type": number_type(kind), "key": key, "default": on});
        let details = sdk.ask(&question);
        assert_eq!(
            (&details["variant"], &details["reason"]),
            (&json!("off"), &json!("DEFAULT")),
            "{details}"
        );
        let same = details["value"] == off
            || details["value"]
                .as_f64()
                .is_some_and(|got| Some(got) == off.as_f64());
        assert!(same, "{details}");
    }
    let again = sdk.ask(&premium);
    assert_eq!(
        again[0],
        json!({"status": 200, "conditional": true}),
        "the tag of the old context does not hold"
    );
    let flag = json!({"type": "Boolean", "key": "team/bool", "default": false});
    assert_eq!(sdk.ask(&flag)["value"], true);
    let same = sdk.ask(&premium);
    assert_eq!(same[0], json!({"status": 304, "conditional": true}));
    assert_eq!(sdk.ask(&flag)["value"], true);

    let unknown = sdk.ask(&json!({"type": "Boolean", "key": "no/such", "default": true}));
    assert_eq!(
        (&unknown["value"], &unknown["errorCode"]),
        (&json!(true), &json!("FLAG_NOT_FOUND"))
    );
    sdk.ask(&json!({"set_context": {"plan": "free"}}));
    let missing = sdk.ask(&json!({"type": "Boolean", "key": "split", "default": true}));
    assert_eq!(
        (&missing["value"], &missing["errorCode"]),
        (&json!(true), &json!("TARGETING_KEY_MISSING")),
        "{missing}"
    );
    assert_eq!(
        sdk.ask(&json!({"type": "Boolean", "key": "team/bool", "default": true}))["value"],
        false
    );

    let change = json!({"default": {"variation": "on"}});
    let path = "/api/v1/feature-flags/team%2Fbool";
    assert_eq!(server.patch(path, Some("\"v1\""), &change).await.status, 200);
    while !sdk
        .ask(&json!({"await_change": true}))
        .as_array()
        .unwrap()
        .contains(&json!("team/bool"))
    {}
    assert_eq!(sdk.ask(&flag)["value"], true);
    drop(sdk);
    server.stop().await;
}
