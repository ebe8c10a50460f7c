//! The settings of the platform: the defaults, a file over them, and flags over both.
//!
//! Every setting stands in `defaults.toml` with its unit and its default. A key that is not there is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use control::access::{AccessMode, ClientSecret};
use control::{AccessSettings, StoreAddress, WebhookSettings};
use domain::timestamp::MICROS_PER_DAY;
use query_api::RateSettings;
use serde::Deserialize;

/// Every setting with its default.
const DEFAULTS: &str = include_str!("defaults.toml");

/// The longest time that can be asked for: whoever wants more than a century wants for ever.
const KEPT_DAYS_MAX: u32 = 36_525;

/// A part of the platform that a process may play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes events.
    Ingest,
    /// Computes and commits.
    Pipeline,
    /// Serves flags, definitions and results.
    Api,
}

/// How the platform runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformSettings {
    /// The folder of everything that is kept.
    pub data: PathBuf,
    /// The store; a file in the data folder unless it is named.
    pub store: Option<StoreAddress>,
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// What this process does.
    pub roles: Vec<Role>,
    /// The longest time between two commits while events come, in milliseconds.
    pub commit_interval_ms: u64,
    /// The shortest time between two writes of the derived tables, in seconds.
    pub derived_interval_seconds: u64,
    /// How long audit records are kept, in days.
    pub audit_days: u32,
    /// How long events, first exposures and rejected records are kept.
    pub events_days: Kept,
    /// How long what was computed from events is kept after they are gone.
    pub aggregates_days: Kept,
    /// Days by which the clock is set ahead, for tests of what happens after months.
    #[serde(skip)]
    pub clock_ahead_days: u32,
    /// The embedded log.
    pub log: LogSection,
    /// Who comes in.
    pub auth: AccessSettings,
    /// How often each caller may ask.
    pub rates: RateSettings,
    /// Where webhooks may be sent.
    pub webhooks: WebhookSettings,
    /// The stream that is read beside HTTP.
    pub kinesis: KinesisSection,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "KeptText")]
pub struct Kept {
    /// Days; for ever when absent.
    pub days: Option<u32>,
}

/// How long something is kept, as settings say it.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a number of days, or \"off\" to keep for ever")]
enum KeptText {
    Days(u32),
    Word(String),
}

impl TryFrom<KeptText> for Kept {
    type Error = String;

    fn try_from(text: KeptText) -> Result<Self, String> {
        match text {
            KeptText::Days(days) => Self::of(days),
            KeptText::Word(word) => word.parse(),
        }
    }
}

impl Kept {
    fn of(days: u32) -> Result<Self, String> {
        match days {
            0 => Ok(Self { days: None }),
            days if days <= KEPT_DAYS_MAX => Ok(Self { days: Some(days) }),
            days => Err(format!(
                "{days} days are more than {KEPT_DAYS_MAX}; \"off\" keeps for ever"
            )),
        }
    }

    /// The same in microseconds; nothing for ever.
    pub fn micros(self) -> Option<i64> {
        self.days
            .map(|days| i64::from(days).saturating_mul(MICROS_PER_DAY))
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(days) => Self::of(days),
            Err(_) if text == "off" => Ok(Self { days: None }),
            Err(_) => Err(format!(
                "{text:?} is neither a number of days nor \"off\", which keeps for ever"
            )),
        }
    }
}

/// How large the embedded log grows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// The size of a segment in bytes.
    pub segment_bytes: u64,
    /// The most that may wait for its commit, in bytes.
    pub max_held_bytes: u64,
}

/// Which Kinesis stream is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KinesisSection {
    /// The stream; none is read without.
    pub stream: Option<String>,
    /// Its region.
    pub region: String,
    /// Another endpoint than the region's.
    pub endpoint: Option<String>,
}

