//! Short numbers for texts that repeat: experiments, variants, event names, users.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;

/// Texts of which there are few, numbered in the order of their first appearance.
#[derive(Debug, Default, Clone)]
pub struct Names {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Names {
    /// The number of a text, giving it the next one when it is new.
    pub fn number_of(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        let shared: Arc<str> = text.into();
        self.texts.push(Arc::clone(&shared));
        self.numbers.insert(shared, number);
        number
    }

    /// The number of a text that has one.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
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
    table: HashTable<u32>,
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
        let (ends, bytes, hashes) = (&self.ends, &self.bytes, &self.hashes);
        let same = |number: &u32| {
            let index = *number as usize;
            let start = if index == 0 { 0 } else { ends[index - 1] as usize };
            hashes[index] == hash && &bytes[start..ends[index] as usize] == id
        };
        if let Some(number) = self.table.find(hash, same) {
            return (*number, false);
        }
        let number = self.hashes.len() as u32;
        self.hashes.push(hash);
        self.bytes.extend_from_slice(id);
        self.ends.push(self.bytes.len() as u64);
        let hashes = &self.hashes;
        self.table
            .insert_unique(hash, number, |other| hashes[*other as usize]);
        (number, true)
    }

    /// Hashes, ends and bytes, for a snapshot.
    pub fn parts(&self) -> (&[u64], &[u64], &[u8]) {
        (&self.hashes, &self.ends, &self.bytes)
    }

    /// The users of a snapshot.
    pub fn from_parts(hashes: Vec<u64>, ends: Vec<u64>, bytes: Vec<u8>) -> Self {
        let mut table = HashTable::with_capacity(hashes.len());
        for (number, hash) in hashes.iter().enumerate() {
            table.insert_unique(*hash, number as u32, |other| hashes[*other as usize]);
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
        self.table
            .find(hash, |number| {
                self.hashes[*number as usize] == hash && self.id(*number) == id
            })
            .copied()
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
