//! What an HTTP request with events becomes: durable records in the embedded log, and a report on each that is bad.
//!
//! It knows bodies, not HTTP: status codes are for the caller to choose by [`CollectError`]. All records of a request go to
//! the log as one frame, bad ones too, so that the pipeline keeps them as dead letters; the report says which will be.

mod body;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use domain::event::RECORD_MAX_BYTES;
use domain::{RejectReason, Timestamp};

use self::body::Body;
use crate::decode::{Charset, DecodeLimits, RecordContext, decode_record};
use crate::error::IngestError;
use crate::log::{EmbeddedLog, Frame};
use crate::metrics;

/// The largest body as sent.
pub const BODY_MAX_BYTES: usize = 10 * 1024 * 1024;
/// The largest body once decompressed: JSON events seldom shrink to less than a third of a tenth.
pub const DECOMPRESSED_MAX_BYTES: usize = 32 * 1024 * 1024;
/// The most records of one request: more make answers slow and repetitions expensive.
pub const RECORD_MAX_COUNT: usize = 10_000;
/// The most rejected records that a report lists; their number is always exact.
pub const REJECTED_LISTED_MAX: usize = 100;
/// A body up to this size is checked where it is, in well under half a millisecond; larger ones on a blocking thread.
const INLINE_MAX_BYTES: usize = 64 * 1024;
/// Commits come every few seconds, and each makes room.
const RETRY_AFTER_FULL_SECONDS: u32 = 2;
/// Somebody has to free space on a full disk.
const RETRY_AFTER_DISK_FULL_SECONDS: u32 = 30;

/// What the collector takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectorSettings {
    /// How old an event may be.
    pub limits: DecodeLimits,
}

/// One request's events.
#[derive(Debug, Clone)]
pub struct CollectRequest<'a> {
    /// The `Content-Type`: NDJSON as `application/x-ndjson`, `application/ndjson` or `text/plain`; a JSON array or a single
    /// object as `application/json`. Without one, a body that begins with `[` is an array and any other NDJSON.
    pub content_type: Option<&'a str>,
    /// The `Content-Encoding`: `gzip`, `zstd`, `identity` or none.
    pub content_encoding: Option<&'a str>,
    /// The body as sent.
    pub body: Bytes,
    /// When it was received; kept in whole milliseconds.
    pub received_at: Timestamp,
}

/// What became of the records of a request, all of which are durable now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectReport {
    /// Records found in the body.
    pub received: u64,
    /// Records that are events.
    pub accepted: u64,
    /// Records that are not, and become dead letters.
    pub rejected_count: u64,
    /// The first [`REJECTED_LISTED_MAX`] of these.
    pub rejected: Vec<RejectedRecord>,
}

/// A record that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Its place among the records of the request, from 0. Blank lines do not count.
    pub index: u64,
    /// Why, from the closed list.
    pub reason: RejectReason,
    /// What exactly, in one phrase.
    pub detail: String,
}

/// Why a request was refused as a whole; none of its records is kept.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is nothing in it. HTTP 400.
    #[error("the body holds no records")]
    Empty,
    /// It is beyond a limit. HTTP 413.
    #[error("the {what} exceeds the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The most that is taken.
        limit: usize,
    },
    /// The content type is not one of events. HTTP 415.
    #[error(
        "content type {content_type} is not one of application/x-ndjson, application/json and text/plain"
    )]
    UnsupportedMediaType {
        /// What was sent.
        content_type: String,
    },
    /// The content encoding is not known. HTTP 415.
    #[error("content encoding {content_encoding} is not one of gzip, zstd and identity")]
    UnsupportedEncoding {
        /// What was sent.
        content_encoding: String,
    },
    /// The body is not what its content encoding says. HTTP 400.
    #[error("the body is not valid {format}")]
    BadCompression {
        /// The encoding.
        format: &'static str,
        /// What the decompressor says.
        #[source]
        source: std::io::Error,
    },
    /// The body is not a JSON array or object, so that records cannot be told apart. HTTP 400.
    #[error(
        "the body is not a JSON array or object of events: {detail}; one event a line is application/x-ndjson"
    )]
    NotRecords {
        /// Where it stops being one.
        detail: String,
    },
    /// There is no room at the moment; the same request may succeed later. HTTP 429.
    #[error("events cannot be taken at the moment")]
    Busy {
        /// When to try again.
        retry_after_seconds: u32,
        /// Why.
        #[source]
        source: IngestError,
    },
    /// Events cannot be made durable until somebody mends it. HTTP 503.
    #[error("events cannot be made durable")]
    Unavailable {
        /// Why.
        #[source]
        source: IngestError,
    },
}

