//! Writes accepted events to Parquet on a thread of its own, one file per day and epoch.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;

use crate::PipelineError;
use crate::schema::Table;

/// Batches waiting for the writer: enough to keep it busy, few enough to stay small beside the state.
const QUEUE_BATCHES: usize = 4;

/// A finished file of one day.
#[derive(Debug)]
pub struct DayFile {
    /// The day of its rows.
    pub day: i32,
    /// Its rows.
    pub rows: u64,
    /// The Parquet bytes.
    pub bytes: Bytes,
}

enum Order {
    Write(i32, RecordBatch),
    Finish(SyncSender<Result<Vec<DayFile>, PipelineError>>),
}

/// The hand of the writing thread.
#[derive(Debug)]
pub struct EventFiles {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

const GONE: PipelineError = PipelineError::WorkerGone { worker: "event file" };

impl EventFiles {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start() -> Result<Self, PipelineError> {
        let (orders, inbox) = sync_channel(QUEUE_BATCHES);
        let thread = std::thread::Builder::new()
            .name("event-files".into())
            .spawn(move || work(&inbox));
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread.map_err(|_| GONE)?),
        })
    }

    /// Hands over rows of one day.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn write(&self, day: i32, batch: RecordBatch) -> Result<(), PipelineError> {
        let orders = self.orders.as_ref().ok_or(GONE)?;
        orders.send(Order::Write(day, batch)).map_err(|_| GONE)
    }

    /// Finishes the files of all rows handed over since the last call.
    ///
    /// # Errors
    /// When rows could not be encoded, or the thread has ended.
    pub fn finish(&self) -> Result<Vec<DayFile>, PipelineError> {
        let (answer, result) = sync_channel(1);
        self.orders
            .as_ref()
            .ok_or(GONE)?
            .send(Order::Finish(answer))
            .map_err(|_| GONE)?;
        result.recv().map_err(|_| GONE)?
    }
}

impl Drop for EventFiles {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported as a missing answer already.
            drop(thread.join());
        }
    }
}

#[derive(Default)]
struct Open {
    days: BTreeMap<i32, (ArrowWriter<Vec<u8>>, u64)>,
    failed: Option<PipelineError>,
}

impl Open {
    fn write(&mut self, day: i32, batch: &RecordBatch) -> Result<(), parquet::errors::ParquetError> {
        let (writer, rows) = match self.days.entry(day) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let properties = Table::Events.writer_properties();
                let writer = ArrowWriter::try_new(Vec::new(), Table::Events.file_schema(), Some(properties))?;
                entry.insert((writer, 0))
            }
        };
        *rows += batch.num_rows() as u64;
        writer.write(batch)
    }

    fn finish(&mut self) -> Result<Vec<DayFile>, PipelineError> {
        let days = std::mem::take(&mut self.days);
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let finish = |(day, (writer, rows)): (i32, (ArrowWriter<Vec<u8>>, u64))| {
            let bytes = writer.into_inner().map_err(encode_error)?;
            Ok(DayFile {
                day,
                rows,
                bytes: bytes.into(),
            })
        };
        days.into_iter().map(finish).collect()
    }
}

fn encode_error(source: parquet::errors::ParquetError) -> PipelineError {
    PipelineError::Parquet {
        action: "write",
        table: Table::Events.name(),
        source,
    }
}

fn work(inbox: &Receiver<Order>) {
    let mut open = Open::default();
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Write(day, batch) => {
                if let Err(error) = open.write(day, &batch) {
                    open.failed.get_or_insert(encode_error(error));
                }
            }
            // Nobody waiting means that the pipeline has ended; the channel closes next.
            Order::Finish(answer) => drop(answer.send(open.finish())),
        }
    }
}
