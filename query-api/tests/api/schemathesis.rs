//! Schemathesis against a live server: whatever the OpenAPI document allows is asked for, and what it forbids too.
//!
//! `tests/emulators/setup.sh` installs it. Where it has not run, the test says so and ends without having tested.

use std::path::Path;
use std::process::{Command, Output};

use control::access::{AccessMode, AccessSettings, KeyKind};
use query_api::{RateSettings, openapi};
use serde_json::{Value, json};

use crate::access::key;
use crate::support::Server;

/// The exit code of the script that runs clients when they are not installed.
const NOT_INSTALLED: i32 = 3;
/// The same requests in every run.
const SEED: &str = "1";
/// Invented requests per operation, beside those at the limits of every schema.
const EXAMPLES: &str = "5";
/// More than a test asks for: it is not about waiting.
const WITHOUT_LIMIT: u32 = 1_000_000;

/// The document of a server that always asks who is there: it leaves out that nobody may have to say so.
fn document() -> Value {
    let mut document = openapi::document();
    let paths = document["paths"].as_object_mut().unwrap();
    for operation in paths
        .values_mut()
        .flat_map(|item| item.as_object_mut().unwrap().values_mut())
    {
        if let Some(ways) = operation["security"].as_array_mut() {
            ways.retain(|way| *way != json!({}));
        }
    }
    document
}

fn schemathesis(folder: &Path, arguments: &[&str]) -> Output {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(here.join("../tests/emulators/client.sh"))
        .arg("schemathesis")
        .args(arguments)
        .env("PYTHONPATH", here.join("tests/api/schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .current_dir(folder)
        .output()
        .unwrap()
}

#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
fn skip() {
    eprintln!("schemathesis is not installed, so nothing was tested; tests/emulators/setup.sh installs it");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_gets_an_answer_that_the_document_does_not_announce() {
    // What must never change: what the document says is what callers see, and no request makes the server fail.
    let rates = RateSettings {
        evaluate_per_second: WITHOUT_LIMIT,
        ingest_per_second: WITHOUT_LIMIT,
        ingest_bytes_per_second: u32::MAX,
        manage_per_second: WITHOUT_LIMIT,
        logins_per_minute: WITHOUT_LIMIT,
        unknown_per_second: WITHOUT_LIMIT,
    };
    let settings = AccessSettings {
        mode: AccessMode::Required,
        ..AccessSettings::default()
    };
    let folder = tempfile::TempDir::new().unwrap();
    if schemathesis(folder.path(), &["--version"]).status.code() == Some(NOT_INSTALLED) {
        return skip();
    }
    let server = Server::start_under(settings, rates).await;
    let key = key(&server, KeyKind::Admin, None).await;
    std::fs::write(folder.path().join("openapi.json"), document().to_string()).unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/schemathesis/schemathesis.toml");
    let url = format!("http://{}", server.address);
    let authorization = format!("Authorization: Bearer {}", key.text.reveal());
    let path = folder.path().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        let arguments = [
            "--config-file",
            config.to_str().unwrap(),
            "run",
            "openapi.json",
            "--url",
            &url,
            "--header",
            &authorization,
            "--seed",
            SEED,
            "--max-examples",
            EXAMPLES,
            "--generation-database",
            "none",
            "--continue-on-failure",
            // The parser of Python 3.11 breaks when threads share it.
            "--workers",
            "1",
            "--no-color",
        ];
        schemathesis(&path, &arguments)
    });
    let output = run.await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{errors}");
    assert!(report.contains("Test cases:"), "{report}\n{errors}");
    server.stop().await;
}