/// Takes requests and appends their records to the embedded log. Clones share the log.
#[derive(Clone)]
pub struct Collector {
    log: EmbeddedLog,
    settings: CollectorSettings,
}

impl Collector {
    /// A collector over a log.
    pub fn new(log: EmbeddedLog, settings: CollectorSettings) -> Self {
        Self { log, settings }
    }

    /// Makes the records of a request durable and says what will become of each.
    ///
    /// # Errors
    /// When the request as a whole cannot be taken; then nothing of it is kept. When the future is dropped before it
    /// answers, or the log fails, records may be kept; sending them again is harmless.
    pub async fn collect(&self, request: CollectRequest<'_>) -> Result<CollectReport, CollectError> {
        let body_bytes = request.body.len();
        if body_bytes > BODY_MAX_BYTES {
            return Err(CollectError::TooLarge {
                what: "size of the body in bytes",
                limit: BODY_MAX_BYTES,
            });
        }
        let body = Body::new(request.content_type, request.content_encoding, request.body)?;
        // Whole milliseconds let the reader of the log join small requests into one batch.
        let received_at = Timestamp(request.received_at.0.div_euclid(1_000) * 1_000);
        let context = RecordContext::new(received_at, true, self.settings.limits.retention_micros);
        let checked = if body.is_plain() && body_bytes <= INLINE_MAX_BYTES {
            check(&body, &context)
        } else {
            let checked = tokio::task::spawn_blocking(move || check(&body, &context)).await;
            checked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        let Checked { records, report } = checked?;
        let record_count = u32::try_from(report.received).unwrap_or(u32::MAX);
        let frame = Frame {
            received_at,
            records,
            record_count,
        };
        self.log.append(frame).await.map_err(refused)?;
        metrics::collected(body_bytes, report.accepted);
        Ok(report)
    }
}

fn refused(source: IngestError) -> CollectError {
    let retry_after_seconds = match source {
        IngestError::LogFull { .. } => RETRY_AFTER_FULL_SECONDS,
        IngestError::DiskFull { .. } => RETRY_AFTER_DISK_FULL_SECONDS,
        _ => return CollectError::Unavailable { source },
    };
    CollectError::Busy {
        retry_after_seconds,
        source,
    }
}

/// The records of a request as the log keeps them, and what they are.
struct Checked {
    records: Vec<u8>,
    report: CollectReport,
}

fn check(body: &Body, context: &RecordContext) -> Result<Checked, CollectError> {
    let text = body.decompressed()?;
    let ranges = body.records(&text)?;
    if ranges.is_empty() {
        return Err(CollectError::Empty);
    }
    let mut records = Vec::with_capacity(text.len() + ranges.len());
    let mut lines = Vec::with_capacity(ranges.len());
    for range in ranges {
        // The head of a record that is too large is all that a dead letter keeps of it.
        let end = range.end.min(range.start + RECORD_MAX_BYTES + 1);
        let start = records.len();
        records.extend_from_slice(&text[range.start..end]);
        // Within an array, a newline can only be whitespace, for strings hold none. In a line there is none.
        for byte in &mut records[start..] {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
        lines.push(start..records.len());
        records.push(b'\n');
    }
    let charset = Charset::of(&records);
    let received = lines.len() as u64;
    let mut report = CollectReport {
        received,
        accepted: 0,
        rejected_count: 0,
        rejected: Vec::new(),
    };
    let mut unescaped = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        unescaped.clear();
        match decode_record(&records, line, charset, context, &mut unescaped) {
            Ok(_event) => report.accepted += 1,
            Err(reject) => {
                metrics::rejected(reject.reason);
                report.rejected_count += 1;
                if report.rejected.len() < REJECTED_LISTED_MAX {
                    let (reason, detail) = (reject.reason, reject.detail);
                    report.rejected.push(RejectedRecord {
                        index: index as u64,
                        reason,
                        detail,
                    });
                }
            }
        }
    }
    Ok(Checked { records, report })
}
