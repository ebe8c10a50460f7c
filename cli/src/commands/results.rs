//! `experimently results`: the analysis of an experiment, from the lake alone.

mod drawing;
mod notes;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use control::ControlError;
use domain::experiment::discovered_control;
use domain::metric::MeasurementPlan;
use domain::results::{AnalysisPlan, ExperimentSummary, sealed_warning};
use domain::{ExperimentKey, MetricKey, Timestamp, VariantKey};
use pipeline::lake::Lake;
use stats::analyze::{Analysis, Looks, analyze_looks};

pub use self::table::table;
use crate::output::{self, Format};
use crate::store::StoreOption;

/// Show the analysis of an experiment, from the lake alone.
///
/// Example: experimently results checkout_button --data ./data
#[derive(Debug, Args)]
pub struct Results {
    /// The experiment, or the flag with a measured rollout.
    experiment: String,
    /// The folder of the lake.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    /// Show only this metric; its p-values stay adjusted over all metrics.
    #[arg(long)]
    metric: Option<String>,
    /// As it stood at this event time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = super::parse_time)]
    as_of: Option<Timestamp>,
    /// How to print it; a table on a terminal, JSON otherwise.
    #[arg(long)]
    format: Option<Format>,
}

impl Results {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let lake = super::open_lake(&self.data).await?;
        let experiments = pipeline::store::read::experiments(&lake, self.as_of).await?;
        let seals = pipeline::store::read::seals(&lake).await?;
        let sealed = seals.complete_until();
        let sealed = sealed.get(self.experiment.as_str()).copied();
        let Some(summary) = experiments.get(self.experiment.as_str()) else {
            if let Some(until) = sealed {
                anyhow::bail!("{}", sealed_away(&self.experiment, until, self.as_of));
            }
            let known: Vec<&str> = experiments.keys().map(ExperimentKey::as_str).collect();
            anyhow::bail!("{}", unknown(&self.experiment, &known, self.as_of));
        };
        let Planned { plan, looks } = self.plan(&lake, summary).await?;
        // A lake whose looks nobody recorded is looked at now, and the analysis says so.
        let looks = if looks.is_empty() {
            Looks::Now
        } else {
            Looks::Taken(&looks)
        };
        let mut analysis = analyze_looks(&plan, summary, looks)
            .with_context(|| format!("{} cannot be analysed", self.experiment))?;
        analysis.warnings.splice(..0, sealed.map(sealed_warning));
        if let Some(metric) = &self.metric {
            keep_metric(&mut analysis, metric)?;
        }
        match output::chosen(self.format) {
            Format::Json => output::say(&serde_json::to_string(&analysis)?),
            Format::Table => output::print(table(&analysis).as_bytes()),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the analysis shall do: as the definitions beside the lake say, else as the lake was measured, else as for any
    /// experiment that was only seen.
    async fn plan(&self, lake: &Lake, summary: &ExperimentSummary) -> anyhow::Result<Planned> {
        if let Some(mut planned) = self.stored_plan(&summary.experiment).await? {
            planned.looks.retain(|look| look.as_of <= summary.as_of);
            return Ok(planned);
        }
        let measured = pipeline::store::read::plan(lake).await?;
        Ok(Planned {
            plan: measured_plan(&measured, summary)?,
            looks: Vec::new(),
        })
    }

    async fn stored_plan(&self, experiment: &ExperimentKey) -> anyhow::Result<Option<Planned>> {
        let address = self.store.address(&self.data)?;
        if address.file().is_some_and(|file| !file.is_file()) {
            return Ok(None);
        }
        let store = self.store.open(&self.data).await?;
        let plan = store.analysis_plan(experiment).await;
        let looks = store.planned_looks(experiment).await;
        store.close().await;
        match plan {
            Ok(plan) => Ok(Some(Planned {
                plan,
                looks: looks.context("cannot read the looks")?,
            })),
            Err(ControlError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context("cannot read the definitions"),
        }
    }
}

/// What an analysis shall do, and the looks that it decides by.
struct Planned {
    plan: AnalysisPlan,
    looks: Vec<ExperimentSummary>,
}

fn unknown(experiment: &str, known: &[&str], as_of: Option<Timestamp>) -> String {
    let when = as_of.map_or_else(String::new, |as_of| format!(" as of {as_of}"));
    if known.is_empty() {
        return format!("there is no experiment in the lake{when}; exposures make one");
    }
    format!(
        "there is no experiment {experiment} in the lake{when}; there are {}",
        known.join(", ")
    )
}

/// Why there are no results of a sealed experiment.
fn sealed_away(experiment: &str, until: Timestamp, as_of: Option<Timestamp>) -> String {
    if as_of.is_some_and(|as_of| as_of < until) {
        return format!(
            "{experiment} is sealed as of {until}, because its events are older than the retention; how it stood before is not \
             known in full, and the table summaries has what is left"
        );
    }
    format!("{experiment} is sealed, and what was computed of it is older than the retention, too")
}

fn keep_metric(analysis: &mut Analysis, metric: &str) -> anyhow::Result<()> {
    let known: Vec<String> = analysis
        .metrics
        .iter()
        .map(|found| found.metric.to_string())
        .collect();
    let is_wanted = |found: &MetricKey| found.as_str() == metric;
    analysis.metrics.retain(|found| is_wanted(&found.metric));
    anyhow::ensure!(
        !analysis.metrics.is_empty(),
        "metric {metric} is not measured in {}; there are {}",
        analysis.experiment,
        known.join(", ")
    );
    Ok(())
}

fn measured_plan(measured: &MeasurementPlan, summary: &ExperimentSummary) -> anyhow::Result<AnalysisPlan> {
    let planned = measured
        .experiments
        .iter()
        .find(|planned| planned.key == summary.experiment);
    let variants: Vec<VariantKey> = summary.arms.iter().map(|arm| arm.variant.clone()).collect();
    let control = planned
        .and_then(|planned| planned.control.as_ref())
        .or_else(|| discovered_control(&variants));
    let control = control
        .with_context(|| format!("nobody was exposed to {} and to nothing else", summary.experiment))?;
    let mut plan = AnalysisPlan::unplanned(control.clone());
    if let Some(planned) = planned {
        plan.weights = planned.weights.iter().cloned().collect::<BTreeMap<_, _>>();
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use domain::results::ArmSummary;

    use super::*;

    fn summary(variants: &[&str]) -> ExperimentSummary {
        let arm = |variant: &&str| ArmSummary {
            variant: VariantKey::new(variant).unwrap(),
            exposed: 1,
            metrics: BTreeMap::new(),
        };
        ExperimentSummary {
            experiment: ExperimentKey::new("checkout").unwrap(),
            as_of: Timestamp(0),
            epoch: 1,
            arms: variants.iter().map(arm).collect(),
            crossover_users: 0,
        }
    }

    #[test]
    fn a_declared_control_goes_before_a_guessed_one() {
        // What must never change: what was declared when the lake was made decides what is compared with what.
        let measured: MeasurementPlan = serde_json::from_value(serde_json::json!({
            "experiments": [{"key": "checkout", "control": "b", "weights": [["a", 1.0], ["b", 3.0]]}]
        }))
        .unwrap();
        let plan = measured_plan(&measured, &summary(&["a", "b"])).unwrap();
        assert_eq!((plan.control.as_str(), plan.weights.len()), ("b", 2));
        let guessed = measured_plan(&MeasurementPlan::discover(), &summary(&["a", "Control"])).unwrap();
        assert_eq!((guessed.control.as_str(), guessed.weights.len()), ("Control", 0));
        assert!(measured_plan(&MeasurementPlan::discover(), &summary(&[])).is_err());
    }

    #[test]
    fn an_unknown_experiment_is_answered_with_those_that_exist() {
        assert_eq!(
            unknown("x", &["a", "b"], None),
            "there is no experiment x in the lake; there are a, b"
        );
        assert!(unknown("x", &[], None).contains("exposures make one"));
    }
}
