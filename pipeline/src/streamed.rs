//! Writing a long list item by item, without having it in memory first.

use std::cell::Cell;

use serde::ser::SerializeSeq;

/// A list that is made while it is written; it can be written once.
pub(crate) struct Streamed<I> {
    len: usize,
    items: Cell<Option<I>>,
}

impl<I: Iterator> Streamed<I> {
    /// A list of `len` items.
    pub fn new(len: usize, items: I) -> Self {
        Self {
            len,
            items: Cell::new(Some(items)),
        }
    }
}

impl<I> serde::Serialize for Streamed<I>
where
    I: Iterator,
    I::Item: serde::Serialize,
{
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len))?;
        let items = self.items.take();
        let items = items.ok_or_else(|| serde::ser::Error::custom("a streamed list is written once"))?;
        for item in items {
            list.serialize_element(&item)?;
        }
        list.end()
    }
}
