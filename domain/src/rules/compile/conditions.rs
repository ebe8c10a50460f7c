//! Compiles conditions, clauses and segments.

use serde_json::Value;

use super::{Builder, Report};
use crate::rules::condition::{CompiledClause, CompiledCondition};
use crate::rules::context::AttributePath;
use crate::rules::definition::{Clause, Condition, Operator, SegmentDefinition};
use crate::rules::operators::{self, Test};
use crate::rules::ruleset::Segment;

/// The deepest nesting of a condition: the evaluation's stack is bounded by it.
const DEPTH_MAX: usize = 32;
/// The most ids in a segment's definition; longer lists are built as an [`IdSet`](crate::rules::IdSet).
const SEGMENT_IDS_MAX: usize = 100_000;
/// How much of a clause's value is kept for explanations.
const EXPECTED_MAX_BYTES: usize = 160;

impl Builder<'_> {
    /// Compiles a condition; nothing when it has an error, which is then reported.
    pub(super) fn condition(&self, condition: &Condition, report: &mut Report) -> Option<CompiledCondition> {
        self.nested(condition, 0, report)
    }

    fn nested(&self, condition: &Condition, depth: usize, report: &mut Report) -> Option<CompiledCondition> {
        if depth > DEPTH_MAX {
            report.error(format!("conditions nest at most {DEPTH_MAX} deep"));
            return None;
        }
        let deeper = depth.saturating_add(1);
        match condition {
            Condition::All(parts) => report
                .at("all", |report| self.parts(parts, deeper, report))
                .map(CompiledCondition::All),
            Condition::Any(parts) => report
                .at("any", |report| self.parts(parts, deeper, report))
                .map(CompiledCondition::Any),
            Condition::Not(part) => {
                let part = report.at("not", |report| self.nested(part, deeper, report));
                part.map(|part| CompiledCondition::Not(Box::new(part)))
            }
            Condition::Clause(clause) => self.clause(clause, report).map(CompiledCondition::Clause),
        }
    }

    /// Compiles all parts, so that the errors of all are reported.
    fn parts(
        &self,
        parts: &[Condition],
        depth: usize,
        report: &mut Report,
    ) -> Option<Box<[CompiledCondition]>> {
        let mut compiled = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            compiled.extend(report.at(at, |report| self.nested(part, depth, report)));
        }
        (compiled.len() == parts.len()).then(|| compiled.into_boxed_slice())
    }

    fn clause(&self, clause: &Clause, report: &mut Report) -> Option<CompiledClause> {
        let path = report.at("attribute", |report| report.keep(path_of(clause)));
        let test = report.at("value", |report| self.test(clause, report));
        Some(CompiledClause {
            path: path?,
            test: test?,
            negate: clause.negate,
            operator: clause.operator,
            attribute: clause.attribute.as_deref().unwrap_or("user_id").into(),
            expected: beginning_of(&clause.value),
        })
    }

    fn test(&self, clause: &Clause, report: &mut Report) -> Option<Test> {
        match clause.operator {
            Operator::InSegment => self.in_segment(clause, report),
            Operator::FlagEquals => self.flag_equals(clause, report),
            _ => report.keep(operators::compile(clause.operator, &clause.value)),
        }
    }

    fn in_segment(&self, clause: &Clause, report: &mut Report) -> Option<Test> {
        let keys = report.keep(operators::texts(&clause.value))?;
        let mut segments = Vec::with_capacity(keys.len());
        for key in &keys {
            match self.names.segments.get(key) {
                None => report.error(format!("there is no segment {key}")),
                Some(at) if self.ruleset.segments.get(*at).is_some_and(Option::is_some) => segments.push(*at),
                Some(_) => report.error(format!("it rests on segment {key}, which has errors")),
            }
        }
        (segments.len() == keys.len()).then(|| Test::Segment(segments.into()))
    }

    fn flag_equals(&self, clause: &Clause, report: &mut Report) -> Option<Test> {
        const SHAPE: &str = "flag_equals takes {\"flag\": key, \"variations\": [keys]}";
        let key = clause.value.get("flag").and_then(|key| key.as_str());
        let variations = clause.value.get("variations").map(operators::texts);
        let (Some(key), Some(Ok(variations))) = (key, variations) else {
            report.error(SHAPE);
            return None;
        };
        let (flag, variations) = self.wanted_variations(key, &variations, report)?;
        Some(Test::Flag { flag, variations })
    }

    /// The place of a flag and of some of its variations.
    pub(super) fn wanted_variations(
        &self,
        key: &str,
        wanted: &[&str],
        report: &mut Report,
    ) -> Option<(usize, Box<[usize]>)> {
        let Some(at) = self.names.flags.get(key).copied() else {
            report.error(format!("there is no flag {key}"));
            return None;
        };
        let Some(flag) = self.ruleset.flags.get(at).and_then(Option::as_ref) else {
            report.error(format!("it rests on flag {key}, which has errors"));
            return None;
        };
        if wanted.is_empty() {
            report.error("at least one variation is needed");
            return None;
        }
        let mut places = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let place = flag
                .variations
                .iter()
                .position(|variation| variation.key.as_str() == *wanted);
            if place.is_none() {
                report.error(format!("flag {key} has no variation {wanted}"));
            }
            places.extend(place);
        }
        (places.len() == wanted.len()).then(|| (at, places.into_boxed_slice()))
    }

    /// Compiles one segment.
    pub(super) fn segment(&self, at: usize, report: &mut Report) -> Option<Segment> {
        let definition = self.definitions.segments.get(at)?;
        report.at_key("segments", definition.key.as_str(), |report| {
            self.segment_parts(definition, report)
        })
    }

    fn segment_parts(&self, definition: &SegmentDefinition, report: &mut Report) -> Option<Segment> {
        for (name, ids) in [
            ("included", &definition.included),
            ("excluded", &definition.excluded),
        ] {
            if ids.len() > SEGMENT_IDS_MAX {
                let message = format!("a segment's definition lists at most {SEGMENT_IDS_MAX} ids");
                report.at(name, |report| report.error(message));
            }
        }
        let condition = match &definition.condition {
            None => None,
            Some(condition) => Some(report.at("condition", |report| self.condition(condition, report))?),
        };
        Some(Segment {
            included: definition.included.iter().map(|id| id.as_str().into()).collect(),
            excluded: definition.excluded.iter().map(|id| id.as_str().into()).collect(),
            listed: self.definitions.id_sets.get(&definition.key).cloned(),
            condition,
        })
    }
}

