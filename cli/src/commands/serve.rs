//! `experimently serve`: the whole platform.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use control::access::{AccessMode, ClientSecret};

use super::platform::Platform;
use super::replay;
use crate::output;
use crate::settings::{Kept, PlatformSettings, Role};
use crate::store::StoreOption;

/// Run the whole platform in one process: collect events, keep the tables, serve flags and results.
///
/// Example: experimently serve --data ./data
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    options: ServeOptions,
    /// What this process does; the embedded platform does all three.
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// Read this Kinesis data stream beside HTTP.
    #[cfg(feature = "kinesis")]
    #[arg(long, value_name = "NAME")]
    kinesis_stream: Option<String>,
    /// Another endpoint than the region's, such as an emulator's.
    #[cfg(feature = "kinesis")]
    #[arg(long, value_name = "URL")]
    kinesis_endpoint: Option<String>,
    /// The region of the stream.
    #[cfg(feature = "kinesis")]
    #[arg(long, value_name = "REGION")]
    kinesis_region: Option<String>,
    /// End the process at a step of a commit, for tests of recovery: STEP or STEP:PASSES.
    #[arg(long, hide = true)]
    fail_at: Option<String>,
    /// Set the clock ahead by so many days, for tests of what happens after months.
    #[arg(long, hide = true, default_value_t = 0)]
    clock_ahead_days: u32,
}

/// What every way of running the platform has.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// The folder of everything that is kept; it is created.
    #[arg(long)]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreOption,
    /// Where HTTP listens; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// A TOML file with settings; flags go before it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Commit events at least this often, in milliseconds.
    #[arg(long, value_name = "N")]
    pub commit_interval_ms: Option<u64>,
    /// Keep events for so many days; 0 or off keeps them for ever.
    #[arg(long, value_name = "DAYS", env = "EXPERIMENTLY_EVENTS_DAYS")]
    pub events_days: Option<Kept>,
    /// Keep what was computed for so many days after the last exposure; 0 or off keeps it for ever.
    #[arg(long, value_name = "DAYS", env = "EXPERIMENTLY_AGGREGATES_DAYS")]
    pub aggregates_days: Option<Kept>,
    /// The secret of the identity provider's client, for the environment: a flag can be seen in the list of processes.
    #[arg(
        long,
        hide = true,
        value_name = "SECRET",
        env = "EXPERIMENTLY_OIDC_CLIENT_SECRET",
        hide_env_values = true,
        value_parser = client_secret
    )]
    pub oidc_client_secret: Option<ClientSecret>,
}

fn client_secret(text: &str) -> Result<ClientSecret, String> {
    ClientSecret::new(text).ok_or_else(|| "it is empty".to_owned())
}

impl ServeOptions {
    /// The settings with these flags over them.
    pub fn settings(&self) -> anyhow::Result<PlatformSettings> {
        let mut settings = PlatformSettings::load(self.config.as_deref())?;
        if let Some(data) = &self.data {
            settings.data.clone_from(data);
        }
        settings.store = self.store.named()?.or(settings.store);
        settings.listen = self.listen.unwrap_or(settings.listen);
        settings.commit_interval_ms = self.commit_interval_ms.unwrap_or(settings.commit_interval_ms);
        settings.events_days = self.events_days.unwrap_or(settings.events_days);
        settings.aggregates_days = self.aggregates_days.unwrap_or(settings.aggregates_days);
        settings.read_secrets(self.oidc_client_secret.as_ref())?;
        Ok(settings)
    }
}

impl Serve {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        replay::arm(self.fail_at.as_deref())?;
        let settings = self.settings()?;
        let data = settings.data.clone();
        let stop = replay::stop_on_interrupt();
        let platform = Box::pin(Platform::start(settings, stop)).await?;
        let login = login_lines(&platform).await;
        output::print(greeting(&platform, &data.display().to_string(), &login).as_bytes());
        platform.finish().await?;
        output::say("stopped; everything taken is kept");
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self) -> anyhow::Result<PlatformSettings> {
        let mut settings = self.options.settings()?;
        settings.clock_ahead_days = self.clock_ahead_days;
        if let Some(roles) = &self.roles {
            settings.roles.clone_from(roles);
        }
        #[cfg(feature = "kinesis")]
        {
            let kinesis = &mut settings.kinesis;
            kinesis.stream = self.kinesis_stream.clone().or(kinesis.stream.take());
            kinesis.endpoint = self.kinesis_endpoint.clone().or(kinesis.endpoint.take());
            if let Some(region) = &self.kinesis_region {
                kinesis.region.clone_from(region);
            }
        }
        #[cfg(not(feature = "kinesis"))]
        anyhow::ensure!(
            settings.kinesis.stream.is_none(),
            "this program was built without Kinesis; build it with the feature kinesis, or leave kinesis.stream out"
        );
        Ok(settings)
    }
}

/// How to log in: by the link that makes the first administrator, until that is done.
async fn login_lines(platform: &Platform) -> String {
    let address = platform.address;
    if platform.access.settings().mode == AccessMode::Local {
        return "nobody has to log in, so only this machine is answered".to_owned();
    }
    let link = platform.store.create_first_link((platform.now)()).await;
    let base = platform.access.settings().public_url.clone();
    let base = base.unwrap_or_else(|| format!("http://{address}"));
    let link = match link {
        Ok(Some(link)) => link,
        Ok(None) => return format!("log in at {base}/login"),
        Err(error) => {
            // A server without its store serves what it kept; whoever comes in then, it learns when the store is back.
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error, "the link for the first administrator cannot be made");
            return format!("log in at {base}/login once the store answers");
        }
    };
    let state = match platform.access.needs_login() {
        true => "everybody has to log in",
        false => "nobody has to log in, so only this machine is answered",
    };
    format!("{state}; to make the first administrator, open within a day\n  {base}/setup#first&link={link}")
}

/// What a person reads first, and programs look for the address in.
fn greeting(platform: &Platform, data: &str, login: &str) -> String {
    let (address, now) = (platform.address, (platform.now)());
    format!(
        r#"experimently {version}, everything is kept in {data}
listening on http://{address}
docs at http://{address}/docs; {login}

send an exposure and a purchase:
  curl -s http://{address}/api/v1/events -H 'content-type: application/x-ndjson' --data-binary \
'{{"event_id":"{first}","type":"exposure","ts":"{now}","user_id":"u1","experiment":"checkout","variant":"control"}}
{{"event_id":"{second}","type":"track","ts":"{now}","user_id":"u1","event":"purchase","value":19.9}}'
see what came out a second later:
  curl -s http://{address}/api/v1/experiments/checkout/results

Ctrl-C stops it in an orderly way
"#,
        version = env!("CARGO_PKG_VERSION"),
        first = uuid::Uuid::new_v4(),
        second = uuid::Uuid::new_v4(),
    )
}
