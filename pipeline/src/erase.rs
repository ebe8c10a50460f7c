//! Erasing users: from the tables, from the state, and from the files that held them.
//!
//! Rows of an erased user are left out of new files that take the place of the old ones, and these are deleted at once, not
//! after the time that readers are given otherwise. The state is then made again from what is left, so that results are those
//! of a lake which never had the user; only what a sealed experiment came to stays as it is. What a crash interrupts is
//! finished by erasing again.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};

use crate::PipelineError;
use crate::lake::{Lake, Root};
use crate::recovery;
use crate::rewriting;
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
    let plan = parts.plan;
    drop(recovery::keep(parts.engine, root.clone(), plan.clone(), last.epoch).await?);
    for table in TABLES {
        let rows = erase_from(&mut lake, table, settings, &mut erased.files, is_erased).await?;
        match table {
            Table::Events => erased.events = rows,
            Table::FirstExposures => erased.first_exposures = rows,
            _ => erased.dead_letters = rows,
        }
    }
    recovery::make_again(&lake, &plan, &last, settings).await?;
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
    let stays = |batch: &RecordBatch| left_of(table, batch, is_erased);
    let left_out = rewriting::leave_out(lake, table, settings, "erased", &stays).await?;
    *files += left_out.files;
    // Also those that left the table before, and that readers would be given time for.
    lake.vacuum(table, domain::Timestamp(i64::MAX), std::time::Duration::ZERO)
        .await?;
    Ok(left_out.rows)
}

/// Whether each row is of nobody who is erased.
fn left_of(table: Table, batch: &RecordBatch, is_erased: &(dyn Fn(&str) -> bool + Sync)) -> BooleanArray {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .expect("the column stands in the table's schema")
    };
    if table == Table::DeadLetters {
        let payloads = column("payload").as_binary::<i32>();
        let left = |row| Some(!user_ids(payloads.value(row)).any(|user| is_erased(&user)));
        (0..payloads.len()).map(left).collect()
    } else {
        let users = column("user_id").as_string::<i32>();
        (0..users.len())
            .map(|row| Some(!is_erased(users.value(row))))
            .collect()
    }
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