/// Where the clause looks; operators that are about the unit may leave it out.
fn path_of(clause: &Clause) -> Result<AttributePath, &'static str> {
    match (&clause.attribute, clause.operator) {
        (Some(_), Operator::FlagEquals) => Err("flag_equals looks at no attribute"),
        (Some(attribute), _) => AttributePath::parse(attribute),
        (None, Operator::InSegment | Operator::FlagEquals | Operator::InPercentage) => {
            Ok(AttributePath::UserId)
        }
        (None, _) => Err("the operator needs an attribute"),
    }
}

/// The beginning of a value's JSON, cut between characters. A list of many ids is not written to its end.
fn beginning_of(value: &Value) -> Box<str> {
    let mut beginning = Beginning(Vec::with_capacity(64));
    // The only error is that there is no more room, which is what cuts the text.
    let _ = serde_json::to_writer(&mut beginning, value);
    let whole = match std::str::from_utf8(&beginning.0) {
        Ok(text) => text,
        Err(error) => {
            let whole = beginning.0.get(..error.valid_up_to()).unwrap_or(&[]);
            std::str::from_utf8(whole).unwrap_or("")
        }
    };
    whole.into()
}

/// Takes the first [`EXPECTED_MAX_BYTES`] bytes and then refuses more.
struct Beginning(Vec<u8>);

impl std::io::Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = EXPECTED_MAX_BYTES.saturating_sub(self.0.len());
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        self.0.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
