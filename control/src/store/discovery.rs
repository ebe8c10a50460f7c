//! Definitions that the platform makes because it saw events of them.

use std::collections::{BTreeMap, BTreeSet};

use domain::experiment::{ExperimentDefinition, discovered_control};
use domain::metric::{CONVERSION_SUFFIX, MetricDefinition, MetricKind};
use domain::results::ExperimentSummary;
use domain::{EventName, ExperimentKey, MetricKey, Timestamp, VariantKey};

use super::definitions::{insert, replace_as, stored, to_text};
use super::{Entry, ObjectKind, Store, Write, corrupt};
use crate::change::{Actor, Change};
use crate::error::ControlError;

/// The most experiments and the most event names that are discovered: a producer that puts an id into a name must not
/// fill the store. What is declared does not count.
pub const DISCOVERED_MAX: usize = 10_000;

/// What was seen in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Experiments with the variants seen.
    pub experiments: BTreeMap<ExperimentKey, BTreeSet<VariantKey>>,
    /// Names of tracked events.
    pub events: BTreeSet<EventName>,
}

impl Discovered {
    /// What the summaries of a commit show: their experiments and variants, and the events behind pairs of a sum and the
    /// proportion that discovery makes beside it.
    pub fn from_summaries(summaries: &[ExperimentSummary]) -> Self {
        let mut seen = Self::default();
        for summary in summaries {
            let variants = seen.experiments.entry(summary.experiment.clone()).or_default();
            for arm in &summary.arms {
                variants.insert(arm.variant.clone());
                let sums = arm
                    .metrics
                    .iter()
                    .filter(|(_, metric)| metric.kind == MetricKind::Sum);
                for (key, _) in sums {
                    let conversion = format!("{key}{CONVERSION_SUFFIX}");
                    // A declared metric has no such companion; a name too long for one is still an event's.
                    if arm.metrics.contains_key(conversion.as_str()) || MetricKey::new(&conversion).is_err() {
                        seen.events.extend(EventName::new(key.as_str()));
                    }
                }
            }
        }
        seen
    }
}

/// What discovery need not look up again.
#[derive(Debug, Default)]
pub(super) struct Known {
    experiments: BTreeMap<ExperimentKey, BTreeSet<VariantKey>>,
    events: BTreeSet<EventName>,
}

impl Known {
    /// What of `seen` is not known, within the limits.
    fn news(&self, seen: &Discovered) -> Discovered {
        let mut news = Discovered::default();
        for (key, variants) in &seen.experiments {
            let known = self.experiments.get(key);
            let room = known.is_some() || self.experiments.len() + news.experiments.len() < DISCOVERED_MAX;
            if room && !known.is_some_and(|known| variants.is_subset(known)) {
                news.experiments.insert(key.clone(), variants.clone());
            }
        }
        for event in seen.events.difference(&self.events) {
            if self.events.len() + news.events.len() < DISCOVERED_MAX {
                news.events.insert(event.clone());
            }
        }
        news
    }

    fn learn(&mut self, news: Discovered) {
        for (key, variants) in news.experiments {
            self.experiments.entry(key).or_default().extend(variants);
        }
        self.events.extend(news.events);
    }
}

impl Store {
    /// Makes experiments and metrics for what was seen and is not known; declared definitions stay as they are.
    ///
    /// Costs a look into memory when nothing is new, so that it may be called after each commit. Gives whether
    /// something was written.
    ///
    /// # Errors
    /// [`ControlError::Database`]; the same call may then be repeated.
    pub async fn record_discovered(&self, seen: &Discovered, now: Timestamp) -> Result<bool, ControlError> {
        let news = self.known().news(seen);
        if news == Discovered::default() {
            return Ok(false);
        }
        let change = Change::new(Actor::system("discovery"), now);
        let mut write = self.begin().await?;
        let mut written = false;
        for (key, variants) in &news.experiments {
            written |= discover_experiment(&mut write, key, variants, &change).await?;
        }
        for event in &news.events {
            for metric in MetricDefinition::discovered(event) {
                written |= discover_metric(&mut write, &metric, &change).await?;
            }
        }
        if written {
            self.commit(write).await?;
        }
        self.known().learn(news);
        Ok(written)
    }

    /// Makes discovery look everything up again, after something was deleted.
    pub(super) fn forget_known(&self) {
        *self.known() = Known::default();
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // A panic while it is held leaves at worst a cache that knows too little.
        self.shared
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn discover_experiment(
    write: &mut Write,
    key: &ExperimentKey,
    variants: &BTreeSet<VariantKey>,
    change: &Change,
) -> Result<bool, ControlError> {
    let found = stored::<ExperimentDefinition>(write, key.as_str()).await?;
    let mut variants = variants.clone();
    if let Some(found) = &found {
        if !found.discovered {
            return Ok(false);
        }
        let known: ExperimentDefinition =
            serde_json::from_str(&found.document).map_err(corrupt(ObjectKind::Experiment, key.as_str()))?;
        let count_before = known.variants.len();
        variants.extend(known.variants.into_iter().map(|variant| variant.key));
        if variants.len() == count_before {
            return Ok(false);
        }
    }
    let variants: Vec<VariantKey> = variants.into_iter().collect();
    let Some(control) = discovered_control(&variants).cloned() else {
        return Ok(false);
    };
    let definition = ExperimentDefinition::discovered(key.clone(), variants, control);
    let document = to_text(&definition)?;
    match &found {
        Some(found) => {
            replace_as(write, (found, &definition), &document, true, change.at).await?;
        }
        None => {
            insert(write, &definition, &document, true, change.at).await?;
        }
    }
    let entry = Entry {
        action: if found.is_some() { "update" } else { "create" },
        kind: ObjectKind::Experiment,
        key: key.as_str(),
        before: found.as_ref().map(|found| found.document.as_str()),
        after: Some(&document),
    };
    Store::record(write, entry, change).await?;
    Ok(true)
}

async fn discover_metric(
    write: &mut Write,
    metric: &MetricDefinition,
    change: &Change,
) -> Result<bool, ControlError> {
    let key = metric.key.as_str();
    if stored::<MetricDefinition>(write, key).await?.is_some() {
        return Ok(false);
    }
    let document = to_text(metric)?;
    insert(write, metric, &document, true, change.at).await?;
    let entry = Entry {
        action: "create",
        kind: ObjectKind::Metric,
        key,
        before: None,
        after: Some(&document),
    };
    Store::record(write, entry, change).await?;
    Ok(true)
}

#[cfg(test)]
mod tests;
