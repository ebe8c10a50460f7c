//! Version comparisons and ranges, by the precedence of Semantic Versioning 2.0.0.
//!
//! Read generously: a leading `v`, one to four numbers (missing ones are 0) and leading zeros are taken, so
//! that `v2`, `2024.01` and `120.0.6099.109` are versions too. Ranges have the grammar of npm; pre-releases
//! take part in them by their precedence, as with npm's `includePrerelease`; but `a - b` is just `>=a <=b`.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Outcome, text_of};
use crate::rules::context::Attribute;
use crate::rules::definition::Operator;

/// The most digits of a number, so that every language holds it exactly.
const DIGITS_MAX: usize = 15;
/// The longest text that is read as a version.
const VERSION_MAX_BYTES: usize = 256;
/// The most comparators in a range.
const COMPARATORS_MAX: usize = 64;

/// A comparison with a version, or a range of versions.
#[derive(Debug)]
pub(crate) struct VersionTest {
    /// One of these must hold.
    alternatives: Box<[Box<[Comparator]>]>,
}

/// A version to compare with, and how.
#[derive(Debug, Clone)]
struct Comparator {
    relation: Relation,
    numbers: Numbers,
    pre_release: Box<str>,
}

type Numbers = [u64; 4];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A version as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version<'t> {
    numbers: Numbers,
    pre_release: &'t str,
}

impl VersionTest {
    pub(super) fn compile(operator: Operator, value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("the operator takes a text")?;
        if text.len() > VERSION_MAX_BYTES {
            return Err(format!(
                "a version or range has at most {VERSION_MAX_BYTES} bytes"
            ));
        }
        let relation = match operator {
            Operator::VersionEquals => Relation::Equal,
            Operator::VersionLessThan => Relation::Less,
            Operator::VersionLessThanOrEqual => Relation::LessOrEqual,
            Operator::VersionGreaterThan => Relation::Greater,
            Operator::VersionGreaterThanOrEqual => Relation::GreaterOrEqual,
            _ => return Self::compile_range(text),
        };
        let version = Version::parse(text).ok_or_else(|| format!("{text} is not a version"))?;
        let comparator = Comparator::new(relation, version.numbers, version.pre_release);
        Ok(Self {
            alternatives: Box::new([Box::new([comparator])]),
        })
    }

    fn compile_range(text: &str) -> Result<Self, String> {
        let mut alternatives = Vec::new();
        for part in text.split("||") {
            let comparators = range(part).ok_or_else(|| format!("{text} is not a range of versions"))?;
            if comparators.len() > COMPARATORS_MAX {
                return Err(format!("a range has at most {COMPARATORS_MAX} comparators"));
            }
            alternatives.push(comparators.into_boxed_slice());
        }
        Ok(Self {
            alternatives: alternatives.into(),
        })
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        let text = match text_of(attribute) {
            Ok(text) => text,
            Err(outcome) => return outcome,
        };
        let Some(version) = Version::parse(text) else {
            return Outcome::WrongType;
        };
        let mut alternatives = self.alternatives.iter();
        alternatives
            .any(|all| all.iter().all(|comparator| comparator.holds(version)))
            .into()
    }
}

impl Comparator {
    fn new(relation: Relation, numbers: Numbers, pre_release: &str) -> Self {
        Self {
            relation,
            numbers,
            pre_release: pre_release.into(),
        }
    }

    fn holds(&self, version: Version<'_>) -> bool {
        let own = Version {
            numbers: self.numbers,
            pre_release: &self.pre_release,
        };
        let order = version.compare(own);
        match self.relation {
            Relation::Equal => order.is_eq(),
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::Greater => order.is_gt(),
            Relation::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl<'t> Version<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        if text.len() > VERSION_MAX_BYTES {
            return None;
        }
        let partial = Partial::parse(text)?;
        (partial.given > 0 && !partial.wild).then_some(partial.version)
    }

    fn compare(self, other: Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| compare_pre_releases(self.pre_release, other.pre_release))
    }
}

/// A release comes after its pre-releases; identifiers compare one by one, and a longer list wins a draw.
fn compare_pre_releases(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut lefts, mut rights) = (left.split('.'), right.split('.'));
    loop {
        let order = match (lefts.next(), rights.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => compare_identifiers(left, right),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Numbers compare as numbers and come before texts, which compare by their bytes.
fn compare_identifiers(left: &str, right: &str) -> Ordering {
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match (numeric(left), numeric(right)) {
        (true, true) => {
            let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right))
        }
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => left.cmp(right),
    }
}

/// A version of which the last numbers may be left out or be a wildcard.
#[derive(Debug, Clone, Copy)]
struct Partial<'t> {
    version: Version<'t>,
    /// How many numbers are given before the first wildcard.
    given: usize,
    /// Whether there is a wildcard.
    wild: bool,
}

