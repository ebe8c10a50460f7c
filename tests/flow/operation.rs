//! What an operator does to the store while a server runs on it: schema, backup, definitions as files, accounts, keys.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::server::{Server, post};
use crate::support::{fail, program, succeed};

fn on(data: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = program(arguments);
    command.arg("--data").arg(data);
    command
}

async fn make(server: &Server, path: &str, document: Value) -> Result<()> {
    let client = reqwest::Client::new();
    let body = document.to_string().into_bytes();
    let answer = post(&client, &server.url(path), Some("application/json"), body).await?;
    ensure!(answer.status == 201, "{path}: {} {}", answer.status, answer.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_carried_from_folder_to_folder_while_a_server_runs() -> Result<()> {
    // What must never change: a backup, and a file of definitions, bring all of what they were made of to another place.
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    ensure!(fail(&mut on(&data, &["migrate"]), 1)?.contains("no store"));
    let server = Server::start(&data, &[])?;
    let flag = json!({"key": "checkout", "type": "boolean", "enabled": true, "off_variation": "off",
        "tags": ["shop"], "variations": [{"key": "on", "value": true}, {"key": "off", "value": false}],
        "default": {"variation": "on"}});
    make(&server, "/api/v1/feature-flags", flag).await?;
    let metric = json!({"key": "revenue", "kind": "sum", "event": "purchase"});
    make(&server, "/api/v1/metrics", metric).await?;

    ensure!(succeed(&mut on(&data, &["migrate"]))?.contains("schema"));
    let backup = path("backup");
    succeed(on(&data, &["backup"]).arg("--to").arg(&backup))?;
    let exported = succeed(&mut on(&data, &["export"]))?;
    for word in ["checkout", "shop", "revenue", "purchase"] {
        ensure!(exported.contains(word), "{word} is not exported:\n{exported}");
    }
    server.stop()?;

    let restored = path("restored");
    succeed(on(&restored, &["restore"]).arg("--from").arg(&backup))?;
    ensure!(succeed(&mut on(&restored, &["export"]))? == exported);
    ensure!(fail(on(&restored, &["restore"]).arg("--from").arg(&backup), 1)?.contains("store"));

    // A file is shown first and applied whole; applied again, it changes nothing.
    let (file, imported) = (path("definitions.yaml"), path("imported"));
    std::fs::write(&file, &exported)?;
    let plan = succeed(on(&imported, &["import", "--dry-run"]).arg(&file))?;
    ensure!(plan.contains("+ ") && plan.contains("checkout"), "{plan}");
    succeed(on(&imported, &["import"]).arg(&file))?;
    ensure!(succeed(&mut on(&imported, &["export"]))? == exported);
    let again = succeed(on(&imported, &["import"]).arg(&file))?;
    ensure!(!again.contains("+ ") && !again.contains("~ "), "{again}");

    let server = Server::start(&restored, &[])?;
    let found = reqwest::get(server.url("/api/v1/feature-flags/checkout")).await?;
    let found: Value = serde_json::from_str(&found.text().await?)?;
    ensure!(found["tags"] == json!(["shop"]), "{found}");
    server.stop()?;
    succeed(&mut on(&restored, &["audit", "verify"])).map(drop)
}
