//! Millions of ids in little memory: 64-bit fingerprints in a hash table of cache lines.
//!
//! Ten million ids take 98.5 MB, and a look-up reads one line and seldom its neighbour. A member is always
//! found. An id that is not a member is taken for one with probability `len / 2⁶⁴`: less than 6·10⁻¹³ for ten
//! million ids, which is below the rate of memory errors of the machine.

use xxhash_rust::xxh3::xxh3_64;

/// Fingerprints in a line: a cache line of 64 bytes.
const LINE_SLOTS: usize = 8;
/// How full the table is, in sixteenths: 81 percent, so that ten million ids fit into 100 MB and
/// two of three look-ups for an absent id still end in their first line.
const FULL_SIXTEENTHS: usize = 13;

/// One cache line of fingerprints, filled from the front; 0 is an empty slot.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(64))]
struct Line([u64; LINE_SLOTS]);

/// A set of ids that answers membership and nothing else.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IdSet {
    lines: Box<[Line]>,
    len: usize,
}

impl IdSet {
    /// The set of some ids, in any order; repeated ids count once.
    pub fn new(ids: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let fingerprints = ids.into_iter().map(|id| Self::fingerprint(id.as_ref()));
        Self::from_fingerprints(fingerprints.collect())
    }

    /// The set of the ids with these fingerprints, in any order; repeated ones count once.
    pub fn from_fingerprints(mut fingerprints: Vec<u64>) -> Self {
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let slots = fingerprints.len().saturating_mul(16).div_ceil(FULL_SIXTEENTHS);
        let mut set = Self {
            lines: vec![Line::default(); slots.div_ceil(LINE_SLOTS).max(1)].into(),
            len: fingerprints.len(),
        };
        // In ascending order the lines are filled from the first to the last.
        for fingerprint in fingerprints {
            set.insert(fingerprint);
        }
        set
    }

    /// The fingerprint of an id, xxh3 of 64 bits: what is kept of it. Never 0, which marks an empty slot. Frozen, because
    /// stores keep fingerprints instead of ids.
    pub fn fingerprint(id: &str) -> u64 {
        xxh3_64(id.as_bytes()).max(1)
    }

    /// Puts a fingerprint into the first empty slot from its line on.
    fn insert(&mut self, fingerprint: u64) {
        let home = home_of(fingerprint, self.lines.len());
        let (before, after) = self.lines.split_at_mut_checked(home).unwrap_or_default();
        for line in after.iter_mut().chain(before) {
            if let Some(slot) = line.0.iter_mut().find(|slot| **slot == 0) {
                *slot = fingerprint;
                return;
            }
        }
    }

    /// Whether an id is in the set.
    pub fn contains(&self, id: &str) -> bool {
        let wanted = Self::fingerprint(id);
        let (before, after) = self
            .lines
            .split_at_checked(home_of(wanted, self.lines.len()))
            .unwrap_or_default();
        for line in after.iter().chain(before) {
            // All slots are compared, which the compiler does at once.
            if line.0.iter().fold(false, |found, slot| found | (*slot == wanted)) {
                return true;
            }
            if line.0.last() == Some(&0) {
                return false;
            }
        }
        false
    }

    /// How many ids it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it takes in memory.
    pub fn size_bytes(&self) -> usize {
        size_of_val::<[Line]>(&self.lines).saturating_add(size_of::<Self>())
    }
}

impl std::fmt::Debug for IdSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "IdSet({} ids)", self.len())
    }
}

/// The line in which a fingerprint is looked for first, by multiply-shift.
fn home_of(fingerprint: u64, lines: usize) -> usize {
    let home = u128::from(fingerprint).wrapping_mul(lines as u128) >> 64;
    usize::try_from(home).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_others_are_not() {
        for size in [0_u32, 1, 3, 4, 7, 8, 1_000, 100_000] {
            let ids: Vec<String> = (0..size).map(|number| format!("user-{number}")).collect();
            let set = IdSet::new(&ids);
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
        assert_eq!(IdSet::new(["a", "b", "a"]).len(), 2);
    }

    #[test]
    fn a_hundred_thousand_ids_take_under_ten_bytes_each() {
        // What must never change: ten million ids fit into 100 MB.
        let ids: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
        let set = IdSet::new(&ids);
        assert!(set.size_bytes() < 1_000_000, "{}", set.size_bytes());
    }
}
