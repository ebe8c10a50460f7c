//! Counts for guardrails: users exposed and affected, by arm and by the minute of first exposure.
//!
//! Only watched (experiment, measure) pairs are counted. The counts of users newly affected since the last look are given
//! out at each commit.

use std::collections::{BTreeMap, HashMap};

use domain::Timestamp;
use domain::guardrail::{ArmCounts, COHORT_SECONDS, CohortCounts, GuardrailLook};
use domain::{EventName, ExperimentKey, VariantKey};

use super::Engine;
use super::users::NONE;

/// What to watch: users of an experiment with at least one event of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Watch {
    /// The experiment, or the flag with a measured rollout.
    pub experiment: ExperimentKey,
    /// The event that means harm.
    pub event: EventName,
}

#[derive(Debug, Default, Clone, Copy)]
struct Affected {
    before: u64,
    newly: u64,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    experiment: u32,
    measure: u32,
}

/// All cohorts of all watched experiments.
#[derive(Debug, Default)]
pub(crate) struct Cohorts {
    watches: Vec<(Watch, Watched)>,
    /// Experiment of each arm, so that an unwatched arm costs one look-up.
    arms: HashMap<u32, u32>,
    exposed: HashMap<(u32, i64), u64>,
    affected: HashMap<(u32, u32, i64), Affected>,
    touched: BTreeMap<(u32, u32), Vec<i64>>,
}

fn cohort_of(ts: Timestamp) -> i64 {
    ts.window_start(COHORT_SECONDS).0
}

impl Cohorts {
    fn watches_arm(&self, arm: u32) -> bool {
        self.arms.contains_key(&arm)
    }

    fn watches(&self, arm: u32, measure: u32) -> bool {
        let Some(experiment) = self.arms.get(&arm) else {
            return false;
        };
        self.watches
            .iter()
            .any(|(_, watched)| watched.experiment == *experiment && watched.measure == measure)
    }

    /// Counts users into or out of a cohort.
    pub fn exposed(&mut self, arm: u32, ts: Timestamp, by: i64) {
        if self.watches_arm(arm) {
            let count = self.exposed.entry((arm, cohort_of(ts))).or_default();
            *count = count.saturating_add_signed(by);
        }
    }

    /// Counts a user as newly affected.
    pub fn affected(&mut self, arm: u32, measure: u32, ts: Timestamp) {
        if self.watches(arm, measure) {
            let cohort = cohort_of(ts);
            self.affected.entry((arm, measure, cohort)).or_default().newly += 1;
            self.touched.entry((arm, measure)).or_default().push(cohort);
        }
    }

    /// Takes an affected user out again.
    pub fn unaffected(&mut self, arm: u32, measure: u32, ts: Timestamp) {
        if self.watches(arm, measure)
            && let Some(affected) = self.affected.get_mut(&(arm, measure, cohort_of(ts)))
        {
            if affected.newly > 0 {
                affected.newly -= 1;
            } else {
                affected.before = affected.before.saturating_sub(1);
            }
        }
    }

    /// Moves an affected user between cohorts; it counts as affected before, because its evidence was given already.
    pub fn move_affected(&mut self, arm: u32, measure: u32, from: Timestamp, to: Timestamp) {
        if self.watches(arm, measure) {
            self.unaffected(arm, measure, from);
            self.affected
                .entry((arm, measure, cohort_of(to)))
                .or_default()
                .before += 1;
        }
    }
}

impl Engine {
    /// Says what to watch. Users affected until now count as affected before the watch began.
    ///
    /// An event that no metric counts is counted from now on.
    pub fn watch(&mut self, watches: &[Watch]) {
        let mut cohorts = Cohorts::default();
        for watch in watches {
            let experiment = self.experiments.number_of(watch.experiment.as_str());
            let event = self.event_number(watch.event.as_str());
            let measure = self.measures.unlimited(event);
            cohorts
                .watches
                .push((watch.clone(), Watched { experiment, measure }));
        }
        self.cohorts = cohorts;
        self.know_watched_arms();
        for number in 0..self.exposures.len() {
            self.recount(number);
        }
        self.cohorts.touched.clear();
        for affected in self.cohorts.affected.values_mut() {
            affected.before += std::mem::take(&mut affected.newly);
        }
    }

    pub(super) fn know_watched_arms(&mut self) {
        let watched: Vec<u32> = self
            .cohorts
            .watches
            .iter()
            .map(|(_, watched)| watched.experiment)
            .collect();
        for (number, arm) in self.arms.list().iter().enumerate() {
            if watched.contains(&arm.experiment) {
                self.cohorts.arms.insert(number as u32, arm.experiment);
            }
        }
    }

    fn recount(&mut self, number: usize) {
        let exposure = self.exposures[number];
        if exposure.crossover || exposure.user == NONE {
            return;
        }
        self.cohorts.exposed(exposure.arm, exposure.ts, 1);
        let mut next = exposure.first_value;
        while next != NONE {
            let value = self.values[next as usize];
            self.cohorts.affected(exposure.arm, value.measure, exposure.ts);
            next = value.next;
        }
    }

    /// Gives out what guardrails learn from this commit, and begins the next look.
    pub fn take_looks(&mut self, epoch: i64) -> Vec<GuardrailLook> {
        let watches: Vec<_> = self.cohorts.watches.clone();
        let looks = watches.iter().filter_map(|(watch, watched)| {
            let cohorts = self.touched_cohorts(*watched);
            let cohorts: Vec<_> = cohorts
                .into_iter()
                .map(|cohort| self.cohort_counts(*watched, cohort))
                .collect();
            (!cohorts.is_empty()).then(|| GuardrailLook {
                experiment: watch.experiment.clone(),
                event: watch.event.clone(),
                epoch,
                cohorts,
            })
        });
        let looks: Vec<_> = looks.collect();
        for ((arm, measure), cohorts) in std::mem::take(&mut self.cohorts.touched) {
            for cohort in cohorts {
                if let Some(affected) = self.cohorts.affected.get_mut(&(arm, measure, cohort)) {
                    affected.before += std::mem::take(&mut affected.newly);
                }
            }
        }
        looks
    }

    fn touched_cohorts(&self, watched: Watched) -> std::collections::BTreeSet<i64> {
        let of_watch = |(arm, measure): &(u32, u32)| {
            *measure == watched.measure && self.arms.get(*arm).experiment == watched.experiment
        };
        self.cohorts
            .touched
            .iter()
            .filter(|(key, _)| of_watch(key))
            .flat_map(|(_, cohorts)| cohorts)
            .copied()
            .collect()
    }

    fn cohort_counts(&self, watched: Watched, cohort: i64) -> CohortCounts {
        let arms = self
            .arms
            .list()
            .iter()
            .enumerate()
            .filter(|(_, arm)| arm.experiment == watched.experiment);
        let mut arms: Vec<ArmCounts> = arms
            .filter_map(|(number, arm)| {
                let number = number as u32;
                let exposed = self
                    .cohorts
                    .exposed
                    .get(&(number, cohort))
                    .copied()
                    .unwrap_or_default();
                let affected = self
                    .cohorts
                    .affected
                    .get(&(number, watched.measure, cohort))
                    .copied()
                    .unwrap_or_default();
                let variant = VariantKey::new(self.variants.text(arm.variant)).ok()?;
                Some(ArmCounts {
                    variant,
                    exposed,
                    affected_before: affected.before,
                    newly_affected: affected.newly,
                })
            })
            .collect();
        arms.sort_by(|left, right| left.variant.cmp(&right.variant));
        CohortCounts {
            start: Timestamp(cohort),
            arms,
        }
    }
}
