//! `experimently keys`: API keys, also while the server runs.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::access::{KeyEnvironment, KeyKind};
use control::store::{FreshKey, NewKey};
use control::{ApiKey, PageRequest, Scope};
use domain::Timestamp;
use domain::timestamp::MICROS_PER_SECOND;

use crate::output::{self, Format};
use crate::store::StorePlace;

/// Make, list, rotate and revoke API keys. A running server follows within a second.
///
/// Example: experimently keys create --data ./data --name shop --kind client
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, this once.
    Create {
        #[command(flatten)]
        place: StorePlace,
        /// What it is for.
        #[arg(long)]
        name: String,
        /// Who uses it: server, client, ingest or admin.
        #[arg(long, value_parser = parse_kind)]
        kind: KeyKind,
        /// What it may: evaluate, events, read, admin; all that its kind can have by default.
        #[arg(long, value_delimiter = ',', value_parser = parse_scope)]
        scopes: Vec<Scope>,
        /// The one environment that it may see.
        #[arg(long, value_parser = parse_environment)]
        environment: Option<KeyEnvironment>,
        /// When it ends by itself, RFC 3339.
        #[arg(long, value_parser = super::parse_time)]
        expires_at: Option<Timestamp>,
    },
    /// List keys without their secrets.
    List {
        #[command(flatten)]
        place: StorePlace,
        /// How to print them; a table on a terminal, JSON lines otherwise.
        #[arg(long)]
        format: Option<Format>,
    },
    /// Make another key in the place of one, which ends after the overlap.
    Rotate {
        #[command(flatten)]
        place: StorePlace,
        /// The selector of the key.
        selector: String,
        /// How long the present key goes on.
        #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(..=2_592_000))]
        overlap_seconds: u32,
    },
    /// End a key at once.
    Revoke {
        #[command(flatten)]
        place: StorePlace,
        /// The selector of the key.
        selector: String,
    },
}

fn parse_kind(word: &str) -> Result<KeyKind, String> {
    KeyKind::from_word(word).ok_or_else(|| "it is server, client, ingest or admin".to_owned())
}

fn parse_scope(word: &str) -> Result<Scope, String> {
    Scope::from_word(word).ok_or_else(|| "it is evaluate, events, read or admin".to_owned())
}

fn parse_environment(name: &str) -> Result<KeyEnvironment, String> {
    KeyEnvironment::new(name).ok_or_else(|| "it has 1 to 32 lowercase letters, digits and hyphens".to_owned())
}

impl Keys {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let change = super::local_change("by the command line");
        match self.action {
            Action::Create {
                place,
                name,
                kind,
                scopes,
                environment,
                expires_at,
            } => {
                let new = NewKey {
                    name,
                    kind,
                    scopes,
                    environment,
                    expires_at,
                };
                let store = place.open().await?;
                show(&store.create_key(&new, &change).await?);
            }
            Action::List { place, format } => list(&place.open().await?, output::chosen(format)).await?,
            Action::Rotate {
                place,
                selector,
                overlap_seconds,
            } => {
                let ends_at = change
                    .at
                    .plus_micros(i64::from(overlap_seconds) * MICROS_PER_SECOND);
                let store = place.open().await?;
                show(&store.rotate_key(&selector, ends_at, &change).await?);
            }
            Action::Revoke { place, selector } => {
                let store = place.open().await?;
                let key = store.revoke_key(&selector, &change).await?;
                output::say(&format!("{} is revoked", key.selector));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The key alone on standard output, so that a script can take it; what a person should know beside it.
fn show(fresh: &FreshKey) {
    output::complain(&format!(
        "key {} for {}; this is the only time that it is shown:",
        fresh.key.selector, fresh.key.name
    ));
    output::say(fresh.text.reveal());
}

async fn list(store: &control::Store, format: Format) -> anyhow::Result<()> {
    let header = [
        "selector",
        "name",
        "kind",
        "scopes",
        "environment",
        "ends",
        "last used",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut request = PageRequest::default();
    loop {
        let page = store.keys(&request).await?;
        for key in &page.items {
            match format {
                Format::Table => rows.push(row(key)),
                Format::Json => output::say(&serde_json::to_string(key).context("a key cannot be written")?),
            }
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    if format == Format::Table {
        output::print(output::columns(&rows).as_bytes());
    }
    Ok(())
}

fn row(key: &ApiKey) -> Vec<String> {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    vec![
        key.selector.clone(),
        key.name.clone(),
        key.kind.as_str().to_owned(),
        scopes.join(" "),
        key.environment
            .as_ref()
            .map_or("all", KeyEnvironment::as_str)
            .to_owned(),
        match key.revoked_at {
            Some(at) => format!("revoked {at}"),
            None => time(key.expires_at),
        },
        time(key.last_used_at),
    ]
}
