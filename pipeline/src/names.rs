//! Short numbers for texts that repeat: experiments, variants, event names, users.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Texts of which there are few, numbered in the order of their first appearance.
#[derive(Debug, Default, Clone)]
pub struct Names {
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    texts: Vec<Arc<str>>,
}

impl Names {
    /// The number of a text, giving it the next one when it is new.
    pub fn number_of(&mut self, text: &str) -> u32 {
        if let Some(number) = self.find(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        let (hasher, texts) = (&self.hasher, &self.texts);
        self.table
            .insert_unique(hasher.hash_one(text.as_bytes()), number, |other| {
                hasher.hash_one(texts[*other as usize].as_bytes())
            });
        number
    }

    /// The number of a text that has one.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.find_bytes(text.as_bytes())
    }

    /// The number of a text that has one, given as bytes that need not be checked for UTF-8 first.
    pub fn find_bytes(&self, text: &[u8]) -> Option<u32> {
        let same = |number: &u32| self.texts[*number as usize].as_bytes() == text;
        self.table.find(self.hasher.hash_one(text), same).copied()
    }

    /// The text of a number that this list gave.
    pub fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    /// All texts by number.
    pub fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }
}

/// Texts of which there are many, each stored once behind the other in one buffer.
#[derive(Debug, Default)]
pub struct Users {
    /// Hash and number: a slot tells by itself, without another cache miss, that it is of another user.
    table: HashTable<(u64, u32)>,
    hashes: Vec<u64>,
    ends: Vec<u64>,
    bytes: Vec<u8>,
}

impl Users {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The bytes of a user's id.
    pub fn id(&self, number: u32) -> &[u8] {
        let index = number as usize;
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// The number of a user and whether it is new. `hash` is xxh3-64 of `id`.
    pub fn number_of(&mut self, hash: u64, id: &[u8]) -> (u32, bool) {
        if let Some(number) = self.find(hash, id) {
            return (number, false);
        }
        let number = self.hashes.len() as u32;
        self.hashes.push(hash);
        self.bytes.extend_from_slice(id);
        self.ends.push(self.bytes.len() as u64);
        self.table.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        (number, true)
    }

    /// The likely number of a user that has been seen: the first with the same hash. The next step is [`Self::is`].
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        let found = self.table.find(hash, |(other, _)| *other == hash);
        found.map(|(_, number)| *number)
    }

    /// Reads the ids of some numbers ahead, step by step, so that the loads of all wait for memory together; numbers that
    /// nobody has are passed over.
    pub fn touch<const N: usize>(&self, numbers: &[u32; N]) {
        let mut last_bytes = [0_usize; N];
        for (last, number) in last_bytes.iter_mut().zip(numbers) {
            *last = self.ends.get(*number as usize).map_or(0, |end| *end as usize);
        }
        let bytes = last_bytes
            .iter()
            .filter_map(|end| self.bytes.get(end.checked_sub(1)?));
        std::hint::black_box(bytes.fold(0, |all, byte| all ^ byte));
    }

    /// Whether a number is that of an id.
    pub fn is(&self, number: u32, id: &[u8]) -> bool {
        self.id(number) == id
    }

    /// Hashes, ends and bytes, for a snapshot.
    pub fn parts(&self) -> (&[u64], &[u64], &[u8]) {
        (&self.hashes, &self.ends, &self.bytes)
    }

    /// The users of a snapshot.
    pub fn from_parts(hashes: Vec<u64>, ends: Vec<u64>, bytes: Vec<u8>) -> Self {
        let mut table = HashTable::with_capacity(hashes.len());
        for (number, hash) in hashes.iter().enumerate() {
            table.insert_unique(*hash, (*hash, number as u32), |(hash, _)| *hash);
        }
        Self {
            table,
            hashes,
            ends,
            bytes,
        }
    }

    /// The number of a user that has been seen.
    pub fn find(&self, hash: u64, id: &[u8]) -> Option<u32> {
        let found = self
            .table
            .find(hash, |(other, number)| *other == hash && self.id(*number) == id);
        found.map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number() {
        let mut names = Names::default();
        assert_eq!(
            [names.number_of("a"), names.number_of("b"), names.number_of("a")],
            [0, 1, 0]
        );
        assert_eq!((names.text(1), names.find("c")), ("b", None));
    }

    #[test]
    fn users_with_equal_hashes_are_told_apart() {
        // What must never change: a collision of hashes never merges two users.
        let mut users = Users::default();
        assert_eq!(users.number_of(7, b"ann"), (0, true));
        assert_eq!(users.number_of(7, b"bob"), (1, true));
        assert_eq!(users.number_of(7, b"ann"), (0, false));
        assert_eq!(
            (users.id(0), users.id(1), users.len()),
            (b"ann".as_slice(), b"bob".as_slice(), 2)
        );
        assert_eq!(users.find(7, b"cid"), None);
    }
}
