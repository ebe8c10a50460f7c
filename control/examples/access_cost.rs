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
/// Short, so that some batches run without another process in between.
const BATCH: u32 = 1_000;
const BATCHES: u32 = 1_000;
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
    access.redeem(&link, None, PASSWORD, None).await?;

    let (mut known, mut checks) = (0_u32, Vec::new());
    for batch in 0..BATCHES {
        let started = Instant::now();
        for check in 0..BATCH {
            let text = &texts[(batch * BATCH + check) as usize * 7_919 % KEYS];
            known += u32::from(access.check_key(text.reveal()).is_some());
        }
        checks.push(started.elapsed() / BATCH);
    }
    let mut logins = Vec::new();
    for _ in 0..LOGINS {
        let started = Instant::now();
        access.login("anna", PASSWORD, None).await?;
        logins.push(started.elapsed());
    }
    checks.sort();
    logins.sort();
    let mut out = std::io::stdout().lock();
    let (fastest, median) = (checks[0].as_nanos(), checks[checks.len() / 2].as_nanos());
    writeln!(
        out,
        "{known} checks of a key: {median} ns each in the median batch, {fastest} ns in the fastest"
    )?;
    let (fastest, median) = (logins[0].as_millis(), logins[logins.len() / 2].as_millis());
    writeln!(
        out,
        "{LOGINS} logins: {median} ms each in the median, {fastest} ms the fastest"
    )?;
    Ok(())
}
