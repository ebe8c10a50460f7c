//! Stream records to batches: aggregates taken apart, compression undone, lines and arrays cut into records.
//!
//! Nothing is dropped here. What cannot be opened is passed on as it is, marked, and becomes a dead letter. One stream
//! record expands to at most [`ReadLimits::expanded_bytes`] and [`ReadLimits::expanded_records`].

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Read;
use std::ops::{Range, RangeInclusive};

use domain::event::RECORD_MAX_BYTES;
use domain::{PartitionId, Position, Timestamp};

use super::api::ShardRecord;
use super::settings::ReadLimits;
use crate::decode::lines;
use crate::decode::scan::Scanner;
use crate::kpl::{self, Unpacked};
use crate::source::{RawBatch, RawRecord, RecordLayout};

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The largest window that a zstd frame may ask for, as a power of two: what one record may expand to by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// The records of a batch at which it is closed, whatever their size: each has a place to remember as well.
const BATCH_RECORDS_MAX: usize = 16 * 1024;

/// How far apart the arrivals of a batch's records may lie, in microseconds. They share the first one's arrival as the
/// time at which the platform received them, which is only compared with limits of hours.
const ARRIVAL_SPAN_MAX_MICROS: i64 = 60 * 1_000_000;

/// What to open.
pub(crate) struct OpenPage {
    pub(crate) partition: PartitionId,
    pub(crate) records: Vec<ShardRecord>,
    /// The user records up to here were given before: a position inside an aggregate is possible.
    pub(crate) taken_through: Option<Position>,
    /// The shard's hash keys, where user records outside of them are to be counted.
    pub(crate) hash_keys: Option<RangeInclusive<u128>>,
    pub(crate) limits: ReadLimits,
    pub(crate) now: Timestamp,
}

/// Gives the batches of a page one by one.
pub(crate) struct Opener {
    page: OpenPage,
    unread: std::vec::IntoIter<ShardRecord>,
    building: Building,
    ready: VecDeque<RawBatch>,
    /// When the stream record that is being opened arrived.
    arrival: Timestamp,
    misplaced_count: u64,
}

impl Opener {
    /// Starts with the page's first record.
    pub(crate) fn new(mut page: OpenPage) -> Self {
        let unread = std::mem::take(&mut page.records).into_iter();
        Self {
            arrival: page.now,
            page,
            unread,
            building: Building::default(),
            ready: VecDeque::new(),
            misplaced_count: 0,
        }
    }

    /// The next batch, or `None` when the page is used up. It computes and does not wait.
    pub(crate) fn next_batch(&mut self) -> Option<RawBatch> {
        while self.ready.is_empty() {
            let Some(record) = self.unread.next() else {
                self.close();
                break;
            };
            self.open(&record);
        }
        self.ready.pop_front()
    }

    /// How many user records of aggregates were found in a shard where they do not belong.
    pub(crate) fn misplaced_count(&self) -> u64 {
        self.misplaced_count
    }

    fn open(&mut self, record: &ShardRecord) {
        let arrival = record.arrival.unwrap_or(self.page.now).min(self.page.now);
        if self.building.is_far_from(arrival) {
            self.close();
        }
        self.arrival = arrival;
        let limits = &self.page.limits;
        let mut budget = Budget {
            bytes: limits.expanded_bytes,
            records: limits.expanded_records,
        };
        match kpl::unpack(&record.data, limits.expanded_records) {
            Unpacked::Plain => self.take(&record.sequence, 0, &record.data, &mut budget),
            Unpacked::TooMany => {
                let detail = format!("aggregate of more than {} user records", limits.expanded_records);
                self.take_unopened(&record.sequence, 0, &record.data, detail);
            }
            Unpacked::Aggregate(users) => {
                if users.is_empty() {
                    self.building().ends_at(&record.sequence, 0);
                }
                for (user, sub_sequence) in users.iter().zip(0..) {
                    if self.was_taken(&record.sequence, sub_sequence) {
                        continue;
                    }
                    let misplaced = self
                        .page
                        .hash_keys
                        .as_ref()
                        .is_some_and(|keys| !user.belongs_to(keys));
                    self.misplaced_count += u64::from(misplaced);
                    self.take(&record.sequence, sub_sequence, user.data, &mut budget);
                }
            }
        }
    }

