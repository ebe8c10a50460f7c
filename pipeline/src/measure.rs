//! The measurement plan in the form that the engine follows: which sums an event moves, and which metrics read them.
//!
//! Metrics over the same events with the same window and the same way of counting share one *measure*, the running
//! value per user; the sum of an event and "at least one" of it cost one update, not two.

use std::collections::{HashMap, HashSet};

use domain::metric::{MeasurementPlan, MetricDefinition, MetricKind};
use domain::{EventName, MetricKey};

use crate::names::Names;

/// What one event adds to a user's running value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Adds {
    /// Its `value`.
    Value,
    /// One.
    One,
}

/// A running value per user.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// The number of the event name.
    pub event: u32,
    /// Events count before this many microseconds after the first exposure.
    pub window_micros: i64,
    /// What one event adds.
    pub adds: Adds,
    /// The running value counts as at most this.
    pub cap: f64,
}

impl Measure {
    /// The user's value for the metric when the running value is `running`.
    pub fn capped(&self, running: f64) -> f64 {
        running.min(self.cap)
    }
}

/// A metric and the measure that it reads.
#[derive(Debug, Clone)]
pub struct PlannedMetric {
    /// The metric.
    pub definition: MetricDefinition,
    /// The number of its measure.
    pub measure: u32,
}

/// The plan, compiled; it grows as discovery sees new event names.
#[derive(Debug, Default)]
pub struct Measures {
    discovery: bool,
    declared: HashMap<u32, Option<Vec<MetricKey>>>,
    sealed: HashSet<u32>,
    list: Vec<Measure>,
    by_event: Vec<Vec<u32>>,
    metrics: Vec<PlannedMetric>,
    metrics_of_measure: Vec<Vec<u32>>,
    keys: HashMap<MetricKey, u32>,
}

impl Measures {
    /// Compiles a plan; names of experiments and events get their numbers.
    pub fn compile(plan: &MeasurementPlan, experiments: &mut Names, events: &mut Names) -> Self {
        let mut measures = Self {
            discovery: plan.discovery,
            ..Self::default()
        };
        for experiment in &plan.experiments {
            let number = experiments.number_of(experiment.key.as_str());
            measures.declared.insert(number, experiment.metrics.clone());
        }
        for experiment in &plan.sealed {
            measures.sealed.insert(experiments.number_of(experiment.as_str()));
        }
        for metric in &plan.metrics {
            let event = events.number_of(metric.event.as_str());
            measures.add_metric(metric.clone(), event);
        }
        measures.know_events(events);
        measures
    }

    /// Makes discovered metrics for event names that are new.
    pub fn know_events(&mut self, events: &Names) {
        for number in self.by_event.len()..events.texts().len() {
            self.by_event.push(Vec::new());
            self.list
                .iter()
                .enumerate()
                .filter(|(_, measure)| measure.event as usize == number)
                .for_each(|(index, _)| {
                    self.by_event[number].push(index as u32);
                });
            if !self.discovery {
                continue;
            }
            let Ok(name) = EventName::new(events.text(number as u32)) else {
                continue;
            };
            for metric in MetricDefinition::discovered(&name) {
                self.add_metric(metric, number as u32);
            }
        }
    }

    fn add_metric(&mut self, definition: MetricDefinition, event: u32) {
        if self.keys.contains_key(&definition.key) {
            return;
        }
        let window_micros = definition
            .conversion_window_seconds
            .map_or(i64::MAX, |seconds| i64::from(seconds) * 1_000_000);
        let wanted = Measure {
            event,
            window_micros,
            adds: if definition.kind == MetricKind::Count {
                Adds::One
            } else {
                Adds::Value
            },
            cap: definition.cap.unwrap_or(f64::INFINITY),
        };
        let same = |measure: &Measure| {
            let counts_alike = *measure == wanted;
            // A proportion only asks whether there is an event, so any measure of the same events will do.
            let proportion = definition.kind == MetricKind::Proportion;
            counts_alike || (proportion && measure.event == event && measure.window_micros == window_micros)
        };
        let measure = self.list.iter().position(same).unwrap_or_else(|| {
            self.list.push(wanted.clone());
            self.metrics_of_measure.push(Vec::new());
            if let Some(of_event) = self.by_event.get_mut(event as usize) {
                of_event.push(self.list.len() as u32 - 1);
            }
            self.list.len() - 1
        });
        let index = self.metrics.len() as u32;
        self.keys.insert(definition.key.clone(), index);
        self.metrics_of_measure[measure].push(index);
        self.metrics.push(PlannedMetric {
            definition,
            measure: measure as u32,
        });
    }

