//! Writing the full state to storage, part by part: it may be half of the memory there is.

use std::io::{self, Write};

use domain::metric::MeasurementPlan;
use object_store::WriteMultipart;

use crate::PipelineError;
use crate::engine::Engine;
use crate::lake::Root;
use crate::state;

/// Parts that are on their way while the next one is made: more would only take memory.
const PARTS_IN_FLIGHT: usize = 2;

/// Writes the state after an epoch from a thread outside the runtime, and gives its size in bytes.
///
/// # Errors
/// When it cannot be made durable.
pub(crate) fn write(
    root: &Root,
    runtime: &tokio::runtime::Handle,
    engine: &Engine,
    plan: &MeasurementPlan,
    epoch: i64,
) -> Result<u64, PipelineError> {
    let path = state::snapshot_path(epoch);
    let mut parts = Parts {
        upload: runtime.block_on(root.start(&path))?,
        runtime,
        size_bytes: 0,
    };
    if let Err(error) = engine.write_snapshot(plan, &mut parts) {
        // What is left of it is no object; that it cannot be taken away is no second failure.
        drop(runtime.block_on(parts.upload.abort()));
        let source = object_store::Error::Generic {
            store: "snapshot",
            source: Box::new(error),
        };
        return Err(PipelineError::Object {
            action: "write",
            path,
            source,
        });
    }
    let size_bytes = parts.size_bytes;
    runtime.block_on(root.finish(&path, parts.upload))?;
    Ok(size_bytes)
}

/// The parts of an object.
struct Parts<'a> {
    upload: WriteMultipart,
    runtime: &'a tokio::runtime::Handle,
    size_bytes: u64,
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let upload = &mut self.upload;
        self.runtime.block_on(async {
            upload.wait_for_capacity(PARTS_IN_FLIGHT).await?;
            upload.write(bytes);
            Ok::<_, object_store::Error>(())
        })?;
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