    fn was_taken(&self, sequence: &str, sub_sequence: u64) -> bool {
        self.page.taken_through.as_ref().is_some_and(|taken| {
            let position = Position::Sequence {
                sequence: sequence.into(),
                sub_sequence,
            };
            position <= *taken
        })
    }

    /// Adds the records that a user record holds. They stay in one batch, because positions are of user records.
    fn take(&mut self, sequence: &str, sub_sequence: u64, data: &[u8], budget: &mut Budget) {
        if self.was_taken(sequence, sub_sequence) {
            return;
        }
        let opened = expand(data, budget).and_then(|content| {
            let ranges = cut(&content, budget)?;
            Ok((content, ranges))
        });
        match opened {
            Ok((content, ranges)) => {
                self.building().add(sequence, sub_sequence, &content, &ranges);
                self.close_when_full();
            }
            Err(detail) => self.take_unopened(sequence, sub_sequence, data, detail),
        }
    }

    fn take_unopened(&mut self, sequence: &str, sub_sequence: u64, data: &[u8], detail: String) {
        if self.was_taken(sequence, sub_sequence) {
            return;
        }
        // A dead letter keeps no more than this.
        let kept = &data[..data.len().min(RECORD_MAX_BYTES)];
        self.building().add(
            sequence,
            sub_sequence,
            kept,
            std::slice::from_ref(&(0..kept.len())),
        );
        if let Some((record, _)) = self.building.records.last_mut() {
            record.undecodable = Some(detail);
        }
        self.close_when_full();
    }

    fn building(&mut self) -> &mut Building {
        self.building.arrival.get_or_insert(self.arrival);
        &mut self.building
    }

    fn close_when_full(&mut self) {
        let building = &self.building;
        if building.bytes.len() >= self.page.limits.batch_bytes || building.records.len() >= BATCH_RECORDS_MAX
        {
            self.close();
        }
    }

    fn close(&mut self) {
        let building = std::mem::take(&mut self.building);
        let Some((sequence, sub_sequence)) = building.end else {
            return;
        };
        self.ready.push_back(RawBatch {
            partition: self.page.partition.clone(),
            bytes: building.bytes,
            records: RecordLayout::Listed(building.records),
            end: Position::Sequence {
                sequence,
                sub_sequence,
            },
            received_at: building.arrival.unwrap_or(self.page.now),
            live: true,
        });
    }
}

/// The batch that is being filled.
#[derive(Default)]
struct Building {
    bytes: Vec<u8>,
    records: Vec<(RawRecord, String)>,
    /// The last user record taken.
    end: Option<(String, u64)>,
    arrival: Option<Timestamp>,
}

impl Building {
    fn is_far_from(&self, arrival: Timestamp) -> bool {
        self.arrival
            .is_some_and(|first| first.0.abs_diff(arrival.0) > ARRIVAL_SPAN_MAX_MICROS.unsigned_abs())
    }

    fn ends_at(&mut self, sequence: &str, sub_sequence: u64) {
        match &mut self.end {
            Some((last, last_sub)) => {
                sequence.clone_into(last);
                *last_sub = sub_sequence;
            }
            None => self.end = Some((sequence.to_owned(), sub_sequence)),
        }
    }

    fn add(&mut self, sequence: &str, sub_sequence: u64, content: &[u8], ranges: &[Range<usize>]) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(content);
        for (line, range) in ranges.iter().enumerate() {
            let record = RawRecord {
                start: offset(base + range.start),
                length: offset(range.len()),
                undecodable: None,
            };
            self.records
                .push((record, format!("{sequence}/{sub_sequence}/{line}")));
        }
        self.ends_at(sequence, sub_sequence);
    }
}

fn offset(bytes: usize) -> u32 {
    // A batch is closed at a mebibyte and one user record, whose size has a limit far below this.
    u32::try_from(bytes).expect("a batch is smaller than four gigabytes")
}

