//! Erasing users: from the tables, from the state, and from the files that held them.
//!
//! Rows of an erased user are left out of new files that take the place of the old ones, and these are deleted at once, not
//! after the time that readers are given otherwise. The state is then made again from what is left, so that results are those
//! of a lake which never had the user. What a crash interrupts is finished by erasing again.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use crate::PipelineError;
use crate::lake::{ActiveFile, DataFile, FileEncoder, Lake, Part, Root, read_batches};
use crate::recovery;
use crate::schema::Table;
use crate::settings::Settings;
use crate::state;

/// The tables that tell of single users.
const TABLES: [Table; 3] = [Table::Events, Table::FirstExposures, Table::DeadLetters];

/// What was erased.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// The last commit that was searched.
    pub epoch: i64,
    /// Rows of `events`.
    pub events: u64,
    /// Rows of `first_exposures`.
    pub first_exposures: u64,
    /// Rows of `dead_letters`.
    pub dead_letters: u64,
    /// Files that were written again or deleted.
    pub files: u64,
}

/// Erases all users whose id `is_erased` names. Nothing else may write to the lake meanwhile. Windows and summaries are
/// written again by the next run of the pipeline.
///
/// # Errors
/// When the lake or the state beside it cannot be read or written.
pub async fn erase(
    root: Root,
    settings: &Settings,
    is_erased: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Erased, PipelineError> {
    let Some(last) = recovery::last_manifest(&root).await? else {
        return Ok(Erased::default());
    };
    let mut erased = Erased {
        epoch: last.epoch,
        ..Erased::default()
    };
    // The ids that were seen and the arms that have rows are known to the state, which is kept as of the last commit.
    let parts = recovery::recover(root.clone(), &last.plan, settings).await?;
    let mut lake = parts.lake;
    drop(recovery::keep(parts.engine, root.clone(), last.plan.clone(), last.epoch).await?);
    for table in TABLES {
        let rows = erase_from(&mut lake, table, settings, &mut erased.files, is_erased).await?;
        match table {
            Table::Events => erased.events = rows,
            Table::FirstExposures => erased.first_exposures = rows,
            _ => erased.dead_letters = rows,
        }
    }
    recovery::make_again(&lake, &last, settings).await?;
    state::forget_snapshots(&root, &[last.epoch]).await?;
    Ok(erased)
}

async fn erase_from(
    lake: &mut Lake,
    table: Table,
    settings: &Settings,
    files: &mut u64,
    is_erased: &(dyn Fn(&str) -> bool + Sync),
) -> Result<u64, PipelineError> {
    let (mut gone, mut new, mut erased) = (BTreeSet::new(), Vec::new(), 0);
    for file in lake.active_files(table)? {
        let Some((rows, left)) = without(lake, table, &file, is_erased).await? else {
            continue;
        };
        erased += rows;
        if let Some((bytes, rows)) = left {
            let epochs = file.epochs.unwrap_or_default();
            let run = format!("{}-erased", settings.run_id);
            let mut data = DataFile::of_epoch(file.day.unwrap_or_default(), epochs.1, &run, new.len(), rows);
            data.epochs = epochs;
            data.size_bytes = bytes.len() as u64;
            data.written_at_ms = (settings.now)().0.div_euclid(1_000);
            lake.write_file(table, &data.path, bytes).await?;
            new.push(data);
        }
        gone.insert(file.path);
    }
    if !gone.is_empty() {
        lake.swap_files(table, &gone, &new, true).await?;
    }
    // Also those that left the table before, and that readers would be given time for.
    *files += gone.len() as u64;
    lake.vacuum(table, domain::Timestamp(i64::MAX), std::time::Duration::ZERO)
        .await?;
    Ok(erased)
}

/// The rows of a file that are erased, and the file without them, where any are left; none when none are erased.
#[expect(
    clippy::type_complexity,
    reason = "bytes and rows of what is left, read where it is made"
)]
async fn without(
    lake: &Lake,
    table: Table,
    file: &ActiveFile,
    is_erased: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Option<(u64, Option<(bytes::Bytes, u64)>)>, PipelineError> {
    let path = format!("lake/{}/{}", table.name(), file.path);
    let bytes = lake.root().get(&path).await?;
    let bytes = bytes.ok_or_else(|| PipelineError::BadState {
        path,
        why: "the table names it and it is missing".into(),
    })?;
    let columns = |source| PipelineError::Columns {
        table: table.name(),
        source,
    };
    let mut encoder = FileEncoder::new(table)?;
    let (mut erased, mut kept) = (0, 0);
    for batch in read_batches(table, bytes, &Part::default())? {
        let batch = batch?;
        let left = left_of(table, &batch, is_erased).map_err(columns)?;
        erased += (batch.num_rows() - left.num_rows()) as u64;
        kept += left.num_rows() as u64;
        encoder.write(&left)?;
    }
    Ok(match (erased, kept) {
        (0, _) => None,
        (erased, 0) => Some((erased, None)),
        (erased, kept) => Some((erased, Some((encoder.finish()?, kept)))),
    })
}

fn left_of(
    table: Table,
    batch: &RecordBatch,
    is_erased: &(dyn Fn(&str) -> bool + Sync),
) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .expect("the column stands in the table's schema")
    };
    let left: BooleanArray = if table == Table::DeadLetters {
        let payloads = column("payload").as_binary::<i32>();
        let left = |row| Some(!user_ids(payloads.value(row)).any(|user| is_erased(&user)));
        (0..payloads.len()).map(left).collect()
    } else {
        let users = column("user_id").as_string::<i32>();
        (0..users.len())
            .map(|row| Some(!is_erased(users.value(row))))
            .collect()
    };
    filter_record_batch(batch, &left)
}

/// The texts in a rejected record that may be the user's id: that of `user_id` where it is JSON, else every text in quotes.
pub fn user_ids(payload: &[u8]) -> impl Iterator<Item = String> {
    let value: Option<serde_json::Value> = serde_json::from_slice(payload).ok();
    let named = value.as_ref().and_then(|value| value.get("user_id")?.as_str());
    match (value.is_some(), named) {
        (true, named) => named.map(|user| vec![user.to_owned()]).unwrap_or_default(),
        (false, _) => {
            let text = String::from_utf8_lossy(payload);
            text.split('"').map(str::to_owned).collect()
        }
    }
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_record_tells_its_user_however_broken() {
        let users = |payload: &str| user_ids(payload.as_bytes()).collect::<Vec<_>>();
        assert_eq!(users(r#"{"user_id": "ann", "event": "bob"}"#), ["ann"]);
        assert_eq!(users(r#"{"event": "bob"}"#), Vec::<String>::new());
        assert!(users(r#"{"user_id": "ann", "va"#).contains(&"ann".to_owned()));
    }
}
