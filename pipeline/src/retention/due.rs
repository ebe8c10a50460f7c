//! What is older than the retention, and what keeps it.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::prelude::SessionContext;
use domain::timestamp::MICROS_PER_DAY;
use domain::{ExperimentKey, Timestamp};

use super::{Asked, Standing};
use crate::PipelineError;
use crate::lake::{Lake, day_text};
use crate::schema::Table;
use crate::seals::Seals;
use crate::store::read::Reader;
use crate::store::{query, session};

/// How long the ids of users whose events are gone may stay in the state, when nothing else has it made again before: reading
/// all events that are left is not worth it every day.
const RENEWED_EVERY_MICROS: i64 = 30 * MICROS_PER_DAY;

/// What has to go, and what would have to if nothing kept it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Due {
    /// Days of `events`.
    pub event_days: BTreeSet<i32>,
    /// Days of `first_exposures`, which go with the events that they follow from.
    pub exposure_days: BTreeSet<i32>,
    /// Days of `dead_letters`.
    pub dead_letter_days: BTreeSet<i32>,
    /// Experiments that lose events by it and are to be sealed, and when the last exposure to each came.
    pub sealed: BTreeMap<ExperimentKey, Timestamp>,
    /// Sealed experiments whose rows in `windows` and `summaries` have to go.
    pub expired: BTreeSet<ExperimentKey>,
    /// Sealed experiments of which nothing is left at all: their seals go, too.
    pub lifted: BTreeSet<ExperimentKey>,
    /// Whether the state has to be made again, to forget users whose events are gone.
    pub renews: bool,
    /// What is kept longer.
    pub held: Option<Held>,
}

/// Events that are older than the retention and are kept, because an experiment is still computed from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The first day that is kept, since 1970-01-01.
    pub since_day: i32,
    /// The experiment in motion whose first exposure is the earliest.
    pub experiment: String,
}

impl Held {
    /// The first day as a date.
    pub fn since(&self) -> String {
        day_text(self.since_day)
    }
}

impl Due {
    /// Whether nothing has to go.
    pub fn is_empty(&self) -> bool {
        self.event_days.is_empty()
            && self.exposure_days.is_empty()
            && self.dead_letter_days.is_empty()
            && self.expired.is_empty()
            && self.lifted.is_empty()
    }

    /// Whether the state has to be made again from the events that are left.
    pub(super) fn needs_new_state(&self) -> bool {
        self.renews || !self.sealed.is_empty() || !self.lifted.is_empty()
    }
}

/// Finds what has to go. Only reads, also while another process writes.
///
/// # Errors
/// When the lake cannot be read.
pub async fn due(lake: &Lake, asked: &Asked) -> Result<Due, PipelineError> {
    let seals = Seals::read(lake.root()).await?;
    let context = session(lake).await?;
    let seen = exposures(&context).await?;
    let in_lake = days_of(lake, Table::Events)?;
    let old = old_days(&context, asked).await?;
    let mut due = Due::default();
    let holder = seen
        .iter()
        .filter(|(key, seen)| !is_sealed(&seals, key) && asked.holds(key, seen))
        .min_by_key(|(_, seen)| seen.first_at);
    let kept_from = holder.map_or(i32::MAX, |(_, seen)| seen.first_at.day());
    due.event_days = old.iter().copied().filter(|day| *day < kept_from).collect();
    if let (Some((experiment, _)), Some(day)) = (holder, old.range(kept_from..).next()) {
        due.held = Some(Held {
            since_day: *day,
            experiment: experiment.clone(),
        });
    }
    let last_day = due.event_days.last().copied().unwrap_or(i32::MIN);
    let losing = seen
        .iter()
        .filter(|(key, seen)| !is_sealed(&seals, key) && seen.first_at.day() <= last_day);
    due.sealed = losing
        .filter_map(|(key, seen)| Some((ExperimentKey::new(key).ok()?, seen.last_received_at)))
        .collect();
    // A first exposure without its event is of an event that went, now or in a run that was cut short.
    let left: BTreeSet<i32> = in_lake.difference(&due.event_days).copied().collect();
    due.exposure_days = days_of(lake, Table::FirstExposures)?;
    due.exposure_days.retain(|day| !left.contains(day));
    due.dead_letter_days = days_of(lake, Table::DeadLetters)?;
    due.dead_letter_days.retain(|day| asked.is_old(end_of(*day)));
    for (key, seal) in &seals.experiments {
        if seal.summary.is_none() && !seen.contains_key(key.as_str()) {
            due.lifted.insert(key.clone());
        } else if seal.summary.is_some() && asked.aggregates_are_old(seal.last_exposure_at) {
            due.expired.insert(key.clone());
        }
    }
    let renewed = seals.renewed_at.unwrap_or(Timestamp(i64::MIN));
    let is_stale = asked.now.0.saturating_sub(renewed.0) >= RENEWED_EVERY_MICROS;
    due.renews = is_stale && !due.event_days.is_empty();
    Ok(due)
}

