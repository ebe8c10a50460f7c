//! Making good what came too late: users whose attribution is made again from the lake, and days whose windows are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use domain::metric::MeasurementPlan;
use domain::timestamp::MICROS_PER_DAY;
use domain::{Moments, Timestamp};

use crate::PipelineError;
use crate::engine::{Derived, Engine, ExposureRow, WindowRow};
use crate::history;
use crate::lake::{Lake, Part, read_batches};
use crate::schema::Table;

/// Hours of a day.
const HOURS: u64 = 24;

/// The slices in which a day is made again: whole hours, the fewer the fewer events the day has.
fn slices(lake: &Lake, day: i32, events_max: usize) -> Result<Vec<Range<i64>>, PipelineError> {
    let files = lake.active_files(Table::Events)?;
    let of_day = files.iter().filter(|file| file.day == Some(day));
    let events: u64 = of_day.map(|file| file.rows.unwrap_or(events_max as u64)).sum();
    let hours = (HOURS * events_max as u64 / events.max(1)).clamp(1, HOURS);
    let midnight = i64::from(day) * MICROS_PER_DAY;
    let at = |hour: u64| midnight + MICROS_PER_DAY / HOURS as i64 * hour as i64;
    let starts = (0..HOURS).step_by(hours as usize);
    Ok(starts
        .map(|hour| at(hour)..at((hour + hours).min(HOURS)))
        .collect())
}

/// All window rows of the days that were made again.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    days: BTreeMap<i32, Vec<WindowRow>>,
}

/// Mends the engine's dirty users, and makes the windows of its dirty days again, from the events of the lake up to an
/// epoch. What the engine holds and what it gives back depend on these events alone. At most about `events_max` events are
/// in memory at once: users are mended in passes over the lake, days in slices of hours.
pub(crate) async fn reconcile(
    engine: &mut Engine,
    lake: &Lake,
    up_to_epoch: i64,
    events_max: usize,
) -> Result<Mended, PipelineError> {
    let dirty = engine.take_dirty();
    let mut waiting: BTreeSet<u32> = dirty.users.iter().copied().collect();
    while !waiting.is_empty() {
        let mut users = waiting.clone();
        let number_of = |id: &str| engine.find_user(ingest::decode::user_hash(id.as_bytes()), id.as_bytes());
        let mut histories =
            history::user_events(lake, up_to_epoch, &mut users, events_max, number_of).await?;
        for user in users {
            waiting.remove(&user);
            engine.rebuild_user(user, histories.remove(&user).unwrap_or_default());
        }
    }
    let mut mended = Mended::default();
    for day in dirty.days {
        let mut cells = crate::engine::DayCells::default();
        for times in slices(lake, day, events_max)? {
            history::day_tracks(lake, day, up_to_epoch, times, |user, ts, event, value| {
                let hash = ingest::decode::user_hash(user.as_bytes());
                engine.add_to_day(&mut cells, (hash, user), ts, (event, value));
            })
            .await?;
            engine.end_slice(&mut cells);
        }
        mended.days.insert(day, engine.day_rows(day, cells));
    }
    Ok(mended)
}

/// Completes derived rows, so that every replaced day of `windows` is given whole: with what was mended, or with the rows
/// that stand in the table and are not replaced. Rows without units are left out, those of sealed experiments stay.
pub(crate) async fn merge_windows(
    derived: &mut Derived,
    mended: Option<Mended>,
    lake: &Lake,
    plan: &MeasurementPlan,
) -> Result<(), PipelineError> {
    let mended = mended.unwrap_or_default();
    let whole: BTreeSet<i32> = mended.days.keys().copied().collect();
    derived.windows.retain(|row| !whole.contains(&row.start.day()));
    derived.replaced_window_days.extend(&whole);
    let keys: HashSet<_> = derived.windows.iter().map(key_of).collect();
    let mut days = derived.replaced_window_days.clone();
    if plan.sealed.is_empty() {
        days.retain(|day| !whole.contains(day));
    }
    let mut standing = Vec::new();
    for_each_standing(lake, Table::Windows, &days, |batch| {
        standing.extend((0..batch.num_rows()).map(|row| window_row(batch, row)));
    })
    .await?;
    let stays = |row: &WindowRow| {
        let is_sealed = plan.is_sealed(&row.experiment);
        is_sealed || !(whole.contains(&row.start.day()) || keys.contains(&key_of(row)))
    };
    derived.windows.extend(standing.into_iter().filter(stays));
    derived.windows.extend(mended.days.into_values().flatten());
    derived.windows.retain(|row| row.moments.n > 0);
    Ok(())
}

/// Completes the days of `first_exposures` that are given whole by the rows of sealed experiments, which the engine knows
/// nothing of.
pub(crate) async fn merge_exposures(
    derived: &mut Derived,
    lake: &Lake,
    plan: &MeasurementPlan,
) -> Result<(), PipelineError> {
    if plan.sealed.is_empty() {
        return Ok(());
    }
    let rows = &mut derived.exposures;
    for_each_standing(
        lake,
        Table::FirstExposures,
        &derived.replaced_exposure_days,
        |batch| {
            let standing = (0..batch.num_rows()).map(|row| exposure_row(batch, row));
            rows.extend(standing.filter(|row| plan.is_sealed(&row.experiment)));
        },
    )
    .await
}

/// Calls `each` with all rows that stand in a table on some days.
async fn for_each_standing(
    lake: &Lake,
    table: Table,
    days: &BTreeSet<i32>,
    mut each: impl FnMut(&RecordBatch),
) -> Result<(), PipelineError> {
    let files = lake.active_files(table)?.into_iter();
    for file in files.filter(|file| file.day.is_some_and(|day| days.contains(&day))) {
        for batch in read_batches(table, lake.file_bytes(table, &file.path).await?, &Part::default())? {
            each(&batch?);
        }
    }
    Ok(())
}

fn key_of(row: &WindowRow) -> (Timestamp, i32, String, String, String) {
    (
        row.start,
        row.seconds,
        row.experiment.clone(),
        row.variant.clone(),
        row.metric.clone(),
    )
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    let column = batch.column_by_name(name);
    column.expect("the column stands in the table's schema").as_ref()
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> String {
    let column = column(batch, name).as_string::<i32>();
    if column.is_null(row) {
        String::new()
    } else {
        column.value(row).to_owned()
    }
}

fn time(batch: &RecordBatch, name: &str, row: usize) -> Timestamp {
    let times = column(batch, name).as_primitive::<TimestampMicrosecondType>();
    Timestamp(times.value(row))
}

fn exposure_row(batch: &RecordBatch, row: usize) -> ExposureRow {
    ExposureRow {
        experiment: text(batch, "experiment", row),
        user_id: text(batch, "user_id", row),
        variant: text(batch, "variant", row),
        ts: time(batch, "ts", row),
        crossover: column(batch, "crossover").as_boolean().value(row),
    }
}

fn window_row(batch: &RecordBatch, row: usize) -> WindowRow {
    let column = |name: &str| column(batch, name);
    let text = |name: &str| text(batch, name, row);
    let float = |name: &str| column(name).as_primitive::<Float64Type>().value(row);
    let units = column("units").as_primitive::<Int64Type>().value(row);
    WindowRow {
        start: time(batch, "window_start", row),
        seconds: column("window_seconds").as_primitive::<Int32Type>().value(row),
        experiment: text("experiment"),
        variant: text("variant"),
        metric: text("metric"),
        moments: Moments {
            n: u64::try_from(units).unwrap_or_default(),
            mean: float("mean"),
            m2: float("m2"),
        },
    }
}
