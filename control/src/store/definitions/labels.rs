//! What lists are filtered by and searched for, beside the documents.
//!
//! Each definition has labels: its status, type, owner, project and tags, and the words of its key, name and tags in
//! lower case. They are written with the document, so that a list never reads a document that it does not show.

use std::collections::BTreeSet;

use sqlx::{QueryBuilder, Sqlite};

use super::super::{ObjectKind, Write, failed};
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

/// The words of a text in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(str::to_lowercase)
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
    let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO labels (kind, label, value, key) ");
    insert.push_values(rows, |mut row, (label, value)| {
        row.push_bind(D::KIND.as_str())
            .push_bind(label)
            .push_bind(value)
            .push_bind(key.to_owned());
    });
    insert
        .build()
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("write the labels of a definition"))
}

/// Takes the labels of a definition away.
pub(super) async fn forget(write: &mut Write, kind: ObjectKind, key: &str) -> Result<(), ControlError> {
    sqlx::query("DELETE FROM labels WHERE kind = ?1 AND key = ?2")
        .bind(kind.as_str())
        .bind(key)
        .execute(&mut **write)
        .await
        .map(drop)
        .map_err(failed("write the labels of a definition"))
}

/// Writes the labels of all definitions of a kind, where none of it has any: for stores from before there were labels.
pub(in crate::store) async fn complete<D: Definition>(write: &mut Write) -> Result<(), ControlError> {
    let known = sqlx::query("SELECT 1 FROM labels WHERE kind = ?1 LIMIT 1")
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

/// The query for the definitions after a key that fit a filter.
///
/// The first exact filter leads, because its labels stand in order of key; a search without one looks words up first.
pub(super) fn query<D: Definition>(
    filter: &ListFilter,
    after: Option<&str>,
    size: i64,
) -> QueryBuilder<Sqlite> {
    let kind = D::KIND.as_str();
    let mut exact = filter.exact().into_iter();
    let leader = exact.next().filter(|_| !filter.deleted);
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT d.key, d.document, d.version, d.discovered, d.created_at, d.updated_at, d.deleted_at FROM ",
    );
    let ordered = match leader {
        Some((label, value)) => {
            query.push("labels AS l CROSS JOIN ").push(D::STATEMENTS.table);
            query
                .push(" AS d ON d.key = l.key WHERE l.kind = ")
                .push_bind(kind);
            query.push(" AND l.label = ").push_bind(label);
            query.push(" AND l.value = ").push_bind(value.to_owned());
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
    query.push(" AND ").push(ordered).push(" > ");
    query.push_bind(after.unwrap_or("").to_owned());
    for (label, value) in exact.filter(|_| !filter.deleted) {
        query.push(" AND EXISTS (SELECT 1 FROM labels AS o WHERE o.key = d.key AND o.kind = ");
        query.push_bind(kind).push(" AND o.label = ").push_bind(label);
        query
            .push(" AND o.value = ")
            .push_bind(value.to_owned())
            .push(")");
    }
    for word in filter
        .search
        .iter()
        .filter(|_| !filter.deleted)
        .flat_map(|search| words(search))
    {
        query.push(" AND d.key IN (SELECT w.key FROM labels AS w WHERE w.kind = ");
        query
            .push_bind(kind)
            .push(" AND w.label = 'word' AND w.value >= ");
        // The last character there is: everything that begins with the word comes before it.
        let end = format!("{word}{}", char::MAX);
        query
            .push_bind(word)
            .push(" AND w.value < ")
            .push_bind(end)
            .push(")");
    }
    query
        .push(" ORDER BY ")
        .push(ordered)
        .push(" LIMIT ")
        .push_bind(size);
    query
}
