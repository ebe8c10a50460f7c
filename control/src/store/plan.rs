//! What the engine shall measure and what an analysis shall do, out of the definitions.

use std::collections::{BTreeMap, BTreeSet};

use domain::experiment::{ExperimentDefinition, ExperimentStatus, MetricUse};
use domain::metric::{MeasurementPlan, MetricDefinition, MetricRole, PlannedExperiment};
use domain::results::{AnalysisPlan, MetricPlan};
use domain::rules::definition::{FlagDefinition, Serve};
use domain::{ExperimentKey, FlagKey, MetricKey, VariantKey};

use super::{Document, ObjectKind, PAGE_LIMIT_MAX, PageRequest, Store};
use crate::error::ControlError;

impl Store {
    /// What the engine measures: declared experiments and metrics, and everything else by discovery.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn measurement_plan(&self) -> Result<MeasurementPlan, ControlError> {
        let experiments = self.all::<ExperimentDefinition>().await?;
        let declared: Vec<ExperimentDefinition> = experiments
            .into_iter()
            .filter(|document| !document.discovered)
            .map(|document| document.definition)
            .collect();
        let used: BTreeSet<&MetricKey> = declared
            .iter()
            .flat_map(|experiment| experiment.metrics.iter().map(|used| &used.metric))
            .collect();
        let metrics = self.all::<MetricDefinition>().await?;
        let metrics = metrics
            .into_iter()
            // A discovered metric is part of the plan only where a declared experiment names it.
            .filter(|document| !document.discovered || used.contains(&document.definition.key))
            .map(|document| document.definition)
            .collect();
        Ok(MeasurementPlan {
            discovery: true,
            metrics,
            experiments: declared.iter().map(planned).collect(),
            sealed: Vec::new(),
        })
    }

    /// Whether each experiment that somebody declared or ended is over: completed, or archived. A measured flag is over when it
    /// is archived.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn ended_experiments(&self) -> Result<BTreeMap<ExperimentKey, bool>, ControlError> {
        let mut ended = BTreeMap::new();
        for document in self.all::<FlagDefinition>().await? {
            let flag = document.definition;
            let key = ExperimentKey::new(flag.key.as_str()).ok();
            if let Some(key) = key.filter(|_| flag.measured) {
                ended.insert(key, flag.archived);
            }
        }
        for document in self.all::<ExperimentDefinition>().await? {
            let experiment = document.definition;
            let is_over = match experiment.status {
                ExperimentStatus::Completed | ExperimentStatus::Archived => true,
                ExperimentStatus::Draft | ExperimentStatus::Running | ExperimentStatus::Paused => false,
            };
            // That one was seen says nothing of whether it goes on.
            if is_over || !document.discovered {
                ended.insert(experiment.key, is_over);
            }
        }
        Ok(ended)
    }

    /// What an analysis of the experiment, or of the flag with a measured rollout, shall do.
    ///
    /// A declared experiment decides; else a flag of that key, compared with the control of its guardrail or with its off
    /// variation; else what was discovered.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when neither an experiment nor a flag has the key.
    pub async fn analysis_plan(&self, experiment: &ExperimentKey) -> Result<AnalysisPlan, ControlError> {
        let found = match self.get::<ExperimentDefinition>(experiment).await {
            Ok(document) => Some(document),
            Err(ControlError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(document) = found.as_ref().filter(|document| !document.discovered) {
            return self.declared_plan(&document.definition).await;
        }
        if let Some(plan) = self.flag_plan(experiment).await? {
            return Ok(plan);
        }
        let document = found.ok_or_else(|| ControlError::NotFound {
            kind: ObjectKind::Experiment,
            key: experiment.to_string(),
        })?;
        let mut plan = AnalysisPlan::unplanned(document.definition.control);
        plan.metrics = self.every_metric().await?;
        Ok(plan)
    }

    async fn declared_plan(&self, experiment: &ExperimentDefinition) -> Result<AnalysisPlan, ControlError> {
        let mut plan = AnalysisPlan::unplanned(experiment.control.clone());
        plan.weights = experiment.present_weights();
        plan.weights.retain(|_, weight| *weight > 0.0);
        plan.follow(&experiment.analysis);
        plan.metrics = if experiment.metrics.is_empty() {
            self.every_metric().await?
        } else {
            self.used_metrics(&experiment.metrics).await?
        };
        Ok(plan)
    }

    async fn used_metrics(&self, uses: &[MetricUse]) -> Result<Vec<MetricPlan>, ControlError> {
        let mut plans = Vec::with_capacity(uses.len());
        for used in uses {
            let metric = self.get::<MetricDefinition>(&used.metric).await?.definition;
            plans.push(MetricPlan {
                metric: metric.key,
                role: used.role,
                direction: metric.direction,
            });
        }
        Ok(plans)
    }

    /// Every metric of the store when somebody declared one, so that its direction is known; none otherwise, which means
    /// every metric of the summary.
    async fn every_metric(&self) -> Result<Vec<MetricPlan>, ControlError> {
        let metrics = self.all::<MetricDefinition>().await?;
        if metrics.iter().all(|document| document.discovered) {
            return Ok(Vec::new());
        }
        let plan = |document: Document<MetricDefinition>| MetricPlan {
            metric: document.definition.key,
            role: MetricRole::Goal,
            direction: document.definition.direction,
        };
        Ok(metrics.into_iter().map(plan).collect())
    }

    async fn flag_plan(&self, experiment: &ExperimentKey) -> Result<Option<AnalysisPlan>, ControlError> {
        let Ok(key) = FlagKey::new(experiment.as_str()) else {
            return Ok(None);
        };
        let flag = match self.get::<FlagDefinition>(&key).await {
            Ok(document) => document.definition,
            Err(ControlError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let request = PageRequest {
            after: None,
            limit: PAGE_LIMIT_MAX,
        };
        let guardrails = self.guardrails(Some(&key), &request).await?.items;
        let control = guardrails
            .first()
            .map_or(&flag.off_variation, |guardrail| &guardrail.definition.control);
        let mut plan = AnalysisPlan::unplanned(control.clone());
        plan.weights = rollout_weights(&flag);
        plan.metrics = self.every_metric().await?;
        Ok(Some(plan))
    }
}

fn planned(experiment: &ExperimentDefinition) -> PlannedExperiment {
    let metrics: Vec<MetricKey> = experiment
        .metrics
        .iter()
        .map(|used| used.metric.clone())
        .collect();
    PlannedExperiment {
        key: experiment.key.clone(),
        metrics: (!metrics.is_empty()).then_some(metrics),
        control: Some(experiment.control.clone()),
        weights: experiment
            .variants
            .iter()
            .map(|variant| (variant.key.clone(), variant.weight))
            .collect(),
    }
}

/// The shares that the flag's default rollout gives to each variation; empty when it serves one variation to all.
fn rollout_weights(flag: &FlagDefinition) -> BTreeMap<VariantKey, f64> {
    let mut weights = BTreeMap::new();
    let Serve::Rollout(shares) = &flag.default else {
        return weights;
    };
    let mut left = 100.0;
    for share in shares {
        *weights.entry(share.variation.clone()).or_insert(0.0) += share.percent;
        left -= share.percent;
    }
    // Half a bucket: less is the rounding of the shares.
    if left > 0.0005 {
        *weights.entry(flag.off_variation.clone()).or_insert(0.0) += left;
    }
    weights
}