/// What the events say of an experiment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The time of the first exposure.
    first_at: Timestamp,
    /// When the first exposure came that is there.
    first_received_at: Timestamp,
    /// When the last one came.
    last_received_at: Timestamp,
}

impl Asked {
    /// Whether an experiment is computed from its events still.
    fn holds(&self, experiment: &str, seen: &Seen) -> bool {
        let in_motion = match self.declared.get(experiment) {
            Some(Standing::Guarded) => return true,
            Some(Standing::InMotion) => true,
            Some(Standing::Ended) => false,
            None => !self.is_old(seen.last_received_at),
        };
        in_motion && !self.aggregates_are_old(seen.first_received_at)
    }

    pub(super) fn is_old(&self, at: Timestamp) -> bool {
        at.0 <= self.now.0.saturating_sub(self.policy.events_micros)
    }

    fn aggregates_are_old(&self, at: Timestamp) -> bool {
        let kept = self.policy.aggregates_micros;
        kept.is_some_and(|kept| at.0 <= self.now.0.saturating_sub(kept))
    }
}

fn is_sealed(seals: &Seals, experiment: &str) -> bool {
    seals.experiments.contains_key(experiment)
}

pub(super) fn end_of(day: i32) -> Timestamp {
    Timestamp((i64::from(day) + 1).saturating_mul(MICROS_PER_DAY))
}

pub(super) fn days_of(lake: &Lake, table: Table) -> Result<BTreeSet<i32>, PipelineError> {
    let files = lake.active_files(table)?.into_iter();
    Ok(files.filter_map(|file| file.day).collect())
}

/// Days of events that are over for long enough, and of which nothing came more recently: history that was read in yesterday
/// is as young as yesterday.
async fn old_days(context: &SessionContext, asked: &Asked) -> Result<BTreeSet<i32>, PipelineError> {
    let sql = "select arrow_cast(arrow_cast(event_date, 'Int32'), 'Int64') as day, max(received_at) as last from events \
               group by event_date";
    let mut old = BTreeSet::new();
    for batch in query(context, sql).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        for row in 0..batch.num_rows() {
            let day = i32::try_from(reader.integer("day", row)).unwrap_or(i32::MAX);
            if asked.is_old(end_of(day)) && asked.is_old(reader.time("last", row)) {
                old.insert(day);
            }
        }
    }
    Ok(old)
}

async fn exposures(context: &SessionContext) -> Result<BTreeMap<String, Seen>, PipelineError> {
    let sql = "select experiment, min(ts) as first, min(received_at) as first_received, max(received_at) as last_received \
               from events where type = 'exposure' group by experiment";
    let mut found = BTreeMap::new();
    for batch in query(context, sql).await?.collect().await? {
        let reader = Reader::new(&batch)?;
        for row in 0..batch.num_rows() {
            let seen = Seen {
                first_at: reader.time("first", row),
                first_received_at: reader.time("first_received", row),
                last_received_at: reader.time("last_received", row),
            };
            found.insert(reader.text("experiment", row).to_owned(), seen);
        }
    }
    Ok(found)
}
