//! Millions of ids in little memory: sorted 64-bit fingerprints with a directory on their first bits.
//!
//! Ten million ids take 88 MB, and a look-up reads one directory entry and a few neighbouring fingerprints.
//! A member is always found. An id that is not a member is taken for one with probability `len / 2⁶⁴`: less
//! than 6·10⁻¹³ for ten million ids, which is below the rate of memory errors of the machine.

use xxhash_rust::xxh3::xxh3_64;

/// Fingerprints per directory entry are between this and twice this: a cache line holds eight.
const FINGERPRINTS_PER_ENTRY_MIN: usize = 4;

/// A set of ids that answers membership and nothing else.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IdSet {
    /// How far a fingerprint is shifted to the right to give its directory entry; 64 bits of shift mean one
    /// entry.
    shift: u32,
    /// Where each entry's fingerprints start, and at the end how many there are.
    starts: Box<[u32]>,
    /// All fingerprints in ascending order.
    fingerprints: Box<[u64]>,
}

/// More ids than a set can number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id set has at most 4294967295 ids")]
pub struct TooManyIds;

impl IdSet {
    /// The set of some ids, in any order; repeated ids count once.
    ///
    /// # Errors
    /// [`TooManyIds`] when there are 2³² or more.
    pub fn new(ids: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, TooManyIds> {
        let mut fingerprints: Vec<u64> = ids.into_iter().map(|id| fingerprint(id.as_ref())).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        u32::try_from(fingerprints.len()).map_err(|_| TooManyIds)?;
        let wanted = (fingerprints.len() / FINGERPRINTS_PER_ENTRY_MIN).max(1);
        let bits = wanted.ilog2();
        let shift = 64_u32.saturating_sub(bits);
        let starts = directory(&fingerprints, shift, 1_usize << bits);
        Ok(Self {
            shift,
            starts,
            fingerprints: fingerprints.into_boxed_slice(),
        })
    }

    /// Whether an id is in the set.
    pub fn contains(&self, id: &str) -> bool {
        let wanted = fingerprint(id);
        let entry = entry_of(wanted, self.shift);
        let start = self.starts.get(entry).copied().unwrap_or(0);
        let end = self.starts.get(entry.saturating_add(1)).copied().unwrap_or(0);
        let neighbours = self.fingerprints.get(start as usize..end as usize);
        neighbours.is_some_and(|neighbours| neighbours.contains(&wanted))
    }

    /// How many ids it holds.
    pub fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    /// What it takes in memory.
    pub fn size_bytes(&self) -> usize {
        size_of_val::<[u64]>(&self.fingerprints)
            .saturating_add(size_of_val::<[u32]>(&self.starts))
            .saturating_add(size_of::<Self>())
    }
}

impl std::fmt::Debug for IdSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "IdSet({} ids)", self.len())
    }
}

fn fingerprint(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

fn entry_of(fingerprint: u64, shift: u32) -> usize {
    // A shift by all 64 bits leaves nothing: the only entry.
    usize::try_from(fingerprint.checked_shr(shift).unwrap_or(0)).unwrap_or(usize::MAX)
}

/// Where each entry starts among sorted fingerprints, which the caller has checked to number below 2³².
fn directory(fingerprints: &[u64], shift: u32, entries: usize) -> Box<[u32]> {
    let mut starts = Vec::with_capacity(entries.saturating_add(1));
    for (position, fingerprint) in (0_u32..).zip(fingerprints) {
        let entry = entry_of(*fingerprint, shift);
        while starts.len() <= entry {
            starts.push(position);
        }
    }
    let count = u32::try_from(fingerprints.len()).unwrap_or(u32::MAX);
    starts.resize(entries.saturating_add(1), count);
    starts.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_others_are_not() {
        for size in [0_u32, 1, 3, 4, 7, 8, 1_000, 100_000] {
            let ids: Vec<String> = (0..size).map(|number| format!("user-{number}")).collect();
            let set = IdSet::new(&ids).unwrap();
            assert_eq!(set.len(), size as usize);
            assert!(ids.iter().all(|id| set.contains(id)), "{size}");
            assert!(
                !(size..size + 10_000).any(|number| set.contains(&format!("user-{number}"))),
                "{size}"
            );
        }
        assert!(!IdSet::default().contains("a"));
    }

    #[test]
    fn repeated_ids_count_once() {
        assert_eq!(IdSet::new(["a", "b", "a"]).unwrap().len(), 2);
    }

    #[test]
    fn a_hundred_thousand_ids_take_under_ten_bytes_each() {
        // What must never change: ten million ids fit into 100 MB.
        let ids: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
        let set = IdSet::new(&ids).unwrap();
        assert!(set.size_bytes() < 1_000_000, "{}", set.size_bytes());
    }
}
