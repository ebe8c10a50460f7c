//! Conditions: clauses on attributes, joined by `all`, `any` and `not`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who is meant: one clause, or conditions joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ConditionFields", into = "ConditionFields")]
pub enum Condition {
    /// Every one holds; an empty list holds for everybody.
    All(Vec<Condition>),
    /// At least one holds; an empty list holds for nobody.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// One test of one attribute.
    Clause(Clause),
}

impl Default for Condition {
    /// Everybody.
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

/// One test of one attribute. `docs/targeting.md` says what each operator makes of missing and odd values.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// A name (`plan`), a JSON pointer (`/company/plan`), `user_id` or `now`; the user id when absent, for
    /// the operators that allow it.
    pub attribute: Option<String>,
    /// The test.
    pub operator: Operator,
    /// What it tests against; its shape is the operator's.
    pub value: Value,
    /// Whether the result is turned round.
    pub negate: bool,
}

/// A test of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "docs/targeting.md has one table that defines each, and a test that it does"
)]
pub enum Operator {
    Equals,
    EqualsIgnoreCase,
    In,
    InIgnoreCase,
    StartsWith,
    StartsWithIgnoreCase,
    EndsWith,
    EndsWithIgnoreCase,
    Contains,
    ContainsIgnoreCase,
    Matches,
    MatchesIgnoreCase,
    NumberEquals,
    LessThan,
    LessThanOrEqual,
    GreaterThan,
    GreaterThanOrEqual,
    Between,
    Modulo,
    VersionEquals,
    VersionLessThan,
    VersionLessThanOrEqual,
    VersionGreaterThan,
    VersionGreaterThanOrEqual,
    VersionInRange,
    Before,
    After,
    OnDate,
    DateBetween,
    Exists,
    IsNull,
    IsType,
    Size,
    ArrayContainsAny,
    ArrayContainsAll,
    ArrayContainsNone,
    InNetwork,
    WithinRadius,
    InSegment,
    FlagEquals,
    InPercentage,
}

impl Operator {
    /// Every operator, in the order of the documentation.
    pub const ALL: [Self; 41] = [
        Self::Equals,
        Self::EqualsIgnoreCase,
        Self::In,
        Self::InIgnoreCase,
        Self::StartsWith,
        Self::StartsWithIgnoreCase,
        Self::EndsWith,
        Self::EndsWithIgnoreCase,
        Self::Contains,
        Self::ContainsIgnoreCase,
        Self::Matches,
        Self::MatchesIgnoreCase,
        Self::NumberEquals,
        Self::LessThan,
        Self::LessThanOrEqual,
        Self::GreaterThan,
        Self::GreaterThanOrEqual,
        Self::Between,
        Self::Modulo,
        Self::VersionEquals,
        Self::VersionLessThan,
        Self::VersionLessThanOrEqual,
        Self::VersionGreaterThan,
        Self::VersionGreaterThanOrEqual,
        Self::VersionInRange,
        Self::Before,
        Self::After,
        Self::OnDate,
        Self::DateBetween,
        Self::Exists,
        Self::IsNull,
        Self::IsType,
        Self::Size,
        Self::ArrayContainsAny,
        Self::ArrayContainsAll,
        Self::ArrayContainsNone,
        Self::InNetwork,
        Self::WithinRadius,
        Self::InSegment,
        Self::FlagEquals,
        Self::InPercentage,
    ];
}

/// The fields of all kinds of condition, of which one kind is filled.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<Vec<Condition>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any: Option<Vec<Condition>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not: Option<Box<Condition>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attribute: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<Operator>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    value: Value,
    #[serde(default, skip_serializing_if = "super::is_false")]
    negate: bool,
}

/// The fields fit no kind of condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a condition has exactly one of `all`, `any`, `not` and `operator`; the rest goes with `operator`")]
pub struct InvalidCondition;

impl TryFrom<ConditionFields> for Condition {
    type Error = InvalidCondition;

    fn try_from(fields: ConditionFields) -> Result<Self, InvalidCondition> {
        let plain = fields.attribute.is_none() && fields.value.is_null() && !fields.negate;
        match (fields.all, fields.any, fields.not, fields.operator) {
            (Some(all), None, None, None) if plain => Ok(Self::All(all)),
            (None, Some(any), None, None) if plain => Ok(Self::Any(any)),
            (None, None, Some(not), None) if plain => Ok(Self::Not(not)),
            (None, None, None, Some(operator)) => Ok(Self::Clause(Clause {
                attribute: fields.attribute,
                operator,
                value: fields.value,
                negate: fields.negate,
            })),
            _ => Err(InvalidCondition),
        }
    }
}

impl From<Condition> for ConditionFields {
    fn from(condition: Condition) -> Self {
        let mut fields = Self::default();
        match condition {
            Condition::All(all) => fields.all = Some(all),
            Condition::Any(any) => fields.any = Some(any),
            Condition::Not(not) => fields.not = Some(not),
            Condition::Clause(clause) => {
                fields.attribute = clause.attribute;
                fields.operator = Some(clause.operator);
                fields.value = clause.value;
                fields.negate = clause.negate;
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_survive_their_json() {
        // What must never change: what is stored is what is read again.
        for value in [
            json!({"all": []}),
            json!({"any": [{"not": {"attribute": "plan", "operator": "equals", "value": "pro"}}]}),
            json!({"operator": "in_segment", "value": "beta", "negate": true}),
        ] {
            let condition: Condition = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&condition).unwrap(), value);
        }
    }

    #[test]
    fn a_condition_is_of_one_kind() {
        for (value, part) in [
            (json!({}), "exactly one of"),
            (json!({"all": [], "any": []}), "exactly one of"),
            (json!({"all": [], "negate": true}), "exactly one of"),
            (json!({"operator": "like"}), "unknown variant `like`"),
            (
                json!({"operator": "exists", "values": []}),
                "unknown field `values`",
            ),
        ] {
            let error = serde_json::from_value::<Condition>(value)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