    /// A measure of all events of a name without a window; made without a metric when no metric has one.
    pub fn unlimited(&mut self, event: u32) -> u32 {
        let found = self
            .of_event(event)
            .iter()
            .copied()
            .find(|measure| self.get(*measure).window_micros == i64::MAX);
        found.unwrap_or_else(|| {
            self.list.push(Measure {
                event,
                window_micros: i64::MAX,
                adds: Adds::One,
                cap: f64::INFINITY,
            });
            self.metrics_of_measure.push(Vec::new());
            self.by_event[event as usize].push(self.list.len() as u32 - 1);
            self.list.len() as u32 - 1
        })
    }

    /// A measure by number.
    pub fn get(&self, measure: u32) -> &Measure {
        &self.list[measure as usize]
    }

    /// The measures that events of a name move.
    pub fn of_event(&self, event: u32) -> &[u32] {
        self.by_event.get(event as usize).map_or(&[], Vec::as_slice)
    }

    /// The number of measures.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing is measured.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether any measure stops counting some time after the first exposure.
    pub fn has_windows(&self) -> bool {
        self.list.iter().any(|measure| measure.window_micros != i64::MAX)
    }

    /// Whether an experiment is measured.
    pub fn measures_experiment(&self, experiment: u32) -> bool {
        let is_sealed = !self.sealed.is_empty() && self.sealed.contains(&experiment);
        !is_sealed && (self.discovery || self.declared.contains_key(&experiment))
    }

    /// The metrics that an experiment reads from a measure.
    pub fn metrics_of(&self, experiment: u32, measure: u32) -> impl Iterator<Item = &PlannedMetric> {
        let chosen = self.declared.get(&experiment).and_then(Option::as_ref);
        let metrics = self.metrics_of_measure[measure as usize]
            .iter()
            .map(|index| &self.metrics[*index as usize]);
        metrics.filter(move |metric| chosen.is_none_or(|chosen| chosen.contains(&metric.definition.key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_and_its_proportion_share_one_measure() {
        let (mut experiments, mut events) = (Names::default(), Names::default());
        let purchase = events.number_of("purchase");
        let mut measures = Measures::compile(&MeasurementPlan::discover(), &mut experiments, &mut events);
        assert_eq!((measures.len(), measures.of_event(purchase)), (1, [0].as_slice()));
        let keys: Vec<_> = measures
            .metrics_of(0, 0)
            .map(|metric| metric.definition.key.to_string())
            .collect();
        assert_eq!(keys, ["purchase", "purchase_conversion"]);
        events.number_of("visit");
        measures.know_events(&events);
        assert_eq!(measures.of_event(1), [1]);
    }

    #[test]
    fn a_declared_plan_measures_what_it_declares_and_nothing_else() {
        let plan: MeasurementPlan = serde_json::from_value(serde_json::json!({
            "metrics": [
                {"key": "orders", "kind": "count", "event": "purchase"},
                {"key": "revenue_7d", "kind": "sum", "event": "purchase", "conversion_window_seconds": 604_800},
                {"key": "bought", "kind": "proportion", "event": "purchase"}
            ],
            "experiments": [{"key": "checkout", "metrics": ["bought"]}]
        }))
        .unwrap();
        let (mut experiments, mut events) = (Names::default(), Names::default());
        let measures = Measures::compile(&plan, &mut experiments, &mut events);
        assert_eq!(measures.of_event(0), [0, 1]);
        assert!(measures.has_windows());
        assert!(measures.measures_experiment(0) && !measures.measures_experiment(1));
        let keys: Vec<_> = measures
            .metrics_of(0, 0)
            .map(|metric| metric.definition.key.to_string())
            .collect();
        assert_eq!(keys, ["bought"]);
        assert_eq!(measures.metrics_of(0, 1).count(), 0);
    }
}
