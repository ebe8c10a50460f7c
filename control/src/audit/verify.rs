//! The check of the chain against itself and against its checkpoints.

use std::collections::BTreeMap;
use std::fmt;

use super::checkpoint::{Checkpoint, PublicKey};
use crate::error::ControlError;
use crate::store::{ChainLink, Store};

/// Records that are read at once.
const PAGE: u32 = 1_000;

/// A trail that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The records that were checked.
    pub records: u64,
    /// The checkpoints that they agree with.
    pub checkpoints: u64,
    /// Where the chain stands.
    pub head: ChainLink,
}

/// What is wrong with a trail: the first thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A record is not what it was when it was written, or one was put in or taken out right before it.
    Changed {
        /// The record.
        seq: i64,
    },
    /// Records are missing.
    Missing {
        /// The first missing one.
        from: i64,
        /// The last missing one.
        to: i64,
    },
    /// The chain fits together and is not the one that was signed: it was computed anew.
    Restamped {
        /// The first record at which that shows.
        seq: i64,
    },
    /// Records at the end are missing.
    Truncated {
        /// The newest record there is.
        seq: i64,
        /// The newest that a checkpoint knows.
        signed: i64,
    },
    /// A checkpoint was not signed by this platform's key.
    ForgedCheckpoint {
        /// The record that it names.
        seq: i64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => write!(formatter, "record {seq} is not what was written"),
            Self::Missing { from, to } if from == to => write!(formatter, "record {from} is missing"),
            Self::Missing { from, to } => write!(formatter, "records {from} to {to} are missing"),
            Self::Restamped { seq } => {
                write!(
                    formatter,
                    "record {seq} is not the one that a checkpoint was signed for"
                )
            }
            Self::Truncated { seq, signed } => {
                write!(
                    formatter,
                    "the trail ends at record {seq}, but record {signed} was signed"
                )
            }
            Self::ForgedCheckpoint { seq } => {
                write!(
                    formatter,
                    "the checkpoint for record {seq} was not signed with this key"
                )
            }
        }
    }
}

/// Checks every record of a store against the one before it and against the checkpoints.
///
/// # Errors
/// [`ControlError`] when the store cannot be read; what is wrong with the trail is the inner error.
pub async fn verify(
    store: &Store,
    checkpoints: &[Checkpoint],
    key: &PublicKey,
) -> Result<Result<Verified, Finding>, ControlError> {
    if let Some(forged) = checkpoints
        .iter()
        .find(|checkpoint| !checkpoint.is_signed_by(key))
    {
        return Ok(Err(Finding::ForgedCheckpoint { seq: forged.seq }));
    }
    let mut walk = Walk::new(checkpoints);
    // From the very first number on: what was put in front of the chain is read by whoever reads the trail.
    let mut seen = i64::MIN;
    loop {
        let page = store.links_after(seen, PAGE).await?;
        if page.is_empty() {
            return Ok(walk.finish());
        }
        for stored in page {
            seen = stored.seq;
            if let Err(finding) = walk.step(stored.seq, &stored.canonical, &stored.hash) {
                return Ok(Err(finding));
            }
        }
    }
}

struct Walk<'c> {
    signed: BTreeMap<i64, &'c Checkpoint>,
    last: ChainLink,
    records: u64,
    agreed: u64,
}

impl<'c> Walk<'c> {
    fn new(checkpoints: &'c [Checkpoint]) -> Self {
        Self {
            signed: checkpoints
                .iter()
                .map(|checkpoint| (checkpoint.seq, checkpoint))
                .collect(),
            last: ChainLink::START,
            records: 0,
            agreed: 0,
        }
    }

    fn step(&mut self, seq: i64, canonical: &[u8], stored: &[u8]) -> Result<(), Finding> {
        if seq <= ChainLink::START.seq {
            return Err(Finding::Changed { seq });
        }
        if self.records == 0 && seq > 1 {
            self.begin_after_pruned(seq)?;
        }
        if seq != self.last.seq + 1 {
            let (from, to) = (self.last.seq + 1, seq - 1);
            return Err(Finding::Missing { from, to });
        }
        let link = self.last.then(seq, canonical);
        if link.hash != *stored {
            return Err(Finding::Changed { seq });
        }
        if let Some(checkpoint) = self.signed.get(&seq) {
            if checkpoint.hash != link.hex() {
                return Err(Finding::Restamped { seq });
            }
            self.agreed += 1;
        }
        self.last = link;
        self.records += 1;
        Ok(())
    }

    /// A chain that does not begin at its beginning needs a signed word that what was before was taken out.
    fn begin_after_pruned(&mut self, first: i64) -> Result<(), Finding> {
        let before = first - 1;
        let missing = Finding::Missing { from: 1, to: before };
        let checkpoint = self.signed.get(&before).filter(|checkpoint| checkpoint.pruned);
        let checkpoint = checkpoint.ok_or_else(|| missing.clone())?;
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            let digits = checkpoint
                .hash
                .get(2 * at..2 * at + 2)
                .ok_or_else(|| missing.clone())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| missing.clone())?;
        }
        self.last = ChainLink { seq: before, hash };
        Ok(())
    }

    fn finish(self) -> Result<Verified, Finding> {
        let signed = self.signed.keys().next_back().copied().unwrap_or(0);
        if signed > self.last.seq {
            let seq = self.last.seq;
            return Err(Finding::Truncated { seq, signed });
        }
        Ok(Verified {
            records: self.records,
            checkpoints: self.agreed,
            head: self.last,
        })
    }
}
