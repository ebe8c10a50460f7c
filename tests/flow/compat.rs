//! A data folder that an older version wrote: it is read, verified, analysed and gone on with.
//!
//! `tests/flow/make_compat.sh` made it. It is never made again for a format that was released: the folder of a new format
//! gets a new number, and the old one stays.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Tables, close, program, replay, succeed, succeed_json, verified};

/// Numbers of an analysis may move in their last digits when a library gets better.
const TOLERANCE: f64 = 1e-9;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/compat/lake-v1")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Everything that the old analysis says must still be said; a newer version may say more.
fn still_says(path: &str, old: &Value, new: &Value) -> Result<()> {
    match (old, new) {
        (Value::Object(old), Value::Object(_)) => old
            .iter()
            .try_for_each(|(name, value)| still_says(&format!("{path}.{name}"), value, &new[name])),
        (Value::Array(old), Value::Array(other)) if old.len() == other.len() => {
            let mut pairs = old.iter().zip(other).enumerate();
            pairs.try_for_each(|(place, (old, new))| still_says(&format!("{path}[{place}]"), old, new))
        }
        (Value::Number(old), Value::Number(other)) => {
            let (old, other) = (
                old.as_f64().unwrap_or(f64::NAN),
                other.as_f64().unwrap_or(f64::NAN),
            );
            ensure!(close(old, other, TOLERANCE), "{path} was {old} and is {other}");
            Ok(())
        }
        _ => {
            ensure!(old == new, "{path} was {old} and is {new}");
            Ok(())
        }
    }
}

#[test]
fn a_lake_of_the_first_format_is_read_verified_and_gone_on_with() -> Result<()> {
    // What must never change: nobody loses data, results or the right to go on by taking a newer version.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    copy(&fixture().join("data"), &data).context("the fixture of the first format is missing")?;
    let before = verified(&data)?;
    let mut results = program(&["results", "checkout_button", "--format", "json", "--data"]);
    let results = succeed_json(results.arg(&data))?;
    let old: Value = serde_json::from_slice(&std::fs::read(fixture().join("results.json"))?)?;
    still_says("results", &old, &results)?;

    // The rest of the same traffic: most of its users are known to the old state.
    let more = fixture().join("more.ndjson.zst");
    succeed(&mut replay(&[&more], &data))?;
    let after = verified(&data)?;
    ensure!(
        after["events"].as_u64() > before["events"].as_u64(),
        "{after} after {before}"
    );
    let both = folder.path().join("both");
    succeed(&mut replay(
        &[
            &fixture().join("first.ndjson.zst"),
            &fixture().join("second.ndjson.zst"),
            &more,
        ],
        &both,
    ))?;
    Tables::of(&data)?.ensure_equal(&Tables::of(&both)?)
}
