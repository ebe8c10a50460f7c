//! Takes apart the stream records that the Kinesis Producer Library (KPL) packs many user records into.
//!
//! The form is `F3 89 9A C2`, a protobuf message, and the MD5 of that message. Whatever is not exactly that is a
//! plain record and is handed back whole: a record is never guessed at and never dropped. Nothing is copied, so
//! unpacking takes no more memory than one small entry a user record, and their number has a limit.

use std::ops::RangeInclusive;

use md5::{Digest, Md5};

/// The first bytes of an aggregate.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The size of the checksum at the end of an aggregate.
const DIGEST_BYTES: usize = 16;

/// One user record of an aggregate; it borrows from the aggregate's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Where the record belongs in the key space; `None` when the aggregate names a key that it does not hold.
    pub hash_key: Option<u128>,
    /// What the producer put.
    pub data: &'a [u8],
}

/// What the bytes of a stream record turn out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpacked<'a> {
    /// Not an aggregate: the bytes are the user record.
    Plain,
    /// The user records in the order in which they were put.
    Aggregate(Vec<UserRecord<'a>>),
    /// An aggregate of more user records than allowed.
    TooMany,
}

impl UserRecord<'_> {
    /// Whether the record belongs to a shard of these hash keys.
    ///
    /// A producer that did not know of a resharding puts records where they do not belong. They are real all the
    /// same, so that this is a thing to count and no reason to drop them.
    pub fn belongs_to(&self, hash_keys: &RangeInclusive<u128>) -> bool {
        self.hash_key.is_some_and(|key| hash_keys.contains(&key))
    }
}

/// Takes a stream record apart, up to `max_user_records`.
pub fn unpack(bytes: &[u8], max_user_records: usize) -> Unpacked<'_> {
    let Some(message) = checked_message(bytes) else {
        return Unpacked::Plain;
    };
    let Some(aggregate) = Aggregate::parse(message, max_user_records) else {
        return Unpacked::Plain;
    };
    if aggregate.too_many {
        return Unpacked::TooMany;
    }
    let key_hashes: Vec<u128> = aggregate.partition_keys.iter().map(|key| hash_of(key)).collect();
    let records = aggregate.entries.into_iter().map(|entry| UserRecord {
        hash_key: match entry.explicit_hash_key {
            Some(index) => nth(&aggregate.explicit_hash_keys, index).and_then(|key| decimal(key)),
            None => nth(&key_hashes, entry.partition_key).copied(),
        },
        data: entry.data,
    });
    Unpacked::Aggregate(records.collect())
}

/// The place of a partition key in the key space, as the service computes it.
pub fn hash_of(partition_key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// The protobuf message of an aggregate, or `None` when the bytes are not one.
fn checked_message(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (message, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST_BYTES)?)?;
    (Md5::digest(message).as_slice() == digest).then_some(message)
}

fn nth<T>(items: &[T], index: u64) -> Option<&T> {
    items.get(usize::try_from(index).ok()?)
}

fn decimal(digits: &[u8]) -> Option<u128> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `message AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
/// repeated Record records = 3; }`
#[derive(Default)]
struct Aggregate<'a> {
    partition_keys: Vec<&'a [u8]>,
    explicit_hash_keys: Vec<&'a [u8]>,
    entries: Vec<Entry<'a>>,
    too_many: bool,
}

/// `message Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
/// required bytes data = 3; repeated Tag tags = 4; }`
struct Entry<'a> {
    partition_key: u64,
    explicit_hash_key: Option<u64>,
    data: &'a [u8],
}

impl<'a> Aggregate<'a> {
    /// Reads the message; `None` when it is not valid protobuf of this type.
    fn parse(message: &'a [u8], max_entries: usize) -> Option<Self> {
        let mut aggregate = Self::default();
        let mut reader = Reader { rest: message };
        while let Some((number, field)) = reader.field()? {
            match (number, field) {
                (1, Field::Bytes(key)) => aggregate.partition_keys.push(key),
                (2, Field::Bytes(key)) => aggregate.explicit_hash_keys.push(key),
                (3, Field::Bytes(entry)) => aggregate.entries.push(Entry::parse(entry)?),
                (1..=3, _) => return None,
                _ => {}
            }
            // Keys are counted as well: a table of empty keys takes two bytes a key on the wire and more in memory.
            let keys = aggregate
                .partition_keys
                .len()
                .max(aggregate.explicit_hash_keys.len());
            if aggregate.entries.len().max(keys) > max_entries {
                aggregate.too_many = true;
                return Some(aggregate);
            }
        }
        Some(aggregate)
    }
}

impl<'a> Entry<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let (mut partition_key, mut explicit_hash_key, mut data) = (None, None, None);
        let mut reader = Reader { rest: message };
        while let Some((number, field)) = reader.field()? {
            match (number, field) {
                (1, Field::Varint(index)) => partition_key = Some(index),
                (2, Field::Varint(index)) => explicit_hash_key = Some(index),
                (3, Field::Bytes(bytes)) => data = Some(bytes),
                (1..=3, _) => return None,
                _ => {}
            }
        }
        Some(Self {
            partition_key: partition_key?,
            explicit_hash_key,
            data: data?,
        })
    }
}

/// The value of a protobuf field of a wire type that the messages use.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-size number: skipped, as fields of later versions are.
    Fixed,
}

/// Reads protobuf fields one by one.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next field with its number: `Some(None)` at the end of the message, `None` when it is not protobuf.
    fn field(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        let number = tag >> 3;
        (number != 0).then_some(Some((number, field)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        // Ten groups of seven bits hold 64 bits; the tenth has room for one.
        for place in 0..10 {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7F);
            if place == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
pub(crate) mod tests;