impl PlatformSettings {
    /// The defaults, with a file over them when one is named.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file else {
            return Self::from_text("");
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_text(&text).with_context(|| format!("{} does not hold valid settings", path.display()))
    }

    fn from_text(text: &str) -> anyhow::Result<Self> {
        let mut settings: toml::Table = DEFAULTS.parse().context("the defaults do not read")?;
        let over = text.parse().map_err(|error| in_one_line(&error, text))?;
        lay_over(&mut settings, over);
        toml::Value::Table(settings)
            .try_into()
            .map_err(|error| in_one_line(&error, text))
    }

    /// Reads the secrets that settings name and do not hold; one of the environment goes before a file.
    pub fn read_secrets(&mut self, from_environment: Option<&ClientSecret>) -> anyhow::Result<()> {
        let login = self.auth.oidc.as_mut().and_then(|oidc| oidc.login.as_mut());
        let Some(login) = login else { return Ok(()) };
        login.client_secret = match (from_environment, &login.client_secret_file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(path)) => Some(secret_in(path)?),
            (None, None) => None,
        };
        Ok(())
    }

    /// Checks what the types cannot say.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.listen.ip().is_loopback() || self.auth.mode == AccessMode::Required,
            "{} can be reached from other machines, where everybody has to log in; set mode = \"required\" under [auth] in the \
             settings, or listen on 127.0.0.1",
            self.listen
        );
        self.auth.check()?;
        let all = [Role::Ingest, Role::Pipeline, Role::Api]
            .iter()
            .all(|role| self.roles.contains(role));
        anyhow::ensure!(
            all,
            "the embedded platform is one process; leave out --roles, or name ingest,pipeline,api"
        );
        anyhow::ensure!(
            (50..=600_000).contains(&self.commit_interval_ms),
            "commit_interval_ms is {}; it lies between 50 and 600000",
            self.commit_interval_ms
        );
        anyhow::ensure!(
            self.derived_interval_seconds >= 1,
            "derived_interval_seconds is at least 1"
        );
        if let (Some(events), Some(aggregates)) = (self.events_days.days, self.aggregates_days.days) {
            anyhow::ensure!(
                aggregates >= events,
                "aggregates_days is {aggregates}; it is at least events_days, which is {events}"
            );
        }
        anyhow::ensure!(
            self.log.segment_bytes >= 1_048_576,
            "log.segment_bytes is at least 1048576"
        );
        anyhow::ensure!(
            self.log.max_held_bytes >= self.log.segment_bytes,
            "log.max_held_bytes is at least log.segment_bytes"
        );
        Ok(())
    }
}

/// The secret in a file, which is never repeated.
fn secret_in(path: &Path) -> anyhow::Result<ClientSecret> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("client_secret_file {} cannot be read", path.display()))?;
    ClientSecret::new(&text).with_context(|| format!("client_secret_file {} holds no secret", path.display()))
}

/// What is wrong, with its line where that is known; the error's own text is a drawing of several lines.
fn in_one_line(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let one_line = |text: &str| text.trim_end().lines().collect::<Vec<_>>().join(", ");
    let what = one_line(error.message());
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => anyhow::anyhow!("{what} in line {}", before.matches('\n').count() + 1),
        // Without a line it tells the setting.
        None => anyhow::anyhow!("{}", one_line(&error.to_string())),
    }
}

