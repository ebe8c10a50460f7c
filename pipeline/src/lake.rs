//! The lake: Delta tables on object storage, and the rules by which an epoch becomes true.
//!
//! Data files are written first and named by their epoch; a commit then makes them part of the table together with a `txn`
//! action per application id, whose version is the epoch. A commit is skipped when the table already has the epoch, and
//! after any error the table is read again before anything is decided: a lost answer to a conditional put looks like a
//! conflict, and the epoch may well have been committed. One process commits to a lake; a second one is fenced off by the
//! `txn` versions.

mod files;
mod root;
mod vacuum;

use std::collections::{BTreeMap, BTreeSet};

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Transaction, engine::arrow_conversion::TryIntoKernel};
use deltalake_core::protocol::{DeltaOperation, OutputMode, SaveMode};
use deltalake_core::{DeltaTable, TableProperty};
use futures::StreamExt;

pub use files::{ActiveFile, DataFile, FileEncoder, Part, day_text, encode_batches, read_batches, read_file};
pub use root::Root;

use crate::PipelineError;
use crate::schema::{PARTITION_COLUMN, Table};

/// How often a commit is tried against others: there is one committer, so a conflict is compaction by hand at most.
const COMMIT_RETRIES: usize = 20;
/// How long old commits stay in a table's log: at a commit a second a longer log is slow to list, and what stood when is
/// told by the columns `as_of` and `epoch`, not by time travel.
const LOG_RETENTION: &str = "interval 6 hours";
/// The application id under which the pipeline's epoch stands in every table.
pub const PIPELINE_APP_ID: &str = "experimently/pipeline";

/// The application id of one partition of a source.
pub fn partition_app_id(partition: &domain::PartitionId) -> String {
    format!("{PIPELINE_APP_ID}/{partition}")
}

/// The tables of one lake, open for reading and for the one committer.
#[derive(Debug)]
pub struct Lake {
    root: Root,
    tables: BTreeMap<Table, DeltaTable>,
}

fn table_error(
    action: &'static str,
    table: Table,
) -> impl FnOnce(deltalake_core::DeltaTableError) -> PipelineError {
    move |source| PipelineError::Table {
        action,
        table: table.name(),
        source: Box::new(source),
    }
}

impl Lake {
    /// Opens the lake under a root, creating the tables that are not there.
    ///
    /// # Errors
    /// When the root or a table cannot be read or written.
    pub async fn open(root: Root) -> Result<Self, PipelineError> {
        let mut tables = BTreeMap::new();
        for table in Table::ALL {
            let mut delta = root.table(table)?;
            if !delta
                .verify_deltatable_existence()
                .await
                .map_err(table_error("open", table))?
            {
                delta = create(delta, table).await?;
                root.sync_log(table, 0)?;
            } else {
                delta.load().await.map_err(table_error("open", table))?;
            }
            tables.insert(table, delta);
        }
        Ok(Self { root, tables })
    }

    /// Opens the lake under a root for reading only.
    ///
    /// # Errors
    /// When a table is not there or cannot be read.
    pub async fn open_existing(root: Root) -> Result<Self, PipelineError> {
        let mut tables = BTreeMap::new();
        for table in Table::ALL {
            let mut delta = root.table(table)?;
            delta.load().await.map_err(table_error("open", table))?;
            tables.insert(table, delta);
        }
        Ok(Self { root, tables })
    }

    /// The root of the lake.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The Delta table, as of the last commit or refresh.
    pub(crate) fn delta(&self, table: Table) -> &DeltaTable {
        &self.tables[&table]
    }

    fn delta_mut(&mut self, table: Table) -> &mut DeltaTable {
        self.tables
            .get_mut(&table)
            .expect("every table is opened with the lake")
    }

