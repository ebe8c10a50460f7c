//! Where in a source something stands: partitions, and the ordered positions of their logs.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One ordered log of a source: a Kafka partition, a Kinesis shard, a file, the embedded log.
///
/// Written `kind:name`, for example `log:0`, `kinesis:events/shardId-000000000003`, `file:events.ndjson#1f00…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub String);

impl fmt::Display for PartitionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A place in a partition: everything at or before it has been taken.
///
/// Positions of one partition are of one kind and totally ordered; positions of different kinds are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Bytes or records from the start of the partition: the next one to read.
    Offset(u64),
    /// A Kinesis sequence number with the number of the record inside an aggregate: the last one taken.
    Sequence {
        /// A decimal of up to 129 digits: it exceeds every machine integer, so it stays text.
        sequence: String,
        /// The place within the aggregated record; 0 for a plain one.
        sub_sequence: u64,
    },
    /// The partition has ended and nothing more will come (a closed shard, a finished file).
    End,
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Offset(left), Self::Offset(right)) => Some(left.cmp(right)),
            (
                Self::Sequence {
                    sequence: left,
                    sub_sequence: left_sub,
                },
                Self::Sequence {
                    sequence: right,
                    sub_sequence: right_sub,
                },
            ) => Some(compare_decimals(left, right).then(left_sub.cmp(right_sub))),
            (Self::End, Self::End) => Some(Ordering::Equal),
            (Self::End, _) => Some(Ordering::Greater),
            (_, Self::End) => Some(Ordering::Less),
            _ => None,
        }
    }
}

/// Compares two non-negative decimals by value, whatever their number of digits or leading zeros.
fn compare_decimals(left: &str, right: &str) -> Ordering {
    let left = left.trim_start_matches('0');
    let right = right.trim_start_matches('0');
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(formatter, "{offset}"),
            Self::Sequence {
                sequence,
                sub_sequence,
            } => write!(formatter, "{sequence}/{sub_sequence}"),
            Self::End => formatter.write_str("end"),
        }
    }
}

/// Where each partition stands. Ordered by partition, so that its written form is stable.
pub type Positions = BTreeMap<PartitionId, Position>;

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(sequence: &str, sub_sequence: u64) -> Position {
        Position::Sequence {
            sequence: sequence.into(),
            sub_sequence,
        }
    }

    #[test]
    fn sequence_numbers_compare_as_numbers() {
        // What must never change: no sequence number is ever squeezed into a machine integer.
        let short = sequence("99", 0);
        let long = sequence("49590338271490256608559692538361571095921575989136588898", 0);
        assert!(short < long);
        assert!(sequence("007", 3) < sequence("8", 0));
        assert!(sequence("8", 1) > sequence("8", 0));
        assert!(long < Position::End);
        assert_eq!(Position::Offset(1).partial_cmp(&short), None);
    }
}
