//! A batch of valid events in the form that is cheapest to make and to read: one buffer and fixed-size records into it.

use domain::{EventKind, PartitionId, Position, RejectReason, Timestamp};

/// A range of bytes in a batch's buffer, always whole UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The number of bytes.
    pub length: u32,
}

/// One valid event. The spans point into [`EventBatch::buffer`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventRecord {
    /// Exposure or track.
    pub kind: EventKind,
    /// Event time.
    pub ts: Timestamp,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// The event's id, 1 to 64 bytes.
    pub event_id: Span,
    /// The randomization unit, 1 to 256 bytes.
    pub user_id: Span,
    /// The experiment of an exposure, the event name of a track.
    pub name: Span,
    /// The variant of an exposure; empty for a track.
    pub variant: Span,
    /// The value of a track, finite; 0 for an exposure.
    pub value: f64,
    /// The `properties` object as JSON text; empty when absent.
    pub properties: Span,
    /// 128 bits that stand for `event_id`: the UUID itself where the id is a canonical lowercase UUID, else a hash (xxh3-128).
    pub id_key: u128,
    /// 64 bits that stand for `user_id` (xxh3-64).
    pub user_hash: u64,
}

/// A record that did not become an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// Why, from the closed list.
    pub reason: RejectReason,
    /// What exactly, in one phrase for a person.
    pub detail: String,
    /// Where the record stood in its partition.
    pub position: String,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// The record's bytes; cut at [`domain::event::RECORD_MAX_BYTES`].
    pub payload: Vec<u8>,
}

/// Valid events of one partition, in the partition's order, and the place after them.
#[derive(Debug, Clone, PartialEq)]
pub struct EventBatch {
    /// Where they come from.
    pub partition: PartitionId,
    /// Everything up to here is in this batch or in an earlier one.
    pub end: Position,
    /// The bytes that the records point into: the raw input, followed by texts that had to be unescaped.
    pub buffer: Vec<u8>,
    /// The events.
    pub events: Vec<EventRecord>,
    /// The records that were turned away.
    pub rejections: Vec<Rejection>,
}

impl EventBatch {
    /// The text of a span of this batch.
    ///
    /// # Panics
    /// When the span is of another batch.
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).expect("the decoder makes spans of checked UTF-8 only")
    }

    /// The bytes of a span of this batch.
    ///
    /// # Panics
    /// When the span is of another batch.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        &self.buffer[start..start + span.length as usize]
    }

    /// The number of records that this batch accounts for: events and rejections.
    pub fn received_count(&self) -> u64 {
        (self.events.len() + self.rejections.len()) as u64
    }
}
