//! What the engine gives out at a commit: rows of the derived tables, and the summaries that analyses read.

use std::collections::{BTreeMap, BTreeSet};

use domain::metric::MetricKind;
use domain::results::{ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};

use super::Engine;
use super::users::NONE;
use super::windows::{Row, WINDOW_SECONDS};

/// A row of the `windows` table.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRow {
    /// The start of the window.
    pub start: Timestamp,
    /// Its length in seconds.
    pub seconds: i32,
    /// The experiment.
    pub experiment: String,
    /// The variant.
    pub variant: String,
    /// The metric.
    pub metric: String,
    /// Users with at least one counted event in the window, and the moments of their sums; no units mean that an older
    /// form of the row has to go.
    pub moments: Moments,
}

/// A row of the `summaries` table.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow {
    /// The experiment.
    pub experiment: String,
    /// The variant.
    pub variant: String,
    /// The metric.
    pub metric: String,
    /// Exposed users without crossovers.
    pub exposed: u64,
    /// Of these, users with at least one counted event.
    pub units: u64,
    /// Moments over all exposed users.
    pub moments: Moments,
}

/// A row of the `first_exposures` table.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposureRow {
    /// The experiment.
    pub experiment: String,
    /// The user.
    pub user_id: String,
    /// The variant of the first exposure.
    pub variant: String,
    /// When.
    pub ts: Timestamp,
    /// Whether the user was also seen with another variant.
    pub crossover: bool,
}

/// Rows for the derived tables.
#[derive(Debug, Default)]
pub struct Derived {
    /// Windows that closed, or that changed when all were asked for.
    pub windows: Vec<WindowRow>,
    /// Days of `windows` in which a row replaces an older one.
    pub replaced_window_days: BTreeSet<i32>,
    /// Summaries of arms that changed.
    pub summaries: Vec<SummaryRow>,
    /// First exposures that are new, or whose whole day has to be written again.
    pub exposures: Vec<ExposureRow>,
    /// Days of `first_exposures` that are given out whole.
    pub replaced_exposure_days: BTreeSet<i32>,
}

impl Engine {
    pub(super) fn close_windows(&mut self, until: Timestamp) {
        let mut rows = std::mem::take(&mut self.closed_rows);
        self.windows.close(until.0, &mut rows);
        self.closed_rows = rows;
    }

    /// Gives out the rows that the derived tables are owed. With `all`, windows that are still open too.
    pub fn take_derived(&mut self, all: bool) -> Derived {
        let mut derived = Derived::default();
        let mut rows = std::mem::take(&mut self.closed_rows);
        if all {
            self.windows.flush(&mut rows);
        }
        for row in &rows {
            self.window_rows(row, &mut derived);
        }
        for number in 0..self.arms.list().len() as u32 {
            let arm = self.arms.get_mut(number);
            let wanted = arm.has_users() || arm.written;
            if std::mem::take(&mut arm.changed) && wanted {
                arm.written = true;
                self.summary_rows(number, &mut derived.summaries);
            }
        }
        self.exposure_rows(&mut derived);
        derived
    }

    pub(super) fn window_rows(&self, row: &Row, derived: &mut Derived) {
        if row.sums.units == 0 && !row.written {
            return;
        }
        let seconds = WINDOW_SECONDS[row.key.size as usize];
        let start = Timestamp(row.key.index * i64::from(seconds) * 1_000_000);
        if row.written {
            derived.replaced_window_days.insert(start.day());
        }
        let arm = self.arms.get(row.key.arm);
        for metric in self.measures.metrics_of(arm.experiment, row.key.measure) {
            let moments = match metric.definition.kind {
                MetricKind::Proportion => proportion(row.sums.units, row.sums.units),
                MetricKind::Sum | MetricKind::Count => row.sums.moments(),
            };
            derived.windows.push(WindowRow {
                start,
                seconds,
                experiment: self.experiments.text(arm.experiment).into(),
                variant: self.variants.text(arm.variant).into(),
                metric: metric.definition.key.to_string(),
                moments,
            });
        }
    }

