//! The data files of an epoch: events, dead letters and derived rows, written before anything is committed.

use std::collections::{BTreeMap, BTreeSet};

use ingest::Rejection;

use super::Worker;
use crate::PipelineError;
use crate::columns;
use crate::engine::Derived;
use crate::lake::{DataFile, encode_batches};
use crate::reconcile;
use crate::schema::Table;
use crate::state::{DerivedWritten, Owed};

impl Worker {
    pub(super) fn write_events(&mut self, epoch: i64) -> Result<Vec<DataFile>, PipelineError> {
        for (day, mut columns) in std::mem::take(&mut self.epoch.days) {
            if !columns.is_empty() {
                self.files.write(day, columns.finish(epoch)?)?;
            }
        }
        let mut written = Vec::new();
        for (place, file) in self.files.finish()?.into_iter().enumerate() {
            let data = DataFile::of_epoch(file.day, epoch, &self.settings.run_id, place, file.rows);
            written.push(self.write_file(Table::Events, data, file.bytes)?);
        }
        Ok(written)
    }

    fn write_file(
        &self,
        table: Table,
        mut file: DataFile,
        bytes: bytes::Bytes,
    ) -> Result<DataFile, PipelineError> {
        file.size_bytes = bytes.len() as u64;
        file.written_at_ms = (self.settings.now)().0 / 1_000;
        self.runtime
            .block_on(self.lake.write_file(table, &file.path, bytes))?;
        Ok(file)
    }

    pub(super) fn write_dead_letters(&self, epoch: i64) -> Result<Option<Owed>, PipelineError> {
        let mut days: BTreeMap<i32, Vec<(String, Rejection)>> = BTreeMap::new();
        for entry in &self.epoch.rejections {
            days.entry(entry.1.received_at.day())
                .or_default()
                .push(entry.clone());
        }
        let mut owed = Owed::default();
        for (place, (day, rows)) in days.into_iter().enumerate() {
            let bytes = encode_batches(Table::DeadLetters, &[columns::dead_letters(&rows, epoch)?])?;
            let file = DataFile::of_epoch(day, epoch, &self.settings.run_id, place, rows.len() as u64);
            owed.files.push(self.write_file(Table::DeadLetters, file, bytes)?);
        }
        Ok((!owed.files.is_empty()).then_some(owed))
    }

    pub(super) fn write_derived(
        &mut self,
        epoch: i64,
        written: DerivedWritten,
        mended: Option<reconcile::Mended>,
    ) -> Result<BTreeMap<Table, Owed>, PipelineError> {
        if written == DerivedWritten::Nothing {
            return Ok(BTreeMap::new());
        }
        let mut derived = self.engine.take_derived(written == DerivedWritten::All);
        let merged = reconcile::merge_windows(&mut derived, mended, &self.lake, &self.plan);
        self.runtime.block_on(merged)?;
        let merged = reconcile::merge_exposures(&mut derived, &self.lake, &self.plan);
        self.runtime.block_on(merged)?;
        let as_of = self.engine.watermark();
        let Derived {
            windows,
            replaced_window_days,
            summaries,
            exposures,
            replaced_exposure_days,
        } = derived;
        let mut owed = BTreeMap::new();
        let windows = columns::windows(&windows, epoch)?;
        owed.insert(
            Table::Windows,
            self.owe(Table::Windows, epoch, windows, replaced_window_days)?,
        );
        let exposures = columns::first_exposures(&exposures, epoch)?;
        owed.insert(
            Table::FirstExposures,
            self.owe(Table::FirstExposures, epoch, exposures, replaced_exposure_days)?,
        );
        if !summaries.is_empty() {
            let day = BTreeMap::from([(as_of.day(), columns::summaries(&summaries, as_of, epoch)?)]);
            owed.insert(
                Table::Summaries,
                self.owe(Table::Summaries, epoch, day, BTreeSet::new())?,
            );
        }
        owed.retain(|_, owed| !owed.files.is_empty() || !owed.replaced_days.is_empty());
        Ok(owed)
    }

    fn owe(
        &self,
        table: Table,
        epoch: i64,
        days: BTreeMap<i32, arrow::array::RecordBatch>,
        replaced_days: BTreeSet<i32>,
    ) -> Result<Owed, PipelineError> {
        let mut files = Vec::new();
        for (place, (day, rows)) in days.into_iter().enumerate() {
            let file = DataFile::of_epoch(day, epoch, &self.settings.run_id, place, rows.num_rows() as u64);
            files.push(self.write_file(table, file, encode_batches(table, &[rows])?)?);
        }
        Ok(Owed { files, replaced_days })
    }
}
