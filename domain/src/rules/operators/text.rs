//! `starts_with`, `ends_with`, `contains`, and their forms that ignore case; any of several texts will do.
//!
//! Case is folded code point by code point to lower case (Unicode's default mapping, no locale, no context),
//! so that every language can do the same.

use serde_json::Value;

use super::{Outcome, text_of, texts};
use crate::rules::context::Attribute;
use crate::rules::definition::Operator;

/// The most texts that one clause looks for, because they are tried one after the other.
const NEEDLES_MAX: usize = 1_000;

/// Where one of several texts is looked for.
#[derive(Debug)]
pub(crate) struct TextTest {
    place: Place,
    needles: Box<[Needle]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    StartFolded,
    End,
    EndFolded,
    Inside,
    InsideFolded,
}

/// A text to look for. The folded form and its failure table serve a search that never goes back.
#[derive(Debug)]
struct Needle {
    text: Box<str>,
    folded: Box<[char]>,
    failures: Box<[usize]>,
}

impl TextTest {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        let place = match operator {
            Operator::StartsWith => Place::Start,
            Operator::StartsWithIgnoreCase => Place::StartFolded,
            Operator::EndsWith => Place::End,
            Operator::EndsWithIgnoreCase => Place::EndFolded,
            Operator::Contains => Place::Inside,
            _ => Place::InsideFolded,
        };
        let texts = texts(value)?;
        if texts.len() > NEEDLES_MAX {
            return Err(format!("the operator takes at most {NEEDLES_MAX} texts"));
        }
        let needles = texts.into_iter().map(|text| Needle::new(text, place)).collect();
        Ok(Self { place, needles })
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        match text_of(attribute) {
            Ok(text) => self
                .needles
                .iter()
                .any(|needle| needle.is_at(self.place, text))
                .into(),
            Err(outcome) => outcome,
        }
    }
}

impl Needle {
    fn new(text: &str, place: Place) -> Self {
        let folded: Box<[char]> = match place {
            Place::Start | Place::End | Place::Inside => Box::default(),
            Place::StartFolded | Place::EndFolded | Place::InsideFolded => fold(text).collect(),
        };
        let failures = if place == Place::InsideFolded {
            failure_table(&folded)
        } else {
            Box::default()
        };
        Self {
            text: text.into(),
            folded,
            failures,
        }
    }

    fn is_at(&self, place: Place, text: &str) -> bool {
        let wanted = || self.folded.iter().copied();
        match place {
            Place::Start => text.starts_with(&*self.text),
            Place::End => text.ends_with(&*self.text),
            Place::Inside => text.contains(&*self.text),
            Place::StartFolded => starts_with(fold(text), wanted()),
            Place::EndFolded => starts_with(fold(text).rev(), wanted().rev()),
            Place::InsideFolded => self.is_inside(text),
        }
    }

    /// Knuth, Morris and Pratt's search over the folded text: linear in it, whatever the texts are.
    fn is_inside(&self, text: &str) -> bool {
        if self.folded.is_empty() {
            return true;
        }
        // Most texts are ASCII, whose folding needs no table.
        if text.is_ascii() {
            return self.is_among(text.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        self.is_among(fold(text))
    }

    fn is_among(&self, folded_text: impl Iterator<Item = char>) -> bool {
        let mut matched = 0_usize;
        for character in folded_text {
            while matched > 0 && self.folded.get(matched) != Some(&character) {
                matched = self.failures.get(matched).copied().unwrap_or(0);
            }
            if self.folded.get(matched) == Some(&character) {
                matched = matched.saturating_add(1);
            }
            if matched == self.folded.len() {
                return true;
            }
        }
        false
    }
}

/// For each length of a matched beginning, the length of the longest shorter beginning that it ends with.
fn failure_table(folded: &[char]) -> Box<[usize]> {
    let mut failures = vec![0; folded.len().saturating_add(1)];
    let mut length = 0_usize;
    for (at, character) in folded.iter().enumerate().skip(1) {
        while length > 0 && folded.get(length) != Some(character) {
            length = failures.get(length).copied().unwrap_or(0);
        }
        if folded.get(length) == Some(character) {
            length = length.saturating_add(1);
        }
        if let Some(place) = failures.get_mut(at.saturating_add(1)) {
            *place = length;
        }
    }
    failures.into()
}

fn starts_with(mut text: impl Iterator<Item = char>, wanted: impl Iterator<Item = char>) -> bool {
    for character in wanted {
        if text.next() != Some(character) {
            return false;
        }
    }
    true
}

/// The text in lower case, code point by code point.
pub(super) fn fold(text: &str) -> impl DoubleEndedIterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

/// A hash of the folded text (FNV-1a over code points).
pub(super) fn fold_hash(text: &str) -> u64 {
    let mix = |hash: u64, character: char| (hash ^ u64::from(character)).wrapping_mul(0x0100_0000_01b3);
    fold(text).fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_folded_search_finds_what_a_plain_one_finds(text in "[abAB]{0,40}", wanted in "[abAB]{0,6}") {
            // What must never change: the hand-written search equals the library's on lower-cased texts.
            let found = |place| Needle::new(&wanted, place).is_at(place, &text);
            let (plain, plain_wanted) = (text.to_lowercase(), wanted.to_lowercase());
            proptest::prop_assert_eq!(found(Place::InsideFolded), plain.contains(&plain_wanted));
            proptest::prop_assert_eq!(found(Place::EndFolded), plain.ends_with(&plain_wanted));
            proptest::prop_assert_eq!(found(Place::StartFolded), plain.starts_with(&plain_wanted));
        }
    }
}
