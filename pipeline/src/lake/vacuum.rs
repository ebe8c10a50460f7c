//! Taking away data files that no table names any more.

use std::collections::HashSet;
use std::time::Duration;

use domain::Timestamp;
use futures::StreamExt;

use super::{Lake, table_error};
use crate::PipelineError;
use crate::schema::Table;

impl Lake {
    /// Deletes the data files of a table that left it, or never became part of it, more than `keep` before `now`. A query
    /// that began before a file left the table may still read it for that long.
    ///
    /// # Errors
    /// When the table cannot be read, or a file cannot be deleted.
    pub async fn vacuum(&self, table: Table, now: Timestamp, keep: Duration) -> Result<usize, PipelineError> {
        let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now.0.div_euclid(1_000).saturating_sub(keep_ms);
        let kept = self.named_since(table, before_ms).await?;
        let folder = format!("lake/{}/", table.name());
        let mut objects = self.root().list(&folder);
        let mut deleted = 0;
        while let Some(object) = objects.next().await {
            let object = object.map_err(|source| PipelineError::Object {
                action: "list",
                path: folder.clone(),
                source,
            })?;
            let path = object.location.as_ref();
            let name = path.strip_prefix(&folder).unwrap_or_default();
            let is_data = super::files::epoch_of(name).is_some() && !name.starts_with('_');
            let is_old = object.last_modified.timestamp_millis() <= before_ms;
            if is_data && is_old && !kept.contains(name) {
                self.root().delete(path).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// The files that a table names, or named after an instant.
    async fn named_since(&self, table: Table, after_ms: i64) -> Result<HashSet<String>, PipelineError> {
        let active = self.active_files(table)?.into_iter().map(|file| file.path);
        let mut named: HashSet<String> = active.collect();
        let delta = self.delta(table);
        let state = delta.snapshot().map_err(table_error("read", table))?;
        let log_store = delta.log_store();
        let mut removed = state.all_tombstones(log_store.as_ref());
        while let Some(tombstone) = removed.next().await {
            let tombstone = tombstone.map_err(table_error("read", table))?;
            if tombstone
                .deletion_timestamp()
                .is_none_or(|at_ms| at_ms > after_ms)
            {
                named.insert(tombstone.path().into_owned());
            }
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lake::{DataFile, Root};

    const HOUR_MICROS: i64 = 3_600_000_000;

    async fn written(lake: &Lake, run: &str) -> DataFile {
        let file = DataFile::of_epoch(20_000, 1, run, 0, 1);
        lake.write_file(Table::Events, &file.path, run.to_owned().into())
            .await
            .unwrap();
        file
    }

    async fn is_there(lake: &Lake, file: &DataFile) -> bool {
        let path = format!("lake/{}/{}", Table::Events.name(), file.path);
        lake.root().get(&path).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn files_that_left_a_table_stay_for_its_readers_and_then_go() {
        // What must never change: what a table names stays, however old, and what left it just now stays for a while.
        let folder = tempfile::tempdir().unwrap();
        let mut lake = Lake::open(Root::folder(folder.path()).unwrap()).await.unwrap();
        let (old, new, orphan) = (
            written(&lake, "old").await,
            written(&lake, "new").await,
            written(&lake, "orphan").await,
        );
        lake.commit(
            Table::Events,
            1,
            std::slice::from_ref(&old),
            &BTreeSet::new(),
            &[],
        )
        .await
        .unwrap();
        let gone = BTreeSet::from([old.path.clone()]);
        lake.swap_files(Table::Events, &gone, std::slice::from_ref(&new), false)
            .await
            .unwrap();
        let path = format!("lake/{}/{}", Table::Events.name(), new.path);
        let written_at = std::fs::metadata(folder.path().join(path)).and_then(|file| file.modified());
        let since_1970 = written_at.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Timestamp(i64::try_from(since_1970.as_micros()).unwrap());
        let day = Duration::from_secs(86_400);
        let vacuum = async |hours| {
            let at = now.plus_micros(hours * HOUR_MICROS);
            lake.vacuum(Table::Events, at, day).await.unwrap()
        };
        assert_eq!(vacuum(23).await, 0);
        assert!(is_there(&lake, &old).await && is_there(&lake, &orphan).await);
        assert_eq!(vacuum(25).await, 2);
        assert!(!is_there(&lake, &old).await && !is_there(&lake, &orphan).await);
        assert!(is_there(&lake, &new).await);
    }
}
