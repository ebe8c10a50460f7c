//! What lists are filtered by and searched for, beside the documents.
//!
//! Each definition has labels: its status, type, owner, project and tags, and the words of its key, name and tags in
//! lower case. They are written with the document, so that a list never reads a document that it does not show.

use std::collections::BTreeSet;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AssertSqlSafe};

use super::super::{ObjectKind, Store, Write, failed};
use super::Definition;
use crate::error::ControlError;

/// The most words of a search, and of a definition's name that are searched for.
const WORDS_MAX: usize = 32;

/// Which definitions are wanted. What is absent does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only of this status: `enabled`, `disabled` or `archived` for flags, the life cycle's for experiments.
    pub status: Option<String>,
    /// Only of this type.
    pub value_type: Option<String>,
    /// Only of this owner.
    pub owner: Option<String>,
    /// Only of this project.
    pub project: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// Only those in whose key, name or tags each of these words begins a word.
    pub search: Option<String>,
    /// Only deleted ones, instead of those that are there; nothing else then filters.
    pub deleted: bool,
}

impl ListFilter {
    fn exact(&self) -> Vec<(&'static str, &str)> {
        let filters = [
            ("status", &self.status),
            ("type", &self.value_type),
            ("owner", &self.owner),
            ("project", &self.project),
            ("tag", &self.tag),
        ];
        let given = filters.into_iter();
        given
            .filter_map(|(label, value)| Some((label, value.as_deref()?)))
            .collect()
    }
}

/// What a definition is found by.
#[derive(Debug, Default)]
pub(in crate::store) struct Labels<'d> {
    pub(super) name: &'d str,
    pub(super) status: Option<&'d str>,
    pub(super) value_type: Option<&'d str>,
    pub(super) owner: Option<&'d str>,
    pub(super) project: Option<&'d str>,
    pub(super) tags: &'d [String],
}

/// The most characters by which a word is found: databases refuse to sort very long ones.
const WORD_CHARS_MAX: usize = 64;

/// The words of a text in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(|word| word.to_lowercase().chars().take(WORD_CHARS_MAX).collect())
}

/// Writes the labels of a definition anew.
pub(super) async fn write<D: Definition>(write: &mut Write, definition: &D) -> Result<(), ControlError> {
    let key: &str = std::borrow::Borrow::borrow(definition.key());
    forget(write, D::KIND, key).await?;
    let labels = definition.labels();
    let mut rows: BTreeSet<(&str, String)> = BTreeSet::new();
    let single = [
        ("status", labels.status),
        ("type", labels.value_type),
        ("owner", labels.owner),
        ("project", labels.project),
    ];
    for (label, value) in single {
        rows.extend(value.map(|value| (label, value.to_owned())));
    }
    rows.extend(labels.tags.iter().map(|tag| ("tag", tag.clone())));
    for text in [key, labels.name]
        .into_iter()
        .chain(labels.tags.iter().map(String::as_str))
    {
        rows.extend(words(text).map(|word| ("word", word)));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let mut insert = Statement::new("INSERT INTO labels (kind, label, value, key) VALUES ");
    for (index, (label, value)) in rows.into_iter().enumerate() {
        insert.push(if index == 0 { "(" } else { ", (" });
        insert.push_value(D::KIND.as_str()).push(", ").push_value(label);
        insert.push(", ").push_value(value).push(", ").push_value(key);
        insert.push(")");
    }
    insert
        .query()
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("write the labels of a definition"))
}

/// Takes the labels of a definition away.
pub(super) async fn forget(write: &mut Write, kind: ObjectKind, key: &str) -> Result<(), ControlError> {
    sqlx::query("DELETE FROM labels WHERE kind = $1 AND key = $2")
        .bind(kind.as_str())
        .bind(key)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("write the labels of a definition"))
}

