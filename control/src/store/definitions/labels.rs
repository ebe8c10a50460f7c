//! What lists are filtered by and searched for, beside the documents.
//!
//! Each definition has labels: its status, type, owner, project and tags, and the words of its key, name and tags in
//! lower case. They are written with the document, so that a list never reads a document that it does not show.

use std::collections::BTreeSet;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AssertSqlSafe, Row};

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
    /// The words that are searched for; none among what was deleted, which nothing filters.
    fn words(&self) -> Vec<String> {
        let search = self.search.iter().filter(|_| !self.deleted);
        search.flat_map(|search| words(search)).collect()
    }

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

/// Up to how many definitions a word is counted to find the rarest of several: enough to tell a rare word from a common
/// one, and counted in a tenth of a millisecond.
const COUNTED_MAX: u32 = 2_000;

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
    let words = rarest_first::<D>(store, filter.words()).await?;
    let mut statement = matching::<D>(filter, &words, after.unwrap_or(""));
    statement.text.push_str(&format!(" LIMIT {size}"));
    statement
        .query()
        .fetch_all(store.readers())
        .await
        .map_err(failed("list definitions"))
}

/// Puts the word first that begins words of the fewest definitions.
async fn rarest_first<D: Definition>(
    store: &Store,
    mut words: Vec<String>,
) -> Result<Vec<String>, ControlError> {
    if words.len() < 2 {
        return Ok(words);
    }
    let mut counts = Statement::new("SELECT ");
    for (index, word) in words.iter().enumerate() {
        counts.push(if index == 0 { "" } else { ", " });
        counts.push("(SELECT count(*) FROM (SELECT 1 FROM labels AS w WHERE w.kind = ");
        counts.push_value(D::KIND.as_str());
        begins(&mut counts, word);
        counts.text.push_str(&format!(" LIMIT {COUNTED_MAX}) AS c)"));
    }
    let row = counts.query().fetch_one(store.readers()).await;
    let row = row.map_err(failed("count the words of definitions"))?;
    let counts = (0..words.len()).map(|index| row.try_get::<i64, _>(index));
    let counts: Vec<_> = counts
        .collect::<Result<_, _>>()
        .map_err(failed("count the words of definitions"))?;
    if let Some(rarest) = (0..words.len()).min_by_key(|index| counts[*index]) {
        words.swap(0, rarest);
    }
    Ok(words)
}

/// Narrows a search in the labels `w` down to the words that begin with a word.
fn begins(query: &mut Statement, word: &str) {
    query
        .push(" AND w.label = 'word' AND w.value >= ")
        .push_value(word);
    // The last character there is: everything that begins with the word comes before it.
    let end = format!("{word}{}", char::MAX);
    query.push(" AND w.value < ").push_value(end);
}

/// The definitions after a key that fit a filter.
///
/// The first exact filter leads, because its labels stand in order of key; a search without one looks its first word up,
/// which should be the rarest, and the other words at each definition that has it. A list of all that a common word finds
/// would take longer than everything else. The outer join keeps SQLite from turning that around; each label has its definition.
fn matching<D: Definition>(filter: &ListFilter, words: &[String], after: &str) -> Statement {
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
    for (index, word) in words.iter().enumerate() {
        query.push(" AND ");
        if index == 0 {
            query
                .push(key)
                .push(" IN (SELECT w.key FROM labels AS w WHERE w.kind = ");
        } else {
            query
                .push("EXISTS (SELECT 1 FROM labels AS w WHERE w.key = ")
                .push(key);
            query.push(" AND w.kind = ");
        }
        query.push_value(kind);
        begins(&mut query, word);
        query.push(")");
    }
    query.push(" ORDER BY ").push(key);
    query
}