/// What is left of the limits of one stream record.
struct Budget {
    bytes: usize,
    records: usize,
}

/// The content of a user record, decompressed where it is compressed.
fn expand<'a>(data: &'a [u8], budget: &mut Budget) -> Result<Cow<'a, [u8]>, String> {
    if data.starts_with(&GZIP_MAGIC) {
        return read_within(flate2::read::MultiGzDecoder::new(data), "gzip", budget).map(Cow::Owned);
    }
    if data.starts_with(&ZSTD_MAGIC) {
        let decoder = zstd::stream::read::Decoder::with_buffer(data).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(decoder)
        });
        let decoder = decoder.map_err(|error| format!("cannot start to read zstd: {error}"))?;
        return read_within(decoder, "zstd", budget).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(data))
}

fn read_within(decoder: impl Read, format: &str, budget: &mut Budget) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let allowed = budget.bytes;
    let result = decoder.take(allowed as u64 + 1).read_to_end(&mut content);
    // What was expanded in vain is spent as well, so that many bombs cost no more than one.
    budget.bytes = allowed.saturating_sub(content.len());
    if content.len() > allowed {
        return Err(format!(
            "{format} opens to more than the {allowed} bytes that the record may still take"
        ));
    }
    result.map_err(|error| format!("damaged {format} after {} bytes: {error}", content.len()))?;
    Ok(content)
}

/// The ranges of the records in a user record's content: one JSON text, several lines, or arrays of them.
///
/// Content without any record in it is one record, so that it is turned away with a reason and not lost.
fn cut(content: &[u8], budget: &mut Budget) -> Result<Vec<Range<usize>>, String> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < content.len() && ranges.len() <= budget.records {
        let rest = &content[at..];
        let Some(line) = lines(rest, at == 0).next() else {
            break;
        };
        let start = at + line.start + leading_whitespace(&rest[line.clone()]);
        at += line.end;
        match content[start] {
            b'[' => at = cut_array(content, start, budget.records, &mut ranges),
            b'{' if !ends_with_brace(&content[start..at]) => {
                // The text goes on below this line, or is broken; only the first is more than a line.
                let mut scanner = Scanner::new(content);
                scanner.at = start;
                if scanner.value().is_ok() {
                    at = scanner.at;
                }
                ranges.push(start..at);
            }
            _ => ranges.push(start..at),
        }
    }
    if ranges.len() > budget.records {
        return Err(format!(
            "more than the {} records that a record may still hold",
            budget.records
        ));
    }
    if ranges.is_empty() && !holds_empty_array(content) {
        ranges.push(0..content.len());
    }
    budget.records -= ranges.len();
    Ok(ranges)
}

/// Adds the elements of the array that starts at `start`, and gives the place after it. What follows a fault is one
/// record: where its elements begin cannot be known.
fn cut_array(content: &[u8], start: usize, most: usize, ranges: &mut Vec<Range<usize>>) -> usize {
    let mut scanner = Scanner::new(content);
    scanner.at = start + 1;
    scanner.skip_whitespace();
    if scanner.peek() == b']' {
        return scanner.at + 1;
    }
    while ranges.len() <= most {
        scanner.skip_whitespace();
        let element = scanner.at;
        let whole = scanner.value().is_ok();
        let end = scanner.at;
        scanner.skip_whitespace();
        match (whole, scanner.peek()) {
            (true, b',') => ranges.push(element..end),
            (true, b']') => {
                ranges.push(element..end);
                return scanner.at + 1;
            }
            _ => {
                ranges.push(element.min(content.len())..content.len());
                break;
            }
        }
        scanner.at += 1;
    }
    content.len()
}

fn leading_whitespace(line: &[u8]) -> usize {
    line.iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .count()
}

fn ends_with_brace(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(b"}")
}

fn holds_empty_array(content: &[u8]) -> bool {
    content.trim_ascii_start().starts_with(b"[")
}

#[cfg(test)]
mod tests;