/// Writes the labels of all definitions of a kind, where none of it has any: for stores from before there were labels.
pub(in crate::store) async fn complete<D: Definition>(write: &mut Write) -> Result<(), ControlError> {
    let known = sqlx::query("SELECT 1 FROM labels WHERE kind = $1 LIMIT 1")
        .bind(D::KIND.as_str())
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read the labels of definitions"))?;
    if known.is_some() {
        return Ok(());
    }
    for stored in super::all_in::<D>(write).await? {
        self::write(write, &stored.definition::<D>()?).await?;
    }
    Ok(())
}

/// A statement that is put together, with the values for its places.
struct Statement {
    text: String,
    values: Vec<String>,
}

impl Statement {
    fn new(text: &str) -> Self {
        let (text, values) = (text.to_owned(), Vec::new());
        Self { text, values }
    }

    /// Adds text of the statement: never what a person wrote.
    fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a place and its value.
    fn push_value(&mut self, value: impl Into<String>) -> &mut Self {
        self.values.push(value.into());
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }

    /// The statement to run. There are too many forms of it to keep each prepared.
    fn query(self) -> sqlx::query::Query<'static, Any, AnyArguments> {
        let query = sqlx::query(AssertSqlSafe(self.text)).persistent(false);
        self.values
            .into_iter()
            .fold(query, |query, value| query.bind(value))
    }
}

/// Reads the definitions after a key that fit a filter.
pub(super) async fn find<D: Definition>(
    store: &Store,
    filter: &ListFilter,
    after: Option<&str>,
    size: i64,
) -> Result<Vec<AnyRow>, ControlError> {
    let mut statement = matching::<D>(filter, after.unwrap_or(""));
    statement.text.push_str(&format!(" LIMIT {size}"));
    statement
        .query()
        .fetch_all(store.readers())
        .await
        .map_err(failed("list definitions"))
}

/// The definitions after a key that fit a filter.
///
/// The first exact filter leads, because its labels stand in order of key; a search without one looks words up first.
/// The outer join keeps SQLite from turning that around; each label has its definition.
fn matching<D: Definition>(filter: &ListFilter, after: &str) -> Statement {
    let kind = D::KIND.as_str();
    let mut exact = filter.exact().into_iter();
    let leader = exact.next().filter(|_| !filter.deleted);
    let mut query = Statement::new(
        "SELECT d.key, d.document, d.version, d.discovered, d.created_at, d.updated_at, d.deleted_at FROM ",
    );
    let key = match leader {
        Some((label, value)) => {
            query.push("labels AS l LEFT JOIN ").push(D::STATEMENTS.table);
            query
                .push(" AS d ON d.key = l.key WHERE l.kind = ")
                .push_value(kind);
            query.push(" AND l.label = ").push_value(label);
            query.push(" AND l.value = ").push_value(value);
            "l.key"
        }
        None => {
            query
                .push(D::STATEMENTS.table)
                .push(" AS d WHERE d.deleted_at IS ");
            query.push(if filter.deleted { "NOT NULL" } else { "NULL" });
            "d.key"
        }
    };
    query.push(" AND ").push(key).push(" > ").push_value(after);
    for (label, value) in exact.filter(|_| !filter.deleted) {
        query
            .push(" AND EXISTS (SELECT 1 FROM labels AS o WHERE o.key = ")
            .push(key);
        query.push(" AND o.kind = ").push_value(kind);
        query.push(" AND o.label = ").push_value(label);
        query.push(" AND o.value = ").push_value(value).push(")");
    }
    for word in filter
        .search
        .iter()
        .filter(|_| !filter.deleted)
        .flat_map(|search| words(search))
    {
        query.push(" AND ").push(key);
        query
            .push(" IN (SELECT w.key FROM labels AS w WHERE w.kind = ")
            .push_value(kind);
        query
            .push(" AND w.label = 'word' AND w.value >= ")
            .push_value(word.as_str());
        // The last character there is: everything that begins with the word comes before it.
        let end = format!("{word}{}", char::MAX);
        query.push(" AND w.value < ").push_value(end).push(")");
    }
    query.push(" ORDER BY ").push(key);
    query
}
