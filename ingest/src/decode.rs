//! Raw records to valid events, or to rejections with one reason each: the single place where input is validated.
//!
//! The records are scanned in place; the batch's bytes become the buffer that events point into. Only texts that hold
//! escapes are copied, to the end of the buffer. Bad input never fails a batch: each bad record becomes a rejection, and
//! events and rejections together are all records.

mod fields;
mod number;
pub(crate) mod record;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use std::ops::Range;

use domain::RejectReason;
use domain::event::RECORD_MAX_BYTES;

use self::fields::Reject;
pub use self::number::{id_key, user_hash};
pub(crate) use self::record::{Charset, RecordContext, decode_record};
use crate::batch::{EventBatch, Rejection};
use crate::source::{RawBatch, RecordLayout};

/// How old a live event may be. History, and the future in general, need no setting: see [`domain::event`].
///
/// The clock is the instant at which a batch was received, so that reading a log again gives the same verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeLimits {
    /// How far before its arrival the time of a live event may lie, in microseconds; without a limit when absent.
    pub retention_micros: Option<i64>,
}

/// The events and rejections of a batch, in the batch's order.
///
/// # Panics
/// When the batch holds two gigabytes or more; sources close batches at a thousandth of that.
pub fn decode(raw: RawBatch, limits: &DecodeLimits) -> EventBatch {
    assert!(
        i32::try_from(raw.bytes.len()).is_ok(),
        "a batch holds less than two gigabytes"
    );
    let RawBatch {
        partition,
        mut bytes,
        records,
        end,
        received_at,
        live,
    } = raw;
    let mut decoder = Decoder {
        charset: Charset::of(&bytes),
        context: RecordContext::new(received_at, live, limits.retention_micros),
        bytes: &bytes,
        unescaped: Vec::new(),
        // Most events have 150 to 400 bytes.
        events: Vec::with_capacity(bytes.len() / 192),
        rejections: Vec::new(),
    };
    match records {
        RecordLayout::Lines { first_offset } => {
            // What is live was cut into records before, byte order mark and all.
            for range in lines(&bytes, first_offset == 0 && !live) {
                decoder.take(range.clone(), || (first_offset + range.start as u64).to_string());
            }
        }
        RecordLayout::Listed(list) => {
            for (record, position) in list {
                decoder.take_listed(&record, position);
            }
        }
    }
    let Decoder {
        unescaped,
        events,
        rejections,
        ..
    } = decoder;
    bytes.extend_from_slice(&unescaped);
    EventBatch {
        partition,
        end,
        buffer: bytes,
        events,
        rejections,
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The ranges of the lines that are records: those with anything else than whitespace. A byte order mark at the very
/// beginning of a text is no part of the first.
pub(crate) fn lines(bytes: &[u8], at_beginning: bool) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = if at_beginning && bytes.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    std::iter::from_fn(move || {
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
            let line = start..end;
            start = end + 1;
            if !is_blank(&bytes[line.clone()]) {
                return Some(line);
            }
        }
        None
    })
}

#[inline]
fn is_blank(line: &[u8]) -> bool {
    // Nearly every line begins with its brace.
    line.first().is_none_or(|byte| byte.is_ascii_whitespace())
        && line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

struct Decoder<'a> {
    charset: Charset,
    context: RecordContext,
    bytes: &'a [u8],
    unescaped: Vec<u8>,
    events: Vec<crate::EventRecord>,
    rejections: Vec<Rejection>,
}

impl Decoder<'_> {
    #[inline]
    fn take(&mut self, range: Range<usize>, position: impl FnOnce() -> String) {
        let kept = self.unescaped.len();
        match decode_record(
            self.bytes,
            range.clone(),
            self.charset,
            &self.context,
            &mut self.unescaped,
        ) {
            Ok(event) => self.events.push(event),
            Err(reject) => {
                self.unescaped.truncate(kept);
                self.turn_away(range, position(), reject);
            }
        }
    }

    fn take_listed(&mut self, record: &crate::RawRecord, position: String) {
        let start = (record.start as usize).min(self.bytes.len());
        let end = (start + record.length as usize).min(self.bytes.len());
        if let Some(detail) = &record.undecodable {
            let reject = Reject {
                reason: RejectReason::Undecodable,
                detail: detail.clone(),
            };
            return self.turn_away(start..end, position, reject);
        }
        self.take(start..end, || position);
    }

    #[cold]
    fn turn_away(&mut self, range: Range<usize>, position: String, reject: Reject) {
        let record = &self.bytes[range];
        self.rejections.push(Rejection {
            reason: reject.reason,
            detail: reject.detail,
            position,
            received_at: self.context.received_at,
            payload: record[..record.len().min(RECORD_MAX_BYTES)].to_vec(),
        });
    }
}