    fn summary_rows(&self, number: u32, out: &mut Vec<SummaryRow>) {
        let arm = self.arms.get(number);
        for measure in 0..self.measures.len() as u32 {
            let sums = arm.sums_of(measure);
            for metric in self.measures.metrics_of(arm.experiment, measure) {
                let moments = match metric.definition.kind {
                    MetricKind::Proportion => proportion(sums.units, arm.exposed),
                    MetricKind::Sum | MetricKind::Count => sums.moments_over(arm.exposed),
                };
                out.push(SummaryRow {
                    experiment: self.experiments.text(arm.experiment).into(),
                    variant: self.variants.text(arm.variant).into(),
                    metric: metric.definition.key.to_string(),
                    exposed: arm.exposed,
                    units: sums.units,
                    moments,
                });
            }
        }
    }

    fn exposure_rows(&mut self, derived: &mut Derived) {
        let stale = std::mem::take(&mut self.stale_exposure_days);
        for number in std::mem::take(&mut self.changed_exposures) {
            let exposure = &mut self.exposures[number as usize];
            // A row on a day that is given out whole comes with that day.
            if std::mem::take(&mut exposure.changed) && !stale.contains(&exposure.ts.day()) {
                exposure.written = true;
                derived.exposures.push(self.exposure_row(number));
            }
        }
        if stale.is_empty() {
            return;
        }
        for user in 0..self.first_exposures.len() {
            let mut at = self.first_exposures[user];
            while at != NONE {
                let exposure = &mut self.exposures[at as usize];
                if stale.contains(&exposure.ts.day()) {
                    exposure.written = true;
                    derived.exposures.push(self.exposure_row(at));
                }
                at = self.exposures[at as usize].next;
            }
        }
        derived.replaced_exposure_days = stale;
    }

    fn exposure_row(&self, number: u32) -> ExposureRow {
        let exposure = &self.exposures[number as usize];
        let arm = self.arms.get(exposure.arm);
        ExposureRow {
            experiment: self.experiments.text(arm.experiment).into(),
            user_id: String::from_utf8_lossy(self.users.id(exposure.user)).into_owned(),
            variant: self.variants.text(arm.variant).into(),
            ts: exposure.ts,
            crossover: exposure.crossover,
        }
    }

    /// The summaries of all experiments as of a commit.
    pub fn summaries(&self, epoch: i64) -> BTreeMap<ExperimentKey, ExperimentSummary> {
        let mut summaries: BTreeMap<ExperimentKey, ExperimentSummary> = BTreeMap::new();
        for arm in self.arms.list().iter().filter(|arm| arm.has_users()) {
            let Ok(experiment) = ExperimentKey::new(self.experiments.text(arm.experiment)) else {
                continue;
            };
            let Ok(variant) = VariantKey::new(self.variants.text(arm.variant)) else {
                continue;
            };
            let summary = summaries
                .entry(experiment.clone())
                .or_insert_with(|| ExperimentSummary {
                    experiment,
                    as_of: self.watermark,
                    epoch,
                    arms: Vec::new(),
                    crossover_users: 0,
                });
            summary.crossover_users += arm.crossovers;
            summary.arms.push(ArmSummary {
                variant,
                exposed: arm.exposed,
                metrics: self.metric_summaries(arm),
            });
        }
        for summary in summaries.values_mut() {
            summary
                .arms
                .sort_by(|left, right| left.variant.cmp(&right.variant));
        }
        summaries
    }

    fn metric_summaries(&self, arm: &super::arms::Arm) -> BTreeMap<MetricKey, MetricSummary> {
        let mut metrics = BTreeMap::new();
        for measure in 0..self.measures.len() as u32 {
            let sums = arm.sums_of(measure);
            for metric in self.measures.metrics_of(arm.experiment, measure) {
                let kind = metric.definition.kind;
                let moments = match kind {
                    MetricKind::Proportion => proportion(sums.units, arm.exposed),
                    MetricKind::Sum | MetricKind::Count => sums.moments_over(arm.exposed),
                };
                metrics.insert(
                    metric.definition.key.clone(),
                    MetricSummary {
                        kind,
                        units: sums.units,
                        moments,
                        pair: None,
                    },
                );
            }
        }
        metrics
    }
}

/// The moments of `ones` ones among `total` zeros and ones.
pub(crate) fn proportion(ones: u64, total: u64) -> Moments {
    if total == 0 {
        return Moments::default();
    }
    let mean = ones as f64 / total as f64;
    // Σ(x − p)² over zeros and ones is n·p·(1 − p); the form k·(n − k)/n has no cancellation.
    Moments {
        n: total,
        mean,
        m2: ones as f64 * (total - ones) as f64 / total as f64,
    }
}
