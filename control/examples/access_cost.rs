//! Measures what knowing who asks costs: `cargo run --release -p control --example access_cost`.
//!
//! Prints nanoseconds for the check of one key among ten thousand, and milliseconds for one login.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use control::access::KeyKind;
use control::store::NewKey;
use control::{Access, AccessSettings, AccountName, Actor, Change, Role, Store};
use domain::Timestamp;

const KEYS: usize = 10_000;
const CHECKS: u32 = 1_000_000;
const LOGINS: u32 = 20;
const PASSWORD: &str = "correct horse battery";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("control.db")).await?;
    let change = Change::new(Actor::system("measurement"), Timestamp(0));
    let new = NewKey {
        name: "measured".to_owned(),
        kind: KeyKind::Server,
        scopes: Vec::new(),
        environment: None,
        expires_at: None,
    };
    let mut texts = Vec::new();
    for _ in 0..KEYS {
        texts.push(store.create_key(&new, &change).await?.text);
    }
    let name = AccountName::new("anna")?;
    store.create_account(&name, Role::Viewer, &change).await?;
    let link = store.create_link(&name, &change).await?;
    let access = Access::open(store, Arc::new(|| Timestamp(0)), AccessSettings::default()).await?;
    access.redeem(&link, None, PASSWORD).await?;

    let started = Instant::now();
    let mut known = 0_u32;
    for check in 0..CHECKS {
        let text = &texts[check as usize * 7_919 % KEYS];
        known += u32::from(access.check_key(text.reveal()).is_some());
    }
    let per_check = started.elapsed() / CHECKS;
    let started = Instant::now();
    for _ in 0..LOGINS {
        access.login("anna", PASSWORD).await?;
    }
    let per_login = started.elapsed() / LOGINS;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{known} checks of a key: {} ns each", per_check.as_nanos())?;
    writeln!(out, "{LOGINS} logins: {} ms each", per_login.as_millis())?;
    Ok(())
}