    /// Reads what others have committed since.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub async fn refresh(&mut self) -> Result<(), PipelineError> {
        for table in Table::ALL {
            self.delta_mut(table)
                .update_state()
                .await
                .map_err(table_error("read", table))?;
        }
        Ok(())
    }

    /// The last epoch committed to a table, none for a fresh one.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn epoch(&self, table: Table) -> Result<Option<i64>, PipelineError> {
        let delta = self.delta(table);
        let log_store = delta.log_store();
        let state = delta.snapshot().map_err(table_error("read", table))?;
        let version = state
            .transaction_version(log_store.as_ref(), PIPELINE_APP_ID)
            .await;
        version.map_err(table_error("read", table))
    }

    /// The files that make up a table now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn active_files(&self, table: Table) -> Result<Vec<ActiveFile>, PipelineError> {
        let state = self.delta(table).snapshot().map_err(table_error("read", table))?;
        Ok(state
            .log_data()
            .into_iter()
            .map(|view| ActiveFile::from_view(&view))
            .collect())
    }

    /// Makes an epoch true in a table: adds `files`, and takes out all other files of the `replaced` days.
    ///
    /// Does nothing when the table has the epoch already.
    ///
    /// # Errors
    /// [`PipelineError::Fenced`] when another process has committed a later epoch, or when the table cannot be written.
    pub async fn commit(
        &mut self,
        table: Table,
        epoch: i64,
        files: &[DataFile],
        replaced: &BTreeSet<i32>,
        app_ids: &[String],
    ) -> Result<(), PipelineError> {
        if self.has_epoch(table, epoch).await? {
            return Ok(());
        }
        let mut actions: Vec<Action> = files.iter().map(|file| Action::Add(file.add_action())).collect();
        if !replaced.is_empty() {
            actions.extend(self.removals(
                table,
                |file| file.day.is_some_and(|day| replaced.contains(&day)),
                true,
            )?);
        }
        let transactions = std::iter::once(PIPELINE_APP_ID.to_owned()).chain(app_ids.iter().cloned());
        let transactions = transactions
            .map(|app_id| Transaction::new(app_id, epoch))
            .collect();
        let properties = CommitProperties::default()
            .with_application_transactions(transactions)
            .with_max_retries(COMMIT_RETRIES);
        let operation = DeltaOperation::StreamingUpdate {
            output_mode: OutputMode::Append,
            query_id: PIPELINE_APP_ID.into(),
            epoch_id: epoch,
        };
        if let Err(error) = self.write_commit(table, actions, properties, operation).await {
            // The commit may be there although the answer was lost: only the table knows.
            tracing::warn!(table = table.name(), epoch, %error, "commit answered with an error, reading the table again");
            if !self.has_epoch(table, epoch).await? {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn has_epoch(&mut self, table: Table, epoch: i64) -> Result<bool, PipelineError> {
        self.delta_mut(table)
            .update_state()
            .await
            .map_err(table_error("read", table))?;
        match self.epoch(table).await? {
            Some(found) if found > epoch => Err(PipelineError::Fenced {
                table: table.name(),
                found,
                expected: epoch - 1,
            }),
            found => Ok(found == Some(epoch)),
        }
    }

    fn removals(
        &self,
        table: Table,
        leaves: impl Fn(&ActiveFile) -> bool,
        data_change: bool,
    ) -> Result<Vec<Action>, PipelineError> {
        let state = self.delta(table).snapshot().map_err(table_error("read", table))?;
        let views = state
            .log_data()
            .into_iter()
            .filter(|view| leaves(&ActiveFile::from_view(view)));
        Ok(views
            .map(|view| Action::Remove(view.remove_action(data_change)))
            .collect())
    }

    async fn write_commit(
        &mut self,
        table: Table,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
    ) -> Result<(), PipelineError> {
        let delta = self.delta_mut(table);
        let state = delta.snapshot().map_err(table_error("commit to", table))?;
        let commit = CommitBuilder::from(properties).with_actions(actions).build(
            Some(state),
            delta.log_store(),
            operation,
        );
        let version = commit.await.map_err(table_error("commit to", table))?.version();
        self.root.sync_log(table, version)?;
        self.delta_mut(table)
            .update_state()
            .await
            .map_err(table_error("read", table))
    }

    /// Replaces files by others, in one commit; without `data_change` the rows are the same, and readers that follow the
    /// table pass over it.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn swap_files(
        &mut self,
        table: Table,
        gone: &BTreeSet<String>,
        new: &[DataFile],
        data_change: bool,
    ) -> Result<(), PipelineError> {
        let mut actions = self.removals(table, |file| gone.contains(&file.path), data_change)?;
        actions.extend(new.iter().map(|file| {
            let mut add = file.add_action();
            add.data_change = data_change;
            Action::Add(add)
        }));
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![PARTITION_COLUMN.into()]),
            predicate: None,
        };
        self.write_commit(
            table,
            actions,
            CommitProperties::default().with_max_retries(COMMIT_RETRIES),
            operation,
        )
        .await
    }

    /// The bytes of a data file that a table names.
    ///
    /// # Errors
    /// [`PipelineError::BadState`] when it is not there, or when it cannot be read.
    pub async fn file_bytes(&self, table: Table, name: &str) -> Result<bytes::Bytes, PipelineError> {
        let path = format!("lake/{}/{name}", table.name());
        let bytes = self.root.get(&path).await?;
        bytes.ok_or_else(|| PipelineError::BadState {
            path,
            why: "the table names it and it is missing".into(),
        })
    }

    /// Takes all files of some days out of a table, in one commit, and says which files left.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn remove_days(
        &mut self,
        table: Table,
        days: &BTreeSet<i32>,
    ) -> Result<Vec<ActiveFile>, PipelineError> {
        let mut files = self.active_files(table)?;
        files.retain(|file| file.day.is_some_and(|day| days.contains(&day)));
        if !files.is_empty() {
            let gone = files.iter().map(|file| file.path.clone()).collect();
            self.swap_files(table, &gone, &[], true).await?;
        }
        Ok(files)
    }

    /// Writes a data file of a table; it is part of the table only once committed.
    ///
    /// # Errors
    /// When the object cannot be written and made durable.
    pub async fn write_file(
        &self,
        table: Table,
        name: &str,
        bytes: bytes::Bytes,
    ) -> Result<(), PipelineError> {
        self.root
            .put(&format!("lake/{}/{name}", table.name()), bytes)
            .await
    }

    /// Deletes data files that no version of any table names and that belong to an epoch that never came true.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub async fn sweep_orphans(&self, after_epoch: i64) -> Result<usize, PipelineError> {
        let mut swept = 0;
        for table in Table::ALL {
            let active: BTreeSet<String> = self
                .active_files(table)?
                .into_iter()
                .map(|file| file.path)
                .collect();
            let prefix = format!("lake/{}", table.name());
            let mut objects = self.root.list(&prefix);
            while let Some(object) = objects.next().await {
                let location = object
                    .map_err(|source| PipelineError::Object {
                        action: "list",
                        path: prefix.clone(),
                        source,
                    })?
                    .location;
                let name = location
                    .as_ref()
                    .strip_prefix(&format!("{prefix}/"))
                    .unwrap_or_default()
                    .to_owned();
                let orphan = files::epoch_of(&name).is_some_and(|epoch| epoch > after_epoch)
                    && !active.contains(&name);
                if orphan {
                    self.root.delete(location.as_ref()).await?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }
}

async fn create(delta: DeltaTable, table: Table) -> Result<DeltaTable, PipelineError> {
    let schema = table.schema();
    let schema: deltalake_core::kernel::StructType =
        schema
            .as_ref()
            .try_into_kernel()
            .map_err(|source| PipelineError::Columns {
                table: table.name(),
                source,
            })?;
    let builder = deltalake_core::operations::create::CreateBuilder::new()
        .with_log_store(delta.log_store())
        .with_table_name(table.name())
        .with_columns(schema.fields().cloned())
        .with_partition_columns([PARTITION_COLUMN])
        .with_configuration_property(TableProperty::LogRetentionDuration, Some(LOG_RETENTION));
    builder.await.map_err(table_error("create", table))
}