/// Puts the values of `over` in place of those of `under`; tables are laid over each other, anything else is replaced.
fn lay_over(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay_over(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_read_and_hold_together() {
        let settings = PlatformSettings::load(None).unwrap();
        settings.check().unwrap();
        assert_eq!(settings.commit_interval_ms, 1_000);
        assert_eq!(settings.kinesis.stream, None);
        assert_eq!(settings.store, None);
    }

    #[test]
    fn a_store_is_named_by_url_and_a_wrong_one_is_not_repeated() {
        let settings = PlatformSettings::from_text("store = \"postgres://ann:s3cret@db/exp\"").unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
        let error = PlatformSettings::from_text("store = \"mysql://ann:s3cret@db/exp\"").unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("postgres://") && !error.contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let settings =
            PlatformSettings::from_text("listen = \"127.0.0.1:0\"\n[log]\nsegment_bytes = 2097152").unwrap();
        assert_eq!(settings.listen.port(), 0);
        assert_eq!(
            settings.log,
            LogSection {
                segment_bytes: 2_097_152,
                max_held_bytes: 1_073_741_824
            }
        );
    }

    #[test]
    fn what_is_kept_is_a_number_of_days_or_for_ever() {
        // What must never change: a mistyped time never means that something is deleted sooner, and 0 is no time at all.
        let of = |text: &str| PlatformSettings::from_text(text);
        let defaults = of("").unwrap();
        let days = |settings: &PlatformSettings| (settings.events_days.days, settings.aggregates_days.days);
        assert_eq!(days(&defaults), (Some(90), Some(730)));
        let changed = of("events_days = 400\naggregates_days = \"off\"").unwrap();
        changed.check().unwrap();
        assert_eq!(days(&changed), (Some(400), None));
        assert_eq!(of("events_days = 0").unwrap().events_days.micros(), None);
        for wrong in ["\"for ever\"", "-1", "1.5", "40000", "true", "\"90 days\""] {
            let error = of(&format!("events_days = {wrong}")).unwrap_err().to_string();
            assert!(
                error.contains("off") && error.contains("events_days") && !error.contains('\n'),
                "{wrong}: {error}"
            );
        }
        let shorter = of("aggregates_days = 30")
            .unwrap()
            .check()
            .unwrap_err()
            .to_string();
        assert!(shorter.contains("at least events_days"), "{shorter}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_lists_the_valid_ones() {
        // What must never change: a misspelt setting is never passed over.
        for text in ["comit_interval_ms = 5", "[log]\nsegment = 5"] {
            let error = PlatformSettings::from_text(text).unwrap_err().to_string();
            assert!(
                error.contains("unknown field") && error.contains("expected"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_toml_is_an_error_with_its_line() {
        let error = PlatformSettings::from_text("listen = \"127.0.0.1:0\"\ndata = ")
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("in line 2") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn what_other_machines_can_reach_is_refused() {
        let mut settings = PlatformSettings::from_text("listen = \"0.0.0.0:80\"").unwrap();
        assert!(
            settings
                .check()
                .unwrap_err()
                .to_string()
                .contains("everybody has to log in")
        );
        settings.auth.mode = AccessMode::Required;
        settings.check().unwrap();
        settings.auth.mode = AccessMode::Local;
        assert!(settings.check().is_err());
        settings.listen = "[::1]:80".parse().unwrap();
        settings.check().unwrap();
        settings.roles.pop();
        assert!(settings.check().unwrap_err().to_string().contains("one process"));
    }

    /// Settings by which people log in at an identity provider.
    const SIGN_ON: &str = "[auth]\npublic_url = \"https://exp.example\"\n[auth.oidc]\nissuer = \"https://idp.example\"\n\
        client_id = \"web\"\nroles = {eng = \"developer\"}\n[auth.oidc.login]\n";

    fn secret_of(settings: &PlatformSettings) -> Option<ClientSecret> {
        let login = settings.auth.oidc.as_ref().and_then(|oidc| oidc.login.as_ref());
        login.and_then(|login| login.client_secret.clone())
    }

    #[test]
    fn the_secret_of_the_providers_client_stands_in_a_file_or_in_the_environment() {
        // What must never change: a secret is in no settings file, and no error and no text of settings repeats it.
        let mut settings = PlatformSettings::from_text(SIGN_ON).unwrap();
        settings.check().unwrap();
        settings.read_secrets(None).unwrap();
        assert_eq!(secret_of(&settings), None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let named = format!("{SIGN_ON}client_secret_file = {:?}", file.display().to_string());
        let mut settings = PlatformSettings::from_text(&named).unwrap();
        let missing = settings.read_secrets(None).unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
        std::fs::write(&file, "\n").unwrap();
        let empty = settings.read_secrets(None).unwrap_err().to_string();
        assert!(empty.ends_with("holds no secret"), "{empty}");
        std::fs::write(&file, "s3cret\n").unwrap();
        settings.read_secrets(None).unwrap();
        assert_eq!(secret_of(&settings), ClientSecret::new("s3cret"));
        assert!(!format!("{settings:?}").contains("s3cret"));
        settings
            .read_secrets(ClientSecret::new("other").as_ref())
            .unwrap();
        assert_eq!(secret_of(&settings), ClientSecret::new("other"));
        let inside = format!("{SIGN_ON}client_secret = \"s3cret\"");
        let refused = PlatformSettings::from_text(&inside).unwrap_err().to_string();
        assert!(
            refused.contains("unknown field") && !refused.contains("s3cret"),
            "{refused}"
        );
    }

    #[test]
    fn a_login_without_an_address_to_come_back_to_is_refused() {
        let text = SIGN_ON.replace("public_url = \"https://exp.example\"\n", "");
        let settings = PlatformSettings::from_text(&text).unwrap();
        let refused = settings.check().unwrap_err().to_string();
        assert!(refused.contains("needs public_url"), "{refused}");
    }
}
