//! `experimently demo`: the platform with simulated products, and a harmful flag that is rolled back while one watches.

mod product;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use control::{Actor, Change, ControlError, RollbackRecord, Store};
use domain::guardrail::GuardrailDefinition;
use domain::rules::definition::FlagDefinition;
use domain::{FlagKey, Timestamp};
use fixtures::simulation::ERROR;

use self::product::{FLAG, Product};
use super::platform::Platform;
use super::replay;
use super::serve::ServeOptions;
use crate::output;

/// How long the engine may take to commit what was sent last, before the end is printed all the same.
const LAST_COMMIT_WAIT: Duration = Duration::from_secs(10);

/// Serve, with simulated products: an experiment with a true effect of 20 %, an A/A test, and a feature flag whose new
/// variation makes errors five times as frequent, so that its guardrail rolls it back while you watch.
///
/// Example: experimently demo --seconds 60
#[derive(Debug, Args)]
pub struct Demo {
    #[command(flatten)]
    options: ServeOptions,
    /// Fixes what the simulated users do; from the clock when absent, so that every run brings new users.
    #[arg(long)]
    seed: Option<u64>,
    /// How many simulated users visit each second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    visits_per_second: u32,
    /// End after so many seconds and print what came out; 0 goes on until interrupted.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
}

impl Demo {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let mut settings = self.options.settings()?;
        if self.options.data.is_none() && self.options.config.is_none() {
            settings.data = PathBuf::from("./demo-data");
        }
        // The receiver of a demonstration's webhooks is on the same machine.
        settings.webhooks.allow_private_targets = true;
        let data = settings.data.clone();
        let stop = replay::stop_on_interrupt();
        let platform = Box::pin(Platform::start(settings, stop.clone())).await?;
        let started = Instant::now();
        prepare_flag(&platform.store, (platform.now)()).await?;
        platform
            .ruleset
            .refresh(&platform.store)
            .await
            .context("cannot read the flags")?;
        // Milliseconds of the clock: at most a thousand users a second, so two runs never share one.
        let seed = self
            .seed
            .unwrap_or_else(|| (platform.now)().0.unsigned_abs() / 1_000);
        let mut product = Product::new(seed, self.visits_per_second)?;
        output::print(greeting(&platform, &product, &data.display().to_string()).as_bytes());
        let rollbacks = platform.rollbacks();
        let telling = tokio::spawn(tell_rollbacks(rollbacks, started));
        tokio::select! {
            outcome = product.run(&platform) => outcome?,
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(self.seconds)), if self.seconds > 0 => {}
        }
        telling.abort();
        if !stop.is_cancelled() {
            print_outcome(&platform, &product).await?;
        }
        stop.cancel();
        platform.finish().await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the flag with its guardrail, or turns it on again after an earlier demonstration.
async fn prepare_flag(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let flag: FlagDefinition = serde_json::from_value(serde_json::json!({
        "key": FLAG, "name": "New recommendations", "type": "boolean", "enabled": true, "measured": true,
        "variations": [{"key": "control", "value": false}, {"key": "treatment", "value": true}],
        "off_variation": "control",
        "default": {"rollout": [{"variation": "control", "percent": 50.0}, {"variation": "treatment", "percent": 50.0}]},
    }))?;
    let change = Change::new(Actor::local(), now).because("demonstration");
    match store.get::<FlagDefinition>(&flag.key).await {
        Ok(found) if found.definition == flag => {}
        Ok(found) => drop(
            store
                .update(&flag, found.version, &change)
                .await
                .context("cannot turn the flag on again")?,
        ),
        Err(ControlError::NotFound { .. }) => drop(
            store
                .create(&flag, &change)
                .await
                .context("cannot make the flag")?,
        ),
        Err(error) => return Err(error).context("cannot read the flag"),
    }
    let guardrail: GuardrailDefinition = serde_json::from_value(serde_json::json!({
        "flag": FLAG, "event": ERROR, "control": "control", "treatment": "treatment",
    }))?;
    match store.create_guardrail(&guardrail, &change).await {
        Ok(_) | Err(ControlError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error).context("cannot make the guardrail"),
    }
}

fn greeting(platform: &Platform, product: &Product, data: &str) -> String {
    let address = platform.address;
    format!(
        "experimently {version} demo, everything is kept in {data}\n\
         listening on http://{address}\n\
         docs at http://{address}/docs\n\
         \n\
         {visits} simulated users visit each second (seed {seed}):\n  \
         {effect}: the treatment sells 20 % more often\n  \
         {same}: an A/A test, both arms are the same\n  \
         {FLAG}: a flag whose treatment makes errors five times as frequent; its guardrail watches\n\
         look at the results as they grow:\n  \
         curl -s http://{address}/api/v1/experiments/{effect}/results\n\
         Ctrl-C ends it\n\n",
        version = env!("CARGO_PKG_VERSION"),
        visits = product.visits_per_second(),
        seed = product.seed(),
        effect = product.effect_experiment(),
        same = product.same_experiment(),
    )
}

async fn tell_rollbacks(
    mut rollbacks: tokio::sync::broadcast::Receiver<Arc<RollbackRecord>>,
    started: Instant,
) {
    while let Ok(record) = rollbacks.recv().await {
        output::say(&format!(
            "ROLLBACK {:.1} s after the start: {}",
            started.elapsed().as_secs_f64(),
            told(&record)
        ));
    }
}

/// A rollback in a sentence.
fn told(record: &RollbackRecord) -> String {
    let what = format!(
        "flag {} now gives everybody {}",
        record.flag, record.safe_variation
    );
    let Some(evidence) = &record.evidence else {
        return format!("{what}; {}", record.reason);
    };
    format!(
        "{what}; users with an error: {} in the treatment, {} in the control; e-value {:.0}, p {:.2e}, after {} looks, commit {}",
        evidence.affected_treatment,
        evidence.affected_control,
        evidence.verdict.log_e.exp(),
        evidence.verdict.p_value,
        evidence.looks,
        record.epoch.unwrap_or_default(),
    )
}

async fn print_outcome(platform: &Platform, product: &Product) -> anyhow::Result<()> {
    if tokio::time::timeout(LAST_COMMIT_WAIT, platform.caught_up())
        .await
        .is_err()
    {
        output::complain("the last events are not committed yet; the results are those of the last commit");
    }
    let view = Arc::clone(&platform.views.borrow());
    let experiment = product.effect_experiment();
    let summary = view
        .experiments
        .get(experiment)
        .context("nothing was committed; run longer")?;
    let plan = platform
        .store
        .analysis_plan(experiment)
        .await
        .context("cannot read the plan of the analysis")?;
    let analysis = stats::analyze::analyze(&plan, summary).context("the experiment cannot be analysed")?;
    output::print(super::results::table(&analysis).as_bytes());
    let counters = view.counters;
    output::say(&format!(
        "\nevents: {} received = {} accepted + {} duplicate + {} invalid",
        counters.received, counters.accepted, counters.duplicate, counters.invalid
    ));
    let flag = FlagKey::new(FLAG).context("the key of the flag")?;
    let rollbacks = platform
        .store
        .rollbacks(Some(&flag), None, 1)
        .await
        .context("cannot read the rollbacks")?;
    match rollbacks.items.first() {
        Some(record) => output::say(&format!(
            "rollback {} at {}: {}",
            record.id,
            record.at,
            told(record)
        )),
        None => output::say(&format!("flag {FLAG} was not rolled back yet; run longer")),
    }
    Ok(())
}
