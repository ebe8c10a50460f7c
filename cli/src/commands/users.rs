//! `experimently users`: local accounts, also while the server runs.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::{AccountName, PageRequest, Role};

use crate::output::{self, Format};
use crate::store::StorePlace;

/// Make, list and disable accounts, and make one-time links for them. A running server follows within a second.
///
/// Example: experimently users create anna --role developer --data ./data
#[derive(Debug, Args)]
pub struct Users {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account and print the end of the address at which its holder chooses a password.
    Create {
        /// Under which its holder logs in.
        #[arg(value_parser = parse_name)]
        name: AccountName,
        /// viewer, analyst, developer or admin.
        #[arg(long, value_parser = parse_role)]
        role: Role,
        #[command(flatten)]
        place: StorePlace,
    },
    /// List accounts.
    List {
        #[command(flatten)]
        place: StorePlace,
        /// How to print them; a table on a terminal, JSON lines otherwise.
        #[arg(long)]
        format: Option<Format>,
    },
    /// Let the holder of an account in no more, and end their sessions.
    Disable {
        /// The account.
        #[arg(value_parser = parse_name)]
        name: AccountName,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Print the end of the address at which the holder of an account chooses a new password: once, within a day.
    ResetLink {
        /// The account.
        #[arg(value_parser = parse_name)]
        name: AccountName,
        #[command(flatten)]
        place: StorePlace,
    },
}

fn parse_name(text: &str) -> Result<AccountName, String> {
    AccountName::new(text).map_err(|error| error.to_string())
}

fn parse_role(word: &str) -> Result<Role, String> {
    Role::from_word(word).ok_or_else(|| "it is viewer, analyst, developer or admin".to_owned())
}

impl Users {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let change = super::local_change("by the command line");
        match self.action {
            Action::Create { name, role, place } => {
                let store = place.open().await?;
                store.create_account(&name, role, &change).await?;
                show(&name, &store.create_link(&name, &change).await?);
            }
            Action::List { place, format } => list(&place.open().await?, output::chosen(format)).await?,
            Action::Disable { name, place } => {
                let store = place.open().await?;
                store.change_account(&name, (None, Some(false)), &change).await?;
                output::say(&format!("{name} is disabled"));
            }
            Action::ResetLink { name, place } => {
                let store = place.open().await?;
                show(&name, &store.create_link(&name, &change).await?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The path alone on standard output: the command does not know under which address people reach the server.
fn show(name: &AccountName, link: &str) {
    output::complain(&format!(
        "{name} chooses a password within a day at the server's address and then:"
    ));
    output::say(&format!("/setup#link={link}"));
}

async fn list(store: &control::Store, format: Format) -> anyhow::Result<()> {
    let header = ["name", "role", "enabled", "has password", "made"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut request = PageRequest::default();
    loop {
        let page = store.accounts(&request).await?;
        for account in &page.items {
            match format {
                Format::Table => rows.push(vec![
                    account.name.to_string(),
                    account.role.to_string(),
                    account.enabled.to_string(),
                    account.has_password.to_string(),
                    account.created_at.to_string(),
                ]),
                Format::Json => {
                    output::say(&serde_json::to_string(account).context("an account cannot be written")?)
                }
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