impl<'t> Partial<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (text, build) = text
            .split_once('+')
            .map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, pre_release) = text
            .split_once('-')
            .map_or((text, None), |(core, pre)| (core, Some(pre)));
        if !build.is_none_or(are_identifiers) || !pre_release.is_none_or(are_identifiers) {
            return None;
        }
        let mut numbers = Numbers::default();
        let (mut given, mut wild) = (0_usize, false);
        for (at, part) in core.split('.').enumerate() {
            if matches!(part, "*" | "x" | "X") {
                wild = true;
                continue;
            }
            // A number after a wildcard means nothing.
            if wild {
                return None;
            }
            *numbers.get_mut(at)? = number(part)?;
            given = given.saturating_add(1);
        }
        if wild && pre_release.is_some() {
            return None;
        }
        let version = Version {
            numbers,
            pre_release: pre_release.unwrap_or(""),
        };
        Some(Self { version, given, wild })
    }

    /// Whether the version is named in full, rather than all that begin like it.
    fn is_exact(self) -> bool {
        self.given >= 3 && !self.wild
    }

    /// The first version that begins like this one.
    fn first(self) -> (Numbers, &'t str) {
        let lowest = if self.is_exact() {
            self.version.pre_release
        } else {
            "0"
        };
        (self.version.numbers, lowest)
    }

    /// The numbers after the last version that begins with the first `count` numbers of this one.
    fn after(self, count: usize) -> Numbers {
        let mut numbers = Numbers::default();
        for (at, (place, own)) in numbers
            .iter_mut()
            .zip(self.version.numbers)
            .take(count)
            .enumerate()
        {
            *place = if at.saturating_add(1) == count {
                own.saturating_add(1)
            } else {
                own
            };
        }
        numbers
    }
}

fn are_identifiers(text: &str) -> bool {
    let valid = |one: &str| {
        !one.is_empty()
            && one
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.split('.').all(valid)
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && text.len() <= DIGITS_MAX {
        text.parse().ok()
    } else {
        None
    }
}

/// The comparators that one alternative of a range asks for.
fn range(text: &str) -> Option<Vec<Comparator>> {
    let text = text.trim();
    if let Some((low, high)) = text.split_once(" - ") {
        let mut comparators = Vec::new();
        at_least(Partial::parse(low.trim())?, &mut comparators);
        at_most(Partial::parse(high.trim())?, &mut comparators);
        return Some(comparators);
    }
    let mut comparators = Vec::new();
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let numbers = word.trim_start_matches(['<', '>', '=', '^', '~']);
        let sign = word.strip_suffix(numbers)?;
        // A sign may stand apart from its version.
        let version = if numbers.is_empty() {
            words.next()?
        } else {
            numbers
        };
        comparator(sign, Partial::parse(version)?, &mut comparators)?;
    }
    Some(comparators)
}

fn comparator(sign: &str, version: Partial<'_>, into: &mut Vec<Comparator>) -> Option<()> {
    let (numbers, pre_release) = (version.version.numbers, version.version.pre_release);
    match sign {
        "" | "=" if version.is_exact() => into.push(Comparator::new(Relation::Equal, numbers, pre_release)),
        "" | "=" => {
            at_least(version, into);
            at_most(version, into);
        }
        "^" => {
            at_least(version, into);
            let [major, minor, ..] = numbers;
            let fixed = match (major, minor) {
                (0, 0) => 3,
                (0, _) => 2,
                _ => 1,
            };
            below(version, fixed.min(version.given), into);
        }
        "~" | "~>" => {
            at_least(version, into);
            below(version, version.given.min(2), into);
        }
        ">=" => at_least(version, into),
        "<=" => at_most(version, into),
        ">" if version.is_exact() => into.push(Comparator::new(Relation::Greater, numbers, pre_release)),
        ">" if version.given == 0 => nothing(into),
        ">" => {
            into.push(Comparator::new(
                Relation::GreaterOrEqual,
                version.after(version.given),
                "0",
            ));
        }
        "<" if version.given == 0 => nothing(into),
        "<" => {
            let (numbers, pre_release) = version.first();
            into.push(Comparator::new(Relation::Less, numbers, pre_release));
        }
        _ => return None,
    }
    Some(())
}

fn at_least(version: Partial<'_>, into: &mut Vec<Comparator>) {
    if version.given > 0 {
        let (numbers, pre_release) = version.first();
        into.push(Comparator::new(Relation::GreaterOrEqual, numbers, pre_release));
    }
}

fn at_most(version: Partial<'_>, into: &mut Vec<Comparator>) {
    if version.is_exact() {
        let Version { numbers, pre_release } = version.version;
        into.push(Comparator::new(Relation::LessOrEqual, numbers, pre_release));
    } else {
        below(version, version.given, into);
    }
}

/// Below the first version that does not begin with the first `count` numbers; no bound when there are none.
fn below(version: Partial<'_>, count: usize, into: &mut Vec<Comparator>) {
    if count > 0 {
        into.push(Comparator::new(Relation::Less, version.after(count), "0"));
    }
}

/// Below the lowest version of all.
fn nothing(into: &mut Vec<Comparator>) {
    into.push(Comparator::new(Relation::Less, Numbers::default(), "0"));
}

#[cfg(test)]
mod tests;
